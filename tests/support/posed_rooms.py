"""Tiny posed scans without files of weights: rooms, a wall that can be computed by hand, a tower and a teacher from a seed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from tests.support.tiny_tower import TinyTower

from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.options import CondenseConfig, RaySettings
from scenewise.methods.condense.rooms import FusedRoom, RoomScans, fused_seed, posed_room
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.vocabularies import Vocabulary

ROOM = RoomScans(views=3, width=64, height=48, spacing=0.1)
TINY = CondenseConfig(
    dim=8,
    backbone="minkunet14a",
    width=0.125,
    image_width=16,
    voxel=0.2,
    steps=4,
    scans_per_step=2,
    views_per_scan=2,
    rays=RaySettings(per_view=12),
    remembered=30,
)


def tiny_frozen() -> FrozenTower:
    return FrozenTower(TinyTower(depth=3, width=16, heads=2, patch_size=4, dtype=torch.float32))


class GridTeacher:
    """Mean colours of cells of eight pixels and their squares: features that differ from place to place."""

    name, fingerprint, logit_scale, licence = "grid", "grid-1", 10.0, None

    def __init__(self, missing: Sequence[str] = ()) -> None:
        self.missing, self.asked = missing, list[str]()

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
        self.asked.append(frame_name)
        if frame_name in self.missing:
            return None
        height, width = (side // 8 for side in image.shape[:2])
        cells = image[: 8 * height, : 8 * width].reshape(height, 8, width, 8, 3).mean(axis=(1, 3)) / 255.0
        return DenseField(np.concatenate([cells, cells**2], axis=2).astype(np.float32), *image.shape[:2])

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        raise NotImplementedError

    def default_templates(self) -> tuple[str, ...]:
        return ("{}",)

    def vocabulary(self) -> Vocabulary | None:
        return None


def fused(seed: int, *, noise: bool = True) -> FusedRoom:
    return fused_seed(seed, replace(ROOM, noise=noise))


def tiny_scan(seed: int, *, noise: bool = True) -> PosedScan:
    return posed_room(fused(seed, noise=noise), f"room-{seed}", GridTeacher())


class TinyScans:
    """Scans in memory."""

    def __init__(self, scans: Sequence[PosedScan], weights: Sequence[float] | None = None) -> None:
        self.scans = scans
        self.weights: Sequence[float] = (1.0,) * len(scans) if weights is None else weights
        self.fingerprint = "-".join(scan.name for scan in scans)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> PosedScan:
        return self.scans[index]


def wall_scan(distance: float = 2.0, views: int = 3) -> PosedScan:
    """A wall in the plane x = ``distance``, seen by cameras that stand beside each other at x = 0 and look along +X.

    Brightness rises to the left in y; the camera's +X is the scan's −Y, its +Y the scan's −Z.
    """
    height, width, focal = 24, 32, 20.0
    y, z = np.meshgrid(np.arange(-3.0, 3.0, 0.05) + 0.02, np.arange(-2.0, 2.0, 0.05) + 0.02, indexing="ij")
    points = np.stack([np.full(y.shape, distance), y, z], axis=-1).reshape(-1, 3).astype(np.float32)
    colors = np.repeat((127.5 + 40 * points[:, 1:2]).clip(0, 255).astype(np.uint8), 3, axis=1)
    pose = np.eye(4)
    pose[:3, :3] = [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]
    poses = np.repeat(pose[None], views, axis=0)
    poses[:, :3, 3] = [pose[:3, :3] @ [0.0, -0.4 * view, 0.0] for view in range(views)]
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    draw = np.random.default_rng(4)
    return PosedScan(
        name="wall",
        points_in_scan=points,
        colors_u8=colors,
        pictures_u8=draw.integers(0, 256, (views, height, width, 3), dtype=np.uint8),
        depths=np.full((views, height, width), distance, dtype=np.float32),
        K=np.repeat(K[None], views, axis=0),
        camera_from_scan=poses,
        prior=draw.standard_normal((views, 3, 4, 6)).astype(np.float16),
    )
