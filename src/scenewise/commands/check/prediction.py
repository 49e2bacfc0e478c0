"""What a reconstruction will take in memory and time, told before it starts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scenewise.errors import ResourceError
from scenewise.methods.gaussian_splatting.config import preset
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM
from scenewise.methods.momentum_gs.planning import SEEN_CHILDREN, anchor_bytes, block_sizes, fixed_bytes, gaussians_of
from scenewise.parts.splats.building import DEFAULT_CACHE_BYTES, cache_limit
from scenewise.parts.splats.fitting import fitted, points_of
from scenewise.parts.splats.memory import decoded_bytes, training_memory
from scenewise.scenes.captures import Capture
from scenewise.scenes.gaussians import gaussian_numbers

# Time of one training step on one core in ms: a + b per 1,000 pixels + c per 1,000 Gaussians (269×479 pixels, 10k to 100k
# Gaussians, degree-3 colour), on n threads divided by n^d.  The machine decides a factor of two either way.
_STEP_MS = 1.5
_STEP_MS_PER_KILOPIXEL = 0.075
_STEP_MS_PER_KILOGAUSSIAN = 0.35
_THREAD_EXPONENT = 0.65
_MATCH_SECONDS_PER_VIEW = 0.4  # features and matching of one view on one core
_MEAN_SHARE_OF_CAP = 0.7  # Gaussians over a run, as a share of what it ends with


@dataclass(frozen=True)
class BlockPrediction:
    """What method momentum_gs will take, one block at a time.

    Attributes:
        blocks: how many there will be; some may be given to neighbours.
        anchors: that a block may have, those behind it included.
        memory_bytes: peak resident memory, settling included.
        seconds: of training, the coarse model and settling included; good to a factor of two.
    """

    blocks: int
    anchors: int
    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class Prediction:
    """What a reconstruction with the default settings will take.

    Attributes:
        steps: optimiser steps.
        gaussians: cap it will work under.
        initial_points: where it will start: "capture", "depth" or "matches".
        memory_bytes: peak resident memory.
        seconds: training time on ``threads`` threads, without decoding; good to a factor of two.
        threads: assumed.
        megabytes_on_disk: size of the splats as .ply.
        blocks: the same by method momentum_gs.
    """

    steps: int
    gaussians: int
    initial_points: Literal["capture", "depth", "matches"]
    memory_bytes: int
    seconds: float
    threads: int
    megabytes_on_disk: float
    blocks: BlockPrediction | None = None


def predict(capture: Capture, threads: int, budget: int | None = None) -> Prediction:
    """Memory and time of a reconstruction with the default settings, from the constants above.

    Args:
        capture: to be reconstructed.
        threads: that it will have.
        budget: memory that blocks of method momentum_gs are to keep to, in bytes, or None.
    """
    frames = capture.train_frames
    config = fitted(preset("fast", data_set=capture.preset), frames, points_of(capture))
    gaussians = config.strategy.max_gaussians or 1_000_000
    pixels = float(np.median([frame.camera.width * frame.camera.height for frame in frames]))
    seconds = _seconds(config.steps, pixels, _MEAN_SHARE_OF_CAP * gaussians, threads)
    source: Literal["capture", "depth", "matches"] = "matches"
    if capture.points is not None and len(capture.points):
        source = "capture"
    elif any(frame.load_depth is not None for frame in frames):
        source = "depth"
    else:
        seconds += _MATCH_SECONDS_PER_VIEW * min(len(frames), 400) / threads
    cache_bytes = min(DEFAULT_CACHE_BYTES, decoded_bytes(frames, config.resolution.factors))
    estimate = training_memory(frames, sh_degree=config.sh.highest, cache_bytes=cache_bytes, matches=source == "matches")
    memory = estimate.total(gaussians)
    megabytes = gaussians * gaussian_numbers(config.sh.highest) * 4 / 1e6
    return Prediction(
        config.steps, gaussians, source, memory, seconds, threads, megabytes, _in_blocks(capture, threads, pixels, budget)
    )


def _seconds(steps: int, pixels: float, gaussians: float, threads: int) -> float:
    step_ms = _STEP_MS + _STEP_MS_PER_KILOPIXEL * pixels / 1000 + _STEP_MS_PER_KILOGAUSSIAN * gaussians / 1000
    return steps * step_ms / 1000 / threads**_THREAD_EXPONENT


def _in_blocks(capture: Capture, threads: int, pixels: float, budget: int | None) -> BlockPrediction | None:
    """None where the budget does not suffice for a block."""
    frames, config = capture.train_frames, FAST_MOMENTUM
    decoder = config.block.decoder
    fixed = fixed_bytes(frames, min(cache_limit(budget), decoded_bytes(frames, config.block.resolution.factors)))
    try:
        sizes = block_sizes(
            gaussians_of(frames, points_of(capture)),
            decoder,
            config.background.most,
            blocks=None,
            room=None if budget is None else budget - fixed,
        )
    except ResourceError:
        return None
    seen = SEEN_CHILDREN * decoder.slots * sizes.most_of_block
    steps = sizes.blocks * (config.block.steps + config.settling.steps)
    seconds = _seconds(steps, pixels, seen, threads)
    seconds += _seconds(config.coarse.steps, pixels / config.coarse_downscale**2, seen, threads)
    return BlockPrediction(sizes.blocks, sizes.most_of_block, fixed + sizes.most_of_block * anchor_bytes(decoder), seconds)
