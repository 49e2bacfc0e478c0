"""Teachers made of files for real captures: what is known about every pixel without any network.

nuScenes    the annotated boxes drawn into the cameras, the nearest in front; or the sweep's points: ground, cars, other things
RGB-D       floor, tops of things, upright surfaces and ceiling, told from the depth's normals and heights
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from scenewise.geometry.orbits import up_from_cameras
from scenewise.io.nuscenes.boxes import NuscenesBox
from scenewise.io.nuscenes.classes import CLASS_OF_CATEGORY
from scenewise.io.nuscenes.keyframes import NuscenesKeyframe
from scenewise.io.teacher_files import (
    TeacherAnswer,
    TeacherFilesInfo,
    read_teacher_info,
    write_answer,
    write_teacher_info,
    write_text_embeddings,
)
from scenewise.parts.lifting import visible_pixels
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap, Frame

BACKGROUND = "road scene"
SURFACES = ("floor", "table top", "upright surface", "ceiling", "other thing")

COCO_STUFF_OF_SURFACE = {
    "floor": "floor-other",
    "table top": "table",
    "upright surface": "wall-other",
    "ceiling": "ceiling-other",
    "other thing": "furniture-other",
}
"""The nearest words there are vectors of: upright surfaces are fridges as well."""

SWEEP = ("ground", "standing thing", "car")

_SQUARE = 2.0  # metres
_HIGHEST_GROUND = -1.2  # metres in nuScenes' LiDAR frame, which lies 1.84 m above the road
_CELL = 8  # pixels of a camera per label drawn from points
_BOX_STRIDE = 2  # pixels of a camera per label; 1600×900 is more than boxes need
_LEVEL = math.cos(math.radians(20.0))  # a normal this near to the vertical belongs to a level surface
_UPRIGHT = math.sin(math.radians(12.0))  # and one this near to the horizontal to an upright one
_FLOOR_BAND = 0.2  # metres above the lowest level
_STEP = 0.08  # depth differences within five pixels, as a share, that are still one surface
_CEILING_FROM = 1.8  # metres above the floor from which what looks down is called ceiling


def scored_boxes(keyframe: NuscenesKeyframe) -> tuple[list[NuscenesBox], tuple[str, ...]]:
    """Boxes of the scored classes, and the names of those classes, the background first."""
    boxes = [box for box in keyframe.boxes if box.category in CLASS_OF_CATEGORY]
    return boxes, (BACKGROUND, *sorted({CLASS_OF_CATEGORY[box.category] for box in boxes}))


def points_in_boxes(
    points_in_world: Float[np.ndarray, "n 3"], boxes: list[NuscenesBox], names: tuple[str, ...]
) -> Int32[np.ndarray, " n"]:
    """Class of each point: that of the box it lies in, the smallest one where several do, else the background."""
    ids = np.zeros(len(points_in_world), dtype=np.int32)
    for box in sorted(boxes, key=lambda box: -math.prod(box.size)):
        width, length, height = box.size
        inside = np.abs((points_in_world - box.center_in_world) @ box.world_from_box) <= 0.5 * np.array([length, width, height])
        ids[inside.all(axis=1)] = names.index(CLASS_OF_CATEGORY[box.category])
    return ids


def drawn_boxes(camera: Cameras, boxes: list[NuscenesBox], names: tuple[str, ...]) -> Int32[np.ndarray, "rows columns"]:
    """Class per cell of ``_BOX_STRIDE`` pixels: that of the box whose surface the ray through its middle meets first."""
    rows, columns = camera.height // _BOX_STRIDE, camera.width // _BOX_STRIDE
    v, u = np.meshgrid((np.arange(rows) + 0.5) * _BOX_STRIDE, (np.arange(columns) + 0.5) * _BOX_STRIDE, indexing="ij")
    K, pose = camera.K.numpy(), camera.world_from_camera.numpy()
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1) @ pose[:3, :3].T
    nearest = np.full((rows, columns), np.inf)
    labels = np.zeros((rows, columns), dtype=np.int32)
    for box in boxes:
        width, length, height = box.size
        half = 0.5 * np.array([length, width, height])
        reach = 0.5 * math.sqrt(width**2 + length**2 + height**2)
        if (box.center_in_world - pose[:3, 3]) @ pose[:3, 2] < -reach:
            continue  # all of it lies behind the camera
        origin = (pose[:3, 3] - box.center_in_world) @ box.world_from_box
        # Slabs: the ray is inside the box between the last entry and the first exit.
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1.0 / (rays @ box.world_from_box)
            one, other = (-half - origin) * inverse, (half - origin) * inverse
        enter, leave = np.minimum(one, other).max(axis=-1), np.maximum(one, other).min(axis=-1)
        front = (leave >= enter) & (enter > 0) & (enter < nearest)
        nearest[front] = enter[front]
        labels[front] = names.index(CLASS_OF_CATEGORY[box.category])
    return labels


def write_box_teacher(folder: Path, keyframe: NuscenesKeyframe) -> tuple[str, ...]:
    """A teacher whose answers are the annotated boxes; returns its classes."""
    boxes, names = scored_boxes(keyframe)
    info = TeacherFilesInfo("labels", len(names), classes=names)
    for frame in keyframe.capture.frames_with_image:
        write_answer(folder, frame.name, info, TeacherAnswer(labels=drawn_boxes(frame.camera, boxes, names)))
    write_teacher_info(folder, info)
    return names


def ground_and_things(points_in_lidar: Float[np.ndarray, "n 3"], in_car: Bool[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
    """Class of each point of a sweep in :data:`SWEEP`: near the lowest point of its square of 2 m, in a car's box, or neither."""
    cell = np.floor(points_in_lidar[:, :2] / _SQUARE).astype(np.int64)
    _, square = np.unique(cell, axis=0, return_inverse=True)
    lowest = np.full(square.max() + 1, np.inf)
    np.minimum.at(lowest, square.ravel(), points_in_lidar[:, 2])
    lowest = np.minimum(lowest, _HIGHEST_GROUND)  # a square may hold nothing but a wall's upper part
    standing = points_in_lidar[:, 2] > lowest[square.ravel()] + _FLOOR_BAND
    return np.where(in_car, 2, np.where(standing, 1, 0)).astype(np.int32)


