"""What a loss may look at during one training step, and what a loss is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from scenewise.parts.labelfree.learning.batches import TrainingBatch
from scenewise.parts.labelfree.learning.supervision import Modality, Supervision

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class StudentOutput:
    """What a student says.

    Attributes:
        embeddings: in the text space, not normalised.  Points: a row per point of the batch.  Pixels: a row per pixel of the
            student's own grid, (view · rows + row) · columns + column.
        latent: what the embedding head was given, same rows.
        grid: (views, rows, columns) of the pixel student; None for points.
    """

    embeddings: Float[Tensor, "n dim"]
    latent: Float[Tensor, "n channels"]
    grid: tuple[int, int, int] | None = None

    def logits(self, text: Float32[Tensor, "classes dim"]) -> Float[Tensor, "n classes"]:
        """ψ(f, T̂): inner products without a temperature."""
        return self.embeddings @ text.T


@dataclass
class StepContext:
    """One step.  Built by the trainer; losses read it.

    Attributes:
        epoch: counted from 1.
        batch: the data.
        text: unit embedding per class.
        outputs: of the students that run in this step.
        supervision: what each student is trained on in this step, after switching.
        generator: for whatever is drawn in this step; the same on every rank.
    """

    epoch: int
    batch: TrainingBatch
    text: Float32[Tensor, "classes dim"]
    outputs: Mapping[Modality, StudentOutput]
    supervision: Mapping[Modality, Supervision]
    generator: torch.Generator
    _made: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """``make()`` the first time in this step, the same object afterwards: losses share what is dear."""
        if key not in self._made:
            self._made[key] = make()
        return cast(_Made, self._made[key])


@dataclass(frozen=True)
class LossTerm:
    """A sum over rows and how many there were, so that ranks can be added before dividing.

    Attributes:
        total: sum over rows; a scalar with a gradient.
        rows: number of rows; 0 makes the term vanish.
        extra: other figures to log, detached.
    """

    total: Float[Tensor, ""]
    rows: int
    extra: Mapping[str, float] = field(default_factory=dict)


class Regulariser(Protocol):
    """One summand of the training loss with whatever it learns itself (:class:`torch.nn.Module` parameters)."""

    @property
    def name(self) -> str:
        """Under which schedules and logs know it."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What it trains, by name: transformers, projections.  Discarded after training."""
        ...

    def __call__(self, context: StepContext) -> LossTerm:
        """The term in this step."""
        ...


class LabelSource(Protocol):
    """Where a student's labels come from in a step."""

    def __call__(self, context: StepContext, modality: Modality) -> tuple[Supervision, Int64[Tensor, "sources"]]:
        """Rows to train on, and how many rows came from each source (for the log)."""
        ...
