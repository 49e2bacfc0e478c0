"""Rooms as ordinary captures: lazily photographed frames with exact depth, classes and instances."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ConventionError
from scenewise.kernels import ray_casting
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import DepthMap, Frame, ImageU8
from scenewise.worlds.cameras import pinhole, tour
from scenewise.worlds.rooms import Room, furnished_room

DEFAULT_FOV_DEG = 70.0
LICENCE = "CC0-1.0 (generated)"


@dataclass(frozen=True)
class Truth:
    """What is known about every pixel of a view, at the pixel's centre and without antialiasing.

    Attributes:
        depth: along +Z, metres.
        class_ids: index into ``CLASS_NAMES``; −1 = nothing.
        instance_ids: index into ``Room.objects``; −1 = nothing.
    """

    depth: DepthMap
    class_ids: Int64[np.ndarray, "height width"]
    instance_ids: Int64[np.ndarray, "height width"]


def photograph(room: Room, camera: Cameras) -> ImageU8:
    """What the camera sees, antialiased by 2×2 samples per pixel."""
    return ray_casting.photograph(room.scene, camera, samples_per_axis=2).numpy()


def truth(room: Room, camera: Cameras) -> Truth:
    """Depth, classes and instances of what the camera sees."""
    maps = ray_casting.surface_maps(room.scene.primitives, camera)
    return Truth(maps.depth.numpy(), room.class_ids(maps.primitive_ids), room.instance_ids(maps.primitive_ids))


def room_cameras(
    room: Room,
    frames: int,
    width: int,
    height: int,
    fov_deg: float = DEFAULT_FOV_DEG,
    *,
    phase: float = 0.0,
    rise: float = 0.0,
) -> Cameras:
    """The tour of a room as a batch of cameras; ``phase`` and ``rise`` as in :func:`~scenewise.worlds.cameras.tour`."""
    return pinhole(tour(room, frames, phase=phase, rise=rise), width, height, fov_deg)


def room_capture(seed: int, frames: int, width: int, height: int, fov_deg: float = DEFAULT_FOV_DEG) -> Capture:
    """A capture of the room of a seed.  Nothing is rendered before a frame is loaded.

    Args:
        seed: see :mod:`scenewise.worlds.seeds`.
        frames: number of views of the tour, at least 1.
        width: image width in pixels.
        height: image height in pixels.
        fov_deg: horizontal field of view.

    Returns:
        Metric, up = +Z, every 8th frame held out.

    Raises:
        ConventionError: no frames asked for.
    """
    if frames < 1:
        raise ConventionError("frames", expected="at least 1", got=frames)
    room = furnished_room(seed)
    return capture_of_room(room, room_cameras(room, frames, width, height, fov_deg))


def capture_of_room(room: Room, cameras: Cameras) -> Capture:
    """A capture of any room.  Nothing is rendered before a frame is loaded.

    Args:
        room: what is photographed.
        cameras: a batch with one axis, at least one; see :func:`room_cameras`.

    Returns:
        Metric, up = +Z, every 8th frame held out.
    """
    views = tuple(_frame(room, cameras[i], i) for i in range(len(cameras)))
    return Capture(
        root=Path(f"room-{room.seed}"),
        source_format="world",
        frames=views,
        test_names=every_nth_name(views, 8),
        scale="metric",
        up_in_world=np.array([0.0, 0.0, 1.0]),
        licence=LICENCE,
    )


def _frame(room: Room, camera: Cameras, index: int) -> Frame:
    return Frame(
        name=f"frame-{index:06d}.color.png",
        camera=camera,
        load_image=lambda: photograph(room, camera),
        load_depth=lambda: truth(room, camera).depth,
    )
