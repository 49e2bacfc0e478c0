"""Structural similarity."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.ssim import mean_ssim, ssim_map


def ssim(
    image: Float[Tensor, "height width 3"],
    truth: Float[Tensor, "height width 3"],
    mask: Bool[Tensor, "height width"] | None = None,
) -> float:
    """Mean structural similarity: window 11×11, Gaussian σ = 1.5, zero padding, averaged over pixels and channels.

    Source: Wang et al. 2004, Eq. 13; the zero padding is that of the splatting literature and lowers the figure slightly at the
    border compared with implementations that crop it.  The image is clamped to [0, 1] first.

    Args:
        image: rendered picture.
        truth: photograph in [0, 1].
        mask: pixels that count; their windows still see the others.  None for all.

    Returns:
        At most 1, which equal pictures reach; NaN when no pixel counts.

    Raises:
        ShapeError: sizes differ.
    """
    if image.shape != truth.shape:
        raise ShapeError("truth", expected=f"{tuple(image.shape)}", got=f"{tuple(truth.shape)}")
    image = image.detach().clamp(0, 1)
    if mask is None:
        return mean_ssim(image, truth) if image.numel() else math.nan
    similarity = ssim_map(image, truth)[mask]
    return float(torch.mean(similarity.double())) if similarity.numel() else math.nan
