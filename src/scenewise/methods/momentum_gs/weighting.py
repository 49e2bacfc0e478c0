"""Blocks that are shown worse than the best one have more say in the decoder.

Source: Fan et al. 2024 (Momentum-GS), arXiv 2412.04887, section 4.3.  There the weight multiplies a block's loss; as Adam does
not mind a constant factor, what it does is to mix the blocks' gradients of the shared decoder, and that is where it stands here.
The paper smooths a block's figures with momentum 0.9; the released code repeats this at every step with the figures of the last
look, so that all earlier ones are forgotten within thirty steps.  Here the last look counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BlockQuality = tuple[float, float]
"""PSNR in dB and SSIM."""

_SSIM_SCALE = 10.0  # released code; the paper writes λ = 100 in front of the square


@dataclass(frozen=True)
class WeightingSettings:
    """When and by what blocks are weighted.

    Attributes:
        sigma: width of the bell in dB (released code: 9 to 13).
        signal: what counts.
        learned_from: part of the rounds after which weights differ from 1 (released code: 1,000 of 60,000 steps).
        every: every so many of a block's training views is looked at, the last one always (released code: 10).
    """

    sigma: float = 9.0
    signal: Literal["both", "psnr", "ssim"] = "both"
    learned_from: float = 1.0 / 60.0
    every: int = 10


def block_weights(quality: Sequence[BlockQuality | None], settings: WeightingSettings) -> list[float]:
    """Weight of each block: w = 2 − exp(−((P* − P)² + (10·S* − 10·S)²) / 2σ²), with the best PSNR P* and SSIM S* of all blocks.

    Args:
        quality: of each block, None where it was never looked at; such a block has weight 1, and so has one whose figures are
            not finite (masks that hide whole views).
        settings: see there.
    """
    quality = [None if each is None or not all(map(math.isfinite, each)) else each for each in quality]
    known = [each for each in quality if each is not None]
    if not known:
        return [1.0] * len(quality)
    best = max(psnr for psnr, _ in known), max(ssim for _, ssim in known)
    weights = []
    for each in quality:
        if each is None:
            weights.append(1.0)
            continue
        psnr_gap = 0.0 if settings.signal == "ssim" else best[0] - each[0]
        ssim_gap = 0.0 if settings.signal == "psnr" else _SSIM_SCALE * (best[1] - each[1])
        weights.append(2.0 - math.exp(-(psnr_gap**2 + ssim_gap**2) / (2.0 * settings.sigma**2)))
    return weights
