"""Procedural rooms written as ScanNet scenes: the same files, the same reader."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.rgbd.writing import RgbdFrame
from scenewise.io.scan_data_sets import SCANS_FOLDER, read_data_set_description, write_scan_data_set
from scenewise.io.scannet.classes import NYU40_NAMES
from scenewise.io.scannet.writing import AnnotatedMesh, write_scannet_scene
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition
from scenewise.worlds.captures import DEFAULT_FOV_DEG, LICENCE, photograph, room_cameras, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.meshes import room_mesh
from scenewise.worlds.rooms import furnished_room

NYU40_OF_CLASS = {"monitor": "television", "plant": "otherprop"}
"""NYU40 names of classes that it calls otherwise or does not have."""


def nyu40_of_class_ids(class_ids: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """NYU40 ids of our class ids; 0 = unlabelled for −1."""
    names = [NYU40_OF_CLASS.get(name, name) for name in CLASS_NAMES]
    table = np.array([*(NYU40_NAMES.index(name) + 1 for name in names), 0], dtype=np.int64)
    ids: np.ndarray = table[class_ids]
    return ids


@dataclass(frozen=True)
class RoomScanSettings:
    """How a room is scanned.

    Attributes:
        frames: views of the tour.
        width: image width in pixels.
        height: image height in pixels.
        fov_deg: horizontal field of view.
        spacing: of the mesh's vertices, metres.
        segment: an over-segmentation of the mesh (:func:`~scenewise.parts.segments.oversegmentation.mesh_segments`), written as
            ``segs.json`` together with the objects; None leaves both out.
    """

    frames: int = 12
    width: int = 640
    height: int = 480
    fov_deg: float = DEFAULT_FOV_DEG
    spacing: float = 0.025
    segment: Callable[[TriangleMesh], Partition] | None = None


_ONE_ROOM = RoomScanSettings()
_MANY_ROOMS = RoomScanSettings(width=160, height=120, spacing=0.04)


def write_room_scan(seed: int, path: Path, settings: RoomScanSettings = _ONE_ROOM, *, progress: Progress | None = None) -> None:
    """The room of a seed as a ScanNet scene: posed colour, depth and labels, and the fused mesh with labels.

    Args:
        seed: see :mod:`scenewise.worlds.seeds`.
        path: folder to create; its name is the scene's.
        settings: how.
        progress: where to report.
    """
    frames, segment = settings.frames, settings.segment
    room = furnished_room(seed)
    cameras = room_cameras(room, frames, settings.width, settings.height, settings.fov_deg)
    surface = room_mesh(room, spacing=settings.spacing)
    with (NullProgress() if progress is None else progress).stage("photographing", frames) as stage:

        def views() -> Iterator[RgbdFrame]:
            for index in range(frames):
                seen = truth(room, cameras[index])
                yield RgbdFrame(
                    image_u8=photograph(room, cameras[index]),
                    depth=seen.depth,
                    world_from_camera=cameras[index].world_from_camera.numpy(),
                    class_ids=nyu40_of_class_ids(seen.class_ids),
                )
                stage.advance()

        write_scannet_scene(
            path,
            views(),
            cameras[0].K.numpy(),
            settings.width,
            settings.height,
            surface=AnnotatedMesh(
                surface.mesh,
                nyu40_of_class_ids(surface.class_ids),
                segments=None if segment is None else segment(surface.mesh),
                instance_ids=None if segment is None else surface.instance_ids,
                instance_names=[thing.class_name for thing in room.objects],
            ),
        )


def room_scan_name(seed: int) -> str:
    """Of the room of a seed."""
    return f"room{seed:07d}"


def write_room_data_set(
    folder: Path,
    train: Sequence[int],
    test: Sequence[int],
    validation: Sequence[int] = (),
    *,
    settings: RoomScanSettings = _MANY_ROOMS,
    progress: Progress | None = None,
) -> None:
    """Rooms as a data set in ScanNet's layout with its own classes and splits; a stopped run goes on with the room it was at.

    Learn from ``LEARNING_SEEDS``, choose settings on ``VALIDATION_SEEDS`` and report ``BENCHMARK_SEEDS``
    (:mod:`scenewise.worlds.seeds`): the embedded teacher was trained on other rooms.

    Args:
        folder: of the data set.
        train: seeds.
        test: seeds, others than those.
        validation: seeds, others than those.
        settings: how each room is scanned.
        progress: where to report.

    Raises:
        ConventionError: a seed twice.
        DataFormatError: the folder holds rooms that were made with other settings.
    """
    splits = {"train": list(train), "val": list(validation), "test": list(test)}
    seeds = [seed for split in splits.values() for seed in split]
    if len(set(seeds)) != len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise ConventionError("seeds of rooms", expected="each in one split", got=f"{twice} twice")
    made_with = {name: getattr(settings, name) for name in ("frames", "width", "height", "spacing")}
    made_with |= {"segments": settings.segment is not None}
    before = read_data_set_description(folder)
    if before is not None and before.get("rooms") != made_with:
        raise DataFormatError(
            folder, expected=f"rooms made with {made_with}", got=str(before.get("rooms")), fix="choose another folder"
        )
    write_scan_data_set(
        folder,
        {split: [room_scan_name(seed) for seed in chosen] for split, chosen in splits.items()},
        CLASS_NAMES,
        nyu40_of_class_ids(np.arange(len(CLASS_NAMES))).tolist(),
        LICENCE,
        {"rooms": made_with},
    )
    with (NullProgress() if progress is None else progress).stage("rooms", len(seeds)) as stage:
        for seed in seeds:
            path = folder / SCANS_FOLDER / room_scan_name(seed)
            if not path.exists():  # a room appears only when all of it is written
                write_room_scan(seed, path, settings)
            stage.advance()
