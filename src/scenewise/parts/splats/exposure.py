"""Exposure compensation: one colour transform per training image, so that the scene need not explain the camera's automatics."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.schedules import exponential


@dataclass(frozen=True)
class ExposureSettings:
    """Source: released code of Kerbl et al. 2023 (exposure compensation), learning rate 0.01 → 0.001.

    Attributes:
        learning_rate: at the start.
        learning_rate_end: at the end, log-linear between.
    """

    learning_rate: float = 1e-2
    learning_rate_end: float = 1e-3


@final
class ExposureCompensation:
    """A 3×4 affine colour transform per image, the identity at first and on average.

    The average is held at the identity, which the published code does not do: all images together could be darker and the scene
    brighter, and held-out images, which have no transform, would show it.  In short runs that drift costs many dB.
    """

    def __init__(self, views: int, settings: ExposureSettings, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        identity = torch.eye(3, 4, device=device).expand(views, 3, 4)
        self.parameters = FreeParameters({"matrices": identity}, {"matrices": settings.learning_rate})

    def apply(self, image: Float[Tensor, "height width 3"], view: int) -> Float[Tensor, "height width 3"]:
        """What the camera of this view would have recorded of the rendered image."""
        matrix = self.parameters["matrices"][view]
        return torch.addmm(matrix[:, 3], image.reshape(-1, 3), matrix[:, :3].T).view_as(image)

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """One Adam step for the views rendered since the last one."""
        self.parameters.set_learning_rate(
            "matrices", exponential(self.settings.learning_rate, self.settings.learning_rate_end, progress)
        )
        self.parameters.step()
        matrices = self.parameters["matrices"]
        matrices -= matrices.mean(dim=0) - torch.eye(3, 4, device=matrices.device)
