"""Between points and voxels: means in voxels and trilinear interpolation, as linear maps with fixed sums both ways."""

from typing import Any

import torch
from jaxtyping import Float, Int64
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
    counts = voxelisation.counts
    weights = (1 / counts.to(values.dtype))[voxelisation.voxel_of_point]
    out: Tensor = _Blend.apply(values, _Mean(voxelisation, weights))
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
    rows, weights = _corners(grid, positions, batch)
    out: Tensor = _Blend.apply(features, _Corners(rows, weights.to(features.dtype), len(grid)))
    return out


def _corners(grid: VoxelGrid, positions: Tensor, batch: Tensor) -> tuple[Int64[Tensor, "n 8"], Float[Tensor, "n 8"]]:
    """Rows of the voxels around each position (0 where empty, with weight 0) and their weights."""
    # Centres of voxels become integers.  float64, because the weight is what is left of a number as large as 2¹⁷.
    scaled = positions.detach().to(torch.float64) / grid.stride - 0.5
    usable = ((scaled > SMALLEST_COORDINATE) & (scaled < LARGEST_COORDINATE)).all(1)  # false for NaN as well
    usable &= (batch >= 0) & (batch < grid.batch_size)
    scaled = torch.where(usable[:, None], scaled, 0.0)
    base = scaled.floor()
    upper = scaled - base
    cells = base.to(torch.int64)
    bits = [[axis_bits(cells[:, axis] + step, axis) for step in (0, 1)] for axis in range(3)]
    first = batch_bits(torch.where(usable, batch, 0))
    keys, weights = [], []
    for corner in range(8):
        steps = (corner >> 2, corner >> 1 & 1, corner & 1)
        keys.append(first | bits[0][steps[0]] | bits[1][steps[1]] | bits[2][steps[2]])
        factors = [upper[:, axis] if step else 1 - upper[:, axis] for axis, step in enumerate(steps)]
        weights.append(factors[0] * factors[1] * factors[2])
    rows = rows_of(torch.stack(keys, dim=1), grid.keys)
    kept = torch.stack(weights, dim=1) * ((rows < len(grid)) & usable[:, None])
    return torch.where(rows < len(grid), rows, 0), kept / kept.sum(1, keepdim=True).clamp_min(1e-12)


class _Mean:
    """Points to voxels: each voxel sums its points, each point sees one voxel."""

    def __init__(self, voxelisation: Voxelisation, weights: Tensor) -> None:
        self._voxelisation, self._weights = voxelisation, weights

    def forward(self, values: Tensor) -> Tensor:
        order = self._voxelisation.points_by_voxel
        return _weighted_sums(values, order, self._voxelisation.counts, self._weights[order])

    def backward(self, gradient: Tensor) -> Tensor:
        return gradient[self._voxelisation.voxel_of_point] * self._weights[:, None]


class _Corners:
    """Voxels to points: each point sums eight voxels, each voxel receives from the points around it."""

    def __init__(self, rows: Tensor, weights: Tensor, num_voxels: int) -> None:
        self._rows, self._weights, self._num_voxels = rows, weights, num_voxels

    def forward(self, features: Tensor) -> Tensor:
        counts = torch.full((len(self._rows),), 8, device=features.device)
        return _weighted_sums(features, self._rows.flatten(), counts, self._weights.flatten())

    def backward(self, gradient: Tensor) -> Tensor:
        flat = self._rows.flatten()
        order = flat.argsort(stable=True)
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
