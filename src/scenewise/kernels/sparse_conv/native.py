"""Sparse convolution in the compiled library: voxels in brick order, rules, products.

Everything works on rows in *brick order*: 4×4×4 voxels follow each other, and bricks follow a Morton curve, so that neighbours in
space are near each other in memory.  The key of a voxel, after adding 2¹⁷ to x, y and z, is
``batch << 54 | morton(x >> 2, y >> 2, z >> 2) << 6 | (x & 3) << 4 | (y & 3) << 2 | (z & 3)``.
"""

import ctypes
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.kernels.native import library

# Output rows of a block: their features and those of their neighbours fit the second-level cache, and an offset has enough pairs
# to fill the register tiles.
_SUBMANIFOLD_BLOCK = 512
_DOWN_BLOCK = 512
_UP_BLOCK = 1024  # a fine row has one pair only, so nothing is gained by keeping a block small
_MOST_ROWS = 2**31 - 64


class _SparseRule(ctypes.Structure):
    """Mirrors ``SparseRule`` of sparse_conv.cpp."""

    _fields_ = (
        ("blocks", ctypes.c_int64),
        ("kernel_volume", ctypes.c_int64),
        ("first_row", ctypes.c_void_p),
        ("first_pair", ctypes.c_void_p),
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
    )


@cache
def _library() -> ctypes.CDLL | None:
    lib = library.load()
    if lib is None or not hasattr(lib, "sw_sparse_convolve"):
        return None
    size, pointer, flag = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    for name, arguments, result in (
        ("sw_sorted_voxels", [size, *[pointer] * 4], size),
        ("sw_down_voxels", [size, *[pointer] * 4], size),
        ("sw_submanifold_count", [size, pointer, size, size, pointer, pointer], size),
        ("sw_submanifold_fill", [size, pointer, size, *[pointer] * 3], None),
        ("sw_stride_rule", [size, pointer, pointer, flag, size, size, *[pointer] * 3], None),
        ("sw_supports_bfloat16", [], flag),
        ("sw_sparse_convolve", [pointer, pointer, size, size, pointer, size, flag, flag, *[pointer] * 3], None),
        ("sw_sparse_weight_gradient", [pointer, pointer, size, size, pointer, size, size, *[pointer] * 3], None),
    ):
        function = getattr(lib, name)
        function.argtypes, function.restype = arguments, result
    return lib


def _loaded() -> ctypes.CDLL:
    lib = _library()
    assert lib is not None
    return lib


def is_available() -> bool:
    """Whether the compiled library was loaded."""
    return _library() is not None


