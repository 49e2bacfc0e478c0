"""Sparse convolution in plain torch: any device, float32 or float64; also what runs on CUDA.

A rule says which input rows feed which output rows through which offset of the weight.  Two ways to apply one:

* per offset: gather the input rows, multiply, add to the output rows.  No row occurs twice within one offset, so the sums have
  a fixed order on every device although they are written by ``index_add_``;
* by table, for submanifold rules: gather all 27 neighbours of some output rows side by side and multiply once.  Missing
  neighbours are rows of zeros, so this pays where most neighbours exist or the multiplication is small.

The gradients are written by hand; autograd would keep every gathered copy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from scenewise.kernels.matmul import fast_exact_matmul
from scenewise.kernels.sparse_conv.keys import axis_bits, batch_bits, keys_from_coords, rows_of

_CHUNK_CPU = 2048  # rows gathered side by side: 27 × 32 floats each, which stay in the second-level cache
_CHUNK_CUDA = 65536
_DENSE = 0.5  # share of the 27 neighbours that exist from which the table always wins
_DENSE_NARROW = 0.3  # the same where multiplications are small: ≤ 32 channels


@dataclass(frozen=True)
class Rule:
    """Which input rows feed which output rows.

    Attributes:
        num_inputs: rows of the input.
        num_outputs: rows of the output.
        num_offsets: offsets of the weight.
        offset: per pair, which slice of the weight; None for a submanifold rule, whose pairs are in ``table``.
        pairs: per pair, (input row, output row); None for a submanifold rule.
        table: per output row its 27 input rows, ``num_inputs`` where missing; None otherwise.
    """

    num_inputs: int
    num_outputs: int
    num_offsets: int
    offset: Int64[Tensor, "p"] | None = None
    pairs: Int64[Tensor, "p 2"] | None = None
    table: Int64[Tensor, "v 27"] | None = None

    @cached_property
    def lists(self) -> list[tuple[Int64[Tensor, "q"], Int64[Tensor, "q"]]]:
        """Per offset: the input rows and the output rows, the latter ascending and without repetition."""
        if self.table is not None:
            lists = []
            for k in range(self.num_offsets):
                outputs = (self.table[:, k] < self.num_inputs).nonzero()[:, 0]
                lists.append((self.table[outputs, k], outputs))
            return lists
        assert self.offset is not None and self.pairs is not None
        chosen = ((self.offset == k).nonzero()[:, 0] for k in range(self.num_offsets))
        return [(self.pairs[rows, 0], self.pairs[rows, 1]) for rows in chosen]

    @cached_property
    def density(self) -> float:
        """Share of (output row, offset) with an input row."""
        if self.table is None or self.num_outputs == 0:
            return 0.0
        return float((self.table < self.num_inputs).sum()) / self.table.numel()


# --- voxels ------------------------------------------------------------------------------------------------------------------


def sorted_voxels(coords: Int32[Tensor, "n 4"]) -> tuple[Int32[Tensor, "v 4"], Int64[Tensor, "n"], Int64[Tensor, "v"]]:
    """Unique voxels in the order of their keys, the voxel of every point, and the number of points in each."""
    _, order = (keys := keys_from_coords(coords)).sort(stable=True)
    unique, voxel_of_sorted, counts = torch.unique_consecutive(keys[order], return_inverse=True, return_counts=True)
    voxel_of_point = torch.empty_like(voxel_of_sorted)
    voxel_of_point[order] = voxel_of_sorted
    first = counts.cumsum(0) - counts
    assert len(unique) == len(counts)
    return coords[order[first]], voxel_of_point, counts


def down_voxels(coords: Int32[Tensor, "v 4"]) -> tuple[Int32[Tensor, "w 4"], Int64[Tensor, "v"], Int64[Tensor, "v"]]:
    """Voxels of twice the edge, the one each voxel lies in, and its place there: (x & 1)·4 + (y & 1)·2 + (z & 1)."""
    halved = coords.clone()
    halved[:, 1:] >>= 1  # arithmetic shift: floor, for negative coordinates too
    parents, parent, _ = sorted_voxels(halved)
    x, y, z = (coords[:, 1:].to(torch.int64) & 1).unbind(1)
    return parents, parent, x * 4 + y * 2 + z


def neighbour_table(coords: Int32[Tensor, "v 4"]) -> Int64[Tensor, "v 27"]:
    """Rows of the 27 neighbours, offset (dx + 1)·9 + (dy + 1)·3 + (dz + 1); v where there is none."""
    v = len(coords)
    table = torch.full((v, 27), v, dtype=torch.int64, device=coords.device)
    if v == 0:
        return table
    keys = keys_from_coords(coords)
    rows = torch.arange(v, device=coords.device)
    table[:, 13] = rows
    batch = batch_bits(coords[:, 0])
    moved = [[axis_bits(coords[:, 1 + axis] + step, axis) for step in (-1, 0, 1)] for axis in range(3)]
    for k in range(13):  # the other 13 are these seen from the other end
        key = batch | moved[0][k // 9] | moved[1][k // 3 % 3] | moved[2][k % 3]
        found = rows_of(key, keys)
        table[:, k] = found
        exists = found < v
        table[found[exists], 26 - k] = rows[exists]
    return table


# --- rules -------------------------------------------------------------------------------------------------------------------


def submanifold_rule(coords: Int32[Tensor, "v 4"]) -> Rule:
    """Every voxel from its 27 neighbours and itself."""
    return Rule(len(coords), len(coords), 27, table=neighbour_table(coords))


def down_rule(parent: Int64[Tensor, "v"], child: Int64[Tensor, "v"], num_coarse: int) -> Rule:
    """Every coarse voxel from its up to eight children."""
    fine = torch.arange(len(parent), device=parent.device)
    return Rule(len(parent), num_coarse, 8, offset=child, pairs=torch.stack([fine, parent], dim=1))


def up_rule(parent: Int64[Tensor, "v"], child: Int64[Tensor, "v"], num_coarse: int) -> Rule:
    """Every voxel from its parent."""
    fine = torch.arange(len(parent), device=parent.device)
    return Rule(num_coarse, len(parent), 8, offset=child, pairs=torch.stack([parent, fine], dim=1))


# --- arithmetic --------------------------------------------------------------------------------------------------------------


def convolve(
    features: Float[Tensor, "rows c_in"],
    weight: Float[Tensor, "offsets a b"],
    rule: Rule,
    *,
    transposed: bool = False,
    mirrored: bool = False,
    bfloat16: bool = False,
) -> Float[Tensor, "out c_out"]:
    """out[o] = Σ over pairs (i, o) of offset k of features[i] · weight[k].

    Args:
        features: one row per input row of the rule.
        weight: [offsets, c_in, c_out], or [offsets, c_out, c_in] when ``transposed``.
        rule: the pairs.
        transposed: multiply by the transposed slices.
        mirrored: offset k takes slice K − 1 − k.
        bfloat16: round operands to bfloat16; sums stay float32.
    """
    if mirrored:
        weight = weight.flip(0)
    if transposed:
        weight = weight.transpose(1, 2)
    if bfloat16:
        features, weight = _rounded(features), _rounded(weight)
    with fast_exact_matmul(features.device):
        if _takes_table(rule, weight.shape[1], weight.shape[2]):
            return _convolve_by_table(features, weight, rule)
        out = features.new_zeros((rule.num_outputs, weight.shape[2]), dtype=_sum_dtype(features))
        for (inputs, outputs), slice_ in zip(rule.lists, weight, strict=True):
            if len(inputs) == rule.num_inputs == rule.num_outputs:  # the middle of a submanifold rule: every row, in order
                out += _mm(features, slice_)
            elif len(inputs):
                out.index_add_(0, outputs, _mm(features[inputs], slice_))
    return out


def weight_gradient(
    features: Float[Tensor, "rows c_in"], gradient: Float[Tensor, "out c_out"], rule: Rule, *, bfloat16: bool = False
) -> Float[Tensor, "offsets c_in c_out"]:
    """∂L/∂weight[k] = Σ over pairs (i, o) of offset k of features[i]ᵀ · gradient[o]."""
    if bfloat16:
        features, gradient = _rounded(features), _rounded(gradient)
    c_in, c_out = features.shape[1], gradient.shape[1]
    with fast_exact_matmul(features.device):
        if _takes_table(rule, c_in, c_out):
            return _weight_gradient_by_table(features, gradient, rule)
        out = features.new_zeros((rule.num_offsets, c_in, c_out), dtype=_sum_dtype(features))
        for k, (inputs, outputs) in enumerate(rule.lists):
            if len(inputs) == rule.num_inputs == rule.num_outputs:
                out[k] = _mm(features.T, gradient)
            elif len(inputs):
                out[k] = _mm(features[inputs].T, gradient[outputs])
    return out


def _convolve_by_table(features: Tensor, weight: Tensor, rule: Rule) -> Tensor:
    padded, flat = _padded(features), weight.reshape(-1, weight.shape[2])
    out = features.new_empty((rule.num_outputs, weight.shape[2]), dtype=_sum_dtype(features))
    for start, rows in _chunks(rule, features):
        out[start : start + len(rows)] = _mm(padded[rows.flatten()].view(len(rows), -1), flat)
    return out


def _weight_gradient_by_table(features: Tensor, gradient: Tensor, rule: Rule) -> Tensor:
    padded, c_in, c_out = _padded(features), features.shape[1], gradient.shape[1]
    out = features.new_zeros((27 * c_in, c_out), dtype=_sum_dtype(features))
    for start, rows in _chunks(rule, features):
        out += _mm(padded[rows.flatten()].view(len(rows), -1).T, gradient[start : start + len(rows)])
    return out.view(27, c_in, c_out)


def _takes_table(rule: Rule, c_in: int, c_out: int) -> bool:
    return rule.table is not None and rule.density > (_DENSE_NARROW if max(c_in, c_out) <= 32 else _DENSE)


def _padded(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_zeros(1, features.shape[1])])


def _chunks(rule: Rule, features: Tensor) -> Iterator[tuple[int, Tensor]]:
    assert rule.table is not None
    step = _CHUNK_CPU if features.device.type == "cpu" else _CHUNK_CUDA
    for start in range(0, rule.num_outputs, step):
        yield start, rule.table[start : start + step]


def _rounded(values: Tensor) -> Tensor:
    """bfloat16 on CUDA, where a product of two such matrices can be summed in float32; else float32 numbers bfloat16 can hold."""
    rounded = values.to(torch.bfloat16)
    return rounded if values.device.type == "cuda" else rounded.to(torch.float32)


def _sum_dtype(values: Tensor) -> torch.dtype:
    return torch.float32 if values.dtype == torch.bfloat16 else values.dtype


def _mm(left: Tensor, right: Tensor) -> Tensor:
    if left.dtype == torch.bfloat16:
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.mm(left, right)
