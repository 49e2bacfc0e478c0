"""What makes teachers differ: one is disturbed, one loses Gaussians at random, one is left alone.

Both are strategies of a trainer, beside adaptive density control.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.geometry.rotations import quat_from_rotation, rotation_from_quat
from scenewise.parts.splats.rows import add_to_rows
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.store import ParameterStore
from scenewise.parts.splats.strategies import StepContext, Strategy, ViewResult
from scenewise.parts.splats.strategies.default import largest_scale
from scenewise.parts.splats.strategies.operations import logit
from scenewise.scenes.gaussians import Gaussians

TeacherSchedule = Literal["paper", "released"]
"""When teachers are disturbed.  "paper": throughout densification.  "released": nine times between steps 16,000 and 24,000."""

_GRADIENT_SUM = "perturbation.gradient_sum"
_VIEWS = "perturbation.views"
_HIDDEN_LOGIT = -20.0  # far below the 1/255 that is drawn
_RELEASED_FIRST, _RELEASED_LAST, _RELEASED_EVERY = 16_000, 24_000, 1_000


def _is_released_round(steps_done: int, schedule: Schedule) -> bool:
    """One of the nine steps at which the released code disturbs."""
    first, last = schedule.step(_RELEASED_FIRST), schedule.step(_RELEASED_LAST)
    every = schedule.interval(_RELEASED_EVERY)
    return first <= steps_done <= last and (steps_done - first) % every == 0


@final
@dataclass(frozen=True)
class Perturbation(Strategy):
    """Adds noise to the parameters of Gaussians whose screen position still has a large gradient.

    Source: Xiang et al. 2025, section 3 (G_perb) and released code.  Steps are those of a 30,000-step run.

    Attributes:
        schedule: when.
        first: paper: no noise before.
        until: paper: none after.
        every: paper: steps between two rounds.
        smallest_interval: a shorter run is not disturbed more often than this.
        grow_gradient: mean gradient from which a Gaussian is disturbed, in normalised device coordinates.
        grow_scale: larger ones, in scene extents, are left alone; None: all may be.
        strength: standard deviation of the noise.
        units: "relative": positions in the Gaussian's own standard deviations, log-scales, logits and the six numbers of the
            rotation as they are.  "released": each parameter times max(1, mean absolute value of all), positions in world units,
            which makes the noise depend on the unit of length.
    """

    schedule: TeacherSchedule = "paper"
    first: int = 500
    until: int = 15_000
    every: int = 500
    smallest_interval: int = 50
    grow_gradient: float = 2e-4
    grow_scale: float | None = 0.01
    strength: float = 0.1
    units: Literal["relative", "released"] = "relative"

    def is_round(self, steps_done: int, schedule: Schedule) -> bool:
        """Whether noise is added after this many steps."""
        if self.schedule == "released":
            return _is_released_round(steps_done, schedule)
        inside = schedule.step(self.first) < steps_done <= schedule.step(self.until)
        return inside and steps_done % schedule.interval(self.every, self.smallest_interval) == 0

    def _last_round(self, schedule: Schedule) -> int:
        return schedule.step(_RELEASED_LAST if self.schedule == "released" else self.until)

    def screen_gradient_columns(self, context: StepContext) -> Literal[0, 2, 4]:
        """As long as there is another round to come."""
        return 2 if context.step < self._last_round(context.schedule) else 0

    def start(self, context: StepContext) -> None:
        """Attach the statistics."""
        store = context.field.store
        for name in (_GRADIENT_SUM, _VIEWS):
            store.attach(name, torch.zeros(len(store), device=store.device))

    def after_view(self, context: StepContext, view: ViewResult) -> None:
        """Accumulate gradient norms since the last round."""
        if view.screen_gradients is None or not self.screen_gradient_columns(context):
            return
        columns = view.screen_gradients
        norm = torch.hypot(columns[:, 0] * (0.5 * view.camera.width), columns[:, 1] * (0.5 * view.camera.height))
        store = context.field.store
        add_to_rows(store.record(_GRADIENT_SUM), norm, view.row_of)
        add_to_rows(store.record(_VIEWS), view.output.radii > 0, view.row_of)

    def after_step(self, context: StepContext) -> None:
        """Add noise when due; the disturbed rows' moments start at rest."""
        if not self.is_round(context.steps_done, context.schedule):
            return
        store = context.field.store
        index = self._unsettled(store, context.scene_extent).nonzero()[:, 0]
        if index.numel():
            store.replace(index, self._disturbed(store, index, context.random["perturbation"]))
        for name in (_GRADIENT_SUM, _VIEWS):
            store.record(name).zero_()

    def _unsettled(self, store: ParameterStore, extent: float) -> Bool[Tensor, "n"]:
        mean_gradient = store.record(_GRADIENT_SUM) / store.record(_VIEWS).clamp_min(1.0)
        mask = mean_gradient >= self.grow_gradient
        return mask if self.grow_scale is None else mask & (largest_scale(store) <= self.grow_scale * extent)

    def _disturbed(self, store: ParameterStore, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        def noise(*shape: int) -> Tensor:
            return self.strength * torch.randn(len(index), *shape, generator=generator).to(store.device)

        rows = {name: store[name].detach()[index] for name in ("means", "log_scales", "quats", "logit_opacities")}
        factor = dict.fromkeys(rows, 1.0)
        rotations = rotation_from_quat(rows["quats"])
        offset = noise(3)
        if self.units == "released":
            factor = {name: max(1.0, float(store[name].detach().abs().mean())) for name in rows}
        else:
            offset = torch.einsum("nij,nj->ni", rotations, offset * rows["log_scales"].exp())
        return {
            "means": rows["means"] + factor["means"] * offset,
            "log_scales": rows["log_scales"] + factor["log_scales"] * noise(3),
            "quats": quat_from_rotation(rotation_from_six(six_from_rotation(rotations) + noise(6))),
            "logit_opacities": rows["logit_opacities"] + factor["logit_opacities"] * noise(),
        }


def six_from_rotation(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns of each rotation, one after the other: a continuous code (Zhou et al. 2019, arXiv 1812.07035)."""
    return rotations[..., :2].transpose(-1, -2).flatten(-2)


def rotation_from_six(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation that Gram and Schmidt make of it: first column normalised, second made orthogonal, third their product.

    Source: Zhou et al. 2019, arXiv 1812.07035, Eq. 15.
    """
    first = torch.nn.functional.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(dim=-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


@final
@dataclass(frozen=True)
class Dropout(Strategy):
    """Hides Gaussians at random while training, more and more of them; at test time all are shown.

    r_t = rate · (t − first) / (until − first).  Source: Xiang et al. 2025, section 3 (G_drop).  What is kept becomes more opaque
    by 1 / (1 − r), so that the expected opacity stays (released code: ``nn.Dropout``).  Steps are those of a 30,000-step run.

    Attributes:
        schedule: "paper": in every step from ``first`` to ``until``; "released": in nine steps between 16,000 and 24,000.
        rate: at ``until``.
        first: none before.
        until: the ramp ends.
        after: what follows the ramp: "none", or "hold" to go on with the full rate.
    """

    schedule: TeacherSchedule = "paper"
    rate: float = 0.2
    first: int = 500
    until: int = 15_000
    after: Literal["none", "hold"] = "none"

    def rate_at(self, steps_done: int, schedule: Schedule) -> float:
        """Part of the Gaussians that the step with this number (counted from 1) hides."""
        first, until = schedule.step(self.first), schedule.step(self.until)
        ramp = self.rate * (steps_done - first) / max(1, until - first)
        if self.schedule == "released":  # the ramp goes on: 0.21 to 0.32
            return ramp if _is_released_round(steps_done, schedule) else 0.0
        if steps_done > until:
            return self.rate if self.after == "hold" else 0.0
        return max(0.0, ramp)

    def before_step(self, context: StepContext, gaussians: Gaussians) -> Gaussians:
        """The Gaussians with some of them transparent and the others more opaque."""
        rate = self.rate_at(context.steps_done, context.schedule)
        if rate <= 0.0:
            return gaussians
        drawn = torch.rand(len(gaussians), generator=context.random["dropout"]).to(gaussians.means.device)
        opacities = gaussians.opacities / (1.0 - rate)
        logits = torch.where(drawn >= rate, logit(opacities), torch.full_like(opacities, _HIDDEN_LOGIT))
        return Gaussians(**(vars(gaussians) | {"logit_opacities": logits}))
