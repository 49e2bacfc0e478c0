"""Depth maps of a camera of their own, brought onto the pixels of the photograph when a frame is asked for its depth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.geometry.depth_registration import registered_depth
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.undistortion import undistorted_camera
from scenewise.io.depth_files import distances_of
from scenewise.io.images import read_codes_u16
from scenewise.scenes.frames import DepthMap

_RIGID = 1e-3  # calibration files with 4 decimals still pass; a scale or a mirrored axis does not


@dataclass(frozen=True)
class DepthCamera:
    """The camera that measured depth, beside the one that took the photographs.

    Attributes:
        K: intrinsics of the depth map's pixels, centres at half-integers.
        color_from_depth: rigid, metres: takes points in this camera's axes to those of the colour camera.

    Raises:
        ConventionError: values that are not finite, no rigid transform, focal lengths ≤ 0.
    """

    K: Float64[np.ndarray, "3 3"]
    color_from_depth: Float64[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        require_rigid("color_from_depth", self.color_from_depth)
        if not np.isfinite(self.K).all() or min(self.K[0, 0], self.K[1, 1]) <= 0:
            raise ConventionError("K of the depth camera", expected="finite, focal lengths above 0", got=self.K.tolist())


def require_rigid(what: str, matrix: Float64[np.ndarray, "4 4"]) -> None:
    """Refuses a matrix that is no rotation and shift.

    Raises:
        ConventionError: values that are not finite, scale, shear, a mirrored axis, or another last row than 0 0 0 1.
    """
    rotation = matrix[:3, :3]
    if (
        not np.isfinite(matrix).all()
        or np.abs(matrix[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-6
        or np.abs(rotation @ rotation.T - np.eye(3)).max() > _RIGID
        or np.linalg.det(rotation) < 0
    ):
        raise ConventionError(
            what,
            expected="a rigid 4×4 transform: a rotation, a shift in metres, last row 0 0 0 1",
            got=matrix.tolist(),
            fix="correct the calibration; 4 rows of 4 numbers",
        )


@dataclass(frozen=True)
class RegisteredDepthLoader:
    """Decodes a 16-bit depth map and registers it to the undistorted photograph, see :func:`registered_depth`.

    Attributes:
        path: the file.
        depth_camera: that measured it, at the size of the file.
        lens_camera: of the photograph.
        units_per_code: world units (metres) per stored step.
        missing_code: value that, like 0, stands for "no measurement".
    """

    path: Path
    depth_camera: DepthCamera
    lens_camera: LensCamera
    units_per_code: float = 0.001
    missing_code: int = 65535

    def measured(self) -> DepthMap:
        """Depth along +Z of the depth camera, on its own pixels, 0 = no measurement.

        Raises:
            DataFormatError: missing, truncated, or not 16-bit.
        """
        return distances_of(read_codes_u16(self.path), self.units_per_code, self.missing_code)

    def __call__(self) -> DepthMap:
        """Depth along +Z of the colour camera in world units, 0 = no measurement.

        Raises:
            DataFormatError: missing, truncated, or not 16-bit.
        """
        pinhole = undistorted_camera(self.lens_camera)
        camera = self.depth_camera
        return registered_depth(self.measured(), camera.K, camera.color_from_depth, pinhole.K, pinhole.width, pinhole.height)
