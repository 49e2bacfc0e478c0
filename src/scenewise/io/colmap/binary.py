"""COLMAP models in the binary format."""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.lens_models import LENS_MODELS, MODEL_NAMES
from scenewise.io.colmap.records import ColmapImage, checked_lens
from scenewise.io.views import check_text

_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_COUNT = struct.Struct("<Q")
_POINT2D_BYTES = 24
_POINT = np.dtype([("id", "<u8"), ("position", "<f8", 3), ("color", "u1", 3), ("error", "<f8")])  # the track follows
_TRACK_ELEMENT_BYTES = 8


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """The file's bytes without reading them all: feature points are most of ``images.bin`` and are never touched."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise DataFormatError(path, expected="a COLMAP file", got="an empty file", fix="export the model again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                yield view
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error


def _truncated(path: Path, place: str, size: int) -> DataFormatError:
    return DataFormatError(
        path, place, expected="more bytes", got=f"the end of the file at {size:,}", fix="the file is truncated; copy it again"
    )


def _count(path: Path, data: memoryview, record_bytes: int, what: str) -> int:
    """The leading record count, checked against the bytes that remain before anything is allocated for it."""
    if len(data) < _COUNT.size:
        raise _truncated(path, "header", len(data))
    (count,) = _COUNT.unpack_from(data)
    most = (len(data) - _COUNT.size) // record_bytes
    if count > most:
        raise DataFormatError(
            path,
            "header",
            expected=f"at most {most:,} {what} in {len(data):,} bytes",
            got=f"{count:,}",
            fix="the file is truncated or not a COLMAP file; export the model again",
        )
    return int(count)


def read_cameras_binary(path: Path) -> dict[int, LensCamera]:
    """Lenses by camera id from ``cameras.bin``.

    Raises:
        DataFormatError: broken file or unknown model.
    """
    lens_cameras = {}
    with _mapped(path) as data:
        position = _COUNT.size
        for index in range(_count(path, data, _CAMERA.size + 2 * 8, "cameras")):
            place = f"camera {index}"
            if position + _CAMERA.size > len(data):
                raise _truncated(path, place, len(data))
            camera_id, model_id, width, height = _CAMERA.unpack_from(data, position)
            if model_id not in MODEL_NAMES:
                raise DataFormatError(
                    path,
                    f"camera {camera_id}",
                    expected=f"a camera model 0 … {max(MODEL_NAMES)}",
                    got=f"model {model_id}",
                    fix="undistort with COLMAP's image_undistorter, or report the model to us",
                )
            model = MODEL_NAMES[model_id]
            count = 2 if model not in LENS_MODELS else LENS_MODELS[model].focal_lengths + 2 + LENS_MODELS[model].extra
            position += _CAMERA.size
            if position + 8 * count > len(data):
                raise _truncated(path, place, len(data))
            params = struct.unpack_from(f"<{count}d", data, position)
            position += 8 * count
            lens_cameras[camera_id] = checked_lens(path, f"camera {camera_id}", model, params, width, height)
    return lens_cameras


def count_images_binary(path: Path) -> int:
    """How many photographs ``images.bin`` says it holds.

    Raises:
        DataFormatError: more than its bytes have room for.
    """
    with _mapped(path) as data:
        return _count(path, data, _IMAGE.size + 1 + _COUNT.size, "images")


def read_images_binary(path: Path) -> list[ColmapImage]:
    """Registered photographs in the order of ``images.bin``.

    Raises:
        DataFormatError: broken file.
    """
    images = []
    with _mapped(path) as data:
        position = _COUNT.size
        for index in range(_count(path, data, _IMAGE.size + 1 + _COUNT.size, "images")):
            place = f"image record {index}"
            if position + _IMAGE.size > len(data):
                raise _truncated(path, place, len(data))
            image_id, *numbers, camera_id = _IMAGE.unpack_from(data, position)
            position += _IMAGE.size
            name_bytes = bytes(data[position : position + 4096])
            length = name_bytes.find(b"\0")
            if length < 0:
                got = repr(name_bytes[:40])
                raise DataFormatError(path, place, expected="a name ending in a zero byte", got=got, fix="export the model again")
            try:
                name = name_bytes[:length].decode()
            except UnicodeDecodeError as error:
                raise DataFormatError(
                    path, place, expected="a name in UTF-8", got=repr(name_bytes[:length]), fix="rename the images"
                ) from error
            position += length + 1
            if position + _COUNT.size > len(data):
                raise _truncated(path, place, len(data))
            (points,) = _COUNT.unpack_from(data, position)
            position += _COUNT.size + _POINT2D_BYTES * points
            if position > len(data):
                raise _truncated(path, f"{place} ({points:,} feature points)", len(data))
            quat, translation = tuple(numbers[:4]), tuple(numbers[4:])
            images.append(ColmapImage(image_id, quat, translation, camera_id, check_text(path, place, name)))
    return images


def read_points_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions and colours of ``points3D.bin``.

    Raises:
        DataFormatError: broken file.
    """
    with _mapped(path) as data:
        size = len(data)
        count = _count(path, data, _POINT.itemsize + _COUNT.size, "points")
        starts = np.empty(count, dtype=np.int64)
        unpack, head, position = _COUNT.unpack_from, _POINT.itemsize, _COUNT.size
        # Records differ in length, so finding where each starts is one short step per point; the fields are taken all at once.
        for index in range(count):
            if position + head + 8 > size:
                raise _truncated(path, f"point {index}", size)
            starts[index] = position
            position += head + 8 + _TRACK_ELEMENT_BYTES * unpack(data, position + head)[0]
        if position > size:
            raise _truncated(path, f"track of point {count - 1}", size)
        positions, colors = np.empty((count, 3)), np.empty((count, 3), dtype=np.uint8)
        raw = np.frombuffer(data, dtype=np.uint8)
        for first in range(0, count, 1 << 16):
            rows = raw[starts[first : first + (1 << 16), None] + np.arange(head)]
            records = rows.view(_POINT)[:, 0]
            positions[first : first + len(records)] = records["position"]
            colors[first : first + len(records)] = records["color"]
        del raw  # the map cannot be closed while an array looks into it
    return positions, colors
