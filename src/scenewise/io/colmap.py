"""COLMAP models, text and binary (https://colmap.github.io/format.html).

World-to-camera poses, quaternions wxyz, OpenCV camera axes, pixel centres at half-integers: exactly our conventions, so nothing
is changed.  Only ``cameras``, ``images`` and ``points3D`` are read; ``rigs``, ``frames`` and later additions are ignored.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.lens_models import LENS_MODELS, MODEL_NAMES
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.images import Background
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.resizing import downscaled
from scenewise.io.views import MAX_IMAGE_SIDE, ListedView, check_text, frames_of_views, is_file, safe_name
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.point_clouds import PointCloud

_MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse")
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_COUNT = struct.Struct("<Q")
_POINT2D_BYTES = 24
_POINT = np.dtype([("id", "<u8"), ("position", "<f8", 3), ("color", "u1", 3), ("error", "<f8")])  # the track follows
_TRACK_ELEMENT_BYTES = 8
_HOLDOUT = 8


@dataclass(frozen=True)
class ColmapImage:
    """One registered photograph.

    Attributes:
        image_id: COLMAP's number.
        quat: camera_from_world rotation, wxyz.
        translation: camera_from_world, world units.
        camera_id: key of its camera.
        name: path below the image folder.
    """

    image_id: int
    quat: tuple[float, float, float, float]
    translation: tuple[float, float, float]
    camera_id: int
    name: str


def find_colmap_model(path: Path) -> Path | None:
    """The folder with the model's files: ``path`` itself, or ``sparse/0``, ``sparse`` … below it."""
    for folder in _MODEL_FOLDERS:
        candidate = path / folder if folder != "." else path
        if any(is_file(candidate / f"cameras{suffix}") and is_file(candidate / f"images{suffix}") for suffix in (".bin", ".txt")):
            return candidate
    return None


def read_colmap(
    path: Path,
    *,
    factor: int | None = None,
    images: str | Path | None = None,
    background: Background | None = None,
) -> Capture:
    """Reads a COLMAP model and lists its photographs.

    Args:
        path: the capture (with ``sparse/0`` or ``sparse`` inside) or the model's folder itself.
        factor: takes ``images_<factor>`` where that folder exists, else the full images, downscaled on load.
        images: folder of the photographs, absolute or relative to ``path``; looked for when None.
        background: colour behind transparent pixels.

    Returns:
        A capture of arbitrary scale with every 8th photograph held out.

    Raises:
        DataFormatError: no model there, a broken file, an unknown camera model, a reference to a camera that does not exist.
    """
    model = find_colmap_model(path)
    if model is None:
        raise DataFormatError(
            path,
            expected="cameras.bin and images.bin (or .txt) in " + ", ".join(_MODEL_FOLDERS),
            got="neither",
            fix="run COLMAP's mapper, or pass the folder that holds its model",
        )
    suffix = ".bin" if is_file(model / "cameras.bin") and is_file(model / "images.bin") else ".txt"
    lens_cameras = read_cameras(model / f"cameras{suffix}")
    listing = model / f"images{suffix}"
    listed = read_images(listing)
    folder, downscale = _image_folder(path, model, [safe_name(image.name) for image in listed], images, factor)
    views = []
    for image in listed:
        if image.camera_id not in lens_cameras:
            raise DataFormatError(
                listing,
                f"image {image.image_id} ({image.name})",
                expected=f"a camera of cameras{suffix}",
                got=f"camera {image.camera_id}",
                fix="the files are of different models; export both again",
            )
        lens_camera = lens_cameras[image.camera_id]
        name = safe_name(image.name)
        views.append(ListedView(name, folder / name, lens_camera, f"image {image.image_id}"))
    frames, background_in_effect = frames_of_views(listing, views, _poses(listing, listed), background)
    if downscale is not None:
        frames = tuple(downscaled(frame, downscale) for frame in frames)
    points_path = next(
        (model / name for name in (f"points3D{suffix}", "points3D.bin", "points3D.txt") if is_file(model / name)), None
    )
    return Capture(
        root=path,
        source_format="colmap",
        frames=frames,
        points=None if points_path is None else read_points(points_path),
        test_names=every_nth_name(frames, _HOLDOUT),
        background=background_in_effect,
    )


def read_cameras(path: Path) -> dict[int, LensCamera]:
    """Lenses by camera id from ``cameras.bin`` or ``cameras.txt``.

    Raises:
        DataFormatError: broken file or unknown model.
    """
    return _read_cameras_text(path) if path.suffix == ".txt" else _read_cameras_binary(path)


def read_images(path: Path) -> list[ColmapImage]:
    """Registered photographs in the order of ``images.bin`` or ``images.txt``; their feature points are skipped.

    Raises:
        DataFormatError: broken file.
    """
    return _read_images_text(path) if path.suffix == ".txt" else _read_images_binary(path)


def read_points(path: Path) -> PointCloud:
    """Coloured points of ``points3D.bin`` or ``points3D.txt``; tracks are skipped.

    Raises:
        DataFormatError: broken file or a position that is not finite.
    """
    positions, colors = _read_points_text(path) if path.suffix == ".txt" else _read_points_binary(path)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise DataFormatError(path, f"point {int(bad[0])}", expected="a finite position", got=positions[bad[0]].tolist())
    return PointCloud(positions, colors)


