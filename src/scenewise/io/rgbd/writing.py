"""RGB-D folders written in the 7-Scenes layout."""

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.errors import ConventionError, ResourceError, ShapeError
from scenewise.io.atomic import atomic_folder
from scenewise.io.rgbd.capture_json import write_rgbd_capture_json
from scenewise.io.rgbd.ids import MISSING_U16
from scenewise.io.rgbd.number_files import matrix_text, write_rgbd_intrinsics
from scenewise.scenes.frames import DepthMap, ImageU8

_PNG_LEVEL = 1  # three times faster than the default of 6 for about a tenth more bytes


@dataclass(frozen=True)
class RgbdFrame:
    """One view to write.

    Attributes:
        image_u8: sRGB.
        depth: metres along +Z, 0 = no measurement.
        world_from_camera: rigid 4×4, OpenCV axes, metres.
        class_ids: class per pixel, −1 = unknown, or None.
        instance_ids: instance per pixel, −1 = none, or None.
    """

    image_u8: ImageU8
    depth: DepthMap
    world_from_camera: Float64[np.ndarray, "4 4"]
    class_ids: Int64[np.ndarray, "height width"] | None = None
    instance_ids: Int64[np.ndarray, "height width"] | None = None


def write_rgbd_frame(
    folder: Path,
    index: int,
    image_u8: ImageU8,
    depth: DepthMap,
    world_from_camera: Float64[np.ndarray, "4 4"],
    class_ids: Int64[np.ndarray, "height width"] | None = None,
    instance_ids: Int64[np.ndarray, "height width"] | None = None,
) -> str:
    """Writes the files of one frame; the pose goes last, so a frame without a pose file is known to be incomplete.

    Files are written directly: to make a whole folder appear at once, write inside :func:`scenewise.io.atomic.atomic_folder`
    (as :func:`write_rgbd_folder` does).

    Args:
        folder: existing folder of the capture.
        index: number in the file name, 0 … 999999.
        image_u8: sRGB, stored losslessly as PNG.
        depth: metres along +Z; rounded to millimetres.  Non-finite, non-positive and ≥ 65.535 m become "no measurement".
        world_from_camera: rigid 4×4, OpenCV axes, metres.
        class_ids: 0 … 65534, −1 = unknown.
        instance_ids: 0 … 65534, −1 = none.

    Returns:
        The name of the colour image, which is the frame's name in the capture read back.

    Raises:
        ShapeError: maps of another size than the image.
        ConventionError: ids that 16 bits cannot hold, or a pose that is not finite.
        ResourceError: the disk is full or read-only.
    """
    for argument, values in (("depth", depth), ("class_ids", class_ids), ("instance_ids", instance_ids)):
        if values is not None and values.shape != image_u8.shape[:2]:
            raise ShapeError(argument, expected=f"{image_u8.shape[:2]}", got=f"{values.shape}")
    if not np.isfinite(world_from_camera).all():
        raise ConventionError("world_from_camera", expected="finite values", got="NaN or Inf")
    stem = f"frame-{index:06d}"
    files = {f"{stem}.color.png": _png(image_u8), f"{stem}.depth.png": _png(millimetres_u16(depth))}
    if class_ids is not None:
        files[f"{stem}.class.png"] = _png(_codes(class_ids, "class_ids"))
    if instance_ids is not None:
        files[f"{stem}.instance.png"] = _png(_codes(instance_ids, "instance_ids"))
    files[f"{stem}.pose.txt"] = matrix_text(world_from_camera).encode()
    for name, data in files.items():
        try:
            (folder / name).write_bytes(data)
        except OSError as error:
            raise ResourceError(
                f"writing {folder / name}",
                expected="a writable folder with room",
                got=os.strerror(error.errno or 0),
                fix="free space, or choose another folder",
            ) from error
    return f"{stem}.color.png"


def write_rgbd_folder(
    path: Path,
    frames: Iterable[RgbdFrame],
    K: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
    **capture_json: Any,
) -> None:
    """Writes a complete RGB-D capture; ``path`` appears only when all of it is on the disk.

    Args:
        path: folder to create; must be new or empty.
        frames: views in order, all of size width × height; consumed one at a time.
        K: intrinsics in pixels, centre of the first pixel at (0.5, 0.5).
        width: image width in pixels.
        height: image height in pixels.
        capture_json: see :func:`write_rgbd_capture_json`.

    Raises:
        ShapeError: an image of another size.
    """
    with atomic_folder(path, replace=False) as folder:
        write_rgbd_intrinsics(folder, K, width, height)
        write_rgbd_capture_json(folder, **capture_json)
        for index, frame in enumerate(frames):
            if frame.image_u8.shape != (height, width, 3):
                raise ShapeError(f"image of frame {index}", expected=f"({height}, {width}, 3)", got=f"{frame.image_u8.shape}")
            write_rgbd_frame(
                folder, index, frame.image_u8, frame.depth, frame.world_from_camera, frame.class_ids, frame.instance_ids
            )


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def millimetres_u16(depth: DepthMap) -> np.ndarray:
    """Depth in metres as it is stored: rounded to millimetres, 0 = no measurement."""
    # The limits are compared before rounding, in float64: casting NaN or a large value to u16 is undefined behaviour.
    millimetres = np.asarray(depth, dtype=np.float64) * 1000.0
    measured = np.isfinite(millimetres) & (millimetres >= 0.5) & (millimetres < MISSING_U16 - 0.5)
    return np.where(measured, np.rint(np.where(measured, millimetres, 0.0)), 0.0).astype(np.uint16)


def _codes(ids: Int64[np.ndarray, "height width"], argument: str) -> np.ndarray:
    if ids.size and (int(ids.min()) < -1 or int(ids.max()) >= MISSING_U16):
        raise ConventionError(argument, expected=f"−1 … {MISSING_U16 - 1}", got=f"{int(ids.min())} … {int(ids.max())}")
    return np.where(ids < 0, MISSING_U16, ids).astype(np.uint16)
