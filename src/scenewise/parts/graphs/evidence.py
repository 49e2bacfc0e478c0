"""What one capture says about the places of another one's things: still a surface there, looked through, or never seen."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.parts.graphs.observed import ObservedGraph, Points, tree_of
from scenewise.parts.graphs.things import SHELL_NAMES
from scenewise.scenes.class_colors import linear_from_srgb, oklab_from_linear, oklab_from_srgb

_ON = 0.05  # metres within which a surface is the same
_LOOSELY_ON = 0.12
_FLAT = 0.1  # metres from a wall within which nobody can look behind
_FLAT_SHARE = 0.7
_HARDLY = 0.1  # share of a flat thing that may seem looked through
_FEWEST = 6
_SAMPLED = 500
_NEIGHBOURS = 8


@dataclass(frozen=True)
class Evidence:
    """What became of the surface of a thing.

    Attributes:
        known: share of its points whose place the other capture shows, in [0, 1].
        freed: of those, the share that was looked through, in [0, 1].
        is_flat: whether it lies so close to a wall, floor or ceiling that what is behind it would not be told from it.
    """

    known: float
    freed: float
    is_flat: bool


class Witness:
    """The other capture.

    Args:
        observed: its graph and surface.
        unit: a metre in units of the frame.
    """

    def __init__(self, observed: ObservedGraph, unit: float) -> None:
        self.observed, self.unit = observed, unit

    @property
    def has_seen(self) -> bool:
        """Whether it can tell anything: boxes alone cannot."""
        return self.observed.seen_through.is_known

    @cached_property
    def _surface(self) -> Any:
        return tree_of(self.observed.cloud_in_world)

    @cached_property
    def _shell(self) -> Any | None:
        numbers = [node.object_id for node in self.observed.graph.objects if node.name.lower() in SHELL_NAMES]
        rows = np.isin(self.observed.owners, numbers)
        return tree_of(self.observed.cloud_in_world[rows]) if rows.any() else None

    def is_known(self, points: Points) -> Bool[np.ndarray, "_"]:
        """Which places it shows; all of them where there are boxes alone: what is not there then is gone."""
        if not self.has_seen:
            return np.ones(len(points), dtype=bool)
        return self._is_on(points) | self.observed.seen_through(points)

    def _is_on(self, points: Points) -> Bool[np.ndarray, "_"]:
        distance, _ = self._surface.query(points, distance_upper_bound=_ON * self.unit)
        return np.isfinite(distance)

    def share_on(self, points: Points) -> float:
        """Share of points that lie on its surface, loosely, as what moved them was fitted to a piece.  0 of boxes alone."""
        if not self.has_seen:
            return 0.0
        distance, _ = self._surface.query(points, distance_upper_bound=_LOOSELY_ON * self.unit)
        return float(np.isfinite(distance).mean())

    def about(self, points: Points) -> Evidence:
        """What it says about a thing's surface."""
        if not self.has_seen:
            return Evidence(1.0, 1.0, False)
        on = self._is_on(points)
        through = self.observed.seen_through(points) & ~on
        count = int(on.sum()) + int(through.sum())
        freed = float(through.sum()) / count if count >= _FEWEST else 0.0
        is_flat = freed < _HARDLY and bool(on.any()) and self._is_flat(points[on])
        return Evidence(count / len(points), freed, is_flat)

    def _is_flat(self, points: Points) -> bool:
        """Whether nothing but the shell is seen where these points are."""
        if self._shell is None:
            return False
        distance, _ = self._shell.query(points, distance_upper_bound=_FLAT * self.unit)
        return bool(np.isfinite(distance).mean() >= _FLAT_SHARE)

    def recolored(self, other: ObservedGraph, object_id: int, factor: Float64[np.ndarray, "3"]) -> float | None:
        """How much the colour of a thing's place differs: median over its points of the distance in Oklab to the most similar of
        the surface's nearest points.  None where there are no colours.

        Args:
            other: the graph the thing is in.
            object_id: of the thing.
            factor: takes colours there to the light here.
        """
        rows = other.sample_of(object_id, _SAMPLED)
        if other.colors is None or self.observed.colors is None or len(rows) < _FEWEST or not self.has_seen:
            return None
        distance, nearest = self._surface.query(other.cloud_in_world[rows], _NEIGHBOURS, distance_upper_bound=2 * _ON * self.unit)
        there = np.isfinite(distance)
        seen = there.any(axis=1)
        if int(seen.sum()) < _FEWEST:
            return None
        ours = oklab_from_srgb(self.observed.colors[np.where(there, nearest, 0)])
        theirs = oklab_under_light(other.colors[rows], factor)
        apart = np.where(there, np.linalg.norm(ours - theirs[:, None], axis=-1), np.inf)
        return float(np.median(apart.min(axis=1)[seen]))


def oklab_under_light(srgb: Float64[np.ndarray, "*batch 3"], factor: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "*batch 3"]:
    """Colours in Oklab when the light is changed by a factor per channel (von Kries), taken in linear light.

    Args:
        srgb: in [0, 1].
        factor: per channel, > 0.
    """
    return oklab_from_linear(np.clip(linear_from_srgb(srgb) * factor, 0.0, 1.0))
