"""Convolution on occupied voxels only: submanifold 3³, strided 2³ and its inverse, with gradients.

Offsets of a weight run over x slowest: 3³ k = (dx + 1)·9 + (dy + 1)·3 + (dz + 1), 2³ k = (x & 1)·4 + (y & 1)·2 + (z & 1).  All
three are sums over voxels that exist; a missing neighbour counts as zeros.  The sums have a fixed order.
Source: Graham, Engelcke and van der Maaten 2018, arXiv 1711.10275, §3.
"""

from jaxtyping import Float
from torch import Tensor

from scenewise.kernels.sparse_conv.convolution import Backend, Precision, backend_for, convolve, describe
from scenewise.kernels.sparse_conv.grid import VoxelGrid, Voxelisation, voxelise
from scenewise.kernels.sparse_conv.interpolation import mean_in_voxels, trilinear
from scenewise.kernels.sparse_conv.pointwise import Pointwise, pointwise

__all__ = [
    "Backend",
    "Pointwise",
    "Precision",
    "VoxelGrid",
    "Voxelisation",
    "backend_for",
    "describe",
    "down_conv",
    "mean_in_voxels",
    "pointwise",
    "subm_conv",
    "trilinear",
    "up_conv",
    "voxelise",
]


def subm_conv(
    features: Float[Tensor, "v c_in"],
    weight: Float[Tensor, "27 c_in c_out"],
    grid: VoxelGrid,
    *,
    backend: Backend = "auto",
    precision: Precision = "float32",
) -> Float[Tensor, "v c_out"]:
    """Submanifold convolution: out[p] = Σ_d x[p + d]·W[d] over the occupied p + d, d ∈ {−1, 0, 1}³; same voxels in and out.

    Args:
        features: one row per voxel; receives a gradient.
        weight: one matrix per offset; receives a gradient.
        grid: the voxels.
        backend: "auto" takes the compiled one for float32 on the CPU, else plain torch.
        precision: "bfloat16" allows operands to be rounded, where this is faster; sums are float32.

    Raises:
        ShapeError: rows, channels or offsets do not fit.
        ResourceError: the wanted backend cannot run here.
    """
    return convolve(features, weight, grid, "submanifold", backend=backend, precision=precision)


def down_conv(
    features: Float[Tensor, "v c_in"],
    weight: Float[Tensor, "8 c_in c_out"],
    grid: VoxelGrid,
    *,
    backend: Backend = "auto",
    precision: Precision = "float32",
) -> Float[Tensor, "w c_out"]:
    """Strided convolution: each voxel of ``grid.down()`` sums x[child]·W[place of the child].

    Arguments and errors are those of :func:`subm_conv`.
    """
    return convolve(features, weight, grid, "down", backend=backend, precision=precision)


def up_conv(
    features: Float[Tensor, "w c_in"],
    weight: Float[Tensor, "8 c_in c_out"],
    grid: VoxelGrid,
    *,
    backend: Backend = "auto",
    precision: Precision = "float32",
) -> Float[Tensor, "v c_out"]:
    """Inverse of the strided convolution: each voxel of ``grid`` gets x[parent]·W[its place in the parent].

    ``features`` are those of ``grid.down()``; other arguments and errors are those of :func:`subm_conv`.
    """
    return convolve(features, weight, grid, "up", backend=backend, precision=precision)
