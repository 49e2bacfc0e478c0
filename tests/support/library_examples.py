"""Key points, clouds and captures for libraries: small, made from seeds, with answers that are known."""

from pathlib import Path

import numpy as np

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.io.ply.points import write_points_ply
from scenewise.parts.retrieval.keypoints import KeyPoints
from scenewise.parts.retrieval.verification import Matches
from scenewise.scenes.point_clouds import PointCloud
from scenewise.worlds.meshes import room_mesh
from scenewise.worlds.rooms import furnished_room

DIM = 12
"""Of the features of :func:`tests.support.pair_run.write_pair_run`."""


def unit_rows(rng: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    """Random directions."""
    rows = rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def key_points(rng: np.random.Generator, count: int, low: tuple[float, ...] = (0, 0, 0), high: tuple[float, ...] = (5, 4, 2.5)):
    """Places in a box with features that are unlike each other, by falling score."""
    scores = np.sort(rng.uniform(0.2, 0.9, count))[::-1].astype(np.float32)
    return KeyPoints(rng.uniform(low, high, (count, len(low))).astype(np.float32), unit_rows(rng, count), scores)


def true_and_false(count: int, false: int, rng: np.random.Generator) -> Matches:
    """Row i with row i, and so many pairs of rows that do not belong together, mixed."""
    rows = np.arange(count, dtype=np.int64)
    a, b = rng.integers(count, size=(2, false))
    b = np.where(a == b, (b + 1) % count, b)
    order = rng.permutation(count + false)
    asked, held = (np.concatenate([rows, each])[order].astype(np.int64) for each in (a, b))
    return Matches(asked, held, np.linspace(0.9, 0.5, count + false).astype(np.float32))


def turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rotation about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def room_cloud(seed: int, every: int = 4) -> PointCloud:
    """Points of a procedural room."""
    mesh = room_mesh(furnished_room(seed), spacing=0.06).mesh
    assert mesh.colors_u8 is not None
    return PointCloud(mesh.vertices_in_world[::every], mesh.colors_u8[::every])


def write_sources(folder: Path) -> None:
    """Two clouds, ``one.ply`` and ``two.ply``, and a capture with depth, ``three``: three rooms."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in (("one", 1_000_001), ("two", 1_000_002)):
        write_points_ply(folder / f"{name}.ply", room_cloud(seed))
    write_demo_capture(folder / "three", seed=1_000_003, frames=4, width=64, height=48)
