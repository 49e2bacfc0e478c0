"""Single objects as clouds of points, for classification in 3D: what a scan would have of them, with the class for truth."""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float64

from scenewise.errors import ConventionError
from scenewise.kernels import ray_casting
from scenewise.kernels.ray_casting import PrimitiveTable
from scenewise.scenes.point_clouds import PointCloud
from scenewise.worlds.classes import class_id
from scenewise.worlds.designs import DESIGNS, OBJECT_CLASSES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.primitives import Primitive, pack
from scenewise.worlds.seeds import BENCHMARK_SEEDS, LEARNING_SEEDS, VALIDATION_SEEDS
from scenewise.worlds.surface_points import SurfacePoints, draw_surface_points, joined

ObjectSplit = Literal["train", "validation", "test"]

SPLIT_SEEDS: dict[ObjectSplit, range] = {"train": LEARNING_SEEDS, "validation": VALIDATION_SEEDS, "test": BENCHMARK_SEEDS}
"""Seeds of objects, taken from the ranges of rooms.  An object's random numbers come from its seed *and* its class, in a stream
that no room uses, so that no object is a piece of any room and none occurs in two splits.
"""

_DESIGN, _SCAN = 31, 32  # streams of random numbers
_REACHED = 1e-3  # metres between a point and the first hit of a ray to it, up to which it is seen
_LOOKS = 12  # directions from which a point is looked at before it counts as hidden
_LOWEST_LOOK, _FRONT_LOOK, _GRAZING = -0.15, 0.1, 0.08  # sines: of looks from below, out of a wall, along a surface
_ROUNDS = 40


def object_seeds(split: ObjectSplit, per_class: int) -> tuple[tuple[str, int], ...]:
    """Names and seeds of the objects of a split: classes take turns, so that any first part is balanced as well as can be.

    Args:
        split: training, validation or test.
        per_class: how many of each class.

    Raises:
        ConventionError: more than the split has seeds for.
    """
    seeds, classes = SPLIT_SEEDS[split], len(OBJECT_CLASSES)
    if not 0 <= per_class <= len(seeds) // classes:
        raise ConventionError("per_class", expected=f"0 … {len(seeds) // classes}", got=per_class)
    return tuple((name, seeds[row * classes + place]) for row in range(per_class) for place, name in enumerate(OBJECT_CLASSES))


def object_design(class_name: str, seed: int) -> Furniture:
    """The object of a class and a seed, in the frame of :mod:`scenewise.worlds.furniture`.

    Raises:
        ConventionError: not the name of a class of objects.
    """
    if class_name not in DESIGNS:
        raise ConventionError("class_name", expected=", ".join(OBJECT_CLASSES), got=class_name)
    return DESIGNS[class_name](_random(class_name, seed, _DESIGN))


def object_cloud(
    class_name: str, seed: int, points: int = 2048, *, views: int = 0, noise: float = 0.0, is_turned: bool = False
) -> PointCloud:
    """Points on what can be seen of an object, even by area.

    The same seed is the same object in the same light however it is scanned.

    Args:
        class_name: one of ``OBJECT_CLASSES``.
        seed: of the object and the scan; see :func:`object_seeds`.
        points: how many.
        views: 0 = seen from everywhere above its foot (what hangs on a wall: before the wall); 1 or 2 = only from so many
            random viewpoints, without what is seen along the surface.
        noise: standard deviation of the positions along each axis, metres.
        is_turned: turned about +Z by a random angle; otherwise its front looks to +Y.

    Returns:
        Colours and normals too.  Metres, +Z up, the lowest solid on z = 0, the middle over the origin.

    Raises:
        ConventionError: an unknown class, no points, other numbers of views, or a negative noise.
    """
    if points < 1:
        raise ConventionError("points", expected="at least 1", got=points)
    if views not in (0, 1, 2):
        raise ConventionError("views", expected="0, 1 or 2", got=views)
    if not noise >= 0:
        raise ConventionError("noise", expected="0 or more metres", got=noise)
    piece = object_design(class_name, seed)
    parts, rng = _standing(piece), _random(class_name, seed, _SCAN)
    light, turn = _light(rng), rng.uniform(-math.pi, math.pi)
    table, materials = pack(parts)
    eyes = _viewpoints(rng, piece, views)
    found: list[SurfacePoints] = []
    for _ in range(_ROUNDS):
        drawn = draw_surface_points(rng, parts, 2 * points)
        seen = _seen_from(table, drawn, eyes) if views else _seen_from_outside(rng, table, drawn, piece.is_hung)
        found.append(drawn.rows(seen))
        if sum(map(len, found)) >= points:
            break
    every = joined(found)
    # An object of which next to nothing is seen has some points twice.
    cloud = every.rows(np.arange(points) % len(every))
    linear = cloud.colors(table, materials) * _lit(cloud.normals, light)
    colors: np.ndarray = (np.sqrt(np.clip(linear, 0.0, 1.0)) * 255 + 0.5).astype(np.uint8)
    positions = cloud.points + rng.normal(0.0, noise, cloud.points.shape)
    normals = cloud.normals
    if is_turned:
        c, s = math.cos(turn), math.sin(turn)
        turned = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        positions, normals = positions @ turned.T, normals @ turned.T
    return PointCloud(positions, colors, normals)


