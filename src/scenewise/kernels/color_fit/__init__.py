"""Least squares of a quadratic RGB → RGB map: the normal equations, and the map."""

from jaxtyping import Bool, Float64
from torch import Tensor

from scenewise.kernels.color_fit import native, reference

__all__ = ["map_colors", "normal_equations"]


def normal_equations(
    colors: Float64[Tensor, "3 n"], target: Float64[Tensor, "3 n"], usable: Bool[Tensor, "3 n"], within: tuple[float, float]
) -> tuple[Float64[Tensor, "3 10 10"], Float64[Tensor, "3 10"]]:
    """TᵀT and Tᵀy of each channel, T the rows (r², rg, rb, g², gb, b², r, g, b, 1) of the pixels that count for it.

    Args:
        colors: red, green and blue of every pixel.
        target: what the map should give.
        usable: pixels that may count, for each channel.
        within: a pixel counts for a channel while its colour there lies between these two.
    """
    run = native if native.can_run(colors, target, usable) else reference
    return run.normal_equations(colors, target, usable, within)


def map_colors(colors: Float64[Tensor, "3 n"], weights: Float64[Tensor, "3 10"]) -> None:
    """Changes each channel, in place, to the weighted sum of (r², rg, rb, g², gb, b², r, g, b, 1), clipped to [0, 1].

    Args:
        colors: red, green and blue of every pixel.
        weights: a row for each channel.
    """
    run = native if native.can_run(colors, weights) else reference
    run.map_colors(colors, weights)
