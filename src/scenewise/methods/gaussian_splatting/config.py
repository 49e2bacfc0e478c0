"""Presets of Gaussian splatting; every value with its source is in :mod:`scenewise.parts.splats.recipes`."""

from dataclasses import replace
from typing import Any, Literal

from scenewise.parts.splats.recipes import FAST, FAST_MCMC, PAPER_30K, PAPER_30K_MCMC, SplatRecipe

StrategyName = Literal["default", "mcmc"]

PRESETS: dict[str, SplatRecipe] = {
    "paper_30k": PAPER_30K,
    "paper_30k_mcmc": PAPER_30K_MCMC,
    "fast": FAST,
    "fast_mcmc": FAST_MCMC,
}

DATA_SET_CHANGES: dict[str, dict[str, Any]] = {
    # The published protocol uses the same settings on every data set; only the background of the synthetic scenes differs, and
    # that belongs to the capture.  They carry no depth maps.
    "nerf_synthetic": {"depth": None},
    "mipnerf360": {"depth": None},
    "tanks_and_temples": {"depth": None},
    "deep_blending": {"depth": None},
}


def preset(
    name: str,
    *,
    data_set: str | None = None,
    strategy: StrategyName = "default",
) -> SplatRecipe:
    """A preset by name, with its strategy and what a data set of the papers demands.

    Args:
        name: "paper_30k" or "fast".
        data_set: preset of the capture, or None.
        strategy: "mcmc" takes the variant of that strategy.
    """
    chosen = PRESETS[f"{name}_mcmc" if strategy == "mcmc" and not name.endswith("_mcmc") else name]
    return replace(chosen, **DATA_SET_CHANGES.get(data_set or "", {}))
