"""Objects: connected pieces of one class."""

import numpy as np
from jaxtyping import Float64, Int32

from scenewise.errors import ShapeError
from scenewise.scenes.partitions import Partition

NEIGHBOURS = 8
GAP_FACTOR = 4.0
"""Elements farther apart than this many typical spacings are not connected."""
MIN_ELEMENTS = 10


def connected_instances(
    points_in_world: Float64[np.ndarray, "n 3"],
    class_id: Int32[np.ndarray, "n"],
    partition: Partition | None = None,
    *,
    neighbours: int = NEIGHBOURS,
    gap_factor: float = GAP_FACTOR,
    min_elements: int = MIN_ELEMENTS,
) -> Int32[np.ndarray, "n"]:
    """Which object each element belongs to.

    Elements are connected when they have the same class and one is among the other's nearest neighbours within ``gap_factor``
    times the typical spacing, which is the median distance to the middle one of the neighbours; and when they have the same
    class in the same set of ``partition``.

    Args:
        points_in_world: where the elements are.
        class_id: their classes; −1 belongs to no object.
        partition: sets that are known to hold together, such as the segments a vote was taken in.
        neighbours: per element.
        gap_factor: see above.
        min_elements: smaller pieces are no objects (−1).

    Returns:
        Ids from 0 in descending order of size, equal sizes by their first element; −1 = none.

    Raises:
        ShapeError: lengths differ.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count = len(points_in_world)
    if len(class_id) != count or (partition is not None and partition.ids.shape != (count,)):
        raise ShapeError("class_id, partition", expected=f"{count} rows, one per point", got=f"{len(class_id)}")
    answer = np.full(count, -1, dtype=np.int32)
    known = np.flatnonzero((class_id >= 0) & np.isfinite(points_in_world).all(axis=1))
    if not len(known):
        return answer
    points, classes = points_in_world[known], class_id[known]
    k = min(neighbours, len(known) - 1)
    first = second = np.zeros(0, dtype=np.int64)
    if k:
        distances, nearest = cKDTree(points).query(points, k + 1, workers=-1)
        near = distances <= gap_factor * float(np.median(distances[:, (k + 1) // 2]))
        near &= classes[nearest] == classes[:, None]
        first, column = np.nonzero(near)
        second = nearest[first, column]
    if partition is not None:
        chain_first, chain_second = _chains(partition.ids[known], classes)
        first, second = np.concatenate([first, chain_first]), np.concatenate([second, chain_second])
    links = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(len(known), len(known)))
    pieces, piece = connected_components(links, directed=False)
    sizes = np.bincount(piece, minlength=pieces)
    first_element = np.full(pieces, len(known))
    np.minimum.at(first_element, piece, np.arange(len(known)))
    order = np.lexsort((first_element, -sizes))
    rank = np.empty(pieces, dtype=np.int32)
    rank[order] = np.arange(pieces)
    rank[sizes < min_elements] = -1  # the smallest come last, so the others keep numbers without gaps
    answer[known] = rank[piece]
    return answer


def _chains(ids: Int32[np.ndarray, "n"], classes: Int32[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
    """Links each element with the next of its class in its set."""
    order = np.lexsort((classes, ids))
    first, second = order[:-1], order[1:]
    same = (ids[first] == ids[second]) & (ids[first] >= 0) & (classes[first] == classes[second])
    return first[same], second[same]
