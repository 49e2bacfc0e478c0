"""Explicit Gaussians in independent blocks, each from a coarse prior: what VastGaussian and CityGaussian do, to compare with.

Not the paper's method but its rival, on the same cuts, views and steps.  Source of the idea: Liu et al. 2024 (CityGaussian),
arXiv 2404.01133, section 3.2: a coarse model of the whole scene, of which each block takes its part and trains it alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from scenewise.engine.randomness import keyed_seed
from scenewise.io.decode_cache import DecodeCache
from scenewise.kernels.anchor_decoder import visible_rows
from scenewise.methods.momentum_gs.blocks import is_in_block
from scenewise.methods.momentum_gs.compose import City
from scenewise.methods.momentum_gs.slots import SlotPlan
from scenewise.parts.splats.fields import ExplicitGaussians
from scenewise.parts.splats.merging import merged_to
from scenewise.parts.splats.objectives import Photometric
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.strategies.default import GRADIENT_SUM
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians, joined_gaussians


@final
@dataclass(frozen=True)
class NoGrowthOutside(Strategy):
    """Gaussians outside of a block do not multiply: what comes of it would be cut off.  Goes before the default strategy.

    Attributes:
        where: tells of positions [n, 3] whether they are inside [n].
    """

    where: Callable[[torch.Tensor], torch.Tensor]

    def after_step(self, context: StepContext) -> None:
        """Forgets the gradients of those outside before anybody acts on them."""
        store = context.field.store
        store.record(GRADIENT_SUM)[~self.where(store["means"].detach())] = 0.0


def explicit_start(block: int, city: City, prior: Gaussians, cameras: Sequence[Cameras], most_behind: float) -> Gaussians:
    """The Gaussians that a block begins with: its part of the prior, and what stands behind it, merged to fewer.

    Args:
        block: its number.
        city: all blocks.
        prior: of the whole scene.
        cameras: of the block.
        most_behind: Gaussians of other blocks, as a multiple of the block's own.
    """
    inside = is_in_block(city.partition, block, prior.means)
    seen = torch.zeros(len(prior), dtype=torch.bool)
    sizes = torch.cat([prior.log_scales, prior.log_scales], dim=1)
    for camera in cameras:
        seen[visible_rows(prior.means, sizes, camera)] = True
    own, behind = prior.select(inside), prior.select(~inside & seen)
    most = int(most_behind * len(own))
    if len(behind) > most:
        behind = merged_to(behind, most).gaussians
    return joined_gaussians([own, behind])


def explicit_blocks(
    city: City,
    recipe: SplatRecipe,
    plan: SlotPlan,
    prior: Gaussians,
    *,
    most_behind: float,
    seed: int,
    cache_bytes: int = 1_000_000_000,
) -> Callable[[int, bool], SplatTrainer]:
    """Builds the trainer of each block's Gaussians; see :data:`scenewise.methods.momentum_gs.trainer.MakeBlock`."""

    cache = DecodeCache(cache_bytes)

    def make(block: int, is_filled: bool) -> SplatTrainer:
        frames = city.frames(block)
        if is_filled:
            start = prior.select(torch.zeros(1, dtype=torch.int64))
        else:
            start = explicit_start(block, city, prior, [frame.camera for frame in frames], most_behind)
        return SplatTrainer(
            ExplicitGaussians(start, recipe.learning_rates, city.model.scene_extent),
            TrainingViews(frames, cache=cache),
            [NoGrowthOutside(lambda places: is_in_block(city.partition, block, places)), recipe.strategy],
            settings=TrainerSettings(steps=plan.block_steps, sh=recipe.sh, resolution=recipe.resolution),
            scene_extent=city.model.scene_extent,
            objectives=[Photometric(recipe.dssim_weight)],
            background=city.capture.background,
            identity=RunIdentity(keyed_seed(seed, "block", block), {"block": block}),
        )

    return make


def own_gaussians(trainer: SplatTrainer, city: City, block: int) -> Gaussians:
    """What a finished block gives to the scene."""
    gaussians = trainer.field.gaussians()
    fixed = Gaussians(**{name: value.detach().cpu() for name, value in vars(gaussians).items()})
    return fixed.select(is_in_block(city.partition, block, fixed.means))
