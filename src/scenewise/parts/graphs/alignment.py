"""Which transform lays one capture of a place on another: that of their poses, or one found from the surfaces themselves."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.motion import rotation_about_up
from scenewise.parts.graphs.observed import Matrix4, ObservedGraph, Points, thinned, tree_of
from scenewise.parts.segments.point_normals import estimate_normals, nearest_neighbours

_CELL, _LAYER = 0.15, 0.3  # metres of the grid that poses are voted in
_YAWS = 72
_CANDIDATES = 6
_SPACING = 0.08  # metres between the points that are fitted
_MOST_POINTS = 6000
_ON = 0.08  # metres within which a point lies on the other surface
_REACHES = (0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.1, 0.1)
_TRIM = 0.85
_NEIGHBOURS = 10
_APART_DEG, _APART = 8.0, 0.3  # of poses that are not the same
LEAST_OVERLAP = 0.5
"""Share of the surface that has to fit before an alignment is believed."""
LEAST_MARGIN = 0.25
"""Share of what the next best pose leaves unexplained that the best one has to explain."""


@dataclass(frozen=True)
class Alignment:
    """A transform from the world of one scene to that of another.

    Attributes:
        after_from_before: rigid 4×4.
        method: told by poses in one frame, or found from the surfaces.
        overlap: share of the surface that lies on the other's, harmonic mean of both ways, floors and ceilings left out.
        runner_up: overlap of the best pose that is another one; 0 where none was looked for or found.
    """

    after_from_before: Matrix4
    method: Literal["poses", "geometry"]
    overlap: float
    runner_up: float = 0.0

    @property
    def is_sure(self) -> bool:
        """Whether it fits well, and clearly better than any other pose."""
        unexplained = max(1.0 - self.runner_up, 1e-9)
        return self.overlap >= LEAST_OVERLAP and self.overlap - self.runner_up >= LEAST_MARGIN * unexplained


def given_alignment(before: ObservedGraph, after: ObservedGraph, after_from_before: Matrix4) -> Alignment:
    """How well the surfaces fit under a transform that is known; the overlap is 0 where one has no points."""
    first, second = _Surfaces.of(before), _Surfaces.of(after)
    if first is None or second is None:
        return Alignment(after_from_before, "poses", 0.0)
    in_level = second.level @ after_from_before @ np.linalg.inv(first.level)
    return Alignment(after_from_before, "poses", _overlap(first, second, in_level))


def found_alignment(before: ObservedGraph, after: ObservedGraph) -> Alignment:
    """The transform under which the surfaces of two captures fit best: a turn about the vertical, a shift, and a slight tilt.

    All turns in steps of 5° and all shifts are voted on by correlating which cells of a grid are occupied (by FFT); floors and
    ceilings, which fit anywhere, do not vote.  The best poses are refined by iterated closest points to planes (Chen and Medioni
    1992), of which the worst 15 % are left out: what was moved.

    Raises:
        ConventionError: no points, a scale that is not known, or no pose that fits clearly better than all others.
    """
    if before.graph.scale != "metric" or after.graph.scale != "metric":
        raise ConventionError(
            "--align geometry",
            expected="two scenes in metres",
            got="one of arbitrary scale",
            fix="reconstruct both from poses in one frame and use --align poses",
        )
    first, second = _Surfaces.of(before), _Surfaces.of(after)
    if first is None or second is None:
        raise ConventionError("--align geometry", expected="two scenes with points or splats", got="none in one of them")
    found = [_refined(first, second, start) for start in _voted(first, second)]
    scored = sorted(((_overlap(first, second, each), number) for number, each in enumerate(found)), reverse=True)
    overlap, best = scored[0]
    middle = first.points.mean(axis=0)
    others = [share for share, number in scored if _are_apart(found[best], found[number], middle)]
    transform = np.linalg.inv(second.level) @ found[best] @ first.level
    alignment = Alignment(transform, "geometry", overlap, max(others, default=0.0))
    if not alignment.is_sure:
        raise ConventionError(
            "--align geometry",
            expected=f"surfaces that fit in one way only, at least {LEAST_OVERLAP:.0%} of them",
            got=f"{overlap:.0%} at best and {alignment.runner_up:.0%} in another way",
            fix="give both captures poses in one frame (for example by finding the poses of all their photographs together)"
            " and use --align poses",
        )
    return alignment


@dataclass(frozen=True)
class _Surfaces:
    """A capture's surface, levelled.

    Attributes:
        level: levelled frame (+Z up) from world.
        points: without floor and ceiling.
        normals: of them.
        all_points: with both.
        all_normals: of them.
        floor: height of the lowest surface.
        unit: what stands for a metre.
    """

    level: Matrix4
    points: Points
    normals: Points
    all_points: Points
    all_normals: Points
    floor: float
    unit: float

    @staticmethod
    def of(observed: ObservedGraph) -> "_Surfaces | None":
        level = np.eye(4)
        level[:3, :3] = UprightFrame.of_up(observed.graph.up_in_world).upright_from_world
        cloud = transform_points(level, observed.cloud_in_world)
        spacing = _SPACING * observed.unit
        points = thinned(cloud, spacing)
        if len(points) < _NEIGHBOURS * _NEIGHBOURS:
            return None
        normals, _ = estimate_normals(points, nearest_neighbours(points, _NEIGHBOURS))
        floor, top = (float(value) for value in np.quantile(points[:, 2], [0.01, 0.99]))
        is_level = np.abs(normals[:, 2]) > 0.9
        is_slab = is_level & ((points[:, 2] < floor + 0.15 * observed.unit) | (points[:, 2] > top - 0.15 * observed.unit))
        if int((~is_slab).sum()) < _NEIGHBOURS:
            is_slab = np.zeros(len(points), dtype=bool)
        return _Surfaces(level, points[~is_slab], normals[~is_slab], points, normals, floor, observed.unit)


def _voted(first: _Surfaces, second: _Surfaces) -> list[Matrix4]:
    """The poses with most votes, far enough from each other."""
    from scipy.fft import next_fast_len

    middle = first.points.mean(axis=0)
    radius = float(np.linalg.norm(first.points[:, :2] - middle[:2], axis=1).max())
    low = second.points.min(axis=0)
    span = second.points[:, :2].max(axis=0) - low[:2]
    shape = tuple(next_fast_len(int(length / _CELL) + int(2 * radius / _CELL) + 4) for length in span)
    layers = 2 + int(max(first.points[:, 2].max() - first.floor, second.points[:, 2].max() - second.floor) / _LAYER)
    spectrum = np.conj(_occupied(second.points, low, second.floor, shape, layers, blurred=True))
    votes: list[tuple[float, Matrix4]] = []
    for yaw in np.arange(_YAWS) * (2 * math.pi / _YAWS):
        rotation = rotation_about_up(float(yaw))
        turned = (first.points - middle) @ rotation.T
        corner = turned.min(axis=0)
        heights = turned + np.array([0.0, 0.0, middle[2]])
        shares = np.fft.irfft2((_occupied(heights, corner, first.floor, shape, layers) * spectrum).sum(axis=0), s=shape)
        row, column = np.unravel_index(int(shares.argmax()), shape)
        # A peak at k means: cell i of the first lies on cell i − k of the second, round the end of the grid.
        steps = np.array([-(k if k <= n // 2 else k - n) for k, n in zip((int(row), int(column)), shape)], dtype=np.float64)
        shift = np.array([*(low[:2] - corner[:2] + steps * _CELL), second.floor - first.floor])
        transform = np.eye(4)
        transform[:3, :3] = rotation
        transform[:3, 3] = shift + np.array([0.0, 0.0, middle[2]]) - rotation @ middle
        votes.append((float(shares.max()), transform))
    votes.sort(key=lambda vote: -vote[0])
    chosen: list[Matrix4] = []
    for _, transform in votes:
        if all(_are_apart(transform, other, middle, 2 * _APART_DEG, 2 * _APART) for other in chosen):
            chosen.append(transform)
    return chosen[:_CANDIDATES]


def _occupied(
    points: Points, corner: Float64[np.ndarray, "3"], floor: float, shape: tuple[int, ...], layers: int, blurred: bool = False
) -> np.ndarray:
    """Spectrum of the occupied cells, layer by layer."""
    cells = np.floor((points[:, :2] - corner[:2]) / _CELL).astype(np.int64)
    layer = np.clip(np.floor((points[:, 2] - floor) / _LAYER).astype(np.int64), 0, layers - 1)
    grid = np.zeros((layers, *shape))
    grid[layer, cells[:, 0] % shape[0], cells[:, 1] % shape[1]] = 1.0
    if blurred:
        for axis in (1, 2):
            grid = 0.5 * grid + 0.25 * (np.roll(grid, 1, axis) + np.roll(grid, -1, axis))
    return np.fft.rfft2(grid)


def _refined(first: _Surfaces, second: _Surfaces, transform: Matrix4) -> Matrix4:
    """Iterated closest points to planes: turn and shift, in the last rounds a tilt as well."""
    tree = tree_of(second.all_points)
    points = first.all_points[:: max(1, len(first.all_points) // _MOST_POINTS)]
    for number, reach in enumerate(_REACHES):
        moved = transform_points(transform, points)
        distance, nearest = tree.query(moved, distance_upper_bound=reach)
        rows = np.flatnonzero(np.isfinite(distance))
        if len(rows) < _NEIGHBOURS:
            return transform
        source, normals = moved[rows], second.all_normals[nearest[rows]]
        away = ((second.all_points[nearest[rows]] - source) * normals).sum(axis=1)
        kept = np.abs(away) <= np.quantile(np.abs(away), _TRIM)
        step = _plane_step(source[kept], normals[kept], away[kept], tilts=number >= len(_REACHES) - 3)
        transform = step @ transform
    return transform


def _plane_step(source: Points, normals: Points, away: Float64[np.ndarray, "n"], tilts: bool) -> Matrix4:
    """The small motion that brings points onto planes, by linear least squares in rotation vector and shift."""
    from scipy.spatial.transform import Rotation

    middle = source.mean(axis=0)
    turning = np.cross(source - middle, normals)
    columns = [turning, normals] if tilts else [turning[:, 2:], normals]
    system = np.concatenate(columns, axis=1)
    damping = 1e-6 * len(source) * np.eye(system.shape[1])
    solved = np.linalg.solve(system.T @ system + damping, system.T @ away)
    vector = solved[:3] if tilts else np.array([0.0, 0.0, solved[0]])
    step = np.eye(4)
    step[:3, :3] = Rotation.from_rotvec(vector).as_matrix()
    step[:3, 3] = middle + solved[-3:] - step[:3, :3] @ middle
    return step


def _overlap(first: _Surfaces, second: _Surfaces, transform: Matrix4) -> float:
    moved = transform_points(transform, first.points)
    there = _share_on(moved, second.all_points, second.unit)
    here = _share_on(second.points, transform_points(transform, first.all_points), second.unit)
    return 2 * there * here / (there + here) if there + here > 0 else 0.0


def _share_on(points: Points, surface: Points, unit: float) -> float:
    distance, _ = tree_of(surface).query(points, distance_upper_bound=_ON * unit)
    return float(np.isfinite(distance).mean())


def _are_apart(
    first: Matrix4, second: Matrix4, middle: Float64[np.ndarray, "3"], turn_deg: float = _APART_DEG, distance: float = _APART
) -> bool:
    """Whether two poses of a surface with this middle are not the same."""
    between = np.linalg.inv(first) @ second
    turn = abs(math.degrees(math.atan2(between[1, 0], between[0, 0])))
    return turn > turn_deg or float(np.linalg.norm(transform_points(between, middle) - middle)) > distance
