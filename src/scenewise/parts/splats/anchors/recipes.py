"""What decides how anchors are trained, the data and the seed apart."""

from dataclasses import dataclass, field, replace

from scenewise.parts.splats.anchors.decoder import DecoderSettings
from scenewise.parts.splats.anchors.field import AnchorRates
from scenewise.parts.splats.anchors.growing import GrowthSettings
from scenewise.parts.splats.exposure import ExposureSettings
from scenewise.parts.splats.schedules import ResolutionSchedule


@dataclass(frozen=True)
class AnchorRecipe:
    """Settings of one run; defaults are those of Lu et al. 2024 (Scaffold-GS).

    Attributes:
        steps: optimiser steps.
        decoder: sizes and rates of the decoder.
        rates: of the anchors.
        growth: how anchors come and go.
        cell: edge of the finest cells of the grid, world units; None: half the median gap between neighbouring points.
        max_initial_anchors: more points are thinned at random; None for all.
        dssim_weight: λ of the photometric loss.
        volume_weight: of the children's volume.
        resolution: coarse to fine.
        exposure: one colour transform per image, or None.
    """

    steps: int = 30_000
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    rates: AnchorRates = field(default_factory=AnchorRates)
    growth: GrowthSettings = field(default_factory=GrowthSettings)
    cell: float | None = None
    max_initial_anchors: int | None = None
    dssim_weight: float = 0.2
    volume_weight: float = 0.01
    resolution: ResolutionSchedule = field(default_factory=ResolutionSchedule)
    exposure: ExposureSettings | None = None


FAST_ANCHORS = AnchorRecipe(
    steps=3_000,
    # A tenth of the steps needs longer ones.  Views held out of a town's training views after 600 steps: 23.2 dB with the paper's
    # rates of the anchors, 25.1 with five times that of offsets and twice those of features and scales, 25.6 with ten, three and
    # three times and twice the decoder's; 25.2 with twenty, five and four.
    decoder=DecoderSettings(opacity=(4e-3, 4e-5), color=(1.6e-2, 1e-4), covariance=(8e-3, 8e-4)),
    rates=AnchorRates(offsets=(1e-1, 1e-3), features=2.5e-2, log_scales=2e-2),
    growth=GrowthSettings(max_anchors=20_000, refine_from=500, least_seen=0.1),
    max_initial_anchors=15_000,
    resolution=ResolutionSchedule(factors=(2,), until=(0.25,)),
)
"""Minutes on a CPU."""


def with_anchor_cap(recipe: AnchorRecipe, max_anchors: int | None) -> AnchorRecipe:
    """The same settings with another hard cap; None leaves the recipe's own."""
    if max_anchors is None:
        return recipe
    return replace(recipe, growth=replace(recipe.growth, max_anchors=max_anchors))
