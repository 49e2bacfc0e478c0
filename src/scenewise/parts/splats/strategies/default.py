"""Adaptive density control of Kerbl et al. 2023: clone, split, prune, and lower opacities now and then."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.parts.splats.rows import add_to_rows, raise_rows
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.store import ParameterStore
from scenewise.parts.splats.strategies import operations
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy, ViewResult

GRADIENT_SUM = "default.gradient_sum"
"""Record of the sum of gradient norms of each row since the last round."""
_VIEWS = "default.views"
_RADIUS = "default.radius"


@final
@dataclass(frozen=True)
class DefaultStrategy(Strategy):
    """Settings of adaptive density control; steps are those of a 30,000-step run and shrink with it (:class:`Schedule`).

    Source: Kerbl et al. 2023, arXiv 2308.04079, section 5.2, and its released settings.

    Attributes:
        max_gaussians: hard cap; when it binds, the largest gradients go first.  None for no cap (the paper).
        refine_from: no density control before.
        refine_until: none after.
        refine_every: steps between two rounds.
        smallest_interval: a shorter run does not refine more often than this: the gradient is a mean over views.
        grow_gradient: mean norm of the gradient of the screen position (in normalised device coordinates, where the image
            spans 2) from which a Gaussian is cloned or split.
        absgrad: use the sum over pixels of absolute gradients instead (Ye et al. 2024, arXiv 2404.10484); wants
            ``grow_gradient`` around 8e-4.
        grow_scale: up to this size, in scene extents, a Gaussian is cloned; above it is split.
        prune_opacity: fainter ones go.
        prune_scale: larger ones go, in scene extents; only after the first opacity reset would have happened.
        prune_screen_radius: those with a larger radius on the screen go, in pixels of the full image, also only then.  None:
            never.
        reset_every: steps between two opacity resets; None for none.
        smallest_reset_interval: a shorter run does not reset more often than this: at a learning rate of 0.025 to 0.05 an
            opacity needs about 150 steps to come back.
        reset_opacity: opacities are lowered to this, as a multiple of ``prune_opacity``.
        revised_opacity: clones share their parent's opacity (Rota Bulò et al. 2024).  Not in the paper.
    """

    max_gaussians: int | None = None
    refine_from: int = 500
    refine_until: int = 15_000
    refine_every: int = 100
    smallest_interval: int = 50
    grow_gradient: float = 2e-4
    absgrad: bool = False
    grow_scale: float = 0.01
    prune_opacity: float = 0.005
    prune_scale: float = 0.1
    prune_screen_radius: float | None = 20.0
    reset_every: int | None = 3_000
    smallest_reset_interval: int = 300
    reset_opacity: float = 2.0
    revised_opacity: bool = False

    def refines(self, steps_done: int, schedule: Schedule) -> bool:
        """Whether a round of density control follows after this many steps."""
        inside = schedule.step(self.refine_from) < steps_done < schedule.step(self.refine_until)
        return inside and steps_done % schedule.interval(self.refine_every, self.smallest_interval) == 0

    def resets(self, steps_done: int, schedule: Schedule) -> bool:
        """Whether opacities are lowered after this many steps.  Never in the second half: there is no time left to recover."""
        if self.reset_every is None or steps_done >= min(schedule.step(self.refine_until), 0.5 * schedule.total_steps):
            return False
        return steps_done % schedule.interval(self.reset_every, self.smallest_reset_interval) == 0

    def screen_gradient_columns(self, context: StepContext) -> Literal[0, 2, 4]:
        """As long as there is another round to come."""
        if context.step >= context.schedule.step(self.refine_until):
            return 0
        return 4 if self.absgrad else 2

    def start(self, context: StepContext) -> None:
        """Attach the statistics.

        Raises:
            ConventionError: there are more Gaussians than the cap.
        """
        store = context.field.store
        if self.max_gaussians is not None and len(store) > self.max_gaussians:
            raise ConventionError("initial Gaussians", expected=f"at most {self.max_gaussians:,}", got=f"{len(store):,}")
        for name in (GRADIENT_SUM, _VIEWS, _RADIUS):
            store.attach(name, torch.zeros(len(store), device=store.device))

    def after_view(self, context: StepContext, view: ViewResult) -> None:
        """Accumulate gradient norms and count the views that saw each Gaussian, in the rows they came from."""
        if view.screen_gradients is None or not self.screen_gradient_columns(context):
            return
        store = context.field.store
        columns = view.screen_gradients[:, 2:] if self.absgrad else view.screen_gradients[:, :2]
        # Pixels to normalised device coordinates: the threshold then means the same at every resolution.
        norm = torch.hypot(columns[:, 0] * (0.5 * view.camera.width), columns[:, 1] * (0.5 * view.camera.height))
        radii = view.output.radii
        add_to_rows(store.record(GRADIENT_SUM), norm, view.row_of)  # zero where not visible
        add_to_rows(store.record(_VIEWS), radii > 0, view.row_of)
        if self.prune_screen_radius is not None:
            radius = store.record(_RADIUS)
            raise_rows(radius, radii.to(radius.dtype) * view.downscale, view.row_of)

    def after_step(self, context: StepContext) -> None:
        """Clone, split, prune and reset when due."""
        store, done = context.field.store, context.steps_done
        if self.refines(done, context.schedule):
            self._grow(context)
            self._prune(context)
            for name in (GRADIENT_SUM, _VIEWS, _RADIUS):
                store.record(name).zero_()
        if self.resets(done, context.schedule):
            operations.lower_opacities(store, self.reset_opacity * self.prune_opacity)

    def _grow(self, context: StepContext) -> None:
        store = context.field.store
        mean_gradient = store.record(GRADIENT_SUM) / store.record(_VIEWS).clamp_min(1.0)
        index = self._to_grow(mean_gradient, len(store))
        is_small = largest_scale(store)[index] <= self.grow_scale * context.scene_extent
        generator = context.random["default.split"]
        # Splitting first keeps the indices valid: it rewrites rows in place and only adds at the end.
        operations.split(store, index[~is_small], generator, revised_opacity=self.revised_opacity)
        operations.clone(store, index[is_small], revised_opacity=self.revised_opacity)

    def _to_grow(self, mean_gradient: Float[Tensor, "n"], count: int) -> Tensor:
        index = (mean_gradient >= self.grow_gradient).nonzero()[:, 0]
        if self.max_gaussians is None or index.numel() <= self.max_gaussians - count:
            return index
        strongest = torch.argsort(mean_gradient[index], descending=True, stable=True)
        return index[strongest[: max(0, self.max_gaussians - count)]].sort().values

    def _prune(self, context: StepContext) -> None:
        store = context.field.store
        mask = store["logit_opacities"].detach().sigmoid() < self.prune_opacity
        first_reset = context.schedule.step(self.reset_every or 3_000)
        if context.steps_done > first_reset:
            mask |= largest_scale(store) > self.prune_scale * context.scene_extent
            if self.prune_screen_radius is not None:
                mask |= store.record(_RADIUS) > self.prune_screen_radius
        operations.prune(store, mask)


def largest_scale(store: ParameterStore) -> Float[Tensor, "n"]:
    """Standard deviation along each Gaussian's longest axis."""
    return store["log_scales"].detach().amax(dim=1).exp()
