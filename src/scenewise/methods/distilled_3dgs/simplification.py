"""From many Gaussians to few: blur split while densifying, then a sampled simplification, then the tail cut.

Source: Xiang et al. 2025 (Distilled-3DGS), section 3, which takes these steps from Fang & Wang 2024 (Mini-Splatting, arXiv
2403.14166).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.parts.splats.fields import neighbor_spacing
from scenewise.parts.splats.importance import (
    ImportanceKind,
    importance,
    least_important_first,
    row_contributions,
    sample_by_importance,
)
from scenewise.parts.splats.rows import summed_in_rows
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.strategies import DefaultStrategy, StepContext, Strategy, ViewResult, operations
from scenewise.rendering import Backend
from scenewise.scenes.cameras import Cameras

_LARGEST_AREA = "blur_split.share"
_REBORN_OPACITY = 0.1


@dataclass(frozen=True)
class SimplificationSettings:
    """When and how far a student is simplified; steps are those of a 30,000-step run.

    Attributes:
        keep: Gaussians at the end, exactly (fewer if there are not so many); None: as the paper does, by ``factor`` and ``tail``.
        factor: part of the Gaussians that the first step keeps (released code: 0.5 on Tanks & Temples and Deep Blending, 0.9
            outdoors), times the part that matters to any pixel; None: no first step (indoor scenes of Mip-NeRF 360).
        margin: with ``keep``, the first step leaves this many times as many, and the second cuts the rest.
        sample_at: first step.
        tail_at: second step.
        tail: without ``keep``, the least important Gaussians that together hold this part of all importance go.
        kind: how importance is summed over views.
        reborn: after the first step, Gaussians keep position and base colour only: opacity 0.1, round, as large as the gap to
            their neighbours (released code).
    """

    keep: int | None = None
    factor: float | None = 0.5
    margin: float = 1.25
    sample_at: int = 15_000
    tail_at: int = 20_000
    tail: float = 0.01
    kind: ImportanceKind = "indoor"
    reborn: bool = False

    def __post_init__(self) -> None:
        if self.keep is not None and self.keep < 1:
            raise ConventionError("keep", expected="at least 1 Gaussian", got=self.keep)
        if self.factor is not None and not 0.0 < self.factor <= 1.0:
            raise ConventionError("factor", expected="a part in (0, 1]", got=self.factor)
        if self.margin < 1.0:
            raise ConventionError("margin", expected="at least 1", got=self.margin)
        if not 0.0 <= self.tail < 1.0:
            raise ConventionError("tail", expected="a part in [0, 1)", got=self.tail)


@final
@dataclass(frozen=True)
class Simplification(Strategy):
    """Simplifies a student twice, as the settings say, by what its Gaussians contribute to the training views.

    Attributes:
        settings: when and how far.
        cameras: of the training views at full size.
        backend: splat kernel.
    """

    settings: SimplificationSettings
    cameras: Sequence[Cameras]
    backend: Backend = "auto"

    def after_step(self, context: StepContext) -> None:
        """Simplify when due."""
        schedule, done = context.schedule, context.steps_done
        if done == sample_step(self.settings, schedule):
            self._sample(context)
        if done == tail_step(self.settings, schedule):
            self._cut_tail(context)

    def views_rendered(self) -> int:
        """Pictures that the two steps take."""
        return len(self.cameras) * (1 + (self.settings.keep is not None or self.settings.factor is not None))

    def _importance(self, context: StepContext) -> Float[Tensor, "n"]:
        return importance(row_contributions(context.field, self.cameras, backend=self.backend), self.settings.kind)

    def _sample(self, context: StepContext) -> None:
        settings, store = self.settings, context.field.store
        if settings.keep is None and settings.factor is None:
            return
        importances = self._importance(context)
        if settings.keep is None:
            assert settings.factor is not None
            count = int(len(store) * settings.factor * float((importances > 0).float().mean()))
        else:
            count = math.ceil(settings.margin * settings.keep)
        if count >= len(store):
            return
        kept = sample_by_importance(importances, max(1, count), context.random["simplification"])
        if not kept.numel():  # nothing is seen by any view
            return
        store.select(kept)
        if settings.reborn:
            self._begin_anew(context)

    def _begin_anew(self, context: StepContext) -> None:
        store = context.field.store
        means = store["means"].detach().clone()
        spacing = neighbor_spacing(means.cpu().numpy().astype(np.float64), context.scene_extent)
        log_scales = torch.from_numpy(np.log(spacing)).to(means)[:, None].expand(-1, 3)
        quats = torch.zeros_like(store["quats"])
        quats[:, 0] = 1.0
        logit_opacity = math.log(_REBORN_OPACITY / (1.0 - _REBORN_OPACITY))
        store.replace(
            torch.arange(len(store), device=means.device),
            {
                "means": means,
                "log_scales": log_scales.contiguous(),
                "quats": quats,
                "logit_opacities": torch.full_like(store["logit_opacities"], logit_opacity),
                "sh0": store["sh0"].detach().clone(),
                "shN": torch.zeros_like(store["shN"]),
            },
        )

    def _cut_tail(self, context: StepContext) -> None:
        settings, store = self.settings, context.field.store
        if settings.keep is not None and len(store) <= settings.keep:
            return
        importances = self._importance(context)
        order = least_important_first(importances)
        if settings.keep is not None:
            dropped = order[: len(store) - settings.keep]
        else:
            share = importances[order].double().cumsum(0) / importances.double().sum().clamp_min(1e-300)
            dropped = order[share <= settings.tail]
        operations.prune(store, _mask(dropped, len(store)))


def sample_step(settings: SimplificationSettings, schedule: Schedule) -> int:
    """Step of this run after which the first simplification happens."""
    return schedule.step(settings.sample_at)


def tail_step(settings: SimplificationSettings, schedule: Schedule) -> int:
    """Step of this run after which the second one happens."""
    return schedule.step(settings.tail_at)


def _mask(index: Int[Tensor, "chosen"], count: int) -> Tensor:
    mask = torch.zeros(count, dtype=torch.bool, device=index.device)
    mask[index] = True
    return mask


@final
@dataclass(frozen=True)
class BlurSplit(Strategy):
    """Splits, in every round of density control, Gaussians that are the largest contributor of too many pixels of one view.

    Source: Fang & Wang 2024, section 4.1: large Gaussians in poorly textured places have small gradients, and blur them.  Stands
    after adaptive density control in the list of strategies, whose rounds and cap it shares.

    Attributes:
        control: adaptive density control.
        largest_share: of a picture's pixels (released code: 1/5,000).
        most_gaussians: no splits from this count on (released code: 4.5 million), the cap of density control apart.
    """

    control: DefaultStrategy
    largest_share: float = 1.0 / 5_000.0
    most_gaussians: int = 4_500_000

    def contribution(self, context: StepContext) -> bool:
        """As long as there is another round to come."""
        return context.step < context.schedule.step(self.control.refine_until)

    def start(self, context: StepContext) -> None:
        """Attach the statistics."""
        store = context.field.store
        store.attach(_LARGEST_AREA, torch.zeros(len(store), device=store.device))

    def after_view(self, context: StepContext, view: ViewResult) -> None:
        """Remember the largest share of a picture since the last round."""
        found = view.output.contribution
        if found is None or not self.contribution(context):
            return
        share = context.field.store.record(_LARGEST_AREA)
        pixels = summed_in_rows(found.argmax_count, view.row_of, len(share))
        area = pixels.to(share.dtype) / (view.camera.width * view.camera.height)
        torch.maximum(share, area, out=share)

    def after_step(self, context: StepContext) -> None:
        """Split when density control has had its round."""
        if not self.control.refines(context.steps_done, context.schedule):
            return
        store = context.field.store
        share = store.record(_LARGEST_AREA)
        index = (share > self.largest_share).nonzero()[:, 0]
        most = min(self.most_gaussians, self.control.max_gaussians or self.most_gaussians)
        largest = torch.argsort(share[index], descending=True, stable=True)
        index = index[largest[: max(0, most - len(store))]].sort().values
        operations.split(store, index, context.random["blur_split"])
        store.record(_LARGEST_AREA).zero_()
