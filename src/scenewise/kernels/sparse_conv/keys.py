"""Keys: one 64-bit integer per voxel, ordered by batch item, then brick of 4³ voxels along a Z-curve, then place in the brick.

    key = batch · 2⁵⁴ + morton(x ≫ 2, y ≫ 2, z ≫ 2) · 2⁶ + (x & 3) · 2⁴ + (y & 3) · 2² + (z & 3)

with x, y, z moved up by 2¹⁷ first and x the most significant axis of every triple.  Neighbours in space are then mostly
neighbours in memory, whichever way a surface runs.  Each axis owns its own bits, so the key of a neighbour is put together from
three numbers computed once per axis.
"""

import torch
from jaxtyping import Int, Int64
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError

LARGEST_BATCH = 511
SMALLEST_COORDINATE = -(2**17) + 1
LARGEST_COORDINATE = 2**17 - 2
"""One step is kept free at either end, so that a neighbour's key never wraps into the next row."""

_SHIFT = 2**17


def check(coords: Tensor) -> None:
    """Makes sure that keys of these coordinates and of their neighbours exist.

    Raises:
        ShapeError: not int32 [n, 4].
        ConventionError: a batch item or coordinate that the key has no bits for.
    """
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype != torch.int32:
        raise ShapeError("coords", expected="int32 [n, 4] (batch, x, y, z)", got=f"{coords.dtype} {tuple(coords.shape)}")
    if len(coords) == 0:
        return
    low, high = coords.amin(0).tolist(), coords.amax(0).tolist()
    if low[0] >= 0 and high[0] <= LARGEST_BATCH and min(low[1:]) >= SMALLEST_COORDINATE and max(high[1:]) <= LARGEST_COORDINATE:
        return
    lowest = torch.tensor([0, *[SMALLEST_COORDINATE] * 3], device=coords.device)
    highest = torch.tensor([LARGEST_BATCH, *[LARGEST_COORDINATE] * 3], device=coords.device)
    row = int(((coords < lowest) | (coords > highest)).any(1).nonzero()[0])
    raise ConventionError(
        f"coords[{row}]",
        expected=f"batch 0 to {LARGEST_BATCH} and coordinates {SMALLEST_COORDINATE} to {LARGEST_COORDINATE}",
        got=f"(batch, x, y, z) = {tuple(coords[row].tolist())}",
        fix="use larger voxels, move the scene to the origin, or put fewer scenes into a batch",
    )


def axis_bits(coordinates: Int[Tensor, "*shape"], axis: int) -> Int64[Tensor, "*shape"]:
    """The bits of a key that coordinates along one axis (0 = x) set."""
    moved = coordinates.to(torch.int64) + _SHIFT
    spread = moved >> 2  # 16 bits, to every third place
    spread = (spread | spread << 32) & 0x001F00000000FFFF
    spread = (spread | spread << 16) & 0x001F0000FF0000FF
    spread = (spread | spread << 8) & 0x100F00F00F00F00F
    spread = (spread | spread << 4) & 0x10C30C30C30C30C3
    spread = (spread | spread << 2) & 0x1249249249249249
    return spread << (8 - axis) | (moved & 3) << (4 - 2 * axis)


def batch_bits(batch: Int[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The bits of a key that the batch item sets."""
    return batch.to(torch.int64) << 54


def keys_from_coords(coords: Int[Tensor, "n 4"]) -> Int64[Tensor, "n"]:
    """Keys of voxels; see the head of this module."""
    key = batch_bits(coords[:, 0])
    for axis in range(3):
        key = key | axis_bits(coords[:, 1 + axis], axis)
    return key


def rows_of(wanted: Int64[Tensor, "*shape"], keys: Int64[Tensor, "v"]) -> Int64[Tensor, "*shape"]:
    """Rows of the wanted keys in an ascending list of unique keys; v where a key is not in the list."""
    if len(keys) == 0:
        return torch.zeros_like(wanted)
    rows = torch.searchsorted(keys, wanted)
    found = keys[rows.clamp_max(len(keys) - 1)] == wanted
    return torch.where(found, rows, len(keys))
