"""How a thing came from one place to another: turned about the vertical and shifted, fitted to its surface."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.geometry.transforms import transform_points
from scenewise.parts.graphs.observed import Matrix4, Points, tree_of

IsKnown = Callable[[Points], Bool[np.ndarray, "_"]]
"""Which places the other capture would have shown."""

_FULL, _NONE = 0.03, 0.10  # metres at which a point is found, and no longer
_TURNS = 24
_REFINED = 4
_STEPS = 12
_REACH = 0.2  # metres within which points are paired
_FINAL_STEPS, _FINAL_REACH = 40, 0.08
_TRIM = 0.8
_COARSE = 250  # points that choose among turns
_EQUAL = 0.03  # overlap that one turn must have over a smaller one
_SAME = math.radians(25.0)  # between turns that were refined from neighbouring starts
_FEWEST = 6


@dataclass(frozen=True)
class Surface:
    """Points of one thing.

    Attributes:
        points: in the common frame, up = +Z.
        unit: a metre in units of the frame.
        is_known: which places the other capture would have shown.
    """

    points: Points
    unit: float
    is_known: IsKnown

    @cached_property
    def tree(self):  # type: ignore[no-untyped-def]  # SciPy has no types
        return tree_of(self.points)

    @cached_property
    def middle(self) -> Float64[np.ndarray, "3"]:
        """Of its bounding box, stray points left out."""
        return _middle(self.points)


@dataclass(frozen=True)
class Motion:
    """A rigid motion that keeps the vertical.

    Attributes:
        after_from_before: 4×4.
        distance: how far the thing's middle went, units of the frame.
        turn: about +Z, radians in (−π, π].
        overlap: share of the surfaces that then lie on each other, in [0, 1].
    """

    after_from_before: Matrix4
    distance: float
    turn: float
    overlap: float


def overlap(before: Surface, after: Surface, after_from_before: Matrix4 | None = None) -> float:
    """Harmonic mean of the shares of each surface that lies on the other; points count fully up to 3 cm away, not at all from 10.

    Points where the other capture saw nothing, neither surface nor free space, do not count.
    """
    moved = before.points if after_from_before is None else transform_points(after_from_before, before.points)
    there = share_found(moved, after, before.is_known)
    back = after.points if after_from_before is None else transform_points(np.linalg.inv(after_from_before), after.points)
    here = share_found(back, before, after.is_known)
    return 2 * there * here / (there + here) if there + here > 0 else 0.0


def share_found(points: Points, surface: Surface, is_known: IsKnown) -> float:
    """Share of points that lie on a surface, of those that lie on it or whose place is known."""
    found = _found(points, surface)
    counted = (found > 0) | is_known(points)
    return float(found[counted].mean()) if int(counted.sum()) >= _FEWEST else 0.0


def _found(points: Points, surface: Surface) -> Float64[np.ndarray, "_"]:
    unit = surface.unit
    distance, _ = surface.tree.query(points, distance_upper_bound=_NONE * unit)
    return np.clip((_NONE * unit - distance) / ((_NONE - _FULL) * unit), 0.0, 1.0)


def fitted_motion(before: Surface, after: Surface) -> Motion:
    """The motion under which two surfaces overlap most; of turns that do so equally well, the smallest.

    Turns are tried in steps of 15°, middle on middle; the best are refined by iterated closest points (Besl and McKay 1992) in
    both directions, of which the farthest fifth is left out (Chetverikov et al. 2002), solved for turn and shift in closed form.
    """
    few_before = before.points[:: max(1, len(before.points) // _COARSE)]
    starts = [np.eye(4)]
    for turn in np.arange(_TURNS) * (2 * math.pi / _TURNS):
        rotation = rotation_about_up(float(turn))
        shift = after.middle - _middle(before.points @ rotation.T)
        starts.append(_rigid(rotation, shift))
    scores = [float(_found(transform_points(start, few_before), after).mean()) for start in starts]
    # The way things were and the unturned shift are always tried.
    order = [0, 1, *(int(i) for i in np.argsort(-np.array(scores), kind="stable") if i > 1)][: _REFINED + 2]
    found = [_described(before, after, _refined(before, after, starts[index])) for index in order]
    best = max(each.overlap for each in found)
    least = min((each for each in found if each.overlap >= best - _EQUAL), key=lambda each: (abs(each.turn), -each.overlap))
    chosen = max(found, key=lambda each: each.overlap if _turn_between(each, least) <= _SAME else -1.0)
    polished = _refined(before, after, chosen.after_from_before, _FINAL_STEPS, _FINAL_REACH)
    return max(_described(before, after, polished), chosen, key=lambda each: each.overlap)


def _turn_between(first: Motion, second: Motion) -> float:
    return abs(math.remainder(first.turn - second.turn, 2 * math.pi))


def _described(before: Surface, after: Surface, transform: Matrix4) -> Motion:
    distance = float(np.linalg.norm(transform_points(transform, before.middle) - before.middle))
    turn = math.atan2(transform[1, 0], transform[0, 0])
    return Motion(transform, distance, turn, overlap(before, after, transform))


def _refined(before: Surface, after: Surface, transform: Matrix4, steps: int = _STEPS, reach: float = _REACH) -> Matrix4:
    reach = reach * before.unit
    for _ in range(steps):
        moved = transform_points(transform, before.points)
        there, at_after = after.tree.query(moved, distance_upper_bound=reach)
        here, at_before = tree_of(moved).query(after.points, distance_upper_bound=reach)
        rows, columns = np.flatnonzero(np.isfinite(there)), np.flatnonzero(np.isfinite(here))
        source = np.concatenate([moved[rows], moved[at_before[columns]]])
        target = np.concatenate([after.points[at_after[rows]], after.points[columns]])
        if len(source) < _FEWEST:
            return transform
        distance = np.linalg.norm(source - target, axis=1)
        kept = distance <= np.quantile(distance, _TRIM)
        step = upright_fit(source[kept], target[kept])
        transform = step @ transform
        if float(np.abs(step - np.eye(4)).max()) < 1e-4:
            break
    return transform


def upright_fit(source: Points, target: Points) -> Matrix4:
    """Least-squares turn about +Z and shift: Umeyama's solution in the plane, and the mean difference in height."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    turn = math.atan2(float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()), float((a[:, :2] * b[:, :2]).sum()))
    rotation = rotation_about_up(turn)
    return _rigid(rotation, target_mean - rotation @ source_mean)


def rotation_about_up(turn: float) -> Float64[np.ndarray, "3 3"]:
    """About +Z, counter-clockwise as seen from above, radians."""
    c, s = math.cos(turn), math.sin(turn)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _rigid(rotation: Float64[np.ndarray, "3 3"], shift: Float64[np.ndarray, "3"]) -> Matrix4:
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, shift
    return transform


def _middle(points: Points) -> Float64[np.ndarray, "3"]:
    return np.asarray(np.quantile(points, [0.02, 0.98], axis=0).mean(axis=0))
