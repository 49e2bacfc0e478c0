"""Quadratic colour maps in the compiled library: one pass over the pixels for all three channels."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from scenewise.kernels.native import library


@dataclass(frozen=True)
class _Functions:
    equations: Any
    map: Any


@cache
def _functions() -> _Functions | None:
    lib = library.load()
    if lib is None or not hasattr(lib, "sw_color_equations"):
        return None
    found = _Functions(lib.sw_color_equations, lib.sw_color_map)
    found.equations.argtypes = [ctypes.c_int64] + [ctypes.c_void_p] * 3 + [ctypes.c_double] * 2 + [ctypes.c_void_p] * 2
    found.equations.restype = None
    found.map.argtypes = [ctypes.c_int64] + [ctypes.c_void_p] * 2
    found.map.restype = None
    return found


def can_run(*tensors: Tensor) -> bool:
    """All on the CPU and contiguous, and the library is there."""
    return all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors) and _functions() is not None


def normal_equations(
    colors: Float64[Tensor, "3 n"], target: Float64[Tensor, "3 n"], usable: Bool[Tensor, "3 n"], within: tuple[float, float]
) -> tuple[Float64[Tensor, "3 10 10"], Float64[Tensor, "3 10"]]:
    """See :func:`scenewise.kernels.color_fit.normal_equations`."""
    functions = _functions()
    assert functions is not None
    matrices, right_sides = torch.empty(3, 10, 10, dtype=torch.float64), torch.empty(3, 10, dtype=torch.float64)
    functions.equations(
        colors.shape[1],
        colors.data_ptr(),
        target.data_ptr(),
        usable.data_ptr(),
        *within,
        matrices.data_ptr(),
        right_sides.data_ptr(),
    )
    return matrices, right_sides


def map_colors(colors: Float64[Tensor, "3 n"], weights: Float64[Tensor, "3 10"]) -> None:
    """See :func:`scenewise.kernels.color_fit.map_colors`."""
    functions = _functions()
    assert functions is not None
    functions.map(colors.shape[1], colors.data_ptr(), weights.data_ptr())
