"""Joins matches of pairs of views into tracks of one point through many views."""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from scenewise.parts.points.features import ViewFeatures
from scenewise.parts.points.multi_view import Observations, nearest_to_rays, reprojection
from scenewise.parts.points.settings import TriangulationSettings


def observations_of_tracks(
    features: list[ViewFeatures],
    matches: Int64[np.ndarray, "m 4"],
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    settings: TriangulationSettings,
) -> tuple[Observations, UInt8[np.ndarray, "o 3"]]:
    counts = np.array([len(view.pixels) for view in features], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(counts)])
    view = np.repeat(np.arange(len(features)), counts)
    pixels = np.concatenate([v.pixels for v in features])
    edges = np.stack([first[matches[:, 0]] + matches[:, 1], first[matches[:, 2]] + matches[:, 3]], axis=1)
    edges = edges[consistent_matches(edges, view, pixels, camera_from_world, K, tolerance_px=2 * settings.reprojection_px)]
    track = join_tracks(edges, view, pixels)
    seen = np.flatnonzero(track >= 0)
    seen = seen[np.argsort(track[seen], kind="stable")]
    colors = np.concatenate([v.colors_u8 for v in features])
    return Observations(track[seen], view[seen], pixels[seen]), colors[seen]


_PAIRS_AT_ONCE = 1_000_000  # pairs of matches compared together; bounds the memory at about 300 MB


