"""Pinhole cameras: where they stand, what they see."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError

NEAR = 0.01
"""Where nothing is known of a scene's size: a centimetre in a metric one."""
_ROTATION_TOLERANCE = 1e-3  # pose files written with 4–6 decimals still pass; a mirrored or scaled axis does not


@dataclass(frozen=True)
class Cameras:
    """Undistorted pinhole cameras that share one image size.

    Attributes:
        camera_from_world: rigid 4×4, OpenCV axes (+X right, +Y down, +Z forward), column vectors, world units.
        K: intrinsics in pixels; pixel centres at half-integers, so ``K[0, 2] = width / 2`` is the image centre.
        width: image width in pixels.
        height: image height in pixels.
        near: nothing nearer than this along +Z is drawn, world units.

    Raises:
        ShapeError: sizes below one pixel or batch axes that differ.
        ConventionError: non-finite values, an improper or scaled rotation, focal lengths or a near plane ≤ 0.
    """

    camera_from_world: Float64[Tensor, "*batch 4 4"]
    K: Float64[Tensor, "*batch 3 3"]
    width: int
    height: int
    near: float = NEAR

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ShapeError("image size", expected="at least 1×1", got=f"{self.width}×{self.height}")
        if self.camera_from_world.shape[-2:] != (4, 4) or self.K.shape[-2:] != (3, 3):
            raise ShapeError(
                "camera_from_world, K",
                expected="[*, 4, 4] and [*, 3, 3]",
                got=f"{tuple(self.camera_from_world.shape)} and {tuple(self.K.shape)}",
            )
        if self.camera_from_world.shape[:-2] != self.K.shape[:-2]:
            raise ShapeError(
                "batch axes of camera_from_world and K",
                expected="equal",
                got=f"{tuple(self.camera_from_world.shape[:-2])} and {tuple(self.K.shape[:-2])}",
            )
        if not bool(torch.isfinite(self.camera_from_world).all() and torch.isfinite(self.K).all()):
            raise ConventionError("camera_from_world, K", expected="finite values", got="NaN or Inf")
        rotation = self.camera_from_world[..., :3, :3]
        identity = torch.eye(3, dtype=torch.float64, device=rotation.device)
        deviation = (rotation @ rotation.mT - identity).abs()
        if deviation.numel() and float(deviation.max()) > _ROTATION_TOLERANCE:
            raise ConventionError(
                "camera_from_world rotation",
                expected="an orthonormal 3×3 block",
                got=f"R·Rᵀ off by {float(deviation.max()):.3g}",
                fix="remove scale and shear from the pose",
            )
        determinant = torch.linalg.det(rotation)
        if determinant.numel() and float(determinant.min()) < 0:
            raise ConventionError(
                "camera_from_world rotation",
                expected="determinant +1",
                got="determinant −1 (a mirrored frame)",
                fix="check which axes the poses use; a single flipped axis mirrors the scene",
            )
        focal = torch.stack([self.K[..., 0, 0], self.K[..., 1, 1]], dim=-1)
        if focal.numel() and float(focal.min()) <= 0:
            raise ConventionError("K", expected="focal lengths above 0", got=f"{float(focal.min()):.6g}")
        if not 0.0 < self.near < float("inf"):
            raise ConventionError("near", expected="a distance above 0", got=self.near)

    @property
    def world_from_camera(self) -> Float64[Tensor, "*batch 4 4"]:
        """Inverse poses; the last column holds the camera centres."""
        return torch.linalg.inv(self.camera_from_world)

    @property
    def centers_in_world(self) -> Float64[Tensor, "*batch 3"]:
        """Optical centres in the world frame, −Rᵀt."""
        rotation, translation = self.camera_from_world[..., :3, :3], self.camera_from_world[..., :3, 3]
        return -(rotation.mT @ translation[..., None])[..., 0]

    def __len__(self) -> int:
        """Number of cameras; 1 for a record without batch axes."""
        return int(self.camera_from_world[..., 0, 0].numel())

    def __getitem__(self, index: int) -> "Cameras":
        """The camera at ``index`` of a one-axis batch."""
        return replace(self, camera_from_world=self.camera_from_world[index], K=self.K[index])

    def resized(self, width: int, height: int) -> "Cameras":
        """The same cameras photographed at another resolution; each axis is scaled by its own ratio."""
        ratio = torch.tensor([width / self.width, height / self.height, 1.0], dtype=torch.float64, device=self.K.device)
        return replace(self, K=self.K * ratio[:, None], width=width, height=height)
