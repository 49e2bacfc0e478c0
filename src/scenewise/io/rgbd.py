"""RGB-D folders: the 7-Scenes layout written and read, the TUM layout read.

camera-intrinsics.txt        3×3 K, pixel centres at integers (we add ½)
capture.json                 optional: size, scale, up, class names, licence, held-out frames
frame-000000.color.png|jpg   sRGB
frame-000000.depth.png       u16 millimetres along +Z; 0 and 65535 = no measurement
frame-000000.pose.txt        4×4 world_from_camera, OpenCV axes, metres
frame-000000.class.png       optional u16 class ids, 65535 = unknown
frame-000000.instance.png    optional u16 instance ids, 65535 = unknown
"""

import io
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ResourceError, ShapeError
from scenewise.geometry.distortion import LensCamera
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.atomic import atomic_folder, atomic_write_json, atomic_write_text
from scenewise.io.images import Background, lens_camera_or_error, read_codes_u16, read_image_header, sample_nearest
from scenewise.io.views import ListedView, frames_of_views, is_file, rigid_inverse, safe_name
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import DepthMap, Frame, ImageU8

MISSING_U16 = 65535
INTRINSICS_NAME = "camera-intrinsics.txt"
CAPTURE_JSON_NAME = "capture.json"
_COLOR_SUFFIXES = (".jpg", ".png", ".jpeg")
_HOLDOUT = 8
_MAX_TEXT_BYTES = 1 << 28
# TUM RGB-D, "Intrinsic camera calibration of the Kinect", the values its authors recommend for all sequences (640×480).
_TUM_K = ((525.0, 0.0, 319.5), (0.0, 525.0, 239.5), (0.0, 0.0, 1.0))
_TUM_CODES_PER_METRE = 5000.0
_TUM_MAX_SECONDS_APART = 0.02  # the benchmark's own association tool
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


def write_rgbd_intrinsics(folder: Path, K: Float64[np.ndarray, "3 3"], width: int, height: int) -> None:
    """Writes ``camera-intrinsics.txt``, moving the pixel centres of ``K`` from half-integers to the file's integers.

    Args:
        folder: existing folder of the capture.
        K: intrinsics in pixels, centre of the first pixel at (0.5, 0.5).
        width: image width in pixels; checked here because the file itself has no place for the size.
        height: image height in pixels.

    Raises:
        ConventionError: the principal point lies outside the image (axes swapped, or K of another size).
    """
    if not (0 <= K[0, 2] <= width and 0 <= K[1, 2] <= height):
        raise ConventionError(
            "K",
            expected=f"a principal point within {width}×{height}",
            got=f"({K[0, 2]:g}, {K[1, 2]:g})",
            fix="pass K in pixels of the written images",
        )
    centred = K.copy()
    centred[:2, 2] -= 0.5
    atomic_write_text(folder / INTRINSICS_NAME, _matrix_text(centred))


def write_rgbd_capture_json(
    folder: Path,
    *,
    up_in_world: Sequence[float | int] | Float64[np.ndarray, "3"] | None = None,
    classes: Sequence[str] | None = None,
    licence: str | None = None,
    test_names: Sequence[str] | None = None,
    background: Sequence[float | int] | None = None,
    **more: Any,
) -> None:
    """Writes ``capture.json``: what the picture files cannot say.

    Args:
        folder: existing folder of the capture.
        up_in_world: unit vector away from the ground.
        classes: class names; ids in ``class.png`` index this list.
        licence: licence of the images.
        test_names: file names of held-out colour images; every 8th when absent.
        background: colour behind everything, in [0, 1].
        more: further JSON values, kept but not read.
    """
    record: dict[str, Any] = {"scale": "metric"}
    if up_in_world is not None:
        record["up_in_world"] = [float(value) for value in up_in_world]
    for key, value in (("classes", classes), ("licence", licence), ("test_names", test_names), ("background", background)):
        if value is not None:
            record[key] = value if isinstance(value, str) else list(value)
    atomic_write_json(folder / CAPTURE_JSON_NAME, record | more)


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
    files = {f"{stem}.color.png": _png(image_u8), f"{stem}.depth.png": _png(_millimetres(depth))}
    if class_ids is not None:
        files[f"{stem}.class.png"] = _png(_codes(class_ids, "class_ids"))
    if instance_ids is not None:
        files[f"{stem}.instance.png"] = _png(_codes(instance_ids, "instance_ids"))
    files[f"{stem}.pose.txt"] = _matrix_text(world_from_camera).encode()
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


