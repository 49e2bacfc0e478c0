"""Anchors come where children move much on the screen, and go where nobody sees anything of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.parts.splats.anchors.field import AnchorField, DecodedAnchors
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.store import ParameterStore
from scenewise.parts.splats.strategies.operations import prune
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy, ViewResult

_GRADIENT_SUM, _CHILD_VIEWS = "anchors.gradient_sum", "anchors.child_views"
_OPACITY_SUM, _VIEWS = "anchors.opacity_sum", "anchors.views"

Where = Callable[[Tensor], Tensor]
"""Tells of positions [n, 3] in the world whether an anchor may come to be there [n]."""


@dataclass(frozen=True)
class GrowthSettings:
    """Steps are those of a 30,000-step run and shrink with it (:class:`Schedule`).

    Source: Lu et al. 2024 (Scaffold-GS), arXiv 2312.00109, section 3.3, and its released code.

    Attributes:
        max_anchors: hard cap; when it binds, the largest gradients go first.  None for no cap (the paper).
        gather_from: statistics are gathered from here on.
        refine_from: no anchor comes or goes before.
        refine_until: none after.
        refine_every: steps between two rounds.
        smallest_interval: a shorter run does not refine more often than this.
        grow_gradient: mean norm of the gradient of a child's screen position (normalised device coordinates) from which its cell
            of the coarsest level gets an anchor; twice as much for each finer level.
        levels: edges of the cells, coarse to fine, in multiples of the finest.
        least_seen: children that were seen in a smaller part of the steps between two rounds wait for the next one; so do
            anchors that were seen in less than twice that part.
        prune_opacity: anchors whose children's opacities add up to less than this in the mean of the views go.
        largest_child: upper limit of the last three scales, in scene extents.  The released code has e^0.05 world units.
    """

    max_anchors: int | None = None
    gather_from: int = 500
    refine_from: int = 1_500
    refine_until: int = 15_000
    refine_every: int = 100
    smallest_interval: int = 50
    grow_gradient: float = 2e-4
    levels: tuple[int, ...] = (16, 4, 1)
    least_seen: float = 0.4
    prune_opacity: float = 0.005
    largest_child: float = 0.2

    def gathers(self, step: int, schedule: Schedule) -> bool:
        """Whether the step after so many is to be remembered."""
        return schedule.step(self.gather_from) <= step < schedule.step(self.refine_until)

    def refines(self, steps_done: int, schedule: Schedule) -> bool:
        """Whether a round follows after this many steps."""
        inside = schedule.step(self.refine_from) < steps_done < schedule.step(self.refine_until)
        return inside and steps_done % self.interval(schedule) == 0

    def interval(self, schedule: Schedule) -> int:
        """Steps between two rounds."""
        return schedule.interval(self.refine_every, self.smallest_interval)


@final
@dataclass(frozen=True)
class AnchorGrowth(Strategy):
    """Growing and pruning of anchors; statistics lie in the store.

    Attributes:
        settings: see there.
        cell: edge of the finest grid's cells, world units.
        where: where anchors may come to be; None: everywhere.
    """

    settings: GrowthSettings
    cell: float
    where: Where | None = field(default=None, compare=False)

    @property
    def max_gaussians(self) -> int | None:
        """Most rows of the store."""
        return self.settings.max_anchors

    def start(self, context: StepContext) -> None:
        """Attach the statistics.

        Raises:
            ConventionError: the field has no anchors, or more than the cap.
        """
        store, field_ = context.field.store, context.field
        if not isinstance(field_, AnchorField):
            raise ConventionError("field", expected="anchors", got=type(field_).__name__)
        most = self.settings.max_anchors
        if most is not None and len(store) > most:
            raise ConventionError("initial anchors", expected=f"at most {most:,}", got=f"{len(store):,}")
        slots = store["offsets"].shape[1]
        for name in (_GRADIENT_SUM, _CHILD_VIEWS):
            store.attach(name, torch.zeros(len(store), slots, device=store.device))
        for name in (_OPACITY_SUM, _VIEWS):
            store.attach(name, torch.zeros(len(store), device=store.device))

    def screen_gradient_columns(self, context: StepContext) -> Literal[0, 2, 4]:
        """As long as there is another round to come."""
        return 2 if self.settings.gathers(context.step, context.schedule) else 0

    def after_view(self, context: StepContext, view: ViewResult) -> None:
        """Gradients and visits of children, opacities and visits of anchors."""
        decoded, store = context.decoded, context.field.store
        if view.screen_gradients is None or not self.screen_gradient_columns(context):
            return
        assert isinstance(decoded, DecodedAnchors) and decoded.row_of is not None, "anchors were decoded"
        assert decoded.slot_of is not None and decoded.visible is not None and decoded.opacities is not None
        columns = view.screen_gradients
        norm = torch.hypot(columns[:, 0] * (0.5 * view.camera.width), columns[:, 1] * (0.5 * view.camera.height))
        child = decoded.row_of * store["offsets"].shape[1] + decoded.slot_of
        store.record(_GRADIENT_SUM).view(-1).index_add_(0, child, norm)
        store.record(_CHILD_VIEWS).view(-1).index_add_(0, child, (view.output.radii > 0).to(norm.dtype))
        store.record(_OPACITY_SUM).index_add_(0, decoded.visible, decoded.opacities.clamp_min(0.0).sum(dim=1))
        store.record(_VIEWS).index_add_(0, decoded.visible, torch.ones_like(decoded.visible, dtype=norm.dtype))

    def after_step(self, context: StepContext) -> None:
        """Grow, prune and forget what has been used."""
        if not self.settings.refines(context.steps_done, context.schedule):
            return
        store = context.field.store
        least = self.settings.least_seen * self.settings.interval(context.schedule)
        seen = store.record(_CHILD_VIEWS) > least
        grow(store, self.settings, self.cell, seen, context.random["anchors.grow"], self.where)
        # Rows that are new have seen nothing yet.
        seen = torch.cat([seen, seen.new_zeros(len(store) - len(seen), seen.shape[1])])
        for name in (_GRADIENT_SUM, _CHILD_VIEWS):
            store.record(name)[seen] = 0.0
        self._prune(store, 2.0 * least)
        limit = math.log(self.settings.largest_child * context.scene_extent)
        log_scales = store["log_scales"].detach().clone()
        log_scales[:, 3:].clamp_(max=limit)
        store.replace_all("log_scales", log_scales, moments="keep")

    def _prune(self, store: ParameterStore, least: float) -> None:
        views, opacities = store.record(_VIEWS), store.record(_OPACITY_SUM)
        well_seen = views > least
        faint = well_seen & (opacities < self.settings.prune_opacity * views)
        for record in (views, opacities):
            record[well_seen] = 0.0
        prune(store, faint)


@torch.no_grad()
def grow(
    store: ParameterStore,
    settings: GrowthSettings,
    cell: float,
    seen: Bool[Tensor, "n slots"],
    generator: torch.Generator,
    where: Where | None = None,
) -> None:
    """Adds an anchor to every cell that children with large gradients lie in and that has none yet, level by level.

    Source: Lu et al. 2024 (Scaffold-GS), section 3.3 and released code: of the children above the threshold a part is looked at
    that grows from level to level; the new anchor has the largest value of each feature among its children's anchors.

    Args:
        store: the anchors with their statistics.
        settings: see there.
        cell: edge of the finest cells.
        seen: children whose statistics count.
        generator: draws which children are looked at.
        where: see :data:`Where`.
    """
    gradients = (store.record(_GRADIENT_SUM) / store.record(_CHILD_VIEWS).clamp_min(1.0)).flatten()
    means = (store["positions"][:, None] + store["offsets"] * store["log_scales"][:, None, :3].exp()).flatten(0, 1)
    slots = seen.shape[1]
    for level, multiple in enumerate(settings.levels):
        drawn = torch.rand(len(gradients), generator=generator).to(gradients.device) > 0.5 ** (level + 1)
        moved = seen.flatten() & (gradients >= settings.grow_gradient * 2.0**level)
        chosen = (moved & drawn).nonzero()[:, 0]
        room = math.inf if settings.max_anchors is None else settings.max_anchors - len(store)
        if not len(chosen) or room <= 0:
            continue
        size = cell * multiple
        cells, cell_of = _free_cells(means[chosen], store["positions"], size)
        if not len(cells):
            continue
        is_free = cell_of >= 0
        chosen, cell_of = chosen[is_free], cell_of[is_free]
        centers = cells.to(torch.float64) * size
        strength = gradients.new_zeros(len(cells)).scatter_reduce_(0, cell_of, gradients[chosen], "amax")
        kept = torch.ones(len(cells), dtype=torch.bool, device=cells.device)
        if where is not None:
            kept &= where(centers.float())
        index = kept.nonzero()[:, 0]
        if len(index) > room:
            index = index[torch.argsort(strength[index], descending=True, stable=True)[: int(room)]].sort().values
        if not len(index):
            continue
        parents = store["features"][chosen // slots]
        features = parents.new_full((len(cells), parents.shape[1]), -math.inf)
        features.scatter_reduce_(0, cell_of[:, None].expand_as(parents), parents, "amax")
        store.append(
            {
                "positions": centers[index].float(),
                "offsets": store["offsets"].new_zeros(len(index), slots, 3),
                "features": features[index],
                "log_scales": store["log_scales"].new_full((len(index), 6), math.log(size)),
            }
        )


def _free_cells(
    means: Float[Tensor, "n 3"], anchors: Float[Tensor, "m 3"], size: float
) -> tuple[Int64[Tensor, "cells 3"], Int64[Tensor, "n"]]:
    """Cells of ``means`` that hold no anchor, sorted, and the cell of each mean; −1 where there is an anchor already."""
    rounded = [np.round(each.detach().cpu().double().numpy() / size).astype(np.int64) for each in (means, anchors)]
    low = np.minimum(*(each.min(axis=0) for each in rounded))
    span = np.maximum(*(each.max(axis=0) for each in rounded)) - low + 1
    if np.log2(span.astype(np.float64)).sum() < 62:
        wanted, taken = ((((each - low)[:, 0] * span[1] + (each - low)[:, 1]) * span[2] + (each - low)[:, 2]) for each in rounded)
    else:  # too many cells for one number: rank them first
        _, ranks = np.unique(np.concatenate(rounded), axis=0, return_inverse=True)
        wanted, taken = ranks[: len(means)], ranks[len(means) :]
    keys, first, inverse = np.unique(wanted, return_index=True, return_inverse=True)
    is_free = ~np.isin(keys, taken)
    number = np.where(is_free, np.cumsum(is_free) - 1, -1)
    cells = rounded[0][first[is_free]]
    return torch.from_numpy(cells).to(means.device), torch.from_numpy(number[inverse]).to(means.device)
