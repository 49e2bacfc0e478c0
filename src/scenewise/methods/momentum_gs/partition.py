"""How a scene is cut into blocks: cells of a contracted space, each with an owner.

Source: Fan et al. 2024 (Momentum-GS), arXiv 2412.04887, section 4.1, and its released code: a box is normalised to [−1, 1]³, what
lies outside is contracted into [−2, 2]³, and the whole is mapped to [0, 1]³, where cells are boxes with sides along the axes.
There cells are equal and every cell is a block; here cuts may follow the cameras, and a block may own several cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from scenewise.errors import ConventionError

Points = Float[np.ndarray, "n 3"]

NEAR_A_CUT = 0.05
"""Points that lie within this part of their cell's width of a cut plane are near it."""

_EXACT = 1e-9  # cells have faces in common to the last digit; sums of volumes have not


def contracted(points: Points, partition_from_world: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "n 3"]:
    """Positions in [0, 1]³; the box takes the middle, [¼, ¾]³.

    With m the largest coordinate's absolute value, x stays where m ≤ 1 and becomes (2 − 1/m)·x/m elsewhere; then x/4 + ½.

    Args:
        points: in the world.
        partition_from_world: takes the box to [−1, 1]³.
    """
    x = points.astype(np.float64) @ partition_from_world[:3, :3].T + partition_from_world[:3, 3]
    m = np.maximum(np.abs(x).max(axis=1, keepdims=True), 1.0)
    return (2.0 - 1.0 / m) * x / m / 4.0 + 0.5