def _matrix_text(matrix: Float64[np.ndarray, "rows columns"]) -> str:
    return "\n".join(" ".join(f"{value:.17g}" for value in row) for row in matrix.tolist()) + "\n"


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _millimetres(depth: DepthMap) -> np.ndarray:
    # The limits are compared before rounding, in float64: casting NaN or a large value to u16 is undefined behaviour.
    millimetres = np.asarray(depth, dtype=np.float64) * 1000.0
    measured = np.isfinite(millimetres) & (millimetres >= 0.5) & (millimetres < MISSING_U16 - 0.5)
    return np.where(measured, np.rint(np.where(measured, millimetres, 0.0)), 0.0).astype(np.uint16)


def _codes(ids: Int64[np.ndarray, "height width"], argument: str) -> np.ndarray:
    if ids.size and (int(ids.min()) < -1 or int(ids.max()) >= MISSING_U16):
        raise ConventionError(argument, expected=f"−1 … {MISSING_U16 - 1}", got=f"{int(ids.min())} … {int(ids.max())}")
    return np.where(ids < 0, MISSING_U16, ids).astype(np.uint16)


# --------------------------------------------------------------------------------------------------------------- reading


def find_rgbd_layout(path: Path) -> str | None:
    """ "7scenes", "tum" or None, by the files in a folder."""
    if is_file(path / "groundtruth.txt") and is_file(path / "rgb.txt"):
        return "tum"
    if not path.is_dir():
        return None
    with os.scandir(path) as entries:  # closed although any() stops at the first match
        return "7scenes" if any(entry.name.endswith(".pose.txt") for entry in entries) else None


def read_rgbd(path: Path, *, background: Background | None = None) -> Capture:
    """Reads an RGB-D folder in the 7-Scenes or the TUM layout.

    Frames whose pose is marked invalid (all of it non-finite, as ScanNet and 7-Scenes write it) or absent are left out and
    counted in a warning; a pose that is non-finite in part is an error.

    Args:
        path: the folder.
        background: colour behind transparent pixels.

    Returns:
        A metric capture in the poses' world frame, every 8th frame held out unless ``capture.json`` names them.

    Raises:
        DataFormatError: no such layout, no intrinsics, a singular K, a broken pose or listing.
    """
    layout = find_rgbd_layout(path)
    if layout is None:
        raise DataFormatError(path, expected="frame-000000.pose.txt … or rgb.txt and groundtruth.txt", got="neither")
    more = _capture_json(path)
    listing, views, world_from_camera = _list_7scenes(path, more) if layout == "7scenes" else _list_tum(path, more)
    colour = more.get("background")
    frames, in_effect = frames_of_views(
        listing,
        views,
        rigid_inverse(world_from_camera),
        background or (None if colour is None else (colour[0], colour[1], colour[2])),
    )
    if colour is not None and in_effect is None:
        in_effect = background or (colour[0], colour[1], colour[2])
    known = {frame.name for frame in frames}
    test_names = more.get("test_names")
    if test_names is not None and not set(test_names) <= known:
        unknown = min(set(test_names) - known)
        raise DataFormatError(path / CAPTURE_JSON_NAME, "test_names", expected="names of colour images", got=unknown)
    up = more.get("up_in_world")
    return Capture(
        root=path,
        source_format="rgbd",
        frames=frames,
        test_names=every_nth_name(frames, _HOLDOUT) if test_names is None else frozenset(test_names),
        scale="metric",
        up_in_world=None if up is None else np.array(up) / np.linalg.norm(up),
        background=in_effect,
        licence=more.get("licence"),
    )


