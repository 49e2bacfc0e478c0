"""Boxes as a camera sees them."""

import numpy as np
from jaxtyping import Bool, Float, Float64

from scenewise.geometry.boxes import OrientedBox
from scenewise.scenes.cameras import Cameras

_SAMPLES = 24  # along the longer side of a box's rectangle in the picture, where depth is looked up
_GROWN = 1.04  # reconstructed surfaces lie a little outside of the boxes that were fitted to most of them

Segments = Float64[np.ndarray, "n 2 2"]


def segments_in_picture(
    camera: Cameras, segments_in_world: Float64[np.ndarray, "m 2 3"]
) -> tuple[Segments, Bool[np.ndarray, "m"]]:
    """Straight lines as a camera shows them, cut off at its near plane and at the sides of its picture.

    With h = K·(R·x + t) the pixel is (h₁/h₃, h₂/h₃), so each of the limits h₃ ≥ near, 0 ≤ h₁ ≤ width·h₃, 0 ≤ h₂ ≤ height·h₃ is
    linear along a line, and cuts it in at most one place (Liang and Barsky 1984, in homogeneous coordinates).

    Args:
        camera: one, without batch axes.
        segments_in_world: both ends of each.

    Returns:
        Ends in pixels of those that are in the picture, in order, and which of the lines these are.
    """
    pose, K = camera.camera_from_world.numpy(), camera.K.numpy()
    ends = (segments_in_world @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    x, y, z = ends[..., 0], ends[..., 1], ends[..., 2]
    within = np.stack([z - camera.near, x, camera.width * z - x, y, camera.height * z - y])  # at least 0 inside
    first, second = within[..., 0], within[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = first / (first - second)
    begin = np.where((first < 0) & (second >= 0), crossing, 0.0).max(axis=0)
    end = np.where((first >= 0) & (second < 0), crossing, 1.0).min(axis=0)
    shown = ~((first < 0) & (second < 0)).any(axis=0) & (begin < end)
    steps = np.stack([begin, end], axis=1)[shown, :, None]
    cut = (1.0 - steps) * ends[shown, :1] + steps * ends[shown, 1:]
    return cut[..., :2] / cut[..., 2:], shown


def is_front_edge(box: OrientedBox, eye_in_world: Float64[np.ndarray, "3"]) -> Bool[np.ndarray, "12"]:
    """Which edges of a box, in the order of ``edges_in_world``, belong to a side that faces the eye."""
    in_box = (eye_in_world - box.center_in_world) @ box.world_from_box / np.maximum(box.size, 1e-9)
    low, high = in_box < -0.5, in_box > 0.5
    facing = []
    for step in (1, 2, 4):
        for corner in range(8):
            if corner & step:
                continue
            sides = [(axis, bool(corner & bit)) for axis, bit in ((0, 4), (1, 2), (2, 1)) if bit != step]
            facing.append(any((high if upper else low)[axis] for axis, upper in sides))
    return np.array(facing)


def is_inside(box: OrientedBox, points_in_world: Float64[np.ndarray, "*batch 3"]) -> Bool[np.ndarray, "*batch"]:
    """Which points lie in a box."""
    in_box = (points_in_world - box.center_in_world) @ box.world_from_box
    return np.asarray((np.abs(in_box) <= 0.5 * _GROWN * box.size + 1e-9).all(axis=-1))


def seen_share(box: OrientedBox, camera: Cameras, depth: Float[np.ndarray, "height width"]) -> float:
    """Share of a box's rectangle in the picture whose surface lies in the box: 0 where something else hides it.

    Args:
        box: of an object.
        camera: one, without batch axes.
        depth: along +Z in world units at the camera's size; 0 where there is nothing.
    """
    lines, _ = segments_in_picture(camera, box.edges_in_world)
    if not len(lines):
        return 0.0
    low, high = lines.reshape(-1, 2).min(axis=0), lines.reshape(-1, 2).max(axis=0)
    step = max(float((high - low).max()) / _SAMPLES, 1.0)
    u, v = (np.arange(start, stop, step) + 0.5 * min(step, stop - start) for start, stop in zip(low, high + 1e-6))
    u, v = u[u < camera.width], v[v < camera.height]
    z = depth[v.astype(int)[:, None], u.astype(int)[None]].astype(np.float64)
    pixels = np.stack([*np.broadcast_arrays(u[None], v[:, None]), np.ones_like(z)], axis=-1)
    in_camera = pixels @ np.linalg.inv(camera.K.numpy()).T * z[..., None]
    world_from_camera = camera.world_from_camera.numpy()
    inside = is_inside(box, in_camera @ world_from_camera[:3, :3].T + world_from_camera[:3, 3])
    return float((inside & (z > 0)).mean()) if inside.size else 0.0
