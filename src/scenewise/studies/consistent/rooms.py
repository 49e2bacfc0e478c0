"""Rooms of the study: posed scans from files, and what is true of them."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, Int64

from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import ROOM_TRUTH
from scenewise.io.products import made
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.rooms import FusedRoom, RoomScans, fused_seed, room_files
from scenewise.methods.condense.trainer import PosedScans
from scenewise.parts.scans.posed_files import PosedScanFiles
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.studies.consistent.probing import LabelledCloud
from scenewise.studies.consistent.sizes import CondenseSizes
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.towers import VisionTower

_ENTRY = "room_truth"  # key of the description in a file's metadata


@dataclass(frozen=True)
class LabelledRoom:
    """What is true of a room.

    Attributes:
        cloud: its fused points with their classes.
        pixel_class_ids: of its photographs.
    """

    cloud: LabelledCloud
    pixel_class_ids: Int64[np.ndarray, "views height width"]


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


def labelled_room(seed: int, settings: RoomScans, folder: Path) -> LabelledRoom:
    """What is true of a room, in the axes of its posed scan; from its file where that is there."""
    fingerprint = fingerprint_of({"truth of room": seed, "settings": asdict(settings)})
    path = ROOM_TRUTH.path(folder, f"room-{seed}", fingerprint)
    return made(path, ROOM_TRUTH, fingerprint, lambda beside: _write_truth(beside, seed, settings), _read_truth).value


def make_truths(seeds: Sequence[int], settings: RoomScans, folder: Path, jobs: int = 1) -> None:
    """Writes what :func:`labelled_room` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    if jobs <= 1:
        for seed in seeds:
            labelled_room(seed, settings, folder)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for making in [pool.submit(_make_truth, seed, settings, folder) for seed in seeds]:
            making.result()


def _make_truth(seed: int, settings: RoomScans, folder: Path) -> None:
    labelled_room(seed, settings, folder)


def _write_truth(path: Path, seed: int, settings: RoomScans) -> None:
    fused = fused_seed(seed, settings)
    tensors = {
        "points": torch.from_numpy(_centred(fused)),
        "colors": torch.from_numpy(fused.colors_u8),
        "classes": torch.from_numpy(fused.class_ids.astype(np.int16)),
        "pixels": torch.from_numpy(fused.pixel_class_ids.astype(np.int16)),
    }
    write_tensors(path, tensors, _ENTRY, {"seed": seed})


def _read_truth(path: Path) -> LabelledRoom:
    held = {name: tensor.numpy() for name, tensor in read_tensors(path, _ENTRY)[0].items()}
    cloud = LabelledCloud(held["points"], held["colors"], held["classes"].astype(np.int64))
    return LabelledRoom(cloud, held["pixels"].astype(np.int64))


def _centred(fused: FusedRoom) -> Float32[np.ndarray, "n 3"]:
    middle = (fused.points_in_world.min(axis=0) + fused.points_in_world.max(axis=0)) / 2
    return np.ascontiguousarray(fused.points_in_world - middle, dtype=np.float32)


@dataclass(frozen=True)
class StudyRooms:
    """Rooms of one seed.

    Attributes:
        learned: posed scans.
        learned_clouds: with truth, in the same order.
        measured: other rooms.
        measured_clouds: with truth.
        measured_pixels: truth of their pixels.
    """

    learned: PosedScanFiles
    learned_clouds: Sequence[LabelledCloud]
    measured: Sequence[PosedScan]
    measured_clouds: Sequence[LabelledCloud]
    measured_pixels: Sequence[Int64[np.ndarray, "views height width"]]


@final
class OtherPictures:
    """Scans of which each has the photographs of the next one, with the depths and cameras of its own.

    Args:
        scans: of one size of pictures.
    """

    def __init__(self, scans: PosedScans) -> None:
        self._scans, self.weights = scans, scans.weights

    @property
    def fingerprint(self) -> str:
        """Of the scans, and that their pictures are others'."""
        return f"other pictures of {self._scans.fingerprint}"

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, index: int) -> PosedScan:
        own, other = self._scans[index], self._scans[(index + 1) % len(self._scans)]
        return replace(own, pictures_u8=other.pictures_u8, prior=other.prior)


def ready_rooms(sizes: CondenseSizes, folder: Path, jobs: int) -> None:
    """Scans all rooms of the study, in several processes."""
    rooms = [*sizes.all_learned_rooms(), *sizes.measured_rooms()]
    posed_rooms(rooms, sizes.scans, folder, jobs)
    make_truths(rooms, sizes.scans, folder, jobs)


def study_rooms(sizes: CondenseSizes, seed: int, folder: Path) -> StudyRooms:
    """Reads, or makes, the rooms of a seed."""
    learned = sizes.learned_rooms(seed)
    measured = posed_rooms(sizes.measured_rooms(), sizes.scans, folder)
    known = [labelled_room(room, sizes.scans, folder) for room in sizes.measured_rooms()]
    return StudyRooms(
        learned=posed_rooms(learned, sizes.scans, folder),
        learned_clouds=[labelled_room(room, sizes.scans, folder).cloud for room in learned],
        measured=[measured[index] for index in range(len(measured))],
        measured_clouds=[each.cloud for each in known],
        measured_pixels=[each.pixel_class_ids for each in known],
    )
