"""Which pieces of one class are parts of one thing."""

from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float64

from scenewise.geometry.boxes import OrientedBox, upright_box
from scenewise.parts.graphs.things import TRIM, UP

# Lengths in metres.
HAND = 0.1
"""A hand's breadth."""
PATCH = 3.0
"""Between parts of a floor or ceiling of which nobody saw what is between them."""
_SMALL_SHARE = 0.25  # of the elements of the piece it touches
_SHARED = 1 / 3  # of the points of the smaller piece
_FLAT = 0.3  # thickness of a wall as it is measured
_SAME_PLANE = 0.15
_FOOT, _LEG = 0.15, 1.5  # height of feet, and from them to what stands on them
_MOST_POINTS = 2_048


@final
class Piece:
    """Points of one class that hold together.

    Args:
        points: those that tell where it is, upright, metres.
        count: how many elements it has in all.
    """

    def __init__(self, points: Float64[np.ndarray, "n 3"], count: int) -> None:
        self.points = points[:: max(1, len(points) // _MOST_POINTS)]
        self.count = count
        self.low, self.high = np.quantile(self.points, [TRIM, 1.0 - TRIM], axis=0)

    @cached_property
    def box(self) -> OrientedBox:
        return upright_box(self.points, UP, TRIM)

    @property
    def is_level(self) -> bool:
        return bool(self.high[2] - self.low[2] <= _FLAT)


def are_one_shell(small: Piece, large: Piece, touch: float) -> bool:
    """Whether two pieces of walls, floors or ceilings are one: in one plane, and near; of level ones more may be unseen."""
    if small.is_level and large.is_level:
        is_flush = abs(float(np.median(small.points[:, 2]) - np.median(large.points[:, 2]))) <= _SAME_PLANE
        return is_flush and not _apart(small, large, PATCH) and _gap(small, large) <= PATCH
    near = max(touch, HAND)
    return not _apart(small, large, near) and _in_plane_of(large, small) and _gap(small, large) <= near


def are_one_thing(small: Piece, large: Piece, touch: float, floor: float) -> bool:
    """Whether two pieces of anything else are one.

    A small piece that touches a larger one is a part of it, and so is what lies within the outline of the other as seen from
    above, no more than a hand's breadth over or under it; feet on the floor may be a leg's length below.

    Args:
        small: the piece with fewer elements.
        large: the other.
        touch: distance of elements that are next to each other.
        floor: height of the floor.
    """
    if _apart(small, large, touch, _leg(small, large, touch, floor)):
        return False
    own = (small.points - large.box.center_in_world) @ large.box.world_from_box
    if float((np.abs(own[:, :2]) <= large.box.size[:2] / 2 + touch).all(axis=1).mean()) >= _SHARED:
        return True
    return small.count <= _SMALL_SHARE * large.count and _gap(small, large) <= touch


def _leg(small: Piece, large: Piece, touch: float, floor: float) -> float:
    lower, upper = (small, large) if small.low[2] < large.low[2] else (large, small)
    has_feet = lower.high[2] <= floor + _FOOT and upper.low[2] > floor + _FOOT
    return _LEG if has_feet else max(touch, HAND)


def _apart(small: Piece, large: Piece, beside: float, over: float | None = None) -> bool:
    """Whether the boxes along the axes are further apart than that."""
    gap = np.maximum(small.low - large.high, large.low - small.high)
    return bool((gap > [beside, beside, beside if over is None else over]).any())


def _in_plane_of(large: Piece, small: Piece) -> bool:
    """Whether nearly all of a piece lies in the plane of an upright flat one."""
    if large.box.size[1] > _FLAT:
        return False
    offset = (small.points - large.box.center_in_world) @ large.box.world_from_box[:, 1]
    return bool(np.quantile(np.abs(offset), 0.9) <= _SAME_PLANE + large.box.size[1] / 2)


def _gap(small: Piece, large: Piece) -> float:
    from scipy.spatial import cKDTree

    return float(cKDTree(large.points).query(small.points)[0].min())