def supports_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 pairs (AVX512-BF16) and the library was built for it."""
    lib = _library()
    return lib is not None and bool(lib.sw_supports_bfloat16())


def sorted_voxels(coords: Int32[Tensor, "n 4"]) -> tuple[Int32[Tensor, "v 4"], Int64[Tensor, "n"], Int64[Tensor, "v"]]:
    """Voxels of points, in brick order.

    Args:
        coords: (batch, x, y, z) with batch in [0, 511] and x, y, z in [1 − 2¹⁷, 2¹⁷ − 2]; not checked here.

    Returns:
        Distinct coordinates; the row of every point's voxel; how many points each voxel has.
    """
    coords = coords.contiguous()
    n = len(coords)
    assert n < _MOST_ROWS
    voxels, counts = torch.empty_like(coords), torch.empty(n, dtype=torch.int64)
    voxel_of_point = torch.empty(n, dtype=torch.int64)
    v = _loaded().sw_sorted_voxels(n, coords.data_ptr(), voxels.data_ptr(), voxel_of_point.data_ptr(), counts.data_ptr())
    return voxels[:v].clone(), voxel_of_point, counts[:v].clone()


def _order_error() -> ConventionError:
    return ConventionError(
        "coords", expected="distinct voxels in brick order", got="another order or duplicates", fix="use voxelise()"
    )


def down_voxels(coords: Int32[Tensor, "v 4"]) -> tuple[Int32[Tensor, "p 4"], Int64[Tensor, "v"], Int64[Tensor, "v"]]:
    """Voxels of twice the edge, on their own lattice (coordinates halved, rounding down), in brick order.

    Returns:
        Coordinates of the coarse voxels; the coarse row of every fine voxel; which of its eight children, (x & 1)·4 + (y & 1)·2 +
        (z & 1), the fine voxel is.

    Raises:
        ConventionError: rows are not distinct and in brick order.
    """
    coords = coords.contiguous()
    v = len(coords)
    parents, parent, child = torch.empty_like(coords), torch.empty(v, dtype=torch.int64), torch.empty(v, dtype=torch.int64)
    p = _loaded().sw_down_voxels(v, coords.data_ptr(), parents.data_ptr(), parent.data_ptr(), child.data_ptr())
    if p < 0:
        raise _order_error()
    return parents[:p].clone(), parent, child


@dataclass(frozen=True)
class Rule:
    """Which input rows add to which output rows through which kernel offset.

    Pairs are listed by block of output rows, then by offset.

    Attributes:
        first_row: output row at which each block begins, and the number of rows.
        first_pair: at block·kernel_volume + offset, the first pair of that list; then the number of pairs.
        inputs: input row of every pair.
        outputs: output row of every pair.
        num_in: rows of the input.
        num_out: rows of the output.
        kernel_volume: number of offsets.
    """

    first_row: Int64[Tensor, "blocks_and_one"]
    first_pair: Int64[Tensor, "lists_and_one"]
    inputs: Int32[Tensor, "pairs"]
    outputs: Int32[Tensor, "pairs"]
    num_in: int
    num_out: int
    kernel_volume: int

    @property
    def num_pairs(self) -> int:
        """Products of a row with a matrix that the convolution takes."""
        return len(self.inputs)


def submanifold_rule(coords: Int32[Tensor, "v 4"]) -> Rule:
    """The 3×3×3 neighbourhood on the occupied voxels; offset (dx + 1)·9 + (dy + 1)·3 + (dz + 1) reads the voxel at (dx, dy, dz).

    Raises:
        ConventionError: rows are not distinct and in brick order.
    """
    coords = coords.contiguous()
    v = len(coords)
    assert v < _MOST_ROWS
    capacity = v // (_SUBMANIFOLD_BLOCK - 63) + 2  # blocks end with whole bricks, so they may lack up to 63 rows
    first_row = torch.empty(capacity + 1, dtype=torch.int64)
    first_pair = torch.empty(capacity * 27 + 1, dtype=torch.int64)
    blocks = _loaded().sw_submanifold_count(
        v, coords.data_ptr(), _SUBMANIFOLD_BLOCK, capacity, first_row.data_ptr(), first_pair.data_ptr()
    )
    if blocks == -1:
        raise _order_error()
    assert blocks >= 0
    first_row, first_pair = first_row[: blocks + 1], first_pair[: blocks * 27 + 1]
    pairs = int(first_pair[-1])
    inputs, outputs = torch.empty(pairs, dtype=torch.int32), torch.empty(pairs, dtype=torch.int32)
    _loaded().sw_submanifold_fill(
        v, coords.data_ptr(), _SUBMANIFOLD_BLOCK, first_pair.data_ptr(), inputs.data_ptr(), outputs.data_ptr()
    )
    return Rule(first_row, first_pair, inputs, outputs, v, v, 27)


def _stride_rule(parent: Tensor, child: Tensor, num_in: int, num_out: int, fine_out: bool, block_rows: int) -> Rule:
    parent, child = parent.contiguous(), child.contiguous()
    fine, blocks = len(parent), -(-num_out // block_rows)
    first_row = (torch.arange(blocks + 1) * block_rows).clamp_(max=num_out)
    first_pair = torch.empty(blocks * 8 + 1, dtype=torch.int64)
    inputs, outputs = torch.empty(fine, dtype=torch.int32), torch.empty(fine, dtype=torch.int32)
    lists = (first_pair.data_ptr(), inputs.data_ptr(), outputs.data_ptr())
    _loaded().sw_stride_rule(fine, parent.data_ptr(), child.data_ptr(), int(fine_out), blocks, block_rows, *lists)
    return Rule(first_row, first_pair, inputs, outputs, num_in, num_out, 8)


def down_rule(parent: Int64[Tensor, "v"], child: Int64[Tensor, "v"], num_coarse: int) -> Rule:
    """Fine rows to their coarse row; the offset is the child.  Arguments as :func:`down_voxels` returns them."""
    return _stride_rule(parent, child, len(parent), num_coarse, False, _DOWN_BLOCK)


def up_rule(parent: Int64[Tensor, "v"], child: Int64[Tensor, "v"], num_coarse: int) -> Rule:
    """Coarse rows to their fine rows: :func:`down_rule` the other way."""
    return _stride_rule(parent, child, num_coarse, len(parent), True, _UP_BLOCK)


def pointwise_rule(rows: int) -> Rule:
    """Every row to itself: a 1×1×1 convolution, the product of rows with one matrix."""
    assert rows < _MOST_ROWS
    blocks = -(-rows // _SUBMANIFOLD_BLOCK)
    first_row = (torch.arange(blocks + 1) * _SUBMANIFOLD_BLOCK).clamp_(max=rows)
    each = torch.arange(rows, dtype=torch.int32)
    return Rule(first_row, first_row, each, each, rows, rows, 1)


def _structure(rule: Rule) -> "ctypes._Pointer[_SparseRule]":
    pointers = (tensor.data_ptr() for tensor in (rule.first_row, rule.first_pair, rule.inputs, rule.outputs))
    return ctypes.pointer(_SparseRule(len(rule.first_row) - 1, rule.kernel_volume, *pointers))


def _scratch(rows: int, channels: int) -> Tensor:
    """Room for a matrix as bfloat16, rows padded to 16 values."""
    return torch.empty(rows * (-(-channels // 16) * 16), dtype=torch.int16)


def convolve(
    features: Float32[Tensor, "num_in ci"],
    weight: Float32[Tensor, "volume a b"],
    rule: Rule,
    *,
    transposed: bool,
    mirrored: bool,
    bfloat16: bool,
    bias: Float32[Tensor, "co"] | None = None,
) -> Float32[Tensor, "num_out co"]:
    """out[o] = bias + Σ over the rule's pairs (i, o) of offset k of features[i]·weight[k].

    Args:
        features: input rows.
        weight: [offsets, in, out], or [offsets, out, in] where ``transposed``.
        rule: the pairs.
        transposed: take weight[k]ᵀ: the gradient to the input, with the reverse rule.
        mirrored: take weight[volume − 1 − k]: a submanifold rule reversed is itself with the offsets mirrored.
        bfloat16: round both operands to bfloat16 (sums stay float32); needs :func:`supports_bfloat16`.
        bias: what every output row begins with; None = zeros.

    Returns:
        Output rows.  Bits do not depend on the number of threads.
    """
    features, weight = features.contiguous(), weight.contiguous()
    in_channels = weight.shape[2 if transposed else 1]
    out_channels = weight.shape[1 if transposed else 2]
    assert features.shape == (rule.num_in, in_channels) and weight.shape[0] == rule.kernel_volume
    assert not bfloat16 or supports_bfloat16()
    bias = None if bias is None else bias.contiguous()
    assert bias is None or bias.shape == (out_channels,)
    scratch = _scratch(rule.num_in, in_channels) if bfloat16 else None
    out = torch.empty(rule.num_out, out_channels, dtype=torch.float32)
    _loaded().sw_sparse_convolve(
        _structure(rule),
        features.data_ptr(),
        rule.num_in,
        in_channels,
        weight.data_ptr(),
        out_channels,
        int(transposed),
        int(mirrored),
        None if bias is None else bias.data_ptr(),
        None if scratch is None else scratch.data_ptr(),
        out.data_ptr(),
    )
    return out


def weight_gradient(
    features: Float32[Tensor, "num_in ci"], grad: Float32[Tensor, "num_out co"], rule: Rule, *, bfloat16: bool
) -> Float32[Tensor, "volume ci co"]:
    """Gradient of :func:`convolve` to its weight: Σ over the pairs (i, o) of offset k of features[i]ᵀ·grad[o].

    Returns:
        [offsets, ci, co].  Bits do not depend on the number of threads.
    """
    features, grad = features.contiguous(), grad.contiguous()
    assert len(features) == rule.num_in and len(grad) == rule.num_out
    assert not bfloat16 or supports_bfloat16()
    in_channels, out_channels = features.shape[1], grad.shape[1]
    in_scratch = _scratch(rule.num_in, in_channels) if bfloat16 else None
    grad_scratch = _scratch(rule.num_out, out_channels) if bfloat16 else None
    result = torch.empty(rule.kernel_volume, in_channels, out_channels, dtype=torch.float32)
    _loaded().sw_sparse_weight_gradient(
        _structure(rule),
        features.data_ptr(),
        rule.num_in,
        in_channels,
        grad.data_ptr(),
        rule.num_out,
        out_channels,
        None if in_scratch is None else in_scratch.data_ptr(),
        None if grad_scratch is None else grad_scratch.data_ptr(),
        result.data_ptr(),
    )
    return result
