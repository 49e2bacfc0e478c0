"""SSIM and the photometric loss of 3D Gaussian Splatting."""

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.ssim import native, reference

__all__ = ["l1_dssim", "mean_ssim", "ssim_map"]


def ssim_map(image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """Structural similarity per pixel and channel.

    Window 11×11, Gaussian σ = 1.5, zero padding, K₁ = 0.01, K₂ = 0.03 for values in [0, 1].
    Source: Wang et al. 2004, Eq. 13, with the window that the splatting literature uses.
    """
    return reference.ssim_map(image, truth)


def mean_ssim(image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> float:
    """Mean of :func:`ssim_map`, without a gradient and in little memory."""
    with torch.no_grad():
        return 1.0 - float(l1_dssim(image, truth, 1.0)) if native.can_run(image, truth) else float(ssim_map(image, truth).mean())


def l1_dssim(
    image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"], dssim_weight: float = 0.2
) -> Float[Tensor, ""]:
    """(1 − λ)·mean|image − truth| + λ·(1 − mean SSIM).  Source: Kerbl et al. 2023, arXiv 2308.04079, Eq. 7.

    Args:
        image: rendered picture; receives the gradient.
        truth: photograph, values in [0, 1].
        dssim_weight: λ.

    Raises:
        ShapeError: sizes differ.
    """
    if image.shape != truth.shape:
        raise ShapeError("truth", expected=f"{tuple(image.shape)}", got=f"{tuple(truth.shape)}")
    if native.can_run(image, truth):
        return native.l1_dssim(image, truth, dssim_weight)
    l1 = (image - truth).abs().mean()
    if dssim_weight == 0:
        return l1
    return (1 - dssim_weight) * l1 + dssim_weight * (1 - torch.mean(reference.ssim_map(image, truth)))
