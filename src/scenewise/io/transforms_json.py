"""``transforms.json`` of nerfstudio and instant-ngp, and the ``transforms_{train,test}.json`` of the NeRF-synthetic data set.

``transform_matrix`` is camera-to-world with OpenGL axes (+X right, +Y up, looking along −Z); Y and Z are turned here.  The world
frame is kept as it is.  Pixel centres are at half-integers (https://docs.nerf.studio/quickstart/data_conventions.html), so
intrinsics are used as they are.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.lens_models import CUT_PANORAMAS, PANORAMAS
from scenewise.geometry.transforms import OPENCV_FROM_OPENGL, transform_points
from scenewise.io.images import IMAGE_SUFFIXES, Background, read_image_header
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.listed_files import ListedFiles, plain_path
from scenewise.io.listed_objects import ListedObject, read_listed_object
from scenewise.io.ply.points import read_points_ply
from scenewise.io.resizing import downscaled
from scenewise.io.views import MAX_IMAGE_SIDE, ListedView, frames_of_views, is_file, rigid_inverse, safe_name
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

TRANSFORMS_NAMES = ("transforms.json", "transforms_train.json")
_HOLDOUT = 8
_PERSPECTIVE = {"OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE"}
_FISHEYE = {"OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"}


def read_transforms(
    path: Path,
    *,
    factor: int | None = None,
    background: Background | None = None,
    inner_folders: Sequence[str] = (),
) -> Capture:
    """Reads a capture listed in ``transforms.json`` or in ``transforms_train.json`` and ``transforms_test.json``.

    Args:
        path: the folder, or the JSON file.
        factor: takes ``images_<factor>/`` in place of ``images/`` where that folder exists, else downscales on load.
        background: colour behind transparent pixels; white when None.
        inner_folders: a picture that is not where the list says may lie in one of these beside that place.

    Returns:
        A capture in the file's world frame.  Held out are the frames of ``transforms_test.json`` (``_val`` where there is no
        test file; otherwise ``_val`` is not read, as in the papers), else the file's own ``test_filenames``, else every 8th.
        Frames whose image is missing are listed without one.

    Raises:
        DataFormatError: unreadable JSON, a pose or intrinsic that is no finite number, an unknown camera model.
    """
    if path.is_dir():
        found = next((path / name for name in TRANSFORMS_NAMES if is_file(path / name)), None)
        if found is None:
            raise DataFormatError(path, expected=" or ".join(TRANSFORMS_NAMES), got="neither")
        root, listing = path, found
    else:
        root, listing = path.parent, path
    is_split = listing.name == "transforms_train.json"
    held_out = next((root / name for name in ("transforms_test.json", "transforms_val.json") if is_file(root / name)), None)
    meta = ListedObject(listing, "", read_listed_object(listing))
    frames, in_effect = _frames(meta, root, factor, background, inner_folders)
    points = None
    if is_split and held_out is not None:
        test_meta = ListedObject(held_out, "", read_listed_object(held_out))
        test_frames, test_background = _frames(test_meta, root, factor, background, inner_folders)
        in_effect = in_effect or test_background
        test_names = frozenset(frame.name for frame in test_frames)
        both = test_names & {frame.name for frame in frames}
        if both:
            raise DataFormatError(held_out, expected="frames that are not in the training file", got=min(both))
        frames = tuple(sorted(frames + test_frames, key=lambda frame: frame.name))
    else:
        test_names = _listed_split(meta, frames)
        points = _points(meta, root, frames)
    has_depth = any(frame.load_depth is not None for frame in frames)
    return Capture(
        root=root,
        source_format="transforms",
        frames=frames,
        points=points,
        test_names=test_names,
        scale="metric" if has_depth else "arbitrary",  # depth maps are in millimetres of the same world
        up_in_world=np.array([0.0, 0.0, 1.0]) if is_split else None,  # Blender's world has +Z up
        background=in_effect,
    )


def _frames(
    meta: ListedObject, root: Path, factor: int | None, background: Background | None, inner_folders: Sequence[str]
) -> tuple[tuple[Frame, ...], Background | None]:
    listed = meta.values.get("frames")
    if not isinstance(listed, list):
        raise meta.wrong("frames", expected="a list", got=type(listed).__name__)
    views, poses = [], np.empty((len(listed), 4, 4))
    files = ListedFiles(root)
    lenses: dict[tuple[object, ...], LensCamera] = {}
    folder_exists = {prefix: (root / prefix).is_dir() for prefix in _downscaled_folders(factor)}
    left = factor
    for index, values in enumerate(listed):
        if not isinstance(values, dict):
            raise meta.wrong(f"frames[{index}]", expected="an object", got=type(values).__name__)
        frame = ListedObject(meta.path, f"frames[{index}].", values)
        file_path = frame.text("file_path")
        if file_path is None:
            raise DataFormatError(meta.path, f"frames[{index}]", expected="file_path", got="none", fix="name the image")
        poses[index] = frame.matrix("transform_matrix")
        listed_path = _replaced_folder(plain_path(file_path), folder_exists)
        if listed_path != plain_path(file_path):
            left = None
        image_path, suffix = _with_suffix(meta.path, files, listed_path)
        image_path = _perhaps_inside(image_path, inner_folders)
        lens_camera = _lens(ListedObject(meta.path, frame.place, meta.values | values), image_path, lenses)
        depth, mask = frame.text("depth_file_path") or frame.text("depth_path"), frame.text("mask_path")
        views.append(
            ListedView(
                name=safe_name(file_path + suffix),
                image_path=image_path,
                lens_camera=lens_camera,
                place=f"frames[{index}]",
                depth_path=None if depth is None else files.path(depth),
                mask_path=None if mask is None else files.path(mask),
                units_per_depth_code=meta.number("integer_depth_scale") or 0.001,
            )
        )
    camera_from_world = rigid_inverse(torch.from_numpy(poses @ OPENCV_FROM_OPENGL))
    frames, in_effect = frames_of_views(meta.path, views, camera_from_world, background)
    if left is not None:
        frames = tuple(downscaled(frame, left) for frame in frames)
    return frames, in_effect


def _downscaled_folders(factor: int | None) -> tuple[str, ...]:
    return () if factor in (None, 1) else (f"images_{factor}",)


def _replaced_folder(file_path: str, folder_exists: dict[str, bool]) -> str:
    """``images/x`` as ``images_4/x`` where that folder exists."""
    for folder, exists in folder_exists.items():
        if exists and file_path.startswith("images/"):
            return f"{folder}/{file_path.removeprefix('images/')}"
    return file_path


def _with_suffix(listing: Path, files: ListedFiles, file_path: str) -> tuple[Path, str]:
    """The image file and what had to be appended to the listed name to find it (Blender's lists have no ``.png``)."""
    path = files.path(file_path)
    if is_file(path) or file_path.lower().endswith(IMAGE_SUFFIXES):
        return path, ""
    found = files.with_ending(file_path)
    if not found:
        return path.with_name(path.name + ".png") if path.name else path, ".png"
    if len(found) > 1:
        others = ", ".join(other.name for other in found[1:])
        warnings.warn(
            CaptureWarning(
                f"{listing}: the list names {file_path} without an ending; took {found[0].name} and not {others} beside it",
                "give the ending, or remove the file that is not meant",
            ),
            stacklevel=2,
        )
    return found[0], found[0].suffix


def _perhaps_inside(image_path: Path, inner_folders: Sequence[str]) -> Path:
    if not inner_folders or is_file(image_path):
        return image_path
    places = (image_path.parent / folder / image_path.name for folder in inner_folders)
    return next((place for place in places if is_file(place)), image_path)


_LENS_KEYS = (
    *("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "x_fov", "y_fov", "camera_model", "is_fisheye"),
    *("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"),
)


def _lens(record: ListedObject, image_path: Path, known: dict[tuple[object, ...], LensCamera]) -> LensCamera:
    """The lens of one frame; equal numbers give the same object."""
    key: tuple[object, ...] = tuple(str(record.values.get(name)) for name in _LENS_KEYS)
    width, height = record.number("w"), record.number("h")
    size_listed = width is not None and height is not None
    if size_listed and key in known:
        return known[key]
    if width is None or height is None:
        if not is_file(image_path):
            # The size may still be told by another frame's image; a placeholder keeps the frame listed as missing.
            first = next(iter(known.values()), None)
            width, height = (float(first.width), float(first.height)) if first is not None else (1.0, 1.0)
            return _lens(replace(record, values=record.values | {"w": width, "h": height}), image_path, known)
        # A list that gives the angle of view alone says nothing of sizes, which may differ from picture to picture.
        header = read_image_header(image_path)
        width, height = float(header.width), float(header.height)
        key = (*key, width, height)
        if key in known:
            return known[key]
    if not (1 <= width <= MAX_IMAGE_SIDE and 1 <= height <= MAX_IMAGE_SIDE):
        raise record.wrong("w, h", expected=f"1 … {MAX_IMAGE_SIDE} pixels", got=f"{width:g}×{height:g}")
    fx, fy = record.number("fl_x"), record.number("fl_y")
    fx = _focal(record, width, "camera_angle_x", "x_fov") if fx is None else fx
    fy = _focal(record, height, "camera_angle_y", "y_fov") if fy is None else fy
    if fx is None and fy is None:
        raise DataFormatError(
            record.path, f"{record.place}fl_x", expected="fl_x or camera_angle_x", got="neither", fix="add the focal length"
        )
    # A list that gives one axis only means square pixels.
    fx, fy = fy if fx is None else fx, fx if fy is None else fy
    assert fx is not None and fy is not None
    cx, cy = record.number("cx"), record.number("cy")
    focal_and_centre = (fx, fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy)
    model, extra = _distortion(record)
    lens_camera = lens_camera_or_error(
        record.path, record.place.rstrip("."), model, (*focal_and_centre, *extra), round(width), round(height)
    )
    known[key] = lens_camera
    return lens_camera


def _focal(record: ListedObject, size: float, angle_key: str, degrees_key: str) -> float | None:
    """Focal length in pixels from a full angle of view."""
    angle = record.number(angle_key)
    if angle is None:
        degrees = record.number(degrees_key)
        angle = None if degrees is None else math.radians(degrees)
    if angle is None:
        return None
    if not 0 < angle < math.pi:
        raise record.wrong(angle_key, expected="an angle between 0 and π", got=angle)
    return size / 2 / math.tan(angle / 2)


def _distortion(record: ListedObject) -> tuple[str, tuple[float, ...]]:
    """COLMAP's name and parameters of the lens a list describes."""
    model = (record.text("camera_model") or ("OPENCV_FISHEYE" if record.values.get("is_fisheye") is True else "OPENCV")).upper()
    k1, k2, k3, k4, k5, k6, p1, p2 = (record.number(key) or 0.0 for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"))
    if model in _FISHEYE:
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if model == "FULL_OPENCV":
        return model, (k1, k2, p1, p2, k3, k4, k5, k6)
    if model not in _PERSPECTIVE:
        raise DataFormatError(
            record.path,
            f"{record.place}camera_model",
            expected=f"one of {', '.join(sorted(_PERSPECTIVE | _FISHEYE | {'FULL_OPENCV'}))}",
            got=model,
            fix=CUT_PANORAMAS if model in PANORAMAS else "undistort the images with COLMAP's image_undistorter",
        )
    if k4:
        raise DataFormatError(
            record.path,
            f"{record.place}k4",
            expected="0 for a perspective lens (its meaning differs between tools)",
            got=k4,
            fix="say camera_model FULL_OPENCV or OPENCV_FISHEYE",
        )
    return ("FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)) if k3 else ("OPENCV", (k1, k2, p1, p2))


def _listed_split(meta: ListedObject, frames: tuple[Frame, ...]) -> frozenset[str]:
    """Held-out names: the file's own split where it has one, else every 8th."""
    train, test = meta.names("train_filenames"), meta.names("test_filenames") or meta.names("val_filenames")
    known = {frame.name for frame in frames}

    def names_of(listed: Iterable[str]) -> set[str]:
        names = {safe_name(name) for name in listed}
        unknown = sorted(names - known)
        if unknown:
            raise DataFormatError(
                meta.path,
                "train_filenames, test_filenames",
                expected="file_paths of frames",
                got=unknown[0],
                fix="correct the name",
            )
        return names

    if test is not None:
        return frozenset(names_of(test))
    if train is not None:
        return frozenset(known - names_of(train))
    return every_nth_name(frames, _HOLDOUT)


def _points(meta: ListedObject, root: Path, frames: tuple[Frame, ...]) -> PointCloud | None:
    """Points of ``ply_file_path``, in the frame of the poses."""
    listed = meta.text("ply_file_path")
    if listed is None:
        return None
    path = ListedFiles(root).path(listed)
    if not is_file(path):
        warnings.warn(f"{meta.path}: ply_file_path names {listed}, which does not exist; going on without", CaptureWarning, 2)
        return None
    points = read_points_ply(path, non_finite="drop")
    if "applied_transform" not in meta.values:
        return points
    # nerfstudio writes the points after applied_transform, in the frame of the poses; before 2024 it wrote them untransformed.
    # Nothing in the file tells which, but only one of the two lies in front of the cameras.
    moved = replace(points, points_in_world=transform_points(meta.matrix("applied_transform"), points.points_in_world))
    if _share_in_view(moved, frames) > 1.2 * _share_in_view(points, frames):
        warnings.warn(f"{path}: points lack applied_transform, which is applied now", CaptureWarning, 2)
        return moved
    return points


def _share_in_view(points: PointCloud, frames: tuple[Frame, ...]) -> float:
    """Mean share of a sample of points that a sample of cameras sees."""
    sample = points.points_in_world[:: max(1, len(points) // 500)]
    shares = []
    for frame in frames[:: max(1, len(frames) // 20)]:
        in_camera = transform_points(frame.camera.camera_from_world.numpy(), sample)
        in_front = in_camera[in_camera[:, 2] > 0]
        pixels = in_front @ frame.camera.K.numpy().T
        u, v = pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2]
        shares.append(((u >= 0) & (u < frame.camera.width) & (v >= 0) & (v < frame.camera.height)).sum() / max(1, len(sample)))
    return float(np.mean(shares)) if shares else 0.0
