"""Peak signal-to-noise ratio."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.errors import ShapeError


def psnr(
    image: Float[Tensor, "height width 3"],
    truth: Float[Tensor, "height width 3"],
    mask: Bool[Tensor, "height width"] | None = None,
) -> float:
    """−10·log₁₀ of the mean squared error, in dB, for a peak of 1.

    The image is clamped to [0, 1] first, as a screen or a file would.  Sums are in double precision.

    Args:
        image: rendered picture.
        truth: photograph in [0, 1].
        mask: pixels that count; None for all.

    Returns:
        dB; infinite for equal pictures, NaN when no pixel counts.

    Raises:
        ShapeError: sizes differ.
    """
    if image.shape != truth.shape:
        raise ShapeError("truth", expected=f"{tuple(image.shape)}", got=f"{tuple(truth.shape)}")
    error = (image.detach().clamp(0, 1) - truth).double().square()
    if mask is not None:
        error = error[mask]
    if error.numel() == 0:
        return math.nan
    mean = float(torch.mean(error))
    return math.inf if mean == 0 else -10.0 * math.log10(mean)
