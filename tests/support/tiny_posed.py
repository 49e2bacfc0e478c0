"""Posed scans of procedural rooms and a recipe so small that a step takes a tenth of a second."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tests.support.tiny_tower import TinyTower

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.options import CondenseConfig, RaySettings
from scenewise.methods.condense.rooms import FusedRoom, RoomScans, fused_seed, posed_room
from scenewise.methods.condense.trainer import CondenseTrainer
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.teachers.clip_teacher import ClipTeacher, whole_picture_settings
from scenewise.teachers.dinov2 import NoWords
from scenewise.teachers.loaded_clip import LoadedClip
from scenewise.worlds.seeds import DEMO_SEEDS, LEARNING_SEEDS


def tiny_teacher() -> ClipTeacher:
    """A transformer of random weights that knows no words."""
    tower = TinyTower(depth=2, dtype=torch.float32)
    clip = LoadedClip("tiny tower", tower, NoWords("tiny tower"), 1.0, "tiny tower 0", "cpu", licence="CC0-1.0")
    return ClipTeacher(clip, whole_picture_settings(tower.native_size, tower.patch_size))


CAPTURED_FRAMES = 9


def write_captures(place: Path) -> None:
    """Two RGB-D captures, hall and study; the second has a split of its own."""
    for name, seed in (("hall", DEMO_SEEDS[0]), ("study", DEMO_SEEDS[1])):
        write_demo_capture(place / name, seed=seed, frames=CAPTURED_FRAMES, width=64, height=48)
    about = json.loads((place / "study" / "capture.json").read_text())
    about["test_names"] = ["frame-000003.color.png", "frame-000004.color.png"]
    (place / "study" / "capture.json").write_text(json.dumps(about))


def fused(number: int, views: int = 4) -> FusedRoom:
    return fused_seed(LEARNING_SEEDS[number], RoomScans(views=views, width=64, height=48, spacing=0.1))


def posed(number: int, views: int = 4) -> PosedScan:
    return posed_room(fused(number, views), f"room {number}", tiny_teacher())


@dataclass(frozen=True)
class TinyScans:
    """Scans in memory."""

    scans: Sequence[PosedScan]
    weights: Sequence[float]
    fingerprint: str = "tiny"

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> PosedScan:
        return self.scans[index]


@cache
def tiny_scans(count: int = 3) -> TinyScans:
    return TinyScans([posed(number) for number in range(count)], [1.0] * count)


def tiny_config(**changed) -> CondenseConfig:
    settings = {
        "dim": 16,
        "backbone": "minkunet14a",
        "width": 0.125,
        "image_width": 16,
        "voxel": 0.2,
        "picture_width": 64,
        "most_views": 4,
        "steps": 6,
        "scans_per_step": 2,
        "views_per_scan": 2,
        "rays": RaySettings(per_view=32, depth_deviation=0.1),
        "remembered": 96,
    }
    return CondenseConfig(**{**settings, **changed})


def tiny_frozen() -> FrozenTower:
    return FrozenTower(tiny_teacher().clip.tower)


def tiny_trainer(scans: TinyScans | None = None, ranks: Ranks = ALONE, **changed) -> CondenseTrainer:
    return CondenseTrainer(tiny_config(**changed), tiny_scans() if scans is None else scans, tiny_frozen(), seed=2, ranks=ranks)