def write_sweep_teacher(folder: Path, keyframe: NuscenesKeyframe) -> Int32[np.ndarray, " n"]:
    """A teacher whose answers are a sweep's own geometry, drawn into the cameras; returns the class of every point.

    Cells of 8 pixels that no point falls into are unknown.
    """
    capture = keyframe.capture
    assert capture.points is not None
    points = capture.points.points_in_world
    boxes, names = scored_boxes(keyframe)
    in_car = points_in_boxes(points, boxes, names) == names.index("car")
    lidar_from_world = np.linalg.inv(keyframe.world_from_lidar)
    ids = ground_and_things(points @ lidar_from_world[:3, :3].T + lidar_from_world[:3, 3], in_car)
    info = TeacherFilesInfo("labels", len(SWEEP), classes=SWEEP)
    frames = capture.frames_with_image
    pixels = visible_pixels(points, list(frames))
    for view, frame in enumerate(frames):
        labels = np.full((frame.camera.height // _CELL, frame.camera.width // _CELL), -1, dtype=np.int32)
        here = pixels.view == view
        row = np.minimum(pixels.row[here] // _CELL, labels.shape[0] - 1)
        labels[row, np.minimum(pixels.column[here] // _CELL, labels.shape[1] - 1)] = ids[pixels.element[here]]
        write_answer(folder, frame.name, info, TeacherAnswer(labels=labels))
    write_teacher_info(folder, info)
    return ids


# -------------------------------------------------------------------------------------------------------------------- RGB-D


def write_surface_teacher(folder: Path, frames: tuple[Frame, ...]) -> dict[str, float]:
    """A teacher that tells level from upright surfaces by the depth alone; returns the share of pixels per class.

    Up comes from the walls and tables themselves: the mean direction of the level surfaces nearest to the cameras' up.
    """
    up = _level_up(frames, up_from_cameras(np.stack([frame.camera.world_from_camera.numpy() for frame in frames])))
    heights = [height[normal @ up > _LEVEL] for normal, height in _measured(frames[:: max(1, len(frames) // 20)], up)]
    lowest = float(np.quantile(np.concatenate(heights), 0.02))
    info = TeacherFilesInfo("labels", len(SURFACES), classes=SURFACES)
    counts = np.zeros(len(SURFACES))
    for frame, (normal, height) in zip(frames, _measured(frames, up)):
        labels = surface_labels(normal @ up, height - lowest)
        counts += np.bincount(labels[labels >= 0], minlength=len(SURFACES))
        write_answer(folder, frame.name, info, TeacherAnswer(labels=labels))
    write_teacher_info(folder, info)
    return dict(zip(SURFACES, (counts / counts.sum()).tolist()))


def write_clip_words(folder: Path, clip_text: Path) -> None:
    """Real text vectors of CLIP ViT-B/16 beside the surfaces, so that a network learns them in that space.

    Args:
        folder: of :func:`write_surface_teacher`.
        clip_text: folder with ``coco_single.npy`` (a row per class of COCO-Stuff) and ``class_names.json``.
    """
    names = json.loads((clip_text / "class_names.json").read_text())["coco_single"]
    rows = np.load(clip_text / "coco_single.npy", allow_pickle=False).astype(np.float32)
    info = replace(read_teacher_info(folder), text_space="openai/clip-vit-base-patch16")
    write_text_embeddings(folder, info, rows[[names.index(COCO_STUFF_OF_SURFACE[name]) for name in info.classes]])
    write_teacher_info(folder, info)


def surface_labels(upward: Float[np.ndarray, "h w"], height: Float[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """Class of pixels.

    Args:
        upward: cosine between normal and up; NaN where nothing was measured.
        height: metres above the floor.
    """
    labels = np.full(upward.shape, SURFACES.index("other thing"), dtype=np.int32)
    labels[np.abs(upward) < _UPRIGHT] = SURFACES.index("upright surface")
    labels[upward > _LEVEL] = SURFACES.index("table top")
    labels[(upward > _LEVEL) & (height < _FLOOR_BAND)] = SURFACES.index("floor")
    labels[(upward < -_LEVEL) & (height > _CEILING_FROM)] = SURFACES.index("ceiling")
    labels[~np.isfinite(upward)] = -1
    return labels


def _measured(
    frames: tuple[Frame, ...], up: Float[np.ndarray, "3"]
) -> Iterator[tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]]:
    """Normals towards the camera and heights along up, per pixel, frame by frame."""
    for frame in frames:
        assert frame.load_depth is not None
        points, normals = _points_and_normals(frame.camera, frame.load_depth())
        yield normals.astype(np.float32), (points @ up).astype(np.float32)


def _points_and_normals(camera: Cameras, depth: DepthMap) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    """World points and unit normals towards the camera, from differences across five pixels; NaN where not measured."""
    K, pose = camera.K.numpy(), camera.world_from_camera.numpy()
    v, u = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    low, high = minimum_filter(depth, 5), maximum_filter(depth, 5)
    continuous = (low > 0) & (high - low <= _STEP * low)  # neither a hole nor the edge of something
    smooth = np.where(continuous, uniform_filter(depth.astype(np.float64), 5), np.nan)
    in_camera = np.stack([(u - K[0, 2]) / K[0, 0] * smooth, (v - K[1, 2]) / K[1, 1] * smooth, smooth], axis=-1)
    across, down = np.full_like(in_camera, np.nan), np.full_like(in_camera, np.nan)
    across[:, 2:-2], down[2:-2] = in_camera[:, 4:] - in_camera[:, :-4], in_camera[4:] - in_camera[:-4]
    normals = np.cross(down, across)
    normals[~continuous] = np.nan
    with np.errstate(invalid="ignore"):
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        normals *= np.where((normals * in_camera).sum(axis=-1, keepdims=True) > 0, -1.0, 1.0)
    return in_camera @ pose[:3, :3].T + pose[:3, 3], normals @ pose[:3, :3].T


def _level_up(frames: tuple[Frame, ...], guess: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Up, made exact by what is nearly level: three times the mean normal of what deviates less and less from it."""
    chosen = frames[:: max(1, len(frames) // 20)]
    normals = np.concatenate([normal.reshape(-1, 3)[::7] for normal, _ in _measured(chosen, guess)])
    normals = normals[np.isfinite(normals).all(axis=1)]
    up = guess
    for degrees in (30.0, 15.0, 8.0):
        along = normals @ up
        near = np.abs(along) > math.cos(math.radians(degrees))
        mean = (normals[near] * np.sign(along[near])[:, None]).mean(axis=0)
        up = mean / np.linalg.norm(mean)
    return up
