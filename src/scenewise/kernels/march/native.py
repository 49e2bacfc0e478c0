"""Ray marching in the compiled library (native/march.cpp)."""

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from scenewise.kernels.march.interface import MarchInput, MarchOutput
from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv.grid import VoxelGrid

_SIZE, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Volume(ctypes.Structure):
    _fields_ = (
        *((name, _SIZE) for name in ("voxels", "channels", "batch_size", "stride", "table_bits")),
        *((name, _POINTER) for name in ("bricks", "table", "densities", "features")),
    )


class _Rays(ctypes.Structure):
    _fields_ = (
        *((name, _SIZE) for name in ("rays", "samples")),
        *((name, _POINTER) for name in ("origins", "directions", "batch", "distances", "lengths")),
    )


class _Upstream(ctypes.Structure):
    _fields_ = tuple((name, _POINTER) for name in ("features", "alpha", "depth", "weights"))


@cache
def _library() -> Any:
    lib = library.load()
    if lib is None or not hasattr(lib, "sw_march"):
        return None
    lib.sw_march_bricks.argtypes, lib.sw_march_bricks.restype = [_SIZE, _POINTER, _POINTER], _SIZE
    lib.sw_march_table.argtypes, lib.sw_march_table.restype = [_SIZE, _POINTER, _SIZE, _POINTER], None
    lib.sw_march.argtypes, lib.sw_march.restype = [_POINTER] * 6, None
    lib.sw_march_gradient.argtypes, lib.sw_march_gradient.restype = [_POINTER] * 6, None
    return lib


def takes(*tensors: Tensor) -> bool:
    """All float32 on the CPU, and the library is there."""
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors) and _library() is not None


def can_run(rays: MarchInput) -> bool:
    """Everything is on the CPU, features and densities are float32, and the library is there."""
    others = (rays.grid.coords, rays.origins, rays.directions, rays.batch, rays.distances, rays.lengths)
    return takes(rays.features, rays.densities) and all(tensor.device.type == "cpu" for tensor in others)


def _bricks(grid: VoxelGrid) -> tuple[Tensor, Tensor, int]:
    """Bricks of 4³ voxels, a hash table of them, and the logarithm of its size."""
    coords = grid.coords.contiguous()
    bricks = torch.empty(len(grid), 3, dtype=torch.int64)
    count = int(_library().sw_march_bricks(len(grid), coords.data_ptr(), bricks.data_ptr()))
    bits = max(4, (3 * count).bit_length())
    table = torch.empty(2**bits, dtype=torch.int32)
    _library().sw_march_table(count, bricks.data_ptr(), bits, table.data_ptr())
    return bricks[:count].clone(), table, bits


class _March(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rays: MarchInput, features: Tensor, densities: Tensor) -> tuple[Tensor, ...]:
        values = (rays.origins.double(), rays.directions.double(), rays.batch, rays.distances.float(), rays.lengths.float())
        arrays = tuple(tensor.detach().contiguous() for tensor in values)
        features, densities = features.contiguous(), densities.contiguous()
        r, s = rays.distances.shape
        out, alpha, depth, weights = torch.empty(r, features.shape[1]), torch.empty(r), torch.empty(r), torch.empty(r, s)
        volume, lines = _structures(rays.grid, features, densities, arrays)
        _library().sw_march(
            ctypes.byref(volume),
            ctypes.byref(lines),
            *(tensor.data_ptr() for tensor in (out, alpha, depth, weights)),
        )
        ctx.grid, ctx.density_gradient = rays.grid, rays.density_gradient
        ctx.save_for_backward(features, densities, weights, *arrays)
        ctx.set_materialize_grads(False)
        if not rays.density_gradient:
            ctx.mark_non_differentiable(alpha, depth, weights)
        return out, alpha, depth, weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        features, densities, weights, *arrays = ctx.saved_tensors
        given = [None if tensor is None else tensor.contiguous() for tensor in gradients]
        if not ctx.density_gradient:
            given[1:] = [None] * 3
        volume, lines = _structures(ctx.grid, features, densities, tuple(arrays))
        upstream = _Upstream(*(None if tensor is None else tensor.data_ptr() for tensor in given))
        d_features = torch.empty_like(features) if ctx.needs_input_grad[1] else None
        d_densities = torch.empty_like(densities) if ctx.density_gradient and ctx.needs_input_grad[2] else None
        _library().sw_march_gradient(
            ctypes.byref(volume),
            ctypes.byref(lines),
            weights.data_ptr(),
            ctypes.byref(upstream),
            *(None if tensor is None else tensor.data_ptr() for tensor in (d_features, d_densities)),
        )
        return None, d_features, d_densities


def _structures(grid: VoxelGrid, features: Tensor, densities: Tensor, arrays: tuple[Tensor, ...]) -> tuple[_Volume, _Rays]:
    """``arrays``: origins, directions, batch, distances, lengths.  The caller keeps the tensors while these are used."""
    bricks, table, bits = grid.kept("bricks of ray marching", lambda: _bricks(grid))
    sizes = (len(grid), features.shape[1], grid.batch_size, grid.stride, bits)
    volume = _Volume(*sizes, *(tensor.data_ptr() for tensor in (bricks, table, densities, features)))
    return volume, _Rays(*arrays[3].shape, *(tensor.data_ptr() for tensor in arrays))


def march(rays: MarchInput) -> MarchOutput:
    """See :func:`scenewise.kernels.march.march`."""
    return MarchOutput(*_March.apply(rays, rays.features, rays.densities))