def read_class_names(path: Path) -> list[str] | None:
    """Class names of an RGB-D capture; ids of :func:`read_class_ids` index them.  None when ``capture.json`` has none."""
    return _capture_json(path).get("classes")


def read_class_ids(frame: Frame) -> Int64[np.ndarray, "height width"] | None:
    """Class per pixel of a frame read by :func:`read_rgbd`, −1 = unknown; None when the frame has no ``class.png``."""
    return _read_ids(frame, "class")


def read_instance_ids(frame: Frame) -> Int64[np.ndarray, "height width"] | None:
    """Instance per pixel of a frame read by :func:`read_rgbd`, −1 = none; None when the frame has no ``instance.png``."""
    return _read_ids(frame, "instance")


def _read_ids(frame: Frame, kind: str) -> Int64[np.ndarray, "height width"] | None:
    if frame.image_path is None or ".color." not in frame.image_path.name:
        return None
    path = frame.image_path.with_name(f"{frame.image_path.name.split('.color.')[0]}.{kind}.png")
    if not is_file(path):
        return None
    codes = read_codes_u16(path).astype(np.int64)
    ids = np.where(codes == MISSING_U16, -1, codes)
    # RGB-D folders have no distortion, so the frame's camera is its own lens; a resized frame takes the nearest pixel's id.
    K = frame.camera.K
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    return sample_nearest(ids, LensCamera("PINHOLE", params, frame.camera.width, frame.camera.height))


def _capture_json(path: Path) -> dict[str, Any]:
    """The checked contents of ``capture.json``, or nothing where there is none."""
    file = path / CAPTURE_JSON_NAME
    if not is_file(file):
        return {}
    try:
        record = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise DataFormatError(file, expected="JSON", got=str(error) or "nesting too deep", fix="the file is damaged") from error
    if not isinstance(record, dict):
        raise DataFormatError(file, expected="a JSON object", got=type(record).__name__)

    for key in ("up_in_world", "background"):
        value = record.get(key)
        fits = isinstance(value, list) and len(value) == 3
        if value is not None and not (fits and all(isinstance(x, int | float) and math.isfinite(x) for x in value)):
            raise DataFormatError(file, key, expected="3 finite numbers", got=repr(value)[:80])
    for key in ("classes", "test_names"):
        value = record.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(x, str) for x in value)):
            raise DataFormatError(file, key, expected="a list of names", got=repr(value)[:80])
    up = record.get("up_in_world")
    if up is not None and not 1e-6 < math.hypot(*up) < 1e6:
        raise DataFormatError(file, "up_in_world", expected="a direction", got=up)
    if record.get("scale", "metric") != "metric":
        raise DataFormatError(file, "scale", expected="metric (depth is in millimetres)", got=repr(record["scale"])[:80])
    if not isinstance(record.get("licence", ""), str):
        raise DataFormatError(file, "licence", expected="text", got=repr(record["licence"])[:80])
    codes = record.get("depth_codes_per_metre", 1000.0)
    if isinstance(codes, bool) or not isinstance(codes, int | float) or not (math.isfinite(codes) and codes > 0):
        raise DataFormatError(file, "depth_codes_per_metre", expected="a number above 0", got=repr(codes)[:80])
    return record


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_TEXT_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_TEXT_BYTES:,} bytes of text", got=f"{path.stat().st_size:,}")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DataFormatError(path, expected="text in UTF-8", got=str(error)) from error


