"""Depth error: whether the geometry is right, which PSNR does not tell."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.errors import ShapeError

_RATIO = 1.25


@dataclass(frozen=True)
class DepthError:
    """Agreement of rendered with measured depth, over pixels where both exist.  NaN where there are none.

    Attributes:
        abs_rel: mean of |depth − truth| / truth.
        rmse: root mean square of depth − truth, world units.
        median_abs: median of |depth − truth|, world units.
        within_125: share of pixels with max(depth/truth, truth/depth) < 1.25 (δ₁ of the depth literature).
        coverage: share of the measured pixels where something was rendered.
        num_pixels: measured pixels.
    """

    abs_rel: float
    rmse: float
    median_abs: float
    within_125: float
    coverage: float
    num_pixels: int


def depth_error(
    depth: Float[Tensor, "height width"],
    truth: Float[Tensor, "height width"],
    mask: Bool[Tensor, "height width"] | None = None,
) -> DepthError:
    """Compares depth maps along +Z.  No scale is fitted: both must be in the same world units.

    Args:
        depth: rendered expected depth; 0 (or not finite) where nothing was rendered.
        truth: measured depth; 0 = no measurement.
        mask: pixels that count; None for all.

    Raises:
        ShapeError: sizes differ.
    """
    if depth.shape != truth.shape:
        raise ShapeError("truth", expected=f"{tuple(depth.shape)}", got=f"{tuple(truth.shape)}")
    measured = torch.isfinite(truth) & (truth > 0)
    if mask is not None:
        measured &= mask
    rendered = measured & torch.isfinite(depth) & (depth > 0)
    count, total = int(rendered.sum()), int(measured.sum())
    coverage = count / total if total else math.nan
    if count == 0:
        return DepthError(math.nan, math.nan, math.nan, math.nan, coverage, total)
    got, want = depth.detach()[rendered].double(), truth[rendered].double()
    error = (got - want).abs()
    ratio = torch.maximum(got / want, want / got)
    return DepthError(
        abs_rel=float(torch.mean(error / want)),
        rmse=float(torch.mean(error.square()).sqrt()),
        median_abs=float(torch.median(error)),
        within_125=float(torch.mean((ratio < _RATIO).double())),
        coverage=coverage,
        num_pixels=total,
    )
