"""Colour correction before measuring: takes a global change of exposure and white balance out of the comparison."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.errors import ShapeError

_ROUNDS = 5
_DARK, _BRIGHT = 0.5 / 255, 1 - 0.5 / 255  # values a camera clips to 0 or 255 say nothing about what was there
_FEWEST_PIXELS = 100  # ten unknowns per channel; below this the fit would follow noise


def color_corrected(
    image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]
) -> Float[Tensor, "height width 3"]:
    """The image after the quadratic RGB → RGB map that brings it closest to the truth, clipped to [0, 1].

    Each output channel is a linear combination of (r², rg, rb, g², gb, b², r, g, b, 1), fitted by least squares to the pixels
    where neither the input, nor this channel's output of the round before, nor the truth is saturated.  Five rounds, since each
    changes which pixels are saturated.  This is the protocol of RawNeRF and of the large-scene papers that follow it; it may use
    the truth, so figures with it stand beside those without, never instead.

    Args:
        image: rendered picture.
        truth: photograph in [0, 1].

    Returns:
        The corrected picture.  A channel keeps its values in rounds where fewer than 100 pixels are unsaturated.

    Raises:
        ShapeError: sizes differ.
    """
    if image.shape != truth.shape:
        raise ShapeError("truth", expected=f"{tuple(image.shape)}", got=f"{tuple(truth.shape)}")
    current = image.detach().reshape(-1, 3).double().clamp(0, 1)
    target = truth.reshape(-1, 3).double()
    usable = _unsaturated(current) & _unsaturated(target)
    for _ in range(_ROUNDS):
        terms = quadratic_terms(current)
        corrected = current.clone()
        for channel in range(3):
            kept = usable[:, channel] & _unsaturated(current[:, channel])
            if int(kept.sum()) < _FEWEST_PIXELS:
                continue
            weights = _least_squares(terms[kept], target[kept, channel])
            corrected[:, channel] = terms @ weights
        current = corrected.clamp(0, 1)
    return current.reshape(image.shape).to(image.dtype)


def quadratic_terms(colors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 10"]:
    """(r², rg, rb, g², gb, b², r, g, b, 1) of each colour."""
    r, g, b = colors.unbind(-1)
    return torch.stack([r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, torch.ones_like(r)], dim=-1)


def _unsaturated(values: Tensor) -> Bool[Tensor, "..."]:
    return (values > _DARK) & (values < _BRIGHT)


def _least_squares(terms: Float[Tensor, "n 10"], target: Float[Tensor, "n"]) -> Float[Tensor, "10"]:
    """Minimum-norm solution through the pseudo-inverse: grey pictures leave most terms undetermined.

    The 10×10 normal equations in float64 keep twelve digits here (colours lie in [0, 1]) and cost a hundredth of the time and
    memory of decomposing a row per pixel.
    """
    return torch.linalg.pinv(terms.T @ terms, rtol=1e-11, hermitian=True) @ (terms.T @ target)
