"""Adam in the compiled library: one pass over memory."""

import ctypes
from functools import cache

import torch
from torch import Tensor

from scenewise.kernels.native import library


@cache
def _function() -> "ctypes._NamedFuncPointer | None":
    lib = library.load()
    if lib is None:
        return None
    function = lib.sw_adam
    function.argtypes = [ctypes.c_int64] + [ctypes.c_void_p] * 4 + [ctypes.c_float] * 5
    function.restype = None
    return function


def can_run(parameter: Tensor, gradient: Tensor) -> bool:
    """Float32, contiguous, on the CPU, and the library is there."""
    return (
        parameter.dtype == torch.float32
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()
        and gradient.is_contiguous()
        and _function() is not None
    )


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """See :func:`scenewise.kernels.adam.adam_step`."""
    function = _function()
    assert function is not None
    function(
        parameter.numel(),
        parameter.data_ptr(),
        gradient.data_ptr(),
        first_moment.data_ptr(),
        second_moment.data_ptr(),
        learning_rate / (1 - beta1**step),
        beta1,
        beta2,
        1 / (1 - beta2**step),
        epsilon,
    )
