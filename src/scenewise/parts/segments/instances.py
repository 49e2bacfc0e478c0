"""Objects: connected pieces of one class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int32

from scenewise.errors import ShapeError
from scenewise.geometry.boxes import axis_aligned_box
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.objects import SceneObject
from scenewise.scenes.partitions import Partition

NEIGHBOURS = 8
GAP_FACTOR = 4.0
"""Elements farther apart than this many typical spacings are not connected."""
MIN_ELEMENTS = 10


def connected_instances(
    points_in_world: Float64[np.ndarray, "n 3"],
    class_ids: Int32[np.ndarray, "n"],
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
        class_ids: their classes; −1 belongs to no object.
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
    if len(class_ids) != count or (partition is not None and partition.ids.shape != (count,)):
        raise ShapeError("class_ids, partition", expected=f"{count} rows, one per point", got=f"{len(class_ids)}")
    answer = np.full(count, -1, dtype=np.int32)
    known = np.flatnonzero((class_ids >= 0) & np.isfinite(points_in_world).all(axis=1))
    if not len(known):
        return answer
    points, classes = points_in_world[known], class_ids[known]
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


def objects_of_labels(
    points_in_world: Float64[np.ndarray, "n 3"],
    labels: ElementLabels,
    names: Sequence[str],
    measured: Bool[np.ndarray, "n"] | None = None,
) -> tuple[SceneObject, ...]:
    """The objects that labels speak of, in the order of their numbers.

    Args:
        points_in_world: where the elements are.
        labels: of each.
        names: of the classes.
        measured: elements that tell an object's place and size where it has any of them; the others are looser.  Default all.
    """
    ids = labels.instance_ids
    order = np.argsort(ids, kind="stable")
    bounds = np.searchsorted(ids[order], np.arange(int(ids.max(initial=-1)) + 2))
    found = []
    for number in range(len(bounds) - 1):
        members = order[bounds[number] : bounds[number + 1]].astype(np.int64)
        if not len(members):
            continue
        firm = members if measured is None or not measured[members].any() else members[measured[members]]
        low, high = axis_aligned_box(points_in_world[firm])
        class_id = int(labels.class_ids[members[0]])
        found.append(
            SceneObject(
                members,
                float(labels.confidence[members].mean(dtype=np.float64)),
                points_in_world[firm].mean(axis=0),
                low,
                high,
                class_id=class_id,
                name=names[class_id],
                instance_id=number,
            )
        )
    return tuple(found)
