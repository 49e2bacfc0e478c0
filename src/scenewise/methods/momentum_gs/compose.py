"""Settings and a coarse model become trainers of blocks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.randomness import keyed_seed
from scenewise.io.decode_cache import DecodeCache
from scenewise.io.json_values import fingerprint_of
from scenewise.methods.momentum_gs.block_states import BlockStates
from scenewise.methods.momentum_gs.blocks import is_in_block, start_of_block
from scenewise.methods.momentum_gs.coarse import CoarseModel
from scenewise.methods.momentum_gs.config import MomentumConfig
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.methods.momentum_gs.slots import SlotPlan
from scenewise.methods.momentum_gs.teaching import DecoderConsistency, MomentumTeacher
from scenewise.methods.momentum_gs.trainer import BlockTrainer, SharedDecoder
from scenewise.parts.splats.anchors.decoder import AnchorDecoder
from scenewise.parts.splats.anchors.field import AnchorField
from scenewise.parts.splats.anchors.growing import AnchorGrowth
from scenewise.parts.splats.anchors.objectives import ChildVolume
from scenewise.parts.splats.objectives import Objective, Photometric
from scenewise.parts.splats.schedules import ShSchedule
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

BLOCKS_FOLDER = "blocks"


@dataclass(frozen=True)
class City:
    """A scene that was cut into blocks.

    Attributes:
        capture: all photographs.
        model: the coarse model.
        partition: who owns what.
        belongs: which training cameras train which block.
        points: of the scene, for further anchors; None for none.
    """

    capture: Capture
    model: CoarseModel
    partition: Partition
    belongs: Bool[np.ndarray, "cameras blocks"]
    points: PointCloud | None = None

    def frames(self, block: int) -> list[Frame]:
        """Training frames of a block."""
        return [frame for frame, belongs in zip(self.capture.train_frames, self.belongs[:, block]) if belongs]

    def shared_views(self, most: int) -> dict[int, list[Cameras]]:
        """Training cameras of each block that another one has too: about ``most`` for each block are chosen, from all over the
        capture, and every block that has one of these gets it.
        """
        blocks, frames = self.belongs.shape[1], self.capture.train_frames
        shared = np.flatnonzero(self.belongs.sum(axis=1) > 1)
        chosen = shared[:: max(1, len(shared) // (most * blocks))]
        return {block: [frames[index].camera for index in chosen if self.belongs[index, block]] for block in range(blocks)}


def slot_plan(config: MomentumConfig, blocks: int, seed: int) -> SlotPlan:
    """Who trains what when; the last slot of each block is the frozen one, where there is one."""
    slots = max(1 + int(config.frozen_round), round(config.block.steps / config.slot_steps))
    return SlotPlan(
        blocks=blocks,
        workers=min(config.workers, blocks),
        slot_steps=config.slot_steps,
        rounds=slots - int(config.frozen_round),
        frozen_round=config.frozen_round,
        order=config.order,
        seed=seed,
    )


def block_trainer(
    city: City,
    config: MomentumConfig,
    folder: Path,
    *,
    seed: int,
    record: Mapping[str, Any],
    data_hash: str = "",
    cache_bytes: int = 1_000_000_000,
    device: torch.device | str = "cpu",
    ranks: Ranks = ALONE,
) -> BlockTrainer:
    """The trainer of all blocks.

    Args:
        city: what is trained on.
        config: how.
        folder: blocks wait here.
        seed: of every random stream.
        record: resolved configuration, kept in checkpoints.
        data_hash: checksum of the capture.
        cache_bytes: decoded pixels kept in memory.
        device: where to compute.
        ranks: processes that train together.
    """
    plan = slot_plan(config, city.partition.num_blocks, seed)
    shared = None
    if config.shares_decoder:
        decoder = AnchorDecoder(config.block.decoder, city.model.heads, device)
        teacher = None if config.teacher is None else MomentumTeacher(decoder, config.teacher)
        shared = SharedDecoder(decoder, teacher, config.weighting)
    make = anchor_blocks(
        city, config, plan, shared=None if shared is None else shared.decoder, seed=seed, cache_bytes=cache_bytes, device=device
    )
    states = BlockStates(folder, fingerprint_of({"record": dict(record), "data": data_hash}))
    return BlockTrainer(plan, make, states, shared=shared, ranks=ranks, identity=RunIdentity(seed, record, data_hash))


def anchor_blocks(
    city: City,
    config: MomentumConfig,
    plan: SlotPlan,
    *,
    shared: AnchorDecoder | None,
    seed: int,
    cache_bytes: int,
    device: torch.device | str,
) -> Callable[[int, bool], SplatTrainer]:
    """Builds the trainer of each block's anchors."""
    recipe, model = config.block, city.model
    objectives: list[Objective] = [Photometric(recipe.dssim_weight), ChildVolume(recipe.volume_weight)]
    if shared is not None and config.teacher is not None:
        objectives.append(DecoderConsistency(config.teacher.weight))

    cache = DecodeCache(cache_bytes)  # blocks share many photographs

    def make(block: int, is_filled: bool) -> SplatTrainer:
        frames = city.frames(block)
        if is_filled:  # a checkpoint brings the rows
            anchors = model.anchors.select(torch.zeros(1, dtype=torch.int64))
        else:
            most, cap = recipe.max_initial_anchors, recipe.growth.max_anchors
            cameras = [frame.camera for frame in frames]
            start = start_of_block(block, city.partition, model, cameras, config.background, city.points, most, cap)
            anchors = start.anchors
        decoder = AnchorDecoder(recipe.decoder, model.heads, device) if shared is None else shared
        return SplatTrainer(
            AnchorField(anchors.to(device), decoder, recipe.rates, is_lent=shared is not None),
            TrainingViews(frames, device=device, cache=cache),
            [AnchorGrowth(recipe.growth, model.cell, lambda places: is_in_block(city.partition, block, places))],
            settings=TrainerSettings(
                steps=plan.block_steps, sh=ShSchedule(highest=0), resolution=recipe.resolution, exposure=recipe.exposure
            ),
            scene_extent=model.scene_extent,
            objectives=objectives,
            background=city.capture.background,
            identity=RunIdentity(keyed_seed(seed, "block", block), {"block": block}),
        )

    return make