def _random(class_name: str, seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, stream, class_id(class_name)]))


def _standing(piece: Furniture) -> tuple[Primitive, ...]:
    """The object's solids with the lowest on z = 0 and its middle over the origin."""
    lowest = min(part.center[2] - part.half_size[2] for part in piece.parts)
    back = piece.size[1] / 2 if piece.is_hung else 0.0
    return tuple(part.moved((0.0, -back, -lowest), 0.0) for part in piece.parts)


def _viewpoints(rng: np.random.Generator, piece: Furniture, views: int) -> Float64[np.ndarray, "views 3"]:
    """Places around the object from the height of a lowered to that of a raised camera; before the wall of what hangs on one."""
    radius = 0.5 * float(np.linalg.norm(piece.size))
    first = rng.uniform(-1.2, 1.2) if piece.is_hung else rng.uniform(-math.pi, math.pi)  # from the front
    apart = rng.uniform(0.5, 1.2) if piece.is_hung else rng.uniform(1.0, math.pi)
    second = first - math.copysign(apart, first)
    eyes = []
    for azimuth in (math.pi / 2 + first, math.pi / 2 + second)[:views]:
        climb, away = rng.uniform(0.05, 0.8), radius * rng.uniform(2.0, 3.5)
        flat = away * math.cos(climb)
        eyes.append([flat * math.cos(azimuth), flat * math.sin(azimuth), piece.size[2] / 2 + away * math.sin(climb)])
    return np.array(eyes, dtype=np.float64).reshape(-1, 3)


def _seen_from(table: PrimitiveTable, drawn: SurfacePoints, eyes: Float64[np.ndarray, "views 3"]) -> Bool[np.ndarray, "n"]:
    """Which points one of the eyes sees, other than along the surface."""
    seen = np.zeros(len(drawn), dtype=bool)
    for eye in eyes:
        ray = drawn.points - eye
        faces_it = -(ray * drawn.normals).sum(1) > _GRAZING * np.linalg.norm(ray, axis=1)
        rows = np.flatnonzero(faces_it & ~seen)
        seen[rows] = _is_reached(table, np.broadcast_to(eye, (len(rows), 3)), drawn.points[rows])
    return seen


def _seen_from_outside(
    rng: np.random.Generator, table: PrimitiveTable, drawn: SurfacePoints, is_hung: bool
) -> Bool[np.ndarray, "n"]:
    """Which points are seen from one of a few random directions far away."""
    reach = float(np.abs(drawn.points).max()) * 4
    seen = np.zeros(len(drawn), dtype=bool)
    for _ in range(_LOOKS):
        look = rng.normal(size=(len(drawn), 3))
        look /= np.linalg.norm(look, axis=1, keepdims=True)
        look *= np.where((look * drawn.normals).sum(1) < 0, -1.0, 1.0)[:, None]
        may_look = (look[:, 2] > _LOWEST_LOOK) & ((look[:, 1] > _FRONT_LOOK) | (not is_hung))
        rows = np.flatnonzero(may_look & ~seen)
        seen[rows] = _is_reached(table, drawn.points[rows] + reach * look[rows], drawn.points[rows])
    return seen


def _is_reached(
    table: PrimitiveTable, eyes: Float64[np.ndarray, "n 3"], points: Float64[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    """Whether the first thing that a ray from each eye to its point meets is the point."""
    rays = points - eyes
    origins, directions = (torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in (eyes, rays))
    hits = ray_casting.cast_rays(table, origins, directions).distances.numpy()
    return np.asarray(hits * np.linalg.norm(rays, axis=1) > np.linalg.norm(rays, axis=1) - _REACHED)


_Light = tuple[float, Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]


def _light(rng: np.random.Generator) -> _Light:
    """Even light, direction of the far light, and the strength of its colour channels."""
    azimuth, climb, warmth = rng.uniform(-math.pi, math.pi), rng.uniform(0.4, 1.3), rng.normal(0.0, 0.05)
    sun = np.array([math.cos(azimuth) * math.cos(climb), math.sin(azimuth) * math.cos(climb), math.sin(climb)])
    tint = rng.uniform(0.75, 1.0) * np.array([1.0 + warmth, 1.0, 1.0 - warmth])
    return rng.uniform(0.5, 0.8), sun, tint


def _lit(normals: Float64[np.ndarray, "n 3"], light: _Light) -> Float64[np.ndarray, "n 3"]:
    even, sun, tint = light
    return (even + (1 - even) * np.maximum(normals @ sun, 0.0))[:, None] * tint
