"""Procedural rooms written as ScanNet scenes: the same files, the same reader."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.io.rgbd import RgbdFrame
from scenewise.io.scannet import NYU40_NAMES, write_scannet_scene
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition
from scenewise.worlds.captures import DEFAULT_FOV_DEG, photograph, room_cameras, truth
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


def write_room_scan(
    seed: int,
    path: Path,
    *,
    frames: int = 12,
    width: int = 640,
    height: int = 480,
    fov_deg: float = DEFAULT_FOV_DEG,
    spacing: float = 0.025,
    segment: Callable[[TriangleMesh], Partition] | None = None,
    progress: Progress | None = None,
) -> None:
    """The room of a seed as a ScanNet scene: posed colour, depth and labels, and the fused mesh with labels.

    Args:
        seed: see :mod:`scenewise.worlds.seeds`.
        path: folder to create; its name is the scene's.
        frames: views of the tour.
        width: image width in pixels.
        height: image height in pixels.
        fov_deg: horizontal field of view.
        spacing: of the mesh's vertices, metres.
        segment: an over-segmentation of the mesh (:func:`~scenewise.parts.labelfree.oversegmentation.mesh_segments`), written as
            ``segs.json`` together with the objects; None leaves both out.
        progress: where to report.
    """
    room = furnished_room(seed)
    cameras = room_cameras(room, frames, width, height, fov_deg)
    surface = room_mesh(room, spacing=spacing)
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
            width,
            height,
            mesh=surface.mesh,
            nyu40_ids=nyu40_of_class_ids(surface.class_ids),
            segments=None if segment is None else segment(surface.mesh),
            instance_ids=None if segment is None else surface.instance_ids,
            instance_names=[thing.class_name for thing in room.objects],
        )
