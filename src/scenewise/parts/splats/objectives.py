"""What a splat is trained for: losses that can be listed, weighted and logged one by one."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.kernels.ssim import l1_dssim
from scenewise.parts.splats.schedules import exponential
from scenewise.parts.splats.strategies.protocol import StepContext
from scenewise.parts.splats.views import ViewData
from scenewise.rendering import RenderOutput


@runtime_checkable
class Objective(Protocol):
    """One term of the loss."""

    @property
    def name(self) -> str:
        """Under which it is logged."""

    def weight(self, context: StepContext) -> float:
        """Its factor at this step; 0 skips the computation."""

    def value(
        self, context: StepContext, view: ViewData, output: RenderOutput, image: Float[Tensor, "height width 3"]
    ) -> Float[Tensor, ""] | None:
        """The unweighted term, or None where it does not apply.

        Args:
            context: the step.
            view: what was photographed.
            output: what was rendered.
            image: the rendered colour as that camera would have recorded it (exposure applied, ignored pixels set to the truth).
        """


@final
@dataclass(frozen=True)
class Photometric:
    """(1 − λ)·L1 + λ·(1 − SSIM).  Source: Kerbl et al. 2023, arXiv 2308.04079, Eq. 7, λ = 0.2."""

    dssim_weight: float = 0.2

    @property
    def name(self) -> str:
        """Under which it is logged."""
        return "photometric"

    def weight(self, context: StepContext) -> float:
        """Always 1."""
        return 1.0

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor:
        """The loss of one view."""
        return l1_dssim(image, view.image, self.dssim_weight)


@final
@dataclass(frozen=True)
class InverseDepth:
    """Mean absolute difference of inverse depths, times the scene extent so that the unit of length does not matter.

    Source: released code of Kerbl et al. 2023 (depth regularisation), weight 1 → 0.01 log-linearly.  There the depth is monocular
    and aligned per image; here it is measured.  Inverse depth also weighs errors as sensors make them: they grow with the square
    of the distance.

    Attributes:
        weight_start: weight at the start.
        weight_end: weight at the end.
        smallest_alpha: pixels that are covered less have no meaningful depth.
    """

    weight_start: float = 1.0
    weight_end: float = 0.01
    smallest_alpha: float = 0.5

    @property
    def name(self) -> str:
        """Under which it is logged."""
        return "inverse_depth"

    def weight(self, context: StepContext) -> float:
        """Falls log-linearly."""
        return exponential(self.weight_start, self.weight_end, context.schedule.progress(context.step))

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor | None:
        """The loss of one view; None when it has no depth."""
        if view.depth is None:
            return None
        use = (view.depth > 0) & (output.alpha.detach() > self.smallest_alpha)
        if view.mask is not None:
            use = use & view.mask
        # 1 / (expected depth) = alpha / Σ w z; both are positive where ``use`` holds.
        ones = torch.ones_like(output.depth)
        rendered = torch.where(use, output.alpha, ones) / torch.where(use, output.depth, ones).clamp_min(1e-6)
        measured = 1.0 / torch.where(use, view.depth, ones)
        residual = torch.where(use, (rendered - measured).abs(), torch.zeros_like(ones))
        return residual.sum() * (context.scene_extent / use.numel())
