"""Quadratic colour maps in plain torch, in blocks that stay in the processor's cache."""

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

_BLOCK = 8192


def quadratic_terms(colors: Float64[Tensor, "3 n"]) -> Float64[Tensor, "10 n"]:
    """r², rg, rb, g², gb, b², r, g, b and 1 of each colour."""
    r, g, b = colors
    return torch.stack([r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, torch.ones_like(r)])


def normal_equations(
    colors: Float64[Tensor, "3 n"], target: Float64[Tensor, "3 n"], usable: Bool[Tensor, "3 n"], within: tuple[float, float]
) -> tuple[Float64[Tensor, "3 10 10"], Float64[Tensor, "3 10"]]:
    """See :func:`scenewise.kernels.color_fit.normal_equations`."""
    matrices, right_sides = colors.new_zeros(3, 10, 10), colors.new_zeros(3, 10)
    for begin in range(0, colors.shape[1], _BLOCK):
        block = slice(begin, begin + _BLOCK)
        terms = quadratic_terms(colors[:, block])
        kept = usable[:, block] & (colors[:, block] > within[0]) & (colors[:, block] < within[1])
        for channel in range(3):
            weighted = terms * kept[channel]
            matrices[channel] += weighted @ terms.T
            right_sides[channel] += weighted @ target[channel, block]
    return matrices, right_sides


def map_colors(colors: Float64[Tensor, "3 n"], weights: Float64[Tensor, "3 10"]) -> None:
    """See :func:`scenewise.kernels.color_fit.map_colors`."""
    for block in colors.split(_BLOCK, dim=1):
        block.copy_((weights @ quadratic_terms(block)).clamp_(0.0, 1.0))
