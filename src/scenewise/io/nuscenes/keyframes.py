"""Keyframes: a sweep, the cameras around it, boxes and point labels."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, UInt8

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.transforms import transform_points
from scenewise.io.images import Background
from scenewise.io.nuscenes.boxes import NuscenesBox, read_boxes
from scenewise.io.nuscenes.classes import CLASS_OF_CATEGORY, NUSCENES_CLASSES
from scenewise.io.nuscenes.shots import camera_from_lidar_ego, inverse_of, listed_view, shots_of_keyframe
from scenewise.io.nuscenes.sweeps import read_lidarseg, read_sweep
from scenewise.io.nuscenes.tables import file_name_of, list_nuscenes_keyframes, tables_of
from scenewise.io.views import frames_of_views
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud

LICENCE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True)
class NuscenesKeyframe:
    """One annotated moment.

    Attributes:
        token: of the sample.
        scene: name, for example "scene-0061".
        capture: the cameras that fired (frames named by file), and the sweep as its points.
        points_in_lidar: the sweep as stored.
        intensity: of each point.
        ring: beam of each point.
        world_from_lidar: how the capture's points were made of it.
        boxes: annotations of this moment.
        category_index: of each point, index into ``categories``; None without lidarseg.
        categories: name by index; empty without lidarseg.
    """

    token: str
    scene: str
    capture: Capture
    points_in_lidar: Float32[np.ndarray, "n 3"]
    intensity: Float32[np.ndarray, "n"]
    ring: Float32[np.ndarray, "n"]
    world_from_lidar: Float64[np.ndarray, "4 4"]
    boxes: tuple[NuscenesBox, ...]
    category_index: UInt8[np.ndarray, "n"] | None = None
    categories: Mapping[int, str] = field(default_factory=dict)

    @property
    def class_ids(self) -> Int32[np.ndarray, "n"] | None:
        """Class of each point, index into ``NUSCENES_CLASSES``, −1 = not scored; None without lidarseg."""
        if self.category_index is None:
            return None
        table = np.full(256, -1, dtype=np.int32)
        for index, name in self.categories.items():
            if name in CLASS_OF_CATEGORY:
                table[index] = NUSCENES_CLASSES.index(CLASS_OF_CATEGORY[name])
        ids: np.ndarray = table[self.category_index]
        return ids


def read_nuscenes(path: Path, sample: str | None = None, *, background: Background | None = None) -> NuscenesKeyframe:
    """One keyframe.

    Tables are read record by record, so memory does not grow with the data set.

    Args:
        path: the data root, or its folder of tables.
        sample: token of the keyframe; None takes the first one.
        background: colour behind transparent pixels.

    Returns:
        The keyframe; a camera whose image file is missing is a frame without image.

    Raises:
        DataFormatError: no such layout or sample, links that lead nowhere, damaged records or files.
    """
    tables = tables_of(path)
    root = tables.parent
    scene, token = _chosen_keyframe(path, tables, sample)
    lidar, cameras = shots_of_keyframe(tables, token)

    world_from_global = inverse_of(lidar.global_from_ego)
    views = [listed_view(root, shot) for shot in cameras]
    camera_from_world = np.array(
        [camera_from_lidar_ego(shot.ego_from_sensor, shot.global_from_ego, lidar.global_from_ego) for shot in cameras]
    ).reshape(-1, 4, 4)
    frames, in_effect = frames_of_views(
        tables / "sample_data.json", views, torch.from_numpy(np.ascontiguousarray(camera_from_world)), background
    )
    sweep = read_sweep(root / file_name_of(lidar.record))
    category_index, categories = read_lidarseg(tables, lidar.record.text("token"), len(sweep))
    points_in_lidar = np.ascontiguousarray(sweep[:, :3])
    return NuscenesKeyframe(
        token=token,
        scene=scene,
        capture=Capture(
            root=root,
            source_format="nuscenes",
            frames=frames,
            points=PointCloud(transform_points(lidar.ego_from_sensor, points_in_lidar.astype(np.float64))),
            scale="metric",
            up_in_world=np.array([0.0, 0.0, 1.0]),
            world_from_source=world_from_global,
            background=in_effect,
            licence=LICENCE,
        ),
        points_in_lidar=points_in_lidar,
        intensity=np.ascontiguousarray(sweep[:, 3]),
        ring=np.ascontiguousarray(sweep[:, 4]),
        world_from_lidar=lidar.ego_from_sensor,
        boxes=read_boxes(tables, token, world_from_global),
        category_index=category_index,
        categories=categories,
    )


def _chosen_keyframe(path: Path, tables: Path, sample: str | None) -> tuple[str, str]:
    """(scene name, sample token) of the keyframe with this token, of the first one when None."""
    keyframes = list_nuscenes_keyframes(path)
    if not keyframes:
        raise DataFormatError(tables / "sample.json", expected="at least one sample", got="none")
    chosen = keyframes[0] if sample is None else next((pair for pair in keyframes if pair[1] == sample), None)
    if chosen is None:
        raise DataFormatError(
            tables / "sample.json", expected=f"the sample {sample}", got=f"{len(keyframes)} others", fix="list_nuscenes_keyframes"
        )
    return chosen


def read_nuscenes_capture(path: Path, *, background: Background | None = None) -> Capture:
    """The first keyframe's capture; a warning says so where there are more."""
    count = len(list_nuscenes_keyframes(path))
    if count > 1:
        warnings.warn(
            f"{path}: taking the first of {count} keyframes; read_nuscenes(path, sample=token) reads another", CaptureWarning, 2
        )
    return read_nuscenes(path, background=background).capture
