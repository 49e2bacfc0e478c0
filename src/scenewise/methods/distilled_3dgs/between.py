"""Views between the photographs, which only the teachers can show.

Not in the paper.  On a training view the photograph already says what is there; between them only the teachers say anything.
Off unless asked for; the README says what trials gave.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.engine.randomness import keyed_generator
from scenewise.geometry.rotations import quat_from_rotation, rotation_from_quat
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame

_NEIGHBORS = 3
_LARGEST_TURN = 0.5  # cosine: directions more than 60° apart have hardly anything in common
_MARGIN = 0.25  # nearer to a photograph than a quarter of the way there is little new


def views_between(frames: Sequence[Frame], count: int, seed: int) -> tuple[Frame, ...]:
    """Frames without photographs, each between a frame and one of its neighbours; fewer where frames have none.

    A view stands on the line between the two centres and turns half-way likewise; its intrinsics are the first one's.

    Args:
        frames: of a capture; those that are taken in turn.
        count: how many.
        seed: of what is drawn.
    """
    generator = keyed_generator(seed, "views between")
    neighbors = _neighbors([frame.camera for frame in frames])
    found: list[Frame] = []
    for number in range(count):
        first = number % len(frames)
        if not neighbors[first]:
            continue
        chosen = int(torch.randint(len(neighbors[first]), (1,), generator=generator))
        part = _MARGIN + (1.0 - 2.0 * _MARGIN) * float(torch.rand(1, generator=generator))
        camera = camera_between(frames[first].camera, frames[neighbors[first][chosen]].camera, part)
        found.append(replace(frames[first], name=f"between/{number:06d}", camera=camera, load_image=None, image_path=None))
    return tuple(found)


def camera_between(first: Cameras, second: Cameras, part: float) -> Cameras:
    """The camera that has gone ``part`` of the way from one to the other, with the intrinsics and size of the first."""
    poses = torch.stack([first.world_from_camera, second.world_from_camera])
    quats = quat_from_rotation(poses[:, :3, :3])
    end = quats[1] if float((quats[0] * quats[1]).sum()) >= 0.0 else -quats[1]  # the short way round
    world_from_camera = torch.eye(4, dtype=torch.float64)
    world_from_camera[:3, :3] = rotation_from_quat(torch.lerp(quats[0], end, part))
    world_from_camera[:3, 3] = torch.lerp(poses[0, :3, 3], poses[1, :3, 3], part)
    return replace(first, camera_from_world=torch.linalg.inv(world_from_camera))


def _neighbors(cameras: Sequence[Cameras]) -> list[list[int]]:
    """For each camera the nearest others that look about the same way, nearest first."""
    poses: Float64[Tensor, "n 4 4"] = torch.stack([camera.world_from_camera for camera in cameras])
    centers, directions = poses[:, :3, 3], poses[:, :3, 2]
    distances = torch.cdist(centers, centers)
    usable = (directions @ directions.T > _LARGEST_TURN) & ~torch.eye(len(cameras), dtype=torch.bool)
    distances = torch.where(usable, distances, torch.inf)
    order = distances.argsort(dim=1, stable=True)[:, :_NEIGHBORS]
    return [[int(other) for other in row if usable[index, other]] for index, row in enumerate(order)]
