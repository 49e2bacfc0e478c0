"""Keyframes of nuScenes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenewise.io.nuscenes.classes import NUSCENES_CLASSES
from scenewise.io.nuscenes.keyframes import read_nuscenes
from scenewise.io.nuscenes.splits import scenes_of_split
from scenewise.io.nuscenes.tables import list_nuscenes_keyframes
from scenewise.parts.sources.raw_scans import FrameTruths, RawScan, Truth, unknown_truth
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class NuscenesScan:
    """One keyframe of nuScenes: its sweep and the cameras around it.

    Attributes:
        root: of the data.
        token: of the keyframe.
        name: scene and number.
    """

    root: Path
    token: str
    name: str
    class_names: tuple[str, ...] = NUSCENES_CLASSES

    def open(self) -> RawScan:
        keyframe = read_nuscenes(self.root, self.token)
        cloud = keyframe.capture.points
        assert cloud is not None
        return RawScan(
            self.name,
            cloud,
            f"{len(cloud):,} points of a LiDAR sweep",
            capture=keyframe.capture,
            intensity=keyframe.intensity / np.float32(255.0),
            sensor_in_world=np.ascontiguousarray(keyframe.world_from_lidar[:3, 3]),
        )

    def capture(self) -> Capture | None:
        return read_nuscenes(self.root, self.token).capture

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        ids = read_nuscenes(self.root, self.token).class_ids
        return None if ids is None else ids.astype(np.int64)

    def frame_truths(self) -> FrameTruths:
        return unknown_truth


def nuscenes_scans(root: Path, split: str | None = None) -> tuple[NuscenesScan, ...]:
    """Keyframes of the data in a folder.

    Args:
        root: of the data.
        split: keyframes of its official scenes only; None for all.

    Raises:
        DataFormatError: no scene of the split is there.
    """
    scenes = None if split is None else scenes_of_split(root, split)
    return tuple(
        NuscenesScan(root, token, f"{scene}-{index:04d}")
        for index, (scene, token) in enumerate(list_nuscenes_keyframes(root))
        if scenes is None or scene in scenes
    )