def _poses(listing: Path, images: list[ColmapImage]) -> Float64[Tensor, "n 4 4"]:
    quats = torch.tensor([image.quat for image in images], dtype=torch.float64).reshape(-1, 4)
    lengths = quats.norm(dim=-1)
    for index in torch.nonzero(~((lengths > 1e-6) & (lengths < 1e6)))[:1, 0].tolist():
        image = images[index]
        raise DataFormatError(
            listing, f"image {image.image_id} ({image.name})", expected="a rotation quaternion", got=list(image.quat)
        )
    poses = torch.eye(4, dtype=torch.float64).repeat(len(images), 1, 1)
    poses[:, :3, :3] = rotation_from_quat(quats)
    poses[:, :3, 3] = torch.tensor([image.translation for image in images], dtype=torch.float64).reshape(-1, 3)
    return poses


def _image_folder(
    path: Path, model: Path, names: list[str], images: str | Path | None, factor: int | None
) -> tuple[Path, int | None]:
    """Folder of the photographs, and the factor that is left to apply on load."""
    if images is not None:
        folder = path / images
        if not folder.is_dir():
            raise DataFormatError(folder, expected="the folder of the images", got="no such folder", fix="check --images")
        return folder, factor
    bases = [path] + [base for base in (model, *list(model.parents)[:3]) if base != path]
    wanted = ([(f"images_{factor}", None)] if factor not in (None, 1) else []) + [
        ("images", factor),
        ("input", factor),
        (".", factor),
    ]
    probes = names[:: max(1, len(names) // 16)]  # a few from all over: single images may be missing
    for name, left in wanted:
        for base in bases:
            folder = base / name if name != "." else base
            if any(is_file(folder / probe) for probe in probes) or (
                name != "." and folder.is_dir() and any(is_file(folder / listed) for listed in names)
            ):
                return folder, left
    return path / "images", factor


# ---------------------------------------------------------------------------------------------------------------- binary


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


def _checked_lens(path: Path, place: str, model: str, params: tuple[float, ...], width: int, height: int) -> LensCamera:
    if not (1 <= width <= MAX_IMAGE_SIDE and 1 <= height <= MAX_IMAGE_SIDE):
        raise DataFormatError(path, place, expected=f"an image size of 1 … {MAX_IMAGE_SIDE} pixels", got=f"{width}×{height}")
    return lens_camera_or_error(path, place, model, params, width, height)


def _read_cameras_binary(path: Path) -> dict[int, LensCamera]:
    lens_cameras = {}
    with _mapped(path) as data:
        position = _COUNT.size
        for index in range(_count(path, data, _CAMERA.size + 3 * 8, "cameras")):
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
            lens_cameras[camera_id] = _checked_lens(path, f"camera {camera_id}", model, params, width, height)
    return lens_cameras


def _read_images_binary(path: Path) -> list[ColmapImage]:
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
                raise DataFormatError(path, place, expected="a name ending in a zero byte", got=repr(name_bytes[:40]))
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


def _read_points_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
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


# ------------------------------------------------------------------------------------------------------------------ text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; comments left out, empty lines kept."""
    try:
        with path.open(encoding="utf-8", newline=None) as file:
            for number, line in enumerate(file, start=1):
                if not line.startswith("#"):
                    yield number, line.rstrip("\n")
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DataFormatError(path, expected="text in UTF-8", got=str(error), fix="export the model again") from error


def _broken_line(path: Path, number: int, form: str, line: str) -> DataFormatError:
    return DataFormatError(path, f"line {number}", expected=form, got=repr(line[:80]))


def _read_cameras_text(path: Path) -> dict[int, LensCamera]:
    lens_cameras = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        fields = line.split()
        try:
            camera_id, model, width, height = int(fields[0]), fields[1], int(fields[2]), int(fields[3])
            params = tuple(float(field) for field in fields[4:])
        except (IndexError, ValueError) as error:
            raise _broken_line(path, number, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS…", line) from error
        lens_cameras[camera_id] = _checked_lens(path, f"line {number}", model, params, width, height)
    return lens_cameras


def _read_images_text(path: Path) -> list[ColmapImage]:
    images = []
    lines = _lines(path)
    for number, line in lines:
        if not line.strip():
            continue
        fields = line.split(maxsplit=9)  # the name comes last and may contain spaces
        try:
            image_id, camera_id, name = int(fields[0]), int(fields[8]), fields[9].rstrip("\r")
            numbers = [float(field) for field in fields[1:8]]
        except (IndexError, ValueError) as error:
            raise _broken_line(path, number, "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", line) from error
        quat = (numbers[0], numbers[1], numbers[2], numbers[3])
        translation = (numbers[4], numbers[5], numbers[6])
        images.append(ColmapImage(image_id, quat, translation, camera_id, check_text(path, f"line {number}", name)))
        next(lines, None)  # the feature points of this image, possibly an empty line
    return images


def _read_points_text(path: Path) -> tuple[np.ndarray, np.ndarray]:
    positions: list[float] = []
    colors: list[int] = []
    for number, line in _lines(path):
        if not line.strip():
            continue
        fields = line.split(maxsplit=8)
        try:
            positions += (float(fields[1]), float(fields[2]), float(fields[3]))
            color = (int(fields[4]), int(fields[5]), int(fields[6]))
        except (IndexError, ValueError) as error:
            raise _broken_line(path, number, "POINT3D_ID X Y Z R G B ERROR TRACK…", line) from error
        if min(color) < 0 or max(color) > 255:
            raise DataFormatError(path, f"line {number}", expected="colours 0 … 255", got=list(color))
        colors += color
    return np.array(positions, dtype=np.float64).reshape(-1, 3), np.array(colors, dtype=np.uint8).reshape(-1, 3)
