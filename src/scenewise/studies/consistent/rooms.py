"""Rooms of the study: posed scans from files, and what is true of them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.rooms import FusedRoom, RoomScans, fused_seed, room_files
from scenewise.parts.scans.posed_files import PosedScanFiles
from scenewise.studies.consistent.probing import LabelledCloud
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.towers import VisionTower


@cache
def small_clip() -> ClipTeacher:
    """The embedded CLIP: frozen tower, prior and words of all runs."""
    teacher = open_teacher(SMALL_CLIP, device="cpu")
    assert isinstance(teacher, ClipTeacher)
    return teacher


def frozen_tower(*, half: bool = False) -> FrozenTower:
    """The embedded CLIP's; in bfloat16 where it is only trained beside."""
    tower = small_clip().clip.tower
    assert isinstance(tower, VisionTower)
    return FrozenTower(tower, tower.dim, half)


def posed_rooms(seeds: Sequence[int], settings: RoomScans, folder: Path, jobs: int = 1) -> PosedScanFiles:
    """Rooms as posed scans, from files where they are there."""
    return room_files(seeds, settings, folder, small_clip(), jobs=jobs)


def labelled_room(seed: int, settings: RoomScans) -> tuple[LabelledCloud, Int64[np.ndarray, "views height width"]]:
    """The points of a room in the axes of its posed scan, with their classes, and the classes of its pixels."""
    fused = fused_seed(seed, settings)
    return LabelledCloud(_centred(fused), fused.colors_u8, fused.class_ids), fused.pixel_class_ids


def _centred(fused: FusedRoom) -> Float32[np.ndarray, "n 3"]:
    middle = (fused.points_in_world.min(axis=0) + fused.points_in_world.max(axis=0)) / 2
    return np.ascontiguousarray(fused.points_in_world - middle, dtype=np.float32)
