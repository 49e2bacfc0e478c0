"""Where to photograph a room from: a tour for reconstruction, random views, close-ups of one object."""

import math

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.kernels import ray_casting
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.layout import boxes_of
from scenewise.worlds.rooms import Room

Points = Float64[np.ndarray, "n 3"]
Matrix4 = Float64[np.ndarray, "4 4"]

_TOUR_MARGIN = 0.3  # metres between a camera of the tour and anything else
_VIEW_MARGIN = 0.2


def pinhole(world_from_camera: Float64[np.ndarray, "*batch 4 4"], width: int, height: int, fov_deg: float) -> Cameras:
    """Cameras with square pixels and the principal point in the middle; ``fov_deg`` is the horizontal field of view."""
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    camera_from_world = torch.from_numpy(np.linalg.inv(world_from_camera))
    return Cameras(camera_from_world, K.expand(*camera_from_world.shape[:-2], 3, 3).contiguous(), width, height)


def looking_at(eye: Float64[np.ndarray, "3"], target: Float64[np.ndarray, "3"]) -> Matrix4:
    """world_from_camera of a level camera at ``eye`` whose +Z goes through ``target``; the two must not be above each other."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    world_from_camera[:3, 3] = eye
    return world_from_camera


def clearance(room: Room, points: Points) -> Float64[np.ndarray, "n"]:
    """Distance in metres from each point to the nearest bounding box of a solid; 0 inside of one, negative out of the room."""
    size = np.array(room.size)
    to_shell = np.minimum(points, size - points).min(-1)
    boxes = boxes_of([part for thing in room.objects[_first_piece(room) :] for part in thing.parts])
    if len(boxes) == 0:
        return to_shell
    offset = points[:, None, :] - boxes[None, :, :3]
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    local = np.stack([c * offset[..., 0] + s * offset[..., 1], c * offset[..., 1] - s * offset[..., 0], offset[..., 2]], axis=-1)
    outside = np.maximum(np.abs(local) - boxes[None, :, 3:6], 0.0)
    return np.minimum(to_shell, np.linalg.norm(outside, axis=-1).min(-1))


def _first_piece(room: Room) -> int:
    """Index of the first object that is not part of the shell."""
    return next((i for i, thing in enumerate(room.objects) if i > 1 and thing.class_name != "wall"), len(room.objects))


def tour(room: Room, frames: int, *, phase: float = 0.0, rise: float = 0.0) -> Float64[np.ndarray, "frames 4 4"]:
    """A smooth way through the room that sees all of it from several sides.

    The first half goes along the walls at changing heights and looks across the room; the second goes around the middle and
    looks outwards, up and down.  Both bend inwards where furniture is in the way.

    Args:
        room: where to go; the tour depends on nothing else that is random.
        frames: number of poses, at least 1.
        phase: how far round both halves begin, radians: another one gives other views of the same room.
        rise: how much higher the cameras are carried, metres.

    Returns:
        world_from_camera, OpenCV axes, metres; every centre is at least 0.3 m from everything (0.15 m in a crammed room).
    """
    outer = (frames + 1) // 2
    size = np.array(room.size)
    middle = size[:2] / 2
    poses = []
    for count, is_outer in ((outer, True), (frames - outer, False)):
        if count == 0:
            continue
        angle = 2 * math.pi * np.arange(count) / count + (0.25 * math.pi + phase)
        around = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        # An exponent below 1 turns the ellipse into a rounded rectangle that follows the walls.
        ring = np.sign(around) * np.abs(around) ** 0.7 * (middle - 0.5) if is_outer else around * middle * 0.42
        height = 1.5 + 0.35 * np.sin(3 * angle) if is_outer else 1.25 + 0.3 * np.cos(2 * angle)
        eyes = _bent_inwards(room, middle, ring, np.minimum(height + rise, size[2] - 0.45))
        if is_outer:
            target_xy = middle - 0.35 * ring
            target_z = 0.85 + 0.35 * np.sin(2 * angle + 1.0)
        else:
            target_xy = middle + 2.0 * ring
            target_z = 1.15 + 0.75 * np.sin(5 * angle)
        targets = np.concatenate([target_xy, target_z[:, None]], axis=-1)
        poses += [looking_at(eye, target) for eye, target in zip(eyes, targets)]
    return np.stack(poses)


def _bent_inwards(
    room: Room, middle: Float64[np.ndarray, "2"], ring: Float64[np.ndarray, "n 2"], height: Float64[np.ndarray, "n"]
) -> Points:
    """Points ``middle + factor · ring`` with the largest smooth factors that keep clear of the furniture."""
    factors = np.linspace(1.0, 0.1, 19)
    xy = middle + factors[:, None, None] * ring
    candidates = np.concatenate([xy, np.broadcast_to(height[:, None], (*xy.shape[:2], 1))], axis=-1)
    is_free = clearance(room, candidates.reshape(-1, 3)).reshape(len(factors), len(ring)) >= _TOUR_MARGIN
    wanted = np.where(is_free.any(0), factors[is_free.argmax(0)], factors[-1])
    # Least over a window, then mean over the same window: smooth, and nowhere above what is free.
    reach = range(-2, 3)
    least = np.min([np.roll(wanted, k) for k in reach], axis=0)
    smooth = np.mean([np.roll(least, k) for k in reach], axis=0)
    points = np.concatenate([middle + smooth[:, None] * ring, height[:, None]], axis=-1)
    return np.stack([_nearest_free(room, point) for point in points])


def _nearest_free(room: Room, point: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """The point itself, or the nearest of a grid around it that is clear, preferring to move up or down."""
    if clearance(room, point[None])[0] >= _TOUR_MARGIN:
        return point
    steps = np.stack(np.meshgrid(*[np.arange(-6, 7) * 0.15] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cost = np.linalg.norm(steps * [1.0, 1.0, 0.6], axis=-1)
    steps = steps[np.argsort(cost, kind="stable")]
    free = clearance(room, point + steps)
    for margin in (_TOUR_MARGIN, 0.15):
        if (free >= margin).any():
            return point + steps[int((free >= margin).argmax())]
    # The lamp hangs in space that the layout keeps free.
    return np.array(room.lighting.lamp_in_world) - [0.0, 0.0, 0.1]


def random_view(room: Room, rng: np.random.Generator, tries: int = 60) -> Matrix4:
    """world_from_camera of somebody standing or sitting somewhere and looking at something.

    Args:
        room: where.
        rng: source of the choice.
        tries: places looked at before the tour's first pose is taken instead.
    """
    width, length, height = room.size
    for _ in range(tries):
        eye = np.array([rng.uniform(0.3, width - 0.3), rng.uniform(0.3, length - 0.3), rng.uniform(0.9, min(1.9, height - 0.3))])
        if clearance(room, eye[None])[0] < _VIEW_MARGIN:
            continue
        if rng.random() < 0.75:
            target = np.array(room.objects[int(rng.integers(len(room.objects)))].center) + rng.normal(0.0, 0.35, 3)
        else:
            target = rng.uniform([0.0, 0.0, 0.2], [width, length, 1.8])
        view = target - eye
        flat = math.hypot(view[0], view[1])
        if flat < 1.0:
            continue
        view[2] = min(max(view[2], -0.7 * flat), 0.5 * flat)
        return looking_at(eye, eye + view)
    return tour(room, 1)[0]


def close_up(
    room: Room, instance: int, rng: np.random.Generator, fov_deg: float, tries: int = 24, least_share: float = 0.2
) -> Matrix4 | None:
    """world_from_camera of a picture of one object that fills much of it.

    Args:
        room: where.
        instance: index of the object.
        rng: source of the choice.
        fov_deg: horizontal field of view of the camera that will be used.
        tries: viewpoints tested; the first good one is taken.
        least_share: share of the picture the object must cover.

    Returns:
        The pose, or None when no tested viewpoint shows that much of the object.
    """
    thing = room.objects[instance]
    center, size = np.array(thing.center), np.array(thing.size)
    radius = 0.5 * float(np.linalg.norm(np.minimum(size, 2.5)))
    for _ in range(tries):
        # Mostly from the front half: +Y of the object's own frame.
        azimuth = thing.yaw + math.pi / 2 + rng.uniform(-1.5, 1.5)
        distance = max(0.45, radius * rng.uniform(0.9, 1.6) / math.tan(math.radians(fov_deg) / 2))
        rise = float(np.clip(center[2] + distance * rng.uniform(-0.2, 0.6), 0.35, room.size[2] - 0.25)) - center[2]
        eye = center + np.array([distance * math.cos(azimuth), distance * math.sin(azimuth), rise])
        if clearance(room, eye[None])[0] < 0.1:
            continue
        pose = looking_at(eye, center + rng.normal(0.0, 0.08 * radius, 3))
        maps = ray_casting.surface_maps(room.scene.primitives, pinhole(pose, 32, 32, fov_deg))
        if float((room.instance_ids(maps.primitive_ids) == instance).mean()) >= least_share:
            return pose
    return None


def surface_view(
    room: Room, surface: str, rng: np.random.Generator, fov_deg: float, tries: int = 12, least_share: float = 0.6
) -> Matrix4:
    """world_from_camera of a picture of nothing but floor, ceiling or wall, as far as the furniture allows.

    Args:
        room: where.
        surface: "floor", "ceiling" or "wall".
        rng: source of the choice.
        fov_deg: horizontal field of view of the camera that will be used.
        tries: viewpoints tested.
        least_share: share of the picture at which the search ends; else the viewpoint that shows most of the surface is taken.
    """
    width, length, height = room.size
    wanted = CLASS_NAMES.index(surface)
    best, best_share = None, -1.0
    for _ in range(tries):
        eye = np.array([rng.uniform(0.3, width - 0.3), rng.uniform(0.3, length - 0.3), rng.uniform(1.0, height - 0.5)])
        azimuth = rng.uniform(-math.pi, math.pi)
        heading = np.array([math.cos(azimuth), math.sin(azimuth)])
        if surface == "wall":
            target = np.array([*(eye[:2] + 3.0 * heading), eye[2] + rng.uniform(-0.6, 0.4)])
        else:
            target = np.array([*(eye[:2] + rng.uniform(0.4, 2.0) * heading), 0.0 if surface == "floor" else height])
        if clearance(room, eye[None])[0] < 0.1:
            continue
        pose = looking_at(eye, target)
        maps = ray_casting.surface_maps(room.scene.primitives, pinhole(pose, 24, 24, fov_deg))
        share = float((room.class_ids(maps.primitive_ids) == wanted).mean())
        if share > best_share:
            best, best_share = pose, share
        if share >= least_share:
            break
    return tour(room, 1)[0] if best is None else best
