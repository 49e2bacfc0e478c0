"""What a loss may look at during one training step, and what a loss is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast, final, runtime_checkable

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.parts.labelfree.batches import TrainingBatch
from scenewise.parts.labelfree.supervision import Modality, Supervision

_Made = TypeVar("_Made")


@final
class StudentOutput:
    """What a student says.

    A head of 512 columns over every point costs more than some networks, and nobody reads most of its output.  So embeddings are
    made when they are asked for, of the rows that are asked for, and logits without them: ψ(W z + b, T̂) = ⟨z, Wᵀ T̂⟩ + ⟨b, T̂⟩.

    Attributes:
        latent: what the embedding head is given.  Points: a row per point of the batch.  Pixels: a row per pixel of the student's
            own grid, (view · rows + row) · columns + column.
        grid: (views, rows, columns) of the pixel student; None for points.

    Args:
        embeddings: in the text space, not normalised, same rows as ``latent``; None where ``head`` makes them.
        latent: see above.
        grid: see above.
        head: makes embeddings of latents; None where they are given.
    """

    def __init__(
        self,
        embeddings: Float[Tensor, "n dim"] | None,
        latent: Float[Tensor, "n channels"],
        grid: tuple[int, int, int] | None = None,
        head: nn.Linear | None = None,
    ) -> None:
        if (embeddings is None) == (head is None):
            raise ConventionError("StudentOutput", expected="embeddings or a head", got="both" if head is not None else "neither")
        self.latent = latent
        self.grid = grid
        self._embeddings = embeddings
        self._head = head

    def __len__(self) -> int:
        return len(self.latent)

    @property
    def embeddings(self) -> Float[Tensor, "n dim"]:
        """Of all rows, in the text space, not normalised; made once."""
        if self._embeddings is None:
            self._embeddings = self.embedded(None)
        return self._embeddings

    def embedded(self, rows: Int64[Tensor, "m"] | None) -> Float[Tensor, "m dim"]:
        """Embeddings of some rows (of all where None)."""
        if self._embeddings is not None:
            return self._embeddings if rows is None else self._embeddings[rows]
        assert self._head is not None
        made: Tensor = self._head(self.latent if rows is None else self.latent[rows])
        return made

    def logits(self, text: Float32[Tensor, "classes dim"], rows: Int64[Tensor, "m"] | None = None) -> Float[Tensor, "m classes"]:
        """ψ(f, T̂) of some rows (of all where None): inner products without a temperature."""
        if self._embeddings is not None:
            return self.embedded(rows) @ text.T
        assert self._head is not None
        folded: Tensor = text @ self._head.weight
        bias = None if self._head.bias is None else text @ self._head.bias
        return nn.functional.linear(self.latent if rows is None else self.latent[rows], folded, bias)


@runtime_checkable
class RowGatherer(Protocol):
    """Lets the rows of all ranks meet, for attention across every scene of the global batch."""

    def __call__(self, rows: Float[Tensor, "own dim"]) -> tuple[Float[Tensor, "all dim"], int]:
        """Rows of all ranks in the order of ranks, and where this rank's begin.

        Every rank calls it, also one without rows.  Its backward adds what all ranks say about a row and gives that to the rank
        the row came from, so a loss that each rank sums over its own rows has the gradient of one process over all of them.
        """
        ...


def rows_of_one_process(rows: Float[Tensor, "own dim"]) -> tuple[Float[Tensor, "own dim"], int]:
    """Gathers where there is one process: the rows themselves, which begin at 0."""
    return rows, 0


@dataclass
class LossContext:
    """One step.  Built by the trainer; losses read it.

    Attributes:
        epoch: counted from 1.
        batch: the data.
        text: unit embedding per class.
        outputs: of the students that run in this step.
        supervision: what each student is trained on in this step, after switching.
        generator: for whatever is drawn in this step; the same on every rank.  What is drawn for a scan comes from a generator of
            its own (:func:`~scenewise.parts.labelfree.sampling.scan_generators`), so that ranks may hold any scans.
        gather: lets the rows of all ranks meet.
        figures: to log beside losses, written by sources: "self/points/largest_class" …
    """

    epoch: int
    batch: TrainingBatch
    text: Float32[Tensor, "classes dim"]
    outputs: Mapping[Modality, StudentOutput]
    supervision: Mapping[Modality, Supervision]
    generator: torch.Generator
    gather: RowGatherer = rows_of_one_process
    figures: dict[str, float] = field(default_factory=dict)
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


@runtime_checkable
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

    def __call__(self, context: LossContext) -> LossTerm:
        """The term in this step."""
        ...


@runtime_checkable
class LabelSource(Protocol):
    """Where a student's labels come from in a step."""

    def __call__(self, context: LossContext, modality: Modality) -> tuple[Supervision, Int64[Tensor, "sources"]]:
        """Rows to train on, and how many rows came from each source (for the log)."""
        ...