def consistent_matches(
    edges: Int64[np.ndarray, "m 2"],
    view: Int64[np.ndarray, "f"],
    pixels: Float64[np.ndarray, "f 2"],
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    *,
    tolerance_px: float,
) -> Bool[np.ndarray, "m"]:
    """Which matches agree with the depth that most matches of both their features vote for.

    Each match puts its two features at one place.  All matches of a feature vote on whose place reprojects onto the most of the
    matched features; a match stays if the winning places of both its ends reproject onto its other end.

    Args:
        edges: feature indices of each match.
        view: view of each feature.
        pixels: position of each feature in its view.
        camera_from_world: cameras (origin among them).
        K: intrinsics in pixels.
        tolerance_px: largest reprojection error of an agreeing match.

    Returns:
        True for matches to keep.
    """
    count = len(edges)
    if count == 0:
        return np.zeros(0, dtype=bool)
    both = Observations(np.repeat(np.arange(count), 2), view[edges].reshape(-1), pixels[edges].reshape(-1, 2))
    places = nearest_to_rays(both, count, camera_from_world, K)
    error, depth = reprojection(places, both, camera_from_world, K)
    sound = ((np.abs(error) <= tolerance_px).all(axis=1) & (depth > 0)).reshape(count, 2).all(axis=1)

    # Half-edges sorted by the feature they start from: the star of a feature is one run of them.
    match = np.flatnonzero(sound)
    start = np.concatenate([edges[match, 0], edges[match, 1]])
    end = np.concatenate([edges[match, 1], edges[match, 0]])
    match = np.concatenate([match, match])
    order = np.argsort(start, kind="stable")
    start, end, match = start[order], end[order], match[order]
    run_start = np.flatnonzero(np.concatenate([[True], np.diff(start) != 0])) if len(start) else np.zeros(0, np.int64)
    run_length = np.diff(np.concatenate([run_start, [len(start)]]))
    mine = np.repeat(run_start, run_length)  # first half-edge of my star
    degree = np.repeat(run_length, run_length)

    votes = np.zeros(len(start), dtype=np.int64)
    pair_end = np.cumsum(degree)
    begin = 0
    while begin < len(start):
        until = int(np.searchsorted(pair_end, (pair_end[begin - 1] if begin else 0) + _PAIRS_AT_ONCE, side="right"))
        until = max(until, begin + 1)
        sizes = degree[begin:until]
        who = np.repeat(np.arange(begin, until), sizes)
        offset = np.arange(len(who)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        witness = mine[who] + offset
        agrees = _lands_on(places[match[who]], end[witness], view, pixels, camera_from_world, K, tolerance_px)
        votes[begin:until] = np.bincount(who - begin, weights=agrees, minlength=until - begin).astype(np.int64)
        begin = until
    # The winner of each star: most votes, the first of equals.
    ranked = np.lexsort((np.arange(len(start)), -votes, mine))
    winner = ranked[run_start] if len(start) else run_start
    winning_place = places[match[np.repeat(winner, run_length)]]
    agrees = _lands_on(winning_place, end, view, pixels, camera_from_world, K, tolerance_px)
    return np.bincount(match[agrees], minlength=count) == 2


def _lands_on(
    places: Float64[np.ndarray, "o 3"],
    feature: Int64[np.ndarray, "o"],
    view: Int64[np.ndarray, "f"],
    pixels: Float64[np.ndarray, "f 2"],
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    tolerance_px: float,
) -> Bool[np.ndarray, "o"]:
    """Whether each place reprojects onto its feature."""
    sightings = Observations(np.arange(len(feature)), view[feature], pixels[feature])
    error, depth = reprojection(places, sightings, camera_from_world, K)
    return (depth > 0) & ((error**2).sum(axis=1) <= tolerance_px**2)


def join_tracks(
    edges: Int64[np.ndarray, "m 2"],
    view: Int64[np.ndarray, "f"],
    pixels: Float64[np.ndarray, "f 2"],
    *,
    same_spot_px: float = 2.0,
) -> Int64[np.ndarray, "f"]:
    """Joins pairwise matches into tracks.

    A component that holds two distant features of one view joined two places by a wrong match.  Its least supported edges (those
    in the fewest triangles of matches) are dropped and the rest joined again, stricter each time; what conflicts to the end is
    dropped.

    Args:
        edges: feature indices of each match.
        view: view of each feature.
        pixels: position of each feature in its view.
        same_spot_px: features of one view within this distance count as one.

    Returns:
        Track of each feature, 0 … t − 1; −1 for features without one.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(view)
    kept = edges
    if len(edges) == 0:
        return np.full(count, -1, dtype=np.int64)
    for least_triangles in (0, 1, 2, 4):
        weights = np.ones(len(kept), dtype=np.int32)
        adjacency = coo_matrix((weights, (kept[:, 0], kept[:, 1])), shape=(count, count)).tocsr()
        _, label = connected_components(adjacency, directed=False)
        conflict = _conflicting(label, view, pixels, same_spot_px)
        troubled = conflict[label[kept[:, 0]]]
        if not troubled.any():
            break
        both_ways = (adjacency + adjacency.T).tocsr()
        both_ways.data[:] = 1
        suspects = kept[troubled]
        triangles = np.asarray(both_ways[suspects[:, 0]].multiply(both_ways[suspects[:, 1]]).sum(axis=1)).reshape(-1)
        kept = np.concatenate([kept[~troubled], suspects[triangles > least_triangles]])
    else:
        weights = np.ones(len(kept), dtype=np.int32)
        adjacency = coo_matrix((weights, (kept[:, 0], kept[:, 1])), shape=(count, count))
        _, label = connected_components(adjacency, directed=False)
        conflict = _conflicting(label, view, pixels, same_spot_px)
        kept = kept[~conflict[label[kept[:, 0]]]]
    track = np.full(count, -1, dtype=np.int64)
    members = np.unique(kept)
    track[members] = np.unique(label[members], return_inverse=True)[1].reshape(-1)
    return track


def _conflicting(
    label: np.ndarray, view: Int64[np.ndarray, "f"], pixels: Float64[np.ndarray, "f 2"], same_spot_px: float
) -> Bool[np.ndarray, "components"]:
    """Which components hold two features of one view that are more than ``same_spot_px`` apart."""
    key = label.astype(np.int64) * (int(view.max()) + 1) + view
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0]))
    ordered = pixels[order]
    extent = np.maximum.reduceat(ordered, starts) - np.minimum.reduceat(ordered, starts)
    conflict = np.zeros(int(label.max()) + 1, dtype=bool)
    conflict[label[order[starts]][(extent > same_spot_px).any(axis=1)]] = True
    return conflict
