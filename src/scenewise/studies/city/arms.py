"""Arms of the study of Momentum-GS: a town, trained in one way, and what came of it."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from scenewise.engine.memory import forget_peak, peak_since_forgotten
from scenewise.engine.training import run_steps
from scenewise.io.images import image_u8_from_color
from scenewise.io.json_values import fingerprint_of
from scenewise.io.ply.anchors import anchors_ply_bytes
from scenewise.io.ply.gaussians import gaussians_ply_bytes
from scenewise.methods.momentum_gs.block_states import BlockStates
from scenewise.methods.momentum_gs.coarse import CoarseModel
from scenewise.methods.momentum_gs.compose import City, block_trainer, slot_plan
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM, MomentumConfig
from scenewise.methods.momentum_gs.explicit import explicit_blocks, own_gaussians
from scenewise.methods.momentum_gs.figures import every_nth, quality
from scenewise.methods.momentum_gs.merging import block_part, merged_view
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.methods.momentum_gs.seams import blocks_of_pixels, seam_errors, seam_jumps
from scenewise.methods.momentum_gs.slots import SlotOrder
from scenewise.methods.momentum_gs.teaching import TeacherSettings
from scenewise.methods.momentum_gs.trainer import BlockTrainer
from scenewise.methods.momentum_gs.weighting import WeightingSettings, block_weights
from scenewise.metrics.color_correction import color_corrected
from scenewise.metrics.lpips import Lpips
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim
from scenewise.parts.splats.anchors.decoder import HEADS, AnchorDecoder, copied
from scenewise.parts.splats.anchors.recipes import with_anchor_cap
from scenewise.parts.splats.anchors.starting import anchors_from_points
from scenewise.parts.splats.settings import RunIdentity
from scenewise.rendering import render
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.gaussians import gaussian_numbers, joined_gaussians
from scenewise.scenes.point_clouds import PointCloud
from scenewise.studies.arms import Outcome
from scenewise.studies.city.towns import TownBench
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.choose import open_choice
from scenewise.teachers.protocol import Teacher

FOUR, SIXTEEN, ONE = (2, 2, 1), (4, 4, 1), (1, 1, 1)
_JUMP_VIEWS = 4
_PER_VIEW = ("psnr", "ssim", "psnr_corrected", "ssim_corrected", "lpips", "small_clip_distance")
_LOOKED_AT = 10


@dataclass(frozen=True)
class CityArm:
    """One way to train a town.

    Attributes:
        explicit: explicit Gaussians in place of anchors.
        grid: blocks.
        workers: that train at the same time.
        shares: one decoder for all blocks.
        teacher: momentum teacher, or None.
        weighting: of blocks, or None.
        slot_steps: of the decoder's turns, or None for the town's own.
        frozen: end with a round in which the decoder does not change.
        order: of the turns.
    """

    explicit: bool = False
    grid: tuple[int, int, int] = FOUR
    workers: int = 1
    shares: bool = True
    teacher: TeacherSettings | None = None
    weighting: WeightingSettings | None = None
    slot_steps: int | None = None
    frozen: bool = True
    order: SlotOrder = "round_robin"


@dataclass(frozen=True)
class BareArm(CityArm):
    """The same, but blocks begin with the coarse model's places alone: their features and decoders know nothing yet.

    Attributes:
        is_bare: says so in what an outcome is kept under.
    """

    is_bare: bool = True


@dataclass(frozen=True)
class RepeatedArm(CityArm):
    """The same once more, with other random numbers: how much figures differ by chance.

    Attributes:
        repeat: which time.
    """

    repeat: int = 1


def bare(model: CoarseModel, seed: int) -> CoarseModel:
    """A coarse model that has learned nothing but where anchors go."""
    slots, channels = model.anchors.slots, model.anchors.channels
    places = PointCloud(model.anchors.positions.double().numpy())
    anchors = anchors_from_points(places, model.scene_extent, model.cell, slots=slots, channels=channels)
    decoder = AnchorDecoder(FAST_MOMENTUM.block.decoder, torch.Generator().manual_seed(seed))
    return replace(model, anchors=anchors, heads=copied(decoder.heads()), importance=torch.ones(len(anchors)))


def config_of(arm: CityArm, bench: TownBench) -> MomentumConfig:
    """The settings that an arm trains with."""
    size = bench.size
    blocks = int(np.prod(arm.grid))
    steps = size.block_steps * 4 // blocks if blocks < 4 else size.block_steps
    most = int(1.3 * (1.0 + (FAST_MOMENTUM.background.most if blocks > 1 else 0.0)) * size.anchors / blocks)
    block = replace(with_anchor_cap(bench.anchor_recipe, most), steps=steps, max_initial_anchors=3 * most // 4)
    return replace(
        FAST_MOMENTUM,
        block=block,
        workers=arm.workers,
        slot_steps=size.slot_steps if arm.slot_steps is None else arm.slot_steps,
        order=arm.order,
        frozen_round=arm.frozen,
        teacher=arm.teacher,
        weighting=arm.weighting,
        shares_decoder=arm.shares,
    )


@dataclass(frozen=True)
class Trained:
    """What an arm has trained.

    Attributes:
        city: the town in blocks.
        trainer: finished.
        merged: what a camera sees of all blocks together.
        alone: what it sees of one block and what is behind it.
        rows: anchors or Gaussians of the merged scene.
        bytes: of the file that holds them.
        numbers: trained in all.
    """

    city: City
    trainer: BlockTrainer
    merged: SeenBy
    alone: Callable[[int], SeenBy]
    rows: int
    bytes: int
    numbers: int


def trained(arm: CityArm, bench: TownBench, folder: Path) -> Trained:
    """Trains an arm; blocks wait in the folder."""
    city = bench.whole() if arm.grid == ONE else bench.city(arm.grid)
    if isinstance(arm, BareArm):
        city = replace(city, model=bare(city.model, bench.seed))
    config, seed = config_of(arm, bench), bench.seed
    if isinstance(arm, RepeatedArm):
        seed += 1_000 * arm.repeat
    record = {"arm": asdict(arm), "size": asdict(bench.size), "seed": bench.seed}
    plan = slot_plan(config, city.partition.num_blocks, seed)
    if arm.explicit:
        behind = config.background.most if plan.blocks > 1 else 0.0
        most = int(1.3 * (1.0 + behind) * bench.size.gaussians / plan.blocks)
        recipe = replace(bench.explicit_recipe(most, plan.block_steps), resolution=config.block.resolution)
        make = explicit_blocks(city, recipe, plan, bench.explicit_coarse, most_behind=behind, seed=seed)
        trainer = BlockTrainer(plan, make, BlockStates(folder, fingerprint_of(record)), identity=RunIdentity(seed, record))
    else:
        trainer = block_trainer(city, config, folder, seed=seed, record=record)
    run_steps(trainer)
    blocks = range(plan.blocks)
    if arm.explicit:
        whole = joined_gaussians([own_gaussians(trainer.finished(block), city, block) for block in blocks])
        rows, size = len(whole), gaussians_ply_bytes(len(whole), whole.sh_degree)
        numbers = rows * gaussian_numbers(whole.sh_degree)
        return Trained(city, trainer, lambda camera: whole, _alone(trainer), rows, size, numbers)
    parts = [block_part(trainer.finished(block), city.partition, block) for block in blocks]
    rows = sum(len(part.anchors) for part in parts)
    decoder = config.block.decoder
    heads = sum(getattr(parts[0].heads, name).numel() for name in HEADS) * (1 if arm.shares else plan.blocks)
    size = anchors_ply_bytes(rows, decoder.slots, decoder.channels) + 4 * heads
    numbers = rows * (3 * decoder.slots + decoder.channels + 6) + heads
    return Trained(city, trainer, merged_view(lambda: iter(parts)), _alone(trainer), rows, size, numbers)


def _alone(trainer: BlockTrainer) -> Callable[[int], SeenBy]:
    def of_block(block: int) -> SeenBy:
        return trainer.finished(block).field.gaussians

    return of_block


def outcome(arm: CityArm, bench: TownBench, lpips: Lpips | None = None) -> Outcome:
    """Trains an arm and measures it."""
    bench.work.mkdir(parents=True, exist_ok=True)
    _ = bench.coarse, (bench.explicit_coarse if arm.explicit else None)  # what is shared is not counted as the arm's memory
    folder = Path(tempfile.mkdtemp(dir=bench.work, prefix=".arm-"))
    try:
        forget_peak()
        made = trained(arm, bench, folder)
        memory = peak_since_forgotten()
        metrics = measured(made, bench, lpips)
        metrics["train_memory_bytes"] = float(memory)
        if made.trainer.drift:
            metrics["drift"] = float(np.mean(made.trainer.drift))
        if arm.weighting is not None:
            metrics["heaviest_weight"] = max(block_weights(made.trainer.quality, arm.weighting))
        return Outcome(metrics, made.numbers, made.numbers, made.trainer.seconds, made.bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measured(made: Trained, bench: TownBench, lpips: Lpips | None) -> dict[str, float | None]:
    """Figures of a trained town on its held-out views."""
    background = torch.tensor(bench.capture.background or (0.0, 0.0, 0.0))
    metrics = view_figures(made.merged, bench, bench.city(FOUR).partition, lpips)
    metrics |= {"rows": float(made.rows), "megabytes": made.bytes / 1e6}
    partition = made.city.partition
    if partition.num_blocks > 1:
        seams = seam_errors(made.merged, bench.capture.test_frames, partition, background, bench.depth)
        metrics["seam_ratio"] = seams.ratio
        jumps = seam_jumps(made.merged, made.alone, made.city.shared_views(_JUMP_VIEWS), partition, background)
        metrics["seam_jump"] = float(np.mean(list(jumps.values()))) if jumps else None
        metrics["merged_minus_training"] = float(np.mean(_lost_by_merging(made, background)))
    else:
        metrics |= {"seam_ratio": None, "seam_jump": None, "merged_minus_training": None}
    return metrics


@torch.no_grad()
def view_figures(seen_by: SeenBy, bench: TownBench, blocks: Partition, lpips: Lpips | None) -> dict[str, float | None]:
    """Quality, speed and memory on the held-out views; of single blocks by the pixels that show them, whoever trained them."""
    background = torch.tensor(bench.capture.background or (0.0, 0.0, 0.0))
    sums: dict[str, list[float]] = {name: [] for name in _PER_VIEW}
    squares = np.zeros((blocks.num_blocks, 2))
    seconds, teacher = 0.0, open_choice(TeacherChoice())
    forget_peak()
    for frame in bench.capture.test_frames:
        assert frame.load_image is not None
        truth = torch.from_numpy(frame.load_image().copy()).float() / 255.0
        began = time.perf_counter()
        color = render(seen_by(frame.camera), frame.camera, background=background).color
        seconds += time.perf_counter() - began
        image = color.clamp(0.0, 1.0)
        corrected = color_corrected(image, truth)
        sums["psnr"].append(psnr(image, truth))
        sums["ssim"].append(ssim(image, truth))
        sums["psnr_corrected"].append(psnr(corrected, truth))
        sums["ssim_corrected"].append(ssim(corrected, truth))
        if lpips is not None:
            sums["lpips"].append(float(lpips(image, truth)))
        sums["small_clip_distance"].append(_feature_distance(teacher, image, frame.load_image()))
        owner = blocks_of_pixels(bench.depth(frame.camera), frame.camera, blocks)[..., 0]
        error = (image - truth).square().mean(dim=2).double().numpy()
        for block in range(blocks.num_blocks):
            shown = owner == block
            squares[block] += error[shown].sum(), shown.sum()
    by_block = -10.0 * np.log10(squares[:, 0] / np.maximum(squares[:, 1], 1.0))
    figures: dict[str, float | None] = {name: float(np.mean(values)) if values else None for name, values in sums.items()}
    return figures | {
        "block_std": float(by_block.std()),
        "worst_block": float(by_block.min()),
        "frames_per_second": len(bench.capture.test_frames) / seconds,
        "render_memory_bytes": float(peak_since_forgotten()),
    }


def _feature_distance(teacher: Teacher, image: Float[torch.Tensor, "height width 3"], photograph_u8: ImageU8) -> float:
    """Mean cosine distance of the embedded network's dense features; stands beside LPIPS, under its own name."""
    pictures = {"render": image_u8_from_color(image.numpy()), "photograph": photograph_u8}
    both = [found.values for name, picture in pictures.items() if (found := teacher.dense(picture, name)) is not None]
    rendered, photographed = (values / np.linalg.norm(values, axis=-1, keepdims=True) for values in both)
    return float(1.0 - (rendered * photographed).sum(axis=-1).mean())


def _lost_by_merging(made: Trained, background: torch.Tensor) -> list[float]:
    """PSNR of the merged scene less that of a block alone, on some of the block's training views."""
    lost = []
    for block in range(made.city.partition.num_blocks):
        frames = every_nth(made.city.frames(block), _LOOKED_AT)
        together, alone = quality(made.merged, frames, background), quality(made.alone(block), frames, background)
        assert together is not None and alone is not None, "blocks have views"
        lost.append(together[0] - alone[0])
    return lost
