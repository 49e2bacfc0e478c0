"""The embedded capture: a procedural room written as an RGB-D folder, for ``scenewise demo`` and the tests."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.errors import ConventionError
from scenewise.io.rgbd.writing import RgbdFrame, write_rgbd_folder
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.captures import LICENCE, photograph, room_cameras, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED

DEMO_FRAMES, DEMO_WIDTH, DEMO_HEIGHT = 64, 320, 240


def write_demo_capture(
    folder: Path,
    seed: int = DEFAULT_DEMO_SEED,
    frames: int = DEMO_FRAMES,
    width: int = DEMO_WIDTH,
    height: int = DEMO_HEIGHT,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Photographs the tour of a procedural room into an RGB-D folder with class and instance maps.

    The files depend on the arguments and the instruction set only: not on the time, nor on the number of threads.

    Args:
        folder: where to; new or empty.  It appears when all is written.
        seed: which room.
        frames: number of views, at least 1.
        width: image width in pixels.
        height: image height in pixels.
        progress: called with (frames done, frames in all) after each frame.

    Raises:
        ConventionError: no frames asked for.
        DataFormatError: the folder is in use.
        ResourceError: the disk is full or read-only.
    """
    if frames < 1:
        raise ConventionError("frames", expected="at least 1", got=frames)
    room = furnished_room(seed)
    write_room_capture(folder, room, room_cameras(room, frames, width, height), {"kind": "room", "seed": seed}, progress)


def write_room_capture(
    folder: Path,
    room: Room,
    cameras: Cameras,
    world: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Photographs any room into an RGB-D folder with class and instance maps.

    Args:
        folder: where to; new or empty.  It appears when all is written.
        room: what is photographed.
        cameras: a batch with one axis.
        world: what capture.json says about where the room comes from; JSON values only.
        progress: called with (frames done, frames in all) after each frame.

    Raises:
        DataFormatError: the folder is in use.
        ResourceError: the disk is full or read-only.
    """

    def views() -> Iterator[RgbdFrame]:
        for index in range(len(cameras)):
            camera = cameras[index]
            known = truth(room, camera)
            world_from_camera = camera.world_from_camera.numpy()
            yield RgbdFrame(photograph(room, camera), known.depth, world_from_camera, known.class_ids, known.instance_ids)
            if progress is not None:
                progress(index + 1, len(cameras))

    write_rgbd_folder(
        folder,
        views(),
        cameras[0].K.numpy(),
        cameras.width,
        cameras.height,
        up_in_world=np.array([0.0, 0.0, 1.0]).tolist(),
        classes=list(CLASS_NAMES),
        licence=LICENCE,
        world=dict(world),
        instances=[
            {
                "id": i,
                "class": thing.class_name,
                "color": thing.color_name,
                "center": list(thing.center),
                "size": list(thing.size),
            }
            for i, thing in enumerate(room.objects)
        ],
    )


__all__ = ["DEMO_FRAMES", "DEMO_HEIGHT", "DEMO_WIDTH", "write_demo_capture", "write_room_capture"]
