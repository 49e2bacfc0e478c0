"""Large flat sets cut into the planes they consist of: the walls of a room are one connected piece that goes round it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.parts.segments.point_normals import estimate_normals, nearest_neighbours

# Lengths in metres.
_NEIGHBOURS = 16
_MEASURED = 6_000  # points that planes are looked for in
_DIRECTIONS = 36  # of upright planes: 5° each
_OFFSET_STEP = 0.1
_UPRIGHT, _LEVEL = 0.35, 0.85  # of the normal along up
_INLIER, _REACH = 0.08, 0.15  # from a plane: of what makes it, and of what joins it in the end
_ALIKE = float(np.cos(np.radians(30.0)))  # between the normals of a plane and of its points
_LEAST_SHARE = 0.04  # of the points
_LEAST_SIDES = (1.0, 0.6)  # metres along the longer and the shorter side
_MOST_PLANES = 32
_ROUNDS = 3  # of fitting a plane and choosing its points


@dataclass(frozen=True)
class _Plane:
    """Points with normal · x = offset."""

    normal: Float64[np.ndarray, "3"]
    offset: float

    def distances(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n"]:
        return np.abs(points @ self.normal - self.offset)


def planes_of(points: Float64[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
    """The upright or level plane that each point belongs to, −1 = none.

    Planes are found one after the other, the one with most points first: each point votes, with its normal, for a direction and
    an offset; the points near the winner fit it anew.  What makes a plane must be a 25th of all points and measure a metre by
    sixty centimetres.  In the end points within 15 cm of a plane join the nearest.

    Args:
        points: upright, in metres.
    """
    answer = np.full(len(points), -1, dtype=np.int64)
    middle = points.mean(axis=0) if len(points) else np.zeros(3)
    local = points - middle
    chosen = local[:: max(1, -(-len(local) // _MEASURED))]
    if len(chosen) <= _NEIGHBOURS:
        return answer
    normals, _ = estimate_normals(chosen, nearest_neighbours(chosen, _NEIGHBOURS))
    planes = _found(chosen, normals)
    if planes:
        distance = np.stack([plane.distances(local) for plane in planes], axis=1)
        nearest = distance.argmin(axis=1)
        answer = np.where(distance[np.arange(len(local)), nearest] <= _REACH, nearest, -1).astype(np.int64)
    return answer


def _found(points: Float64[np.ndarray, "n 3"], normals: Float64[np.ndarray, "n 3"]) -> list[_Plane]:
    left = np.ones(len(points), dtype=bool)
    planes: list[_Plane] = []
    direction = _directions(normals)
    refused: set[tuple[int, int]] = set()
    for _ in range(_MOST_PLANES):
        best = _best_vote(points[left], direction[left], refused)
        if best is None:
            break
        cell, plane = best
        inliers = left & (plane.distances(points) <= 2 * _INLIER) & (np.abs(normals @ plane.normal) >= _ALIKE)
        for _ in range(_ROUNDS):
            if inliers.sum() < 3:
                break
            plane = _fitted(points[inliers], plane.normal)
            inliers = left & (plane.distances(points) <= _INLIER) & (np.abs(normals @ plane.normal) >= _ALIKE)
        if inliers.sum() < _LEAST_SHARE * len(points) or not _is_large(points[inliers], plane.normal):
            refused.add(cell)
            continue
        planes.append(plane)
        left &= plane.distances(points) > 2 * _INLIER
    return planes


def _directions(normals: Float64[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
    """Cell of each normal: 0 to 35 for upright planes, 36 for level ones, −1 for slanting ones."""
    angle = np.arctan2(normals[:, 1], normals[:, 0]) % np.pi
    upright = np.minimum((angle / np.pi * _DIRECTIONS).astype(np.int64), _DIRECTIONS - 1)
    rise = np.abs(normals[:, 2])
    return np.where(rise >= _LEVEL, _DIRECTIONS, np.where(rise <= _UPRIGHT, upright, -1))


def _normal_of(direction: int) -> Float64[np.ndarray, "3"]:
    if direction == _DIRECTIONS:
        return np.array([0.0, 0.0, 1.0])
    angle = (direction + 0.5) * np.pi / _DIRECTIONS
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def _best_vote(
    points: Float64[np.ndarray, "n 3"], direction: Int64[np.ndarray, "n"], refused: set[tuple[int, int]]
) -> tuple[tuple[int, int], _Plane] | None:
    """The direction and offset that most points vote for, with what lies next to it."""
    table = np.stack([_normal_of(index) for index in range(_DIRECTIONS + 1)])
    known = direction >= 0
    offset = np.floor((points[known] * table[direction[known]]).sum(axis=1) / _OFFSET_STEP).astype(np.int64)
    if not len(offset):
        return None
    low = int(offset.min())
    votes = np.zeros((_DIRECTIONS + 1, int(offset.max()) - low + 1))
    np.add.at(votes, (direction[known], offset - low), 1.0)
    wide = votes.copy()
    wide[:, 1:] += votes[:, :-1]
    wide[:, :-1] += votes[:, 1:]
    for row, column in refused:
        if 0 <= column - low < wide.shape[1]:
            wide[row, column - low] = 0.0
    row, column = divmod(int(wide.argmax()), wide.shape[1])
    if wide[row, column] <= 0:
        return None
    cell = (row, column + low)
    return cell, _Plane(table[row], (cell[1] + 0.5) * _OFFSET_STEP)


def _fitted(points: Float64[np.ndarray, "n 3"], near: Float64[np.ndarray, "3"]) -> _Plane:
    """The plane of least squares among those that are upright, or level, as the one it was near."""
    middle = points.mean(axis=0)
    if near[2] > 0.5:
        return _Plane(near, float(middle[2]))
    around = points[:, :2] - middle[:2]
    flat = np.linalg.eigh(around.T @ around)[1][:, 0]
    normal = np.array([flat[0], flat[1], 0.0])
    return _Plane(normal, float(middle @ normal))


def _is_large(points: Float64[np.ndarray, "n 3"], normal: Float64[np.ndarray, "3"]) -> bool:
    if normal[2] > 0.5:
        sides = np.ptp(points[:, :2], axis=0)
    else:
        sides = np.array([np.ptp(points @ np.array([-normal[1], normal[0], 0.0])), np.ptp(points[:, 2])])
    return bool(sides.max() >= _LEAST_SIDES[0] and sides.min() >= _LEAST_SIDES[1])


def connected(points: Float64[np.ndarray, "n 3"], gap: float) -> Int64[np.ndarray, "n"]:
    """Pieces of points that are further apart than ``gap``, to within a factor of two: cells of that size that touch; the largest
    piece is 0.
    """
    from scipy.ndimage import label

    if not len(points):
        return np.zeros(0, dtype=np.int64)
    low = points.min(axis=0)
    size = max(gap, float(np.ptp(points, axis=0).max()) / 256.0)  # never more than 256³ cells
    cell = ((points - low) / size).astype(np.int64)
    shape = tuple(int(length) + 1 for length in cell.max(axis=0))
    filled: Bool[np.ndarray, "x y z"] = np.zeros(shape, dtype=bool)
    filled[cell[:, 0], cell[:, 1], cell[:, 2]] = True
    pieces, _ = label(filled, structure=np.ones((3, 3, 3)))
    found = pieces[cell[:, 0], cell[:, 1], cell[:, 2]] - 1
    counts = np.bincount(found)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.lexsort((np.arange(len(counts)), -counts))] = np.arange(len(counts))
    return rank[found]