def _numbers(path: Path, rows: int, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """A small matrix of numbers in a text file; NaN and Inf pass."""
    fields = _text(path).replace(",", " ").split()
    if len(fields) != rows * columns:
        raise DataFormatError(path, expected=f"{rows}×{columns} numbers", got=f"{len(fields)} fields", fix="restore the file")
    try:
        return np.array([float(field) for field in fields]).reshape(rows, columns)
    except ValueError as error:
        raise DataFormatError(path, expected=f"{rows}×{columns} numbers", got=str(error)) from error


def _lens_of_file(path: Path, first_image: Path | None, default: tuple[tuple[float, ...], ...] | None) -> LensCamera:
    """The pinhole camera of ``camera-intrinsics.txt`` at the size of the first colour image."""
    file = path / INTRINSICS_NAME
    if is_file(file):
        K = _numbers(file, 3, 3)
    elif default is not None:
        warnings.warn(f"{path}: no {INTRINSICS_NAME}; taking the TUM benchmark's default calibration", CaptureWarning, 2)
        K = np.array(default)
    else:
        raise DataFormatError(file, expected="3×3 intrinsics", got="no such file", fix="write fx 0 cx / 0 fy cy / 0 0 1")
    if not np.isfinite(K).all() or abs(np.linalg.det(K)) < 1e-9 or np.abs(K[2] - [0.0, 0.0, 1.0]).max() > 1e-9:
        raise DataFormatError(
            file, expected="an invertible matrix fx 0 cx / 0 fy cy / 0 0 1", got=K.tolist(), fix="correct the calibration"
        )
    if abs(K[0, 1]) > 1e-9 or abs(K[1, 0]) > 1e-9:
        raise DataFormatError(file, expected="no skew", got=f"K[0,1] = {K[0, 1]:g}, K[1,0] = {K[1, 0]:g}")
    # Files of this family put pixel centres at integers; ours are at half-integers.
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5)
    width, height = round(2 * params[2]), round(2 * params[3])  # only where no image can say
    if first_image is not None:
        header = read_image_header(first_image)
        width, height = header.width, header.height
    return lens_camera_or_error(file, "K", "PINHOLE", params, max(1, width), max(1, height))


_Listed = tuple[Path, list[ListedView], torch.Tensor]


def _list_7scenes(path: Path, more: dict[str, Any]) -> _Listed:
    names = {entry.name for entry in os.scandir(path)}
    stems = sorted({match[1] for name in names if (match := re.fullmatch(r"(.+)\.(?:pose\.txt|color\.\w+)", name))})
    colour_name = {
        stem: next((stem + ".color" + suffix for suffix in _COLOR_SUFFIXES if stem + ".color" + suffix in names), None)
        for stem in stems
    }
    first_image = next((path / name for name in colour_name.values() if name is not None), None)
    lens_camera = _lens_of_file(path, first_image, None)
    usual_suffix = "".join(first_image.suffixes[-1:]) if first_image is not None else ".png"
    views, poses, without_pose = [], [], []
    for stem in stems:
        pose_path = path / f"{stem}.pose.txt"
        pose = _numbers(pose_path, 4, 4) if pose_path.name in names else None
        if pose is None or not np.isfinite(pose[:3]).any():
            without_pose.append(stem)
            continue
        name = colour_name[stem] or f"{stem}.color{usual_suffix}"
        views.append(
            ListedView(
                name=name,
                image_path=path / name,
                lens_camera=lens_camera,
                place=pose_path.name,
                depth_path=path / f"{stem}.depth.png",
                units_per_depth_code=1.0 / float(more.get("depth_codes_per_metre", 1000.0)),
            )
        )
        poses.append(_checked_pose(pose_path, pose))
    _warn_without_pose(path, without_pose)
    return path, views, torch.from_numpy(np.array(poses, dtype=np.float64).reshape(-1, 4, 4))


