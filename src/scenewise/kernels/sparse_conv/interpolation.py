"""Between points and voxels: means in voxels and trilinear interpolation, as linear maps with fixed sums both ways."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.sparse_conv.grid import VoxelGrid, Voxelisation
from scenewise.kernels.sparse_conv.keys import LARGEST_COORDINATE, SMALLEST_COORDINATE, axis_bits, batch_bits, rows_of


def mean_in_voxels(values: Float[Tensor, "n c"], voxelisation: Voxelisation) -> Float[Tensor, "v c"]:
    """Mean over the points of each voxel, differentiable in the values.

    Raises:
        ShapeError: another number of values than points.
    """
    if len(values) != len(voxelisation.voxel_of_point):
        raise ShapeError("values", expected=f"{len(voxelisation.voxel_of_point)} rows, one per point", got=len(values))
    out: Tensor = _Blend.apply(values, _Mean(voxelisation))
    return out


def trilinear(
    features: Float[Tensor, "v c"], grid: VoxelGrid, positions: Float[Tensor, "n 3"], batch: Int64[Tensor, "n"]
) -> Float[Tensor, "n c"]:
    """Features between voxel centres, differentiable in the features.

    Voxel (i, j, k) of a grid of stride s has its centre at (i + ½, j + ½, k + ½)·s.  Of the eight centres around a position those
    of empty voxels are left out and the remaining weights divided by their sum, so a constant field stays constant; a position
    without any occupied voxel around it gets zeros.

    Args:
        features: one row per voxel.
        grid: the voxels, of any stride.
        positions: in voxels of stride 1, whatever the grid's stride.
        batch: scene of each position.

    Raises:
        ShapeError: another number of features than voxels.
    """
    if len(features) != len(grid):
        raise ShapeError("features", expected=f"{len(grid)} rows, one per voxel", got=len(features))
    rows, kept = corners(grid, positions, batch, features.dtype)
    out: Tensor = _Blend.apply(features, _Corners(rows, renormalised(kept), len(grid)))
    return out


_MOST_CELLS = 2**25
"""Cells of a box that is looked up by index: 128 MiB."""


def corners(
    grid: VoxelGrid, positions: Float[Tensor, "n 3"], batch: Int64[Tensor, "n"], dtype: torch.dtype
) -> tuple[Int64[Tensor, "n 8"], Float[Tensor, "n 8"]]:
    """The eight voxels around each position, z fastest: their rows and trilinear weights; row 0 and weight 0 where one is empty.

    The weights sum to 1 where all eight are occupied, and to less at the border of what is.  No gradient.

    Args:
        grid: the voxels, of any stride.
        positions: in voxels of stride 1, whatever the grid's stride.
        batch: scene of each position.
        dtype: of the weights.
    """
    # Centres of voxels become integers.  float64, because the weight is what is left of a number as large as 2¹⁷.
    scaled = positions.detach().to(torch.float64) / grid.stride - 0.5
    usable = ((scaled > SMALLEST_COORDINATE) & (scaled < LARGEST_COORDINATE)).all(1)  # false for NaN as well
    usable &= (batch >= 0) & (batch < grid.batch_size)
    scaled = torch.where(usable[:, None], scaled, 0.0)
    base = scaled.floor()
    upper = (scaled - base).to(dtype)
    lower = 1 - upper
    pairs = torch.stack([lower, upper], dim=2)  # [n, axis, step]
    weights = (pairs[:, 0, :, None, None] * pairs[:, 1, None, :, None] * pairs[:, 2, None, None, :]).reshape(-1, 8)
    rows = _corner_rows(grid, base.to(torch.int64), torch.where(usable, batch, 0))
    exists = (rows < len(grid)) & usable[:, None]
    return torch.where(exists, rows, 0), weights * exists


def renormalised(weights: Float[Tensor, "n 8"]) -> Float[Tensor, "n 8"]:
    """Weights of occupied corners divided by their sum; zeros stay zeros."""
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)


def _corner_rows(grid: VoxelGrid, cells: Int64[Tensor, "n 3"], batch: Int64[Tensor, "n"]) -> Int64[Tensor, "n 8"]:
    """Rows of the voxels cell + {0, 1}³, z fastest; len(grid) where there is none."""
    box = grid.kept("box", lambda: _box(grid))
    if box is not None:
        low, sizes, rows = box
        # Cells outside become a cell at the margin, which is empty, and so is the one after it.
        cells = (cells - low).clamp_min(0).minimum(sizes - 2)
        strides = (int(sizes[1] * sizes[2]), int(sizes[2]), 1)
        first = ((batch * int(sizes[0]) + cells[:, 0]) * strides[0] + cells[:, 1] * strides[1] + cells[:, 2])[:, None]
        steps = [x * strides[0] + y * strides[1] + z for x in (0, 1) for y in (0, 1) for z in (0, 1)]
        return rows[first + torch.tensor(steps, device=cells.device)].to(torch.int64)
    bits = [[axis_bits(cells[:, axis] + step, axis) for step in (0, 1)] for axis in range(3)]
    item = batch_bits(batch)
    keys = [item | bits[0][x] | bits[1][y] | bits[2][z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    return rows_of(torch.stack(keys, dim=1), grid.keys)


def _box(grid: VoxelGrid) -> tuple[Int64[Tensor, "3"], Int64[Tensor, "3"], Int32[Tensor, "cells"]] | None:
    """Lower corner and size of a box around all voxels, two empty cells wider on every side, and the row of each of its cells.

    One look-up takes the place of a binary search.  None where the box is too large, as outdoors.
    """
    if len(grid) == 0:
        return None
    places = grid.coords[:, 1:].to(torch.int64)
    low, sizes = places.amin(0) - 2, places.amax(0) - places.amin(0) + 5
    cells = grid.batch_size * math.prod(sizes.tolist())
    if cells > min(_MOST_CELLS, 512 * len(grid) + 2**16):
        return None
    rows = torch.full((cells,), len(grid), dtype=torch.int32, device=places.device)
    x, y, z = (places - low).unbind(1)
    index = ((grid.coords[:, 0].to(torch.int64) * sizes[0] + x) * sizes[1] + y) * sizes[2] + z
    rows[index] = torch.arange(len(grid), dtype=torch.int32, device=places.device)
    return low, sizes, rows


class _Mean:
    """Points to voxels: each voxel sums its points, each point sees one voxel."""

    def __init__(self, voxelisation: Voxelisation) -> None:
        self._voxelisation = voxelisation

    def forward(self, values: Tensor) -> Tensor:
        order, counts = self._voxelisation.points_by_voxel, self._voxelisation.counts
        return _weighted_sums(values, order, counts, (1 / counts.to(values.dtype)).repeat_interleave(counts))

    def backward(self, gradient: Tensor) -> Tensor:
        shares = gradient / self._voxelisation.counts[:, None]
        return shares.index_select(0, self._voxelisation.voxel_of_point)


class _Corners:
    """Voxels to points: each point sums eight voxels, each voxel receives from the points around it."""

    def __init__(self, rows: Tensor, weights: Tensor, num_voxels: int) -> None:
        self._rows, self._weights, self._num_voxels = rows, weights, num_voxels

    def forward(self, features: Tensor) -> Tensor:
        counts = torch.full((len(self._rows),), 8, device=features.device)
        return _weighted_sums(features, self._rows.flatten(), counts, self._weights.flatten())

    def backward(self, gradient: Tensor) -> Tensor:
        flat = self._rows.flatten()
        order = flat.to(torch.int32).argsort(stable=True)  # half the time of int64
        counts = torch.bincount(flat, minlength=self._num_voxels)
        return _weighted_sums(gradient, order // 8, counts, self._weights.flatten()[order])


class _Blend(torch.autograd.Function):
    """Applies a linear map; its backward is the map's transpose."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, linear_map: _Mean | _Corners) -> Tensor:
        ctx.linear_map = linear_map
        return linear_map.forward(values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.linear_map.backward(gradient.contiguous()), None


def _weighted_sums(values: Tensor, rows: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    """Sums of consecutive groups of weights[j] · values[rows[j]]; group g has counts[g] members, maybe none."""
    if len(rows) == 0 or len(values) == 0:
        return values.new_zeros(len(counts), values.shape[1])
    starts = counts.cumsum(0) - counts
    return torch.nn.functional.embedding_bag(rows, values, starts, mode="sum", per_sample_weights=weights)
