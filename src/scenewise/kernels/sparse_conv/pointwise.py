"""A linear layer on rows: the 1×1×1 convolution of a sparse network."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scenewise.kernels.sparse_conv.grid import native_kernels

_WIDE = 96
_MANY_ROWS = 1024


def pointwise(
    features: Float[Tensor, "*rows c_in"], weight: Float[Tensor, "c_out c_in"], bias: Float[Tensor, "c_out"] | None = None
) -> Float[Tensor, "*rows c_out"]:
    """features·weightᵀ + bias, differentiable in all three, as :func:`torch.nn.functional.linear`.

    Wide float32 layers of many rows on the CPU run in the compiled library, on the threads of the convolutions around them: torch
    computes with one thread while those work (docs/decisions.md).  Everything else is torch's own.

    Args:
        features: one row per voxel or point.
        weight: as in :class:`torch.nn.Linear`.
        bias: added to every row.
    """
    given = (features, weight) if bias is None else (features, weight, bias)
    is_plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in given)
    is_large = features.ndim == 2 and len(features) >= _MANY_ROWS and min(weight.shape) >= _WIDE
    if not is_plain or not is_large or torch.is_autocast_enabled("cpu") or native_kernels() is None:
        return functional.linear(features, weight, bias)
    out: Tensor = _Pointwise.apply(features, weight, bias)
    return out


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, weight)
        kernels = native_kernels()
        rule = kernels.pointwise_rule(len(features))
        out: Tensor = kernels.convolve(features, weight[None], rule, transposed=True, mirrored=False, bfloat16=False, bias=bias)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        kernels = native_kernels()
        rule = kernels.pointwise_rule(len(features))
        d_features = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_features = kernels.convolve(gradient, weight[None], rule, transposed=False, mirrored=False, bfloat16=False)
        if ctx.needs_input_grad[1]:
            d_weight = kernels.weight_gradient(gradient, features, rule, bfloat16=False)[0]
        if ctx.needs_input_grad[2]:
            d_bias = gradient.sum(dim=0)
        return d_features, d_weight, d_bias


class Pointwise(nn.Linear):
    """:class:`torch.nn.Linear` by :func:`pointwise`: the same parameters, names and initialisation."""

    def forward(self, input: Float[Tensor, "*rows c_in"]) -> Float[Tensor, "*rows c_out"]:
        """One row out per row in."""
        return pointwise(input, self.weight, self.bias)
