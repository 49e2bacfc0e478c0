"""What answers a question: where the heat is, and boxes around it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from scenewise.apps.viewer.colors import shown_heat
from scenewise.scenes.heats import Heat

_HOT = 0.5  # share of the colour scale
_GRID = 80  # cells along the longest side of what is hot, unless the elements are sparser than that
_NEIGHBOURS, _SLACK = 3, 1.25
_LEAST_SHARE = 0.02  # of the hottest segment's total heat; smaller ones are specks
_EDGE_PERCENT = 2.0  # of the elements that a box may leave out on each side: splats have outliers


@runtime_checkable
class Searcher(Protocol):
    """Answers questions about a scene."""

    def heat(self, text: str) -> Heat:
        """How well every splat and point answers ``text``.

        Raises:
            ConventionError: no word of it is known.
        """
        ...


@dataclass(frozen=True)
class Segment:
    """A place that answers a question.

    Attributes:
        score: mean relevancy of its elements.
        count: of its elements.
        center: of the box, relative to the contents' origin.
        sizes: of the box along its own axes.
        world_from_box: columns = axes of the box; the third is the up direction.
    """

    score: float
    count: int
    center: Float64[np.ndarray, "3"]
    sizes: Float64[np.ndarray, "3"]
    world_from_box: Float64[np.ndarray, "3 3"]


def hot_segments(
    positions: Float32[np.ndarray, "n 3"],
    heat: Float32[np.ndarray, "n"],
    weights: Float32[np.ndarray, "n"],
    up: Float64[np.ndarray, "3"],
    most: int = 3,
) -> tuple[Segment, ...]:
    """The connected places that answer best, the one with most heat first.

    Elements in the upper half of the colour scale are sorted into cubes; cubes that touch, also by an edge or a corner, belong
    together.

    Args:
        positions: of the elements.
        heat: relevancy in [0, 1].
        weights: how much an element counts, such as its opacity.
        up: unit vector away from the ground.
        most: how many to return.
    """
    shown = shown_heat(heat)
    hot = np.flatnonzero(shown > _HOT)
    if not len(hot):
        return ()
    places = positions[hot].astype(np.float64)
    low, high = np.percentile(places, [1.0, 99.0], axis=0)
    edge = max(float((high - low).max()) / _GRID, _spacing(places), 1e-9)
    component = _connected(np.floor((np.clip(places, low, high) - low) / edge).astype(np.int64))
    amount = weights[hot].astype(np.float64) * shown[hot]
    totals = np.bincount(component, weights=amount)
    order = np.argsort(-totals, kind="stable")[:most]
    segments = []
    for index in order[totals[order] >= _LEAST_SHARE * totals[order[0]]]:
        members = hot[component == index]
        center, sizes, axes = upright_box(positions[members].astype(np.float64), up)
        segments.append(Segment(float(heat[members].mean()), len(members), center, sizes, axes))
    return tuple(segments)


def _spacing(places: Float64[np.ndarray, "n 3"]) -> float:
    """Distance within which most elements have some neighbours."""
    nearest = min(len(places) - 1, _NEIGHBOURS)
    if nearest < 1:
        return 0.0
    some = places[:: max(1, len(places) // 2000)]
    return _SLACK * float(np.quantile(cKDTree(places).query(some, k=nearest + 1)[0][:, -1], 0.75))


def _connected(cells: np.ndarray) -> np.ndarray:
    """Number of the connected component of every row; cells touch when no coordinate differs by more than one."""
    unique, inverse = np.unique(cells, axis=0, return_inverse=True)
    spans = unique.max(axis=0) + 3
    key = ((unique[:, 0] + 1) * spans[1] + unique[:, 1] + 1) * spans[2] + unique[:, 2] + 1
    order = np.argsort(key)
    starts, ends = [], []
    for offset in np.ndindex(3, 3, 3):
        neighbour = key + ((offset[0] - 1) * spans[1] + offset[1] - 1) * spans[2] + offset[2] - 1
        found = np.minimum(np.searchsorted(key, neighbour, sorter=order), len(key) - 1)
        match = key[order[found]] == neighbour
        starts.append(np.flatnonzero(match))
        ends.append(order[found[match]])
    start, end = np.concatenate(starts), np.concatenate(ends)
    graph = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(len(key), len(key)))
    return connected_components(graph, directed=False)[1][inverse.reshape(-1)]


def upright_box(
    positions: Float64[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"]
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"], Float64[np.ndarray, "3 3"]]:
    """The upright box with the smallest ground area around most positions; two in a hundred may stick out on each side.

    The smallest rectangle around a planar set has a side on an edge of its convex hull (Freeman and Shapira 1975).

    Args:
        positions: at least one.
        up: unit vector.

    Returns:
        Centre, sizes along the box's axes, and the axes as columns of a rotation; the third is ``up``.
    """
    first = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    first /= np.linalg.norm(first)
    ground = np.stack([first, np.cross(up, first)], axis=1)
    planar = positions @ ground
    try:
        corners = planar[ConvexHull(planar).vertices]
    except (QhullError, ValueError):  # fewer than three places, or all on a line
        corners = planar
    edges = np.diff(corners, axis=0, append=corners[:1])
    angles = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (0.5 * np.pi), 4))[:180]
    best: tuple[float, np.ndarray] | None = None
    for angle in angles:
        turned = ground @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        low, high = np.percentile(positions @ turned, [_EDGE_PERCENT, 100.0 - _EDGE_PERCENT], axis=0)
        area = float(np.prod(high - low))
        if best is None or area < best[0] - 1e-12:
            best = area, turned
    assert best is not None
    axes = np.concatenate([best[1], up[:, None]], axis=1)
    low, high = np.percentile(positions @ axes, [_EDGE_PERCENT, 100.0 - _EDGE_PERCENT], axis=0)
    return axes @ (0.5 * (low + high)), high - low, axes


def box_edges(segment: Segment) -> Float32[np.ndarray, "12 2 3"]:
    """The twelve edges of a segment's box, each from corner to corner."""
    corners = np.array(list(np.ndindex(2, 2, 2)), dtype=np.float64) - 0.5
    ends = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(corners[a] - corners[b]).sum() == 1.0]
    placed = segment.center + (corners * segment.sizes) @ segment.world_from_box.T
    return placed[np.array(ends)].astype(np.float32)
