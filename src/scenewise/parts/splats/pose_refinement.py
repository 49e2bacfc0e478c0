"""Pose refinement: a small rigid correction per training camera, learned with the scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.schedules import exponential
from scenewise.scenes.cameras import Cameras


@dataclass(frozen=True)
class PoseRefinementSettings:
    """How fast poses may move, and how far.

    Attributes:
        learning_rate: radians, and scene extents, per step at the start.
        learning_rate_end: at the end, log-linear between.
        prior: weight of ½‖correction‖² per camera, which keeps all cameras from drifting away together.
    """

    learning_rate: float = 3e-4
    learning_rate_end: float = 3e-6
    prior: float = 1e-4


@dataclass(frozen=True)
class PoseCorrection:
    """How far poses were moved, over all training cameras.

    Attributes:
        median_rotation_deg: median angle.
        largest_rotation_deg: largest angle.
        median_translation: median distance in world units.
        largest_translation: largest distance in world units.
    """

    median_rotation_deg: float
    largest_rotation_deg: float
    median_translation: float
    largest_translation: float


def rigid_motion(twists: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """Exponential map of se(3): rotation vector (radians) and translational part to a rigid transform.

    Source: Murray, Li & Sastry 1994, Eq. 2.36.  As a matrix exponential it is exact and differentiable at zero.
    """
    rx, ry, rz, tx, ty, tz = twists.unbind(-1)
    zero = torch.zeros_like(rx)
    rows = [[zero, -rz, ry, tx], [rz, zero, -rx, ty], [-ry, rx, zero, tz], [zero, zero, zero, zero]]
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2))


@final
class PoseRefinement:
    """A rigid motion per camera, applied in the camera's own frame: camera_from_world′ = exp(ξ)·camera_from_world.

    Args:
        cameras: records without batch axes, in the order of the view indices.
        settings: learning rates and prior.
        scene_extent: unit of the translations.
        device: where the scene is.
    """

    def __init__(
        self,
        cameras: Sequence[Cameras],
        settings: PoseRefinementSettings,
        scene_extent: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings
        self._unit = torch.tensor([1.0] * 3 + [scene_extent] * 3, device=device)
        self._given = torch.stack([camera.camera_from_world for camera in cameras]).to(device)
        self.parameters = FreeParameters(
            {"twists": torch.zeros(len(cameras), 6, device=device)}, {"twists": settings.learning_rate}
        )

    def camera_from_world(self, view: int) -> Float[Tensor, "4 4"]:
        """The corrected pose of a view, with a gradient to its correction."""
        return rigid_motion(self.parameters["twists"][view] * self._unit) @ self._given[view].float()

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """One Adam step for the views rendered since the last one."""
        twists = self.parameters["twists"]
        if twists.grad is not None and self.settings.prior:
            twists.grad.add_(twists, alpha=self.settings.prior)
        self.parameters.set_learning_rate(
            "twists", exponential(self.settings.learning_rate, self.settings.learning_rate_end, progress)
        )
        self.parameters.step()

    @torch.no_grad()
    def refined_camera(self, camera: Cameras, view: int) -> Cameras:
        """The view's camera with its corrected pose, in float64."""
        motion = rigid_motion((self.parameters["twists"][view] * self._unit).double())
        return replace(camera, camera_from_world=motion.cpu() @ camera.camera_from_world)

    @torch.no_grad()
    def correction(self) -> PoseCorrection:
        """How far the poses have moved."""
        twists = (self.parameters["twists"] * self._unit).double()
        angles = twists[:, :3].norm(dim=1) * (180.0 / math.pi)
        distances = rigid_motion(twists)[:, :3, 3].norm(dim=1)
        return PoseCorrection(float(angles.median()), float(angles.max()), float(distances.median()), float(distances.max()))
