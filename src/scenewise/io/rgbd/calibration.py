"""The cameras of an RGB-D folder: one for colour and depth alike, or two that stand beside each other."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.atomic import atomic_write_text
from scenewise.io.images import read_image_header
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.registered_depth import DepthCamera, require_rigid
from scenewise.io.rgbd.number_files import (
    COLOR_INTRINSICS_NAME,
    DEPTH_FROM_COLOR_NAME,
    DEPTH_INTRINSICS_NAME,
    INTRINSICS_NAME,
    checked_intrinsics,
    matrix_text,
    read_matrix,
    read_rgbd_intrinsics,
    write_rgbd_intrinsics,
)
from scenewise.io.views import is_file

PosesOf = Literal["color", "depth"]


@dataclass(frozen=True)
class RgbdCalibration:
    """What takes the colour and what the depth of a folder.

    Attributes:
        color_lens: of the photographs.
        depth_camera: that measured depth; None where depth lies on the photographs' pixels already.
        poses_of: which of the two cameras the folder's poses place.
    """

    color_lens: LensCamera
    depth_camera: DepthCamera | None = None
    poses_of: PosesOf = "color"

    def world_from_color(self, world_from_camera: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "n 4 4"]:
        """Poses of the colour camera from the folder's."""
        if self.depth_camera is None or self.poses_of == "color":
            return world_from_camera
        depth_from_color = np.linalg.inv(self.depth_camera.color_from_depth)
        return world_from_camera @ torch.from_numpy(depth_from_color)


@dataclass(frozen=True)
class RgbdFiles:
    """What calibration is read for.

    Attributes:
        folder: of the capture.
        first_image: a photograph, for its size; None where none is there.
        first_depth: a depth map, likewise.
    """

    folder: Path
    first_image: Path | None
    first_depth: Path | None


def read_calibration(
    files: RgbdFiles,
    more: dict[str, Any],
    *,
    default_K: tuple[tuple[float, ...], ...] | None = None,
    default_poses_of: PosesOf | None = None,
) -> RgbdCalibration:
    """The calibration in a folder's text files.

    ``camera-intrinsics.txt`` holds for colour and depth, except where ``color-intrinsics.txt`` or ``depth-intrinsics.txt`` says
    otherwise for one of them; each is in pixels of the files of its camera.  ``depth_from_color.txt`` takes points in the
    colour camera's axes to those of the depth camera (4×4, metres; the identity when absent).  Where none of these three is
    there, depth lies on the photographs' pixels.

    Args:
        files: where to look.
        more: ``capture.json``: "color_distortion" (k₁, k₂, p₁, p₂ in OpenCV's order) and "pose_camera".
        default_K: in the files' convention, where there are no intrinsics; None makes that an error.
        default_poses_of: which camera the poses place where "pose_camera" does not say; None makes that an error for cameras
            that stand apart.

    Raises:
        DataFormatError: no intrinsics, or some that do not fit; no rigid transform; not said whose the poses are.
    """
    folder = files.folder
    K_file, K_depth_file = folder / COLOR_INTRINSICS_NAME, folder / DEPTH_INTRINSICS_NAME
    transform_file = folder / DEPTH_FROM_COLOR_NAME
    apart = is_file(K_file) or is_file(K_depth_file) or is_file(transform_file)
    if not is_file(K_file):
        K_file = folder / INTRINSICS_NAME
    K_color = _intrinsics(K_file, default_K)
    lens = _color_lens(K_file, K_color, files.first_image, more.get("color_distortion"))
    if not apart:
        return RgbdCalibration(lens)
    if is_file(K_depth_file):
        K_depth = read_rgbd_intrinsics(K_depth_file)
    else:
        K_depth_file = folder / INTRINSICS_NAME if is_file(folder / INTRINSICS_NAME) else K_file
        K_depth = _intrinsics(K_depth_file, default_K)
    _check_fits(K_depth_file, K_depth, files.first_depth)
    depth_from_color = read_matrix(transform_file, 4, 4) if is_file(transform_file) else np.eye(4)
    try:
        require_rigid("depth_from_color", depth_from_color)
    except ConventionError as error:
        raise DataFormatError(transform_file, str(error)) from error
    poses_of = more.get("pose_camera", default_poses_of)
    if poses_of is None and np.abs(depth_from_color - np.eye(4)).max() > 1e-9:
        raise DataFormatError(
            folder / "capture.json",
            "pose_camera",
            expected='"color" or "depth": whose the poses are',
            got="nothing",
            fix='write {"pose_camera": "depth"} into capture.json for a sequence of 7-Scenes, {"pose_camera": "color"} for '
            "poses found from the photographs",
        )
    return RgbdCalibration(lens, DepthCamera(K_depth, np.linalg.inv(depth_from_color)), poses_of or "color")


