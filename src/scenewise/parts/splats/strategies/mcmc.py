"""Gaussians as samples of a Markov chain: an exact budget, no thresholds on gradients, no resets."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.strategies import operations
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy

_GATE_STEEPNESS = 100.0
_SMALLEST_GATE = 1e-5  # below it (opacity above ≈ 0.12) the noise is far less than a hundredth of a Gaussian's own size


@final
@dataclass(frozen=True)
class McmcStrategy(Strategy):
    """Settings of 3D Gaussian splatting as MCMC; steps are those of a 30,000-step run and shrink with it.

    Source: Kheradmand et al. 2024, arXiv 2404.09591, section 4 and released settings.  Two departures: lengths are in scene
    extents (the released code normalises the scene instead), and where a short run has too few rounds to reach the cap by 5 %
    each, each round adds as much as is needed to reach it half-way through refinement.

    Attributes:
        max_gaussians: the number of Gaussians at the end, exactly.
        refine_from: no relocation before.
        refine_until: none after.
        refine_every: steps between two rounds.
        smallest_interval: a shorter run does not refine more often than this.
        growth: fraction added per round.
        min_opacity: fainter ones are dead and move.
        noise: strength of the exploration noise, as a multiple of the learning rate of positions.
        opacity_penalty: weight of the mean opacity in the loss.
        scale_penalty: weight of the mean scale (in scene extents) in the loss.
    """

    max_gaussians: int = 1_000_000
    refine_from: int = 500
    refine_until: int = 25_000
    refine_every: int = 100
    smallest_interval: int = 25
    growth: float = 0.05
    min_opacity: float = 0.005
    noise: float = 5e5
    opacity_penalty: float = 0.01
    scale_penalty: float = 0.01

    def refines(self, steps_done: int, schedule: Schedule) -> bool:
        """Whether relocation and growth follow after this many steps."""
        inside = schedule.step(self.refine_from) < steps_done < schedule.step(self.refine_until)
        return inside and steps_done % self._interval(schedule) == 0

    def _interval(self, schedule: Schedule) -> int:
        return schedule.interval(self.refine_every, self.smallest_interval)

    def next_count(self, count: int, steps_done: int, schedule: Schedule) -> int:
        """How many Gaussians there are after the round at ``steps_done``, given ``count`` before it."""
        if count >= self.max_gaussians:
            return count
        half_way = (schedule.step(self.refine_from) + schedule.step(self.refine_until)) // 2
        rounds_left = max(1, (half_way - steps_done) // self._interval(schedule) + 1)
        needed = (self.max_gaussians / count) ** (1.0 / rounds_left) - 1.0
        return min(self.max_gaussians, max(count + 1, round(count * (1.0 + max(self.growth, needed)))))

    def start(self, context: StepContext) -> None:
        """Check the cap.

        Raises:
            ConventionError: there are more Gaussians than the cap.
        """
        if len(context.field.store) > self.max_gaussians:
            raise ConventionError(
                "initial Gaussians", expected=f"at most {self.max_gaussians:,}", got=f"{len(context.field.store):,}"
            )

    @torch.no_grad()
    def after_backward(self, context: StepContext) -> None:
        """Add the gradients of the two penalties: λₒ·mean(o) and λₛ·mean(s)/extent, in closed form."""
        store = context.field.store
        logits, log_scales = store["logit_opacities"], store["log_scales"]
        if logits.grad is not None and self.opacity_penalty:
            opacities = logits.detach().sigmoid()
            logits.grad.addcmul_(opacities, 1.0 - opacities, value=self.opacity_penalty / opacities.numel())
        if log_scales.grad is not None and self.scale_penalty:
            weight = self.scale_penalty / (context.scene_extent * log_scales.numel())
            log_scales.grad.add_(log_scales.detach().exp(), alpha=weight)

    def after_step(self, context: StepContext) -> None:
        """Relocate and grow when due, then shake."""
        store = context.field.store
        if self.refines(context.steps_done, context.schedule):
            dead = store["logit_opacities"].detach().sigmoid() <= self.min_opacity
            operations.relocate(store, dead, self.min_opacity, context.random["mcmc.relocate"])
            wanted = self.next_count(len(store), context.steps_done, context.schedule)
            operations.add_copies(store, wanted - len(store), self.min_opacity, context.random["mcmc.add"])
        self._shake(context)

    @torch.no_grad()
    def _shake(self, context: StepContext) -> None:
        """mean += Σ·ξ·η·noise·σ(−100·(o − o_min)), ξ ~ N(0, I): faint Gaussians wander, solid ones stay (Eq. 8)."""
        store = context.field.store
        gate = torch.sigmoid(-_GATE_STEEPNESS * (store["logit_opacities"].detach().sigmoid() - self.min_opacity))
        index = (gate > _SMALLEST_GATE).nonzero()[:, 0]
        if not index.numel() or not self.noise:
            return
        # Σ has the unit length² and the learning rate the unit length: two extents are divided out, so that scaling the world
        # scales the noise.
        strength = store.learning_rate("means") * self.noise / context.scene_extent**2
        noise = torch.randn(index.numel(), 3, generator=context.random["mcmc.noise"]).to(store.device)
        covariance_noise = covariance_times(store["quats"].detach()[index], store["log_scales"].detach()[index].exp(), noise)
        moved = store["means"].detach()[index] + covariance_noise * (gate[index] * strength)[:, None]
        store.replace(index, {"means": moved}, moments="keep")


def covariance_times(
    quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"], vectors: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """R diag(s)² Rᵀ v without forming the matrix."""
    rotations = rotation_from_quat(quats)
    along_axes = torch.einsum("nij,ni->nj", rotations, vectors) * scales.square()
    return torch.einsum("nij,nj->ni", rotations, along_axes)
