"""What anchors are trained for beside looking like the photographs."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from scenewise.parts.splats.strategies.protocol import StepContext
from scenewise.parts.splats.views import ViewData
from scenewise.rendering import RenderOutput

_UNIT = 0.2
"""Scales count in this part of the scene's extent: in the scenes of the paper the extent is about five units."""


@final
@dataclass(frozen=True)
class ChildVolume:
    """Mean over the children of the product of their scales: large ones are to become small ones.

    Source: Lu et al. 2024 (Scaffold-GS), Eq. 11, weight 0.01.  There scales are in world units; here the unit of length does not
    matter.

    Attributes:
        factor: weight.
    """

    factor: float = 0.01

    @property
    def name(self) -> str:
        """Under which it is logged."""
        return "volume"

    def weight(self, context: StepContext) -> float:
        """Constant."""
        return self.factor

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor | None:
        """The mean, or None where the camera sees nothing."""
        assert context.decoded is not None, "a view is at hand"
        log_scales = context.decoded.gaussians.log_scales
        if not len(log_scales):
            return None
        return log_scales.sum(dim=1).exp().mean() / (_UNIT * context.scene_extent) ** 3