@dataclass(frozen=True)
class Partition:
    """Cells that fill the contracted space once, and who owns each.

    Attributes:
        partition_from_world: affine; takes the box to [−1, 1]³.
        cells: lower and upper corner of each cell in [0, 1]³; a cell holds its lower faces and not its upper ones.
        block_of_cell: 0 … ``num_blocks`` − 1, each at least once.

    Raises:
        ConventionError: cells that do not fill the space once, cells without a block or blocks without a cell, or a frame that
            has no inverse.
    """

    partition_from_world: Float64[np.ndarray, "4 4"]
    cells: Float64[np.ndarray, "cells 2 3"]
    block_of_cell: Int64[np.ndarray, "cells"]

    def __post_init__(self) -> None:
        frame = self.partition_from_world
        if not np.isfinite(frame).all() or np.linalg.matrix_rank(frame[:3, :3]) < 3:
            raise ConventionError("partition_from_world", expected="an affine map with an inverse", got=frame.tolist())
        volume, is_once = _filled(self.cells)
        if not is_once or abs(volume - 1.0) > _EXACT:
            got = f"a volume of {volume:.6g}" + ("" if is_once else ", some of it twice, or outside")
            raise ConventionError("cells", expected="to fill the unit cube once", got=got)
        if len(self.block_of_cell) != len(self.cells):
            raise ConventionError("blocks", expected=f"one for each of {len(self.cells)} cells", got=len(self.block_of_cell))
        if sorted(set(self.block_of_cell.tolist())) != list(range(self.num_blocks)):
            raise ConventionError("blocks", expected="0, 1, 2 … without gaps", got=sorted(set(self.block_of_cell.tolist())))

    @property
    def num_blocks(self) -> int:
        """How many blocks there are."""
        return int(self.block_of_cell.max()) + 1

    def cell_of(self, points: Points) -> Int64[np.ndarray, "n"]:
        """Cell that each point of the world lies in."""
        return self._cell_at(contracted(points, self.partition_from_world))

    def block_of(self, points: Points) -> Int64[np.ndarray, "n"]:
        """Block that owns each point of the world."""
        return self.block_of_cell[self.cell_of(points)]

    def _cell_at(self, places: Float64[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
        places = np.clip(places, 0.0, np.nextafter(1.0, 0.0))
        found = np.zeros(len(places), dtype=np.int64)
        for index, (low, high) in enumerate(self.cells):
            found[((places >= low) & (places < high)).all(axis=1)] = index
        return found

    def neighbours(self, points: Points, reach: float = NEAR_A_CUT) -> Int64[np.ndarray, "n 6"]:
        """Blocks beyond the cut planes near each point, one for each direction (−x, +x, −y …); −1 where there is none.

        Args:
            points: in the world.
            reach: how far away a plane may be, as a part of the width of the point's cell.
        """
        places = np.clip(contracted(points, self.partition_from_world), 0.0, np.nextafter(1.0, 0.0))
        cell = self._cell_at(places)
        own, width = self.block_of_cell[cell], self.cells[cell, 1] - self.cells[cell, 0]
        found = np.full((len(points), 6), -1, dtype=np.int64)
        for side in range(6):
            axis, sign = side // 2, 2 * (side % 2) - 1
            moved = places.copy()
            moved[:, axis] += sign * reach * width[:, axis]
            inside = (moved[:, axis] >= 0.0) & (moved[:, axis] < 1.0)
            other = self.block_of_cell[self._cell_at(moved)]
            found[:, side] = np.where(inside & (other != own), other, -1)
        return found

    def near_a_cut(self, points: Points, reach: float = NEAR_A_CUT) -> Bool[np.ndarray, "n"]:
        """Points with another block within reach; arguments as in :meth:`neighbours`."""
        return np.asarray((self.neighbours(points, reach) >= 0).any(axis=1))

    def touching(self, block: int) -> list[int]:
        """Blocks that share a face with this one, those with the largest shared area first."""
        area: dict[int, float] = {}
        for a, b in product(np.flatnonzero(self.block_of_cell == block), np.flatnonzero(self.block_of_cell != block)):
            shared = _shared_face(self.cells[a], self.cells[b])
            if shared > 0.0:
                other = int(self.block_of_cell[b])
                area[other] = area.get(other, 0.0) + shared
        return sorted(area, key=lambda other: (-area[other], other))

    def joined(self, block: int, into: int) -> "Partition":
        """The partition with one block given to another; later blocks move up."""
        owners = np.where(self.block_of_cell == block, into, self.block_of_cell)
        return replace(self, block_of_cell=np.where(owners > block, owners - 1, owners))


def _filled(cells: Float64[np.ndarray, "cells 2 3"]) -> tuple[float, bool]:
    """Volume of all cells, and whether each has a width, lies in the unit cube and shares no volume with another."""
    low, high = cells[:, 0], cells[:, 1]
    volume = float((high - low).prod(axis=1).sum())
    if not ((low >= 0.0) & (low < high) & (high <= 1.0)).all():
        return volume, False
    shared = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(min=0.0).prod(axis=2)
    return volume, float(shared.sum() - np.trace(shared)) <= _EXACT


def _shared_face(a: Float64[np.ndarray, "2 3"], b: Float64[np.ndarray, "2 3"]) -> float:
    """Area of the face that two cells share; 0 where they only meet in an edge."""
    overlap = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
    touching = [axis for axis in range(3) if abs(overlap[axis]) < 1e-12]
    if len(touching) != 1 or (overlap < -1e-12).any():
        return 0.0
    return float(np.prod(np.delete(overlap, touching[0])))


def even_partition(partition_from_world: Float64[np.ndarray, "4 4"], blocks: Sequence[int]) -> Partition:
    """Equal cells, each a block: number iz·bx·by + iy·bx + ix.  Source: released code of Fan et al. 2024.

    Args:
        partition_from_world: takes the box to [−1, 1]³.
        blocks: along x, y and z.

    Raises:
        ConventionError: fewer than one.
    """
    _require_blocks(blocks)
    edges = [np.linspace(0.0, 1.0, count + 1) for count in blocks]
    return _of_cells(
        partition_from_world,
        [
            ((x[0], y[0], z[0]), (x[1], y[1], z[1]))
            for z, y, x in product(pairwise(edges[2]), pairwise(edges[1]), pairwise(edges[0]))
        ],
    )


def balanced_partition(partition_from_world: Float64[np.ndarray, "4 4"], blocks: Sequence[int], points: Points) -> Partition:
    """As many cells along each axis as asked for, cut so that each holds about as many of the points.

    The first axis is cut first; what lies between two cuts is then cut along the second by its own points, and so on.  Numbers as
    in :func:`even_partition`.

    Args:
        partition_from_world: takes the box to [−1, 1]³.
        blocks: along x, y and z.
        points: in the world, for example where cameras look; at least one.

    Raises:
        ConventionError: fewer than one block.
    """
    _require_blocks(blocks)
    places = contracted(points, partition_from_world)
    cells: dict[tuple[int, int, int], tuple[Sequence[float], Sequence[float]]] = {}
    for ix, x in enumerate(_cuts(places[:, 0], blocks[0])):
        in_x = places[(places[:, 0] >= x[0]) & (places[:, 0] < x[1])]
        for iy, y in enumerate(_cuts(in_x[:, 1], blocks[1])):
            in_y = in_x[(in_x[:, 1] >= y[0]) & (in_x[:, 1] < y[1])]
            for iz, z in enumerate(_cuts(in_y[:, 2], blocks[2])):
                cells[iz, iy, ix] = ((x[0], y[0], z[0]), (x[1], y[1], z[1]))
    return _of_cells(partition_from_world, [cells[place] for place in sorted(cells)])


def _require_blocks(blocks: Sequence[int]) -> None:
    if len(blocks) != 3 or min(blocks) < 1:
        raise ConventionError("blocks", expected="at least one along each of three axes", got=tuple(blocks))


def _cuts(places: Float64[np.ndarray, "n"], count: int) -> list[tuple[float, float]]:
    inner = np.quantile(places, np.arange(1, count) / count) if len(places) else np.arange(1, count) / count
    # Where all points lie in one plane, cells still need a width.
    edges = np.maximum.accumulate(np.concatenate([[0.0], inner])) + 1e-9 * np.arange(count)
    return list(pairwise([*map(float, np.minimum(edges, 1.0 - 1e-9 * np.arange(count, 0, -1))), 1.0]))


def _of_cells(
    partition_from_world: Float64[np.ndarray, "4 4"], cells: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> Partition:
    return Partition(partition_from_world, np.array(cells, dtype=np.float64), np.arange(len(cells), dtype=np.int64))


def partition_json(partition: Partition) -> dict[str, Any]:
    """As JSON values, every digit kept."""
    return {
        "partition_from_world": partition.partition_from_world.tolist(),
        "cells": partition.cells.tolist(),
        "block_of_cell": partition.block_of_cell.tolist(),
    }
