"""Batch normalisation in the compiled library."""

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from scenewise.kernels.native import library


@cache
def _library() -> ctypes.CDLL | None:
    lib = library.load()
    if lib is None or not hasattr(lib, "sw_batch_norm"):
        return None
    size, pointer, flag, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int, ctypes.c_double
    lib.sw_batch_norm.argtypes = [size, size, *[pointer] * 6, flag, real, real, flag, *[pointer] * 3]
    lib.sw_batch_norm.restype = None
    lib.sw_batch_norm_gradient.argtypes = [size, size, *[pointer] * 6, flag, *[pointer] * 4]
    lib.sw_batch_norm_gradient.restype = None
    return lib


def can_run(*tensors: Tensor | None) -> bool:
    """Float32 on the CPU, and the library is there."""
    given = (tensor for tensor in tensors if tensor is not None)
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in given) and _library() is not None


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _BatchNormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        batch_statistics: bool,
        momentum: float,
        eps: float,
        residual: Tensor | None,
        relu: bool,
    ) -> Tensor:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        residual = None if residual is None else residual.contiguous()
        assert running_mean.is_contiguous() and running_var.is_contiguous()
        mean, inverse_deviation, out = torch.empty_like(weight), torch.empty_like(weight), torch.empty_like(x)
        lib = _library()
        assert lib is not None
        lib.sw_batch_norm(
            *x.shape,
            *map(_pointer, (x, residual, weight, bias, running_mean, running_var)),
            int(batch_statistics),
            momentum,
            eps,
            int(relu),
            *map(_pointer, (mean, inverse_deviation, out)),
        )
        ctx.save_for_backward(x, out if relu else None, weight, mean, inverse_deviation)
        ctx.batch_statistics, ctx.relu, ctx.residual = batch_statistics, relu, residual is not None
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, out, weight, mean, inverse_deviation = ctx.saved_tensors
        upstream = upstream.contiguous()
        # Without a ReLU the residual's gradient is the upstream one itself.
        wanted = ctx.residual and ctx.needs_input_grad[8]
        d_residual = torch.empty_like(x) if wanted and ctx.relu else None
        d_x, d_weight, d_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        lib = _library()
        assert lib is not None
        lib.sw_batch_norm_gradient(
            *x.shape,
            *map(_pointer, (upstream, x, out, weight, mean, inverse_deviation)),
            int(ctx.batch_statistics),
            *map(_pointer, (d_x, d_residual, d_weight, d_bias)),
        )
        if wanted and not ctx.relu:
            d_residual = upstream
        return d_x, d_weight, d_bias, None, None, None, None, None, d_residual, None


def batch_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batch_statistics: bool,
    momentum: float,
    eps: float,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    """See :func:`scenewise.kernels.batch_norm.batch_norm_relu`."""
    arguments = (x, weight, bias, running_mean, running_var, batch_statistics, momentum, eps, residual, relu)
    out: Tensor = _BatchNormRelu.apply(*arguments)
    return out