def write_calibration(folder: Path, lens: LensCamera, depth_camera: DepthCamera, depth_size: tuple[int, int]) -> dict[str, Any]:
    """Writes the files of two cameras.

    Args:
        folder: existing folder of the capture.
        lens: of the photographs: a pinhole, or one with OpenCV's distortion.
        depth_camera: that measured depth.
        depth_size: width, height of the depth maps.

    Returns:
        What ``capture.json`` must say: "pose_camera" (the colour camera) and, with distortion, "color_distortion".

    Raises:
        ConventionError: a lens of another model, or principal points outside the images.
    """
    distortion = opencv_distortion(lens)
    write_rgbd_intrinsics(folder, lens.K, lens.width, lens.height, name=COLOR_INTRINSICS_NAME)
    write_rgbd_intrinsics(folder, depth_camera.K, *depth_size, name=DEPTH_INTRINSICS_NAME)
    atomic_write_text(folder / DEPTH_FROM_COLOR_NAME, matrix_text(np.linalg.inv(depth_camera.color_from_depth)))
    return {"pose_camera": "color"} | ({"color_distortion": list(distortion)} if any(distortion) else {})


def opencv_distortion(lens: LensCamera) -> tuple[float, float, float, float]:
    """k₁, k₂, p₁, p₂ of a lens.

    Raises:
        ConventionError: a model that these do not describe.
    """
    if lens.is_pinhole:
        return (0.0, 0.0, 0.0, 0.0)
    if lens.model not in {"SIMPLE_RADIAL", "RADIAL", "OPENCV"}:
        raise ConventionError("lens of an RGB-D folder", expected="a pinhole, SIMPLE_RADIAL, RADIAL or OPENCV", got=lens.model)
    k1, k2, p1, p2 = (*lens.extra, 0.0, 0.0, 0.0)[:4]
    return (k1, k2, p1, p2)


def _intrinsics(file: Path, default: tuple[tuple[float, ...], ...] | None) -> Float64[np.ndarray, "3 3"]:
    if is_file(file):
        return read_rgbd_intrinsics(file)
    if default is None:
        raise DataFormatError(file, expected="3×3 intrinsics", got="no such file", fix="write fx 0 cx / 0 fy cy / 0 0 1")
    warnings.warn(f"{file.parent}: no {file.name}; taking the TUM benchmark's default calibration", CaptureWarning, 3)
    return checked_intrinsics(file, np.array(default))


def _color_lens(
    file: Path, K: Float64[np.ndarray, "3 3"], first_image: Path | None, distortion: list[float] | None
) -> LensCamera:
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    width, height = round(2 * params[2]), round(2 * params[3])  # only where no image can say
    if first_image is not None:
        header = read_image_header(first_image)
        width, height = header.width, header.height
    if distortion is None or not any(distortion):
        return lens_camera_or_error(file, "K", "PINHOLE", params, max(1, width), max(1, height))
    extra = (*map(float, distortion), 0.0, 0.0, 0.0)[:4]
    return lens_camera_or_error(file, "K and color_distortion", "OPENCV", params + extra, max(1, width), max(1, height))


def _check_fits(file: Path, K: Float64[np.ndarray, "3 3"], first_depth: Path | None) -> None:
    """Refuses intrinsics of another size than the depth maps."""
    if first_depth is None:
        return
    header = read_image_header(first_depth)
    if not (0 <= K[0, 2] <= header.width and 0 <= K[1, 2] <= header.height):
        raise DataFormatError(
            file,
            expected=f"a principal point within the depth maps of {header.width}×{header.height}",
            got=f"({K[0, 2] - 0.5:g}, {K[1, 2] - 0.5:g})",
            fix="write depth-intrinsics.txt in pixels of the depth maps",
        )
