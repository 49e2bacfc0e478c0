"""Outlines of regions on a grid."""

import numpy as np
from jaxtyping import Bool, Float64, Int64


def outline_of(region: Bool[np.ndarray, "columns rows"], tolerance: float = 2.0) -> Float64[np.ndarray, "corners 2"]:
    """Corners of the outer border of a region's largest part, anticlockwise, in cells from the grid's corner.

    The border runs along the sides of cells; corners that lie within ``tolerance`` cells of the line between others are left out
    (Douglas and Peucker 1973).  No corners where the region is empty.
    """
    loops = _loops(region)
    if not loops:
        return np.zeros((0, 2))
    loop = max(loops, key=_area)
    return _simplified(loop.astype(np.float64), tolerance)


def _loops(region: Bool[np.ndarray, "columns rows"]) -> list[Int64[np.ndarray, "corners 2"]]:
    """Closed walks along the sides of cells, the region to the left; cells that share only a corner are not connected."""
    padded = np.pad(region, 1)
    inner = padded[1:-1, 1:-1]
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # A side of a cell (x, y) from one of its corners to the next, wherever the cell beyond it is not of the region.
    for beyond, start, end in (
        (padded[1:-1, :-2], (0, 0), (1, 0)),
        (padded[2:, 1:-1], (1, 0), (1, 1)),
        (padded[1:-1, 2:], (1, 1), (0, 1)),
        (padded[:-2, 1:-1], (0, 1), (0, 0)),
    ):
        for x, y in np.argwhere(inner & ~beyond).tolist():
            steps.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    loops = []
    while steps:
        before = first = next(iter(steps))
        at, walk = _step(steps, before, before), [first]
        while at != first or _turn_left(before, at) in steps.get(at, ()):
            walk.append(at)
            before, at = at, _step(steps, before, at)
        loops.append(np.array(walk, dtype=np.int64))
    return loops


def _turn_left(before: tuple[int, int], at: tuple[int, int]) -> tuple[int, int]:
    """Where a step to the left leads."""
    return at[0] - (at[1] - before[1]), at[1] + (at[0] - before[0])


def _step(steps: dict[tuple[int, int], list[tuple[int, int]]], before: tuple[int, int], at: tuple[int, int]) -> tuple[int, int]:
    """Takes the next step from ``at``: round the same cell where there is a choice."""
    following, left = steps[at], _turn_left(before, at)
    chosen = left if left in following else following[0]
    following.remove(chosen)
    if not following:
        del steps[at]
    return chosen


def _area(loop: Int64[np.ndarray, "corners 2"]) -> float:
    x, y = loop[:, 0], loop[:, 1]
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _simplified(loop: Float64[np.ndarray, "corners 2"], tolerance: float) -> Float64[np.ndarray, "kept 2"]:
    """Cut at two far corners, each half with fewer corners."""
    start = int(np.lexsort((loop[:, 1], loop[:, 0]))[0])
    loop = np.roll(loop, -start, axis=0)
    far = int(np.linalg.norm(loop - loop[0], axis=1).argmax())
    closed = np.concatenate([loop, loop[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far, -1]] = True
    waiting = [(0, far), (far, len(loop))]
    while waiting:
        begin, end = waiting.pop()
        if end - begin < 2:
            continue
        between = closed[begin + 1 : end]
        line = closed[end] - closed[begin]
        length = max(float(np.linalg.norm(line)), 1e-12)
        offset = between - closed[begin]
        distance = np.abs(line[0] * offset[:, 1] - line[1] * offset[:, 0]) / length
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = begin + 1 + worst
            kept[middle] = True
            waiting += [(begin, middle), (middle, end)]
    return closed[:-1][kept[:-1]]
