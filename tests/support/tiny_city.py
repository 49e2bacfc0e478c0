"""A city of a few dozen anchors: two by two blocks, sixteen cameras, a decoder of eight hidden units."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.support.small_anchors import SMALL, random_anchors, random_heads

from scenewise.engine.distribution import ALONE, Ranks
from scenewise.geometry.orbits import look_at
from scenewise.methods.momentum_gs.coarse import CoarseModel
from scenewise.methods.momentum_gs.compose import City, block_trainer
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM, MomentumConfig
from scenewise.methods.momentum_gs.partition import even_partition
from scenewise.methods.momentum_gs.planning import frame_of_box
from scenewise.methods.momentum_gs.trainer import BlockTrainer
from scenewise.parts.splats.anchors.field import decoded_anchors
from scenewise.rendering import render
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame, ImageU8

WIDTH, HEIGHT = 32, 24
RECORD: Mapping[str, Any] = {"method": "momentum_gs", "city": "tiny"}


def ring(count: int) -> list[Cameras]:
    """Cameras on a ring above the anchors, each over one of the blocks."""
    K = torch.tensor([[30.0, 0.0, 16.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    angles = 2.0 * np.pi * (np.arange(count) + 0.3) / count
    centers = np.stack([1.2 * np.cos(angles), 0.9 * np.sin(angles), np.full(count, 2.0)], axis=1)
    poses = [look_at(center, np.array([0.3 * center[0], 0.3 * center[1], 0.0]), np.array([0.0, 0.0, 1.0])) for center in centers]
    return [Cameras(torch.linalg.inv(torch.from_numpy(pose)), K, WIDTH, HEIGHT) for pose in poses]


def tiny_city(cameras: int = 16) -> City:
    """Photographs show other anchors than those that training starts from."""
    truth, heads = random_anchors(60, seed=1, scale=0.15), random_heads(1)

    def photograph(camera: Cameras) -> ImageU8:
        with torch.no_grad():
            color = render(decoded_anchors(truth, heads, camera).gaussians, camera).color
        return (color.clamp(0.0, 1.0).numpy() * 255.0 + 0.5).astype(np.uint8)

    looking = ring(cameras)
    pictures = [photograph(camera) for camera in looking]
    frames = tuple(
        Frame(f"{index:02d}.png", camera, load_image=lambda image_u8=image_u8: image_u8)
        for index, (camera, image_u8) in enumerate(zip(looking, pictures))
    )
    capture = Capture(Path("city"), "world", frames, test_names=frozenset({"00.png", "07.png"}))
    model = CoarseModel(random_anchors(60, seed=2, scale=0.15), random_heads(3), 0.05, 2.0, torch.ones(60), 0.0)
    partition = even_partition(frame_of_box((-2.0, -2.0, -2.0, 2.0, 2.0, 2.0)), (2, 2, 1))
    centers = torch.stack([frame.camera.centers_in_world for frame in capture.train_frames]).numpy()
    belongs = partition.block_of(centers)[:, None] == np.arange(4)
    return City(capture, model, partition, belongs)


def tiny_config(**changes: Any) -> MomentumConfig:
    """Three slots of four steps for each block, the last one with a decoder that rests."""
    growth = replace(FAST_MOMENTUM.block.growth, max_anchors=80, refine_from=0, smallest_interval=5, grow_gradient=1e-6)
    block = replace(FAST_MOMENTUM.block, steps=12, decoder=SMALL, growth=growth, max_initial_anchors=60)
    coarse = replace(FAST_MOMENTUM.coarse, decoder=SMALL)
    return replace(replace(FAST_MOMENTUM, coarse=coarse, block=block, slot_steps=4), **changes)


def tiny_trainer(folder: Path, ranks: Ranks = ALONE, city: City | None = None, **changes: Any) -> BlockTrainer:
    """Of the tiny city."""
    city = tiny_city() if city is None else city
    return block_trainer(city, tiny_config(**changes), folder, seed=0, record=RECORD, data_hash="tiny", ranks=ranks)


def blocks_of(trainer: BlockTrainer) -> dict[int, Anchors]:
    """Anchors of every finished block."""
    found = {}
    for block in trainer.own_blocks:
        anchors = trainer.finished(block).field.anchors()  # type: ignore[attr-defined]
        found[block] = Anchors(**{name: value.detach().clone() for name, value in vars(anchors).items()})
    return found
