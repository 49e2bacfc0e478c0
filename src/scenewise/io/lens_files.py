"""Lenses as capture files describe them, fitted to the image files, and the cameras of the images without distortion."""

from collections import OrderedDict
from pathlib import Path

import torch

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.undistortion import PinholeImage, undistorted_camera
from scenewise.scenes.cameras import Cameras

_SHORTEST, _LONGEST = 1e-3, 1e6


def match_lens_to_image(lens_camera: LensCamera, width: int, height: int, path: Path) -> LensCamera:
    """The lens at the resolution of an image file: the same, or rescaled when the file is a smaller or larger copy.

    Args:
        lens_camera: as calibrated.
        width: of the file, pixels.
        height: of the file, pixels.
        path: the file, for the message.

    Raises:
        DataFormatError: the proportions differ by more than the rounding of a resize.
    """
    if (width, height) == (lens_camera.width, lens_camera.height):
        return lens_camera
    if not has_proportions_of(lens_camera, width, height):
        turned = (height, width) == (lens_camera.width, lens_camera.height)
        raise DataFormatError(
            path,
            "image size",
            expected=f"{lens_camera.width}×{lens_camera.height} or a copy of it at another scale",
            got=f"{width}×{height}",
            fix="store the image unrotated, as it was calibrated"
            if turned
            else "use the images that the poses were computed from",
        )
    return lens_camera.resized(width, height)


def has_proportions_of(lens_camera: LensCamera, width: int, height: int) -> bool:
    """Whether a picture of this size may be a smaller or larger copy of what the lens took."""
    ratio_x, ratio_y = width / lens_camera.width, height / lens_camera.height
    # A resize rounds each side to a pixel (some tools round down), so sides may disagree by one pixel of the smaller image.
    smaller = min(1.0, ratio_x, ratio_y)
    return abs(ratio_x - ratio_y) * min(lens_camera.width, lens_camera.height) * (smaller / max(ratio_x, ratio_y)) <= 1.0


def lens_camera_or_error(path: Path, place: str, model: str, params: tuple[float, ...], width: int, height: int) -> LensCamera:
    """A lens record whose complaints name the file they come from.

    Raises:
        DataFormatError: see :class:`~scenewise.geometry.lens_cameras.LensCamera`.
    """
    try:
        lens_camera = LensCamera(model, params, width, height)
        _require_view(path, place, lens_camera)
        undistorted_camera(lens_camera)
    except ConventionError as error:
        raise DataFormatError(path, f"{place}: {error}") from error
    return lens_camera


def _require_view(path: Path, place: str, lens_camera: LensCamera) -> None:
    """Refuses focal lengths of which no picture is taken: the view would be all around, or one point."""
    K = lens_camera.K
    for focal, side in ((float(K[0, 0]), lens_camera.width), (float(K[1, 1]), lens_camera.height)):
        if not _SHORTEST * side <= focal <= _LONGEST * side:
            raise DataFormatError(
                path,
                f"{place}: focal length",
                expected=f"{_SHORTEST:g} to {_LONGEST:g} times the {side} pixels of the image",
                got=f"{focal:g} pixels",
                fix="give it in pixels, or calibrate the camera again",
            )


def camera_of(lens_camera: LensCamera, camera_from_world: torch.Tensor) -> Cameras:
    """The camera of the undistorted image.

    Raises:
        ConventionError: see :class:`~scenewise.scenes.cameras.Cameras`.
    """
    pinhole = undistorted_camera(lens_camera)
    # One K per lens, shared by all its frames: records of thousands of frames then stay small.
    return Cameras(camera_from_world, _shared_K(lens_camera, pinhole), pinhole.width, pinhole.height)


_K_cache: OrderedDict[LensCamera, torch.Tensor] = OrderedDict()


def _shared_K(lens_camera: LensCamera, pinhole: PinholeImage) -> torch.Tensor:
    K = _K_cache.get(lens_camera)
    if K is None:
        K = _K_cache[lens_camera] = torch.tensor(pinhole.K, dtype=torch.float64)
        while len(_K_cache) > 64:
            _K_cache.popitem(last=False)
    return K
