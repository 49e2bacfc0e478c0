"""Colour correction before measuring: takes a global change of exposure and white balance out of the comparison."""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.color_fit import map_colors, normal_equations

_ROUNDS = 5
_DARK, _BRIGHT = 0.5 / 255, 1 - 0.5 / 255  # values a camera clips to 0 or 255 say nothing about what was there
_FEWEST_PIXELS = 100  # ten unknowns per channel; below this the fit would follow noise


def color_corrected(
    image: Float[Tensor, "height width 3"],
    truth: Float[Tensor, "height width 3"],
    mask: Bool[Tensor, "height width"] | None = None,
) -> Float[Tensor, "height width 3"]:
    """The image after the quadratic RGB → RGB map that brings it closest to the truth, clipped to [0, 1].

    Each output channel is a linear combination of (r², rg, rb, g², gb, b², r, g, b, 1), fitted by least squares to the pixels
    where neither the input, nor this channel's output of the round before, nor the truth is saturated.  Five rounds, since each
    changes which pixels are saturated.  This is the protocol of RawNeRF and of the large-scene papers that follow it; it may use
    the truth, so figures with it stand beside those without, never instead.

    Args:
        image: rendered picture.
        truth: photograph in [0, 1].
        mask: pixels that the map is fitted to; None for all.  The others are mapped too.

    Returns:
        The corrected picture.  A channel keeps its values in rounds where fewer than 100 pixels are unsaturated.

    Raises:
        ShapeError: sizes differ.
    """
    if image.shape != truth.shape:
        raise ShapeError("truth", expected=f"{tuple(image.shape)}", got=f"{tuple(truth.shape)}")
    current = _planes(image.detach()).clamp_(0, 1)
    target = _planes(truth)
    usable = _unsaturated(current) & _unsaturated(target)
    if mask is not None:
        usable &= mask.reshape(-1)
    for _ in range(_ROUNDS):
        map_colors(current, _weights(*normal_equations(current, target, usable, (_DARK, _BRIGHT))))
    return current.T.reshape(image.shape).to(image.dtype)


def _planes(picture: Float[Tensor, "height width 3"]) -> Float64[Tensor, "3 n"]:
    """Red, green and blue of all pixels, each in one piece of memory."""
    planes = torch.empty(3, picture.shape[0] * picture.shape[1], dtype=torch.float64, device=picture.device)
    return planes.copy_(picture.reshape(-1, 3).T)


def _unsaturated(values: Tensor) -> Bool[Tensor, "..."]:
    return (values > _DARK) & (values < _BRIGHT)


def _weights(matrices: Float64[Tensor, "3 10 10"], right_sides: Float64[Tensor, "3 10"]) -> Float64[Tensor, "3 10"]:
    """Minimum-norm solutions through the pseudo-inverse: grey pictures leave most terms undetermined.

    The normal equations in float64 keep twelve digits here (colours lie in [0, 1]).  A channel with too few pixels stays as it
    is; their number is the last entry of its matrix, the sum of 1·1.
    """
    solved = (torch.linalg.pinv(matrices, rtol=1e-11, hermitian=True) @ right_sides[..., None])[..., 0]
    unchanged = torch.zeros_like(solved)
    for channel in range(3):
        unchanged[channel, 6 + channel] = 1.0
    return torch.where(matrices[:, -1, -1:] >= _FEWEST_PIXELS, solved, unchanged)
