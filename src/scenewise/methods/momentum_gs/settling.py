"""A block's anchors become explicit Gaussians, and settle on the block's photographs.

Not in the paper, whose scenes only its own renderer opens.  Baking averages over views what the decoder says of each alone; a few
hundred steps without growth give back what that costs.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool

from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors.baking import BakeSettings, baked
from scenewise.parts.splats.fields import ExplicitGaussians
from scenewise.parts.splats.objectives import Photometric
from scenewise.parts.splats.reconstruction import detached
from scenewise.parts.splats.schedules import LearningRates, ShSchedule
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.gaussians import Gaussians


@dataclass(frozen=True)
class SettlingSettings:
    """How Gaussians settle.

    Attributes:
        steps: of each block; 0 leaves them as they were baked.
        bake: how they come about.
        rates: of the steps.
        dssim_weight: λ of the photometric loss.
    """

    steps: int = 300
    bake: BakeSettings = field(default_factory=BakeSettings)
    rates: LearningRates = field(
        default_factory=lambda: LearningRates(means=4.8e-5, means_end=4.8e-6, shN=5e-4, scales=5e-3, opacities=5e-2)
    )
    dssim_weight: float = 0.2


@dataclass(frozen=True)
class SettledBlock:
    """A block's Gaussians.

    Attributes:
        own: what it gives to the scene, after settling.
        baked_all: its own and those behind, as baked.
        settled_all: likewise, after settling.
        seconds: that this took.
    """

    own: Gaussians
    baked_all: Gaussians
    settled_all: Gaussians
    seconds: float


def settled_block(
    anchors: Anchors,
    heads: DecoderHeads,
    own: Bool[torch.Tensor, "n"],
    views: TrainingViews,
    scene_extent: float,
    settings: SettlingSettings,
    *,
    background: tuple[float, float, float] | None = None,
    seed: int = 0,
) -> SettledBlock:
    """What a block gives to the scene.

    Args:
        anchors: of the block and behind it.
        heads: the decoder.
        own: which anchors are the block's.
        views: of the block.
        scene_extent: size of the scene, world units.
        settings: see there.
        background: colour behind everything.
        seed: of the order of the views.
    """
    made = baked(anchors, heads, views.cameras, settings.bake)
    is_own = own.cpu()[made.row_of]
    if not settings.steps or not len(made.gaussians):
        return SettledBlock(made.gaussians.select(is_own), made.gaussians, made.gaussians, 0.0)
    trainer = SplatTrainer(
        ExplicitGaussians(made.gaussians.to(anchors.positions.device), settings.rates, scene_extent),
        views,
        [],
        settings=TrainerSettings(steps=settings.steps, sh=ShSchedule(highest=settings.bake.sh_degree, every=1)),
        scene_extent=scene_extent,
        objectives=[Photometric(settings.dssim_weight)],
        background=background,
        identity=RunIdentity(seed),
    )
    trainer.run()
    settled = detached(trainer.field.gaussians())
    return SettledBlock(settled.select(is_own), made.gaussians, settled, trainer.seconds)