def _checked_pose(path: Path, pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    if not np.isfinite(pose).all():
        raise DataFormatError(
            path, expected="finite numbers", got="NaN or Inf in part of the pose", fix="delete the frame's files"
        )
    if np.abs(pose[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-6:
        raise DataFormatError(path, "last row", expected="0 0 0 1", got=pose[3].tolist())
    return pose


def _warn_without_pose(path: Path, dropped: list[str]) -> None:
    if dropped:
        warnings.warn(f"{path}: {len(dropped)} frames have no valid pose and are left out, first {dropped[0]}", CaptureWarning, 2)


def _list_tum(path: Path, more: dict[str, Any]) -> _Listed:
    """Colour images with the depth map and the pose nearest in time (https://cvg.cit.tum.de/data/datasets/rgbd-dataset)."""
    colour = _timed_lines(path / "rgb.txt", 1)
    depth = _timed_lines(path / "depth.txt", 1) if is_file(path / "depth.txt") else []
    truth = _timed_lines(path / "groundtruth.txt", 7)
    first_image = next((path / fields[0] for _, fields in colour if is_file(path / fields[0])), None)
    lens_camera = _lens_of_file(path, first_image, _TUM_K)
    depth_times, truth_times = np.array([time for time, _ in depth]), np.array([time for time, _ in truth])
    views, quats, centres, dropped = [], [], [], []
    for number, (time, fields) in enumerate(colour):
        nearest = _nearest(truth_times, time)
        if nearest is None:
            dropped.append(fields[0])
            continue
        try:
            values = [float(field) for field in truth[nearest][1]]
        except ValueError as error:
            raise DataFormatError(
                path / "groundtruth.txt", f"time {truth_times[nearest]}", expected="tx ty tz qx qy qz qw", got=str(error)
            ) from error
        if not all(math.isfinite(value) for value in values) or math.hypot(*values[3:]) < 1e-6:
            raise DataFormatError(
                path / "groundtruth.txt", f"time {truth_times[nearest]}", expected="a position and a unit quaternion", got=values
            )
        centres.append(values[:3])
        quats.append([values[6], *values[3:6]])  # the file has xyzw
        nearest_depth = _nearest(depth_times, time)
        views.append(
            ListedView(
                name=safe_name(fields[0]),
                image_path=path / fields[0],
                lens_camera=lens_camera,
                place=f"rgb.txt record {number}",
                depth_path=None if nearest_depth is None else path / depth[nearest_depth][1][0],
                units_per_depth_code=1.0 / float(more.get("depth_codes_per_metre", _TUM_CODES_PER_METRE)),
            )
        )
    _warn_without_pose(path, dropped)
    world_from_camera = torch.eye(4, dtype=torch.float64).repeat(len(views), 1, 1)
    world_from_camera[:, :3, :3] = rotation_from_quat(torch.tensor(quats, dtype=torch.float64).reshape(-1, 4))
    world_from_camera[:, :3, 3] = torch.tensor(centres, dtype=torch.float64).reshape(-1, 3)
    return path / "rgb.txt", views, world_from_camera


def _timed_lines(path: Path, fields: int) -> list[tuple[float, list[str]]]:
    """Records ``seconds field …`` in order of time."""
    records = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(maxsplit=1) if fields == 1 else line.split()
        try:
            time = float(parts[0])
        except ValueError:
            time = math.nan
        if not math.isfinite(time) or len(parts) != fields + 1:
            raise DataFormatError(path, f"line {number}", expected=f"a time and {fields} fields", got=repr(line[:80]))
        records.append((time, [part.strip() for part in parts[1:]]))
    return sorted(records, key=lambda record: record[0])


def _nearest(times: np.ndarray, time: float) -> int | None:
    if not times.size:
        return None
    after = int(np.searchsorted(times, time))
    best = min((index for index in (after - 1, after) if 0 <= index < len(times)), key=lambda index: abs(times[index] - time))
    return best if abs(times[best] - time) <= _TUM_MAX_SECONDS_APART else None
