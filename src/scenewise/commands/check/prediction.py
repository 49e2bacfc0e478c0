"""What a reconstruction will take in memory and time, told before it starts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scenewise.methods.gaussian_splatting.config import preset
from scenewise.parts.splats.building import DEFAULT_CACHE_BYTES
from scenewise.parts.splats.fitting import fitted, points_of
from scenewise.parts.splats.memory import decoded_bytes, training_memory
from scenewise.scenes.captures import Capture

# Time of one training step on one core in ms: a + b per 1,000 pixels + c per 1,000 Gaussians (269×479 pixels, 10k to 100k
# Gaussians, degree-3 colour), on n threads divided by n^d.  The machine decides a factor of two either way.
_STEP_MS = 1.5
_STEP_MS_PER_KILOPIXEL = 0.075
_STEP_MS_PER_KILOGAUSSIAN = 0.35
_THREAD_EXPONENT = 0.65
_MATCH_SECONDS_PER_VIEW = 0.4  # features and matching of one view on one core
_MEAN_SHARE_OF_CAP = 0.7  # Gaussians over a run, as a share of what it ends with


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
    """

    steps: int
    gaussians: int
    initial_points: Literal["capture", "depth", "matches"]
    memory_bytes: int
    seconds: float
    threads: int
    megabytes_on_disk: float


def predict(capture: Capture, threads: int) -> Prediction:
    """Memory and time of a reconstruction with the default settings, from the constants above."""
    frames = capture.train_frames
    config = fitted(preset("fast", data_set=capture.preset), frames, points_of(capture))
    gaussians = config.strategy.max_gaussians or 1_000_000
    pixels = float(np.median([frame.camera.width * frame.camera.height for frame in frames]))
    step_ms = (
        _STEP_MS + _STEP_MS_PER_KILOPIXEL * pixels / 1000 + _STEP_MS_PER_KILOGAUSSIAN * _MEAN_SHARE_OF_CAP * gaussians / 1000
    )
    seconds = config.steps * step_ms / 1000 / threads**_THREAD_EXPONENT
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
    floats = 11 + 3 * (config.sh.highest + 1) ** 2
    return Prediction(config.steps, gaussians, source, memory, seconds, threads, gaussians * floats * 4 / 1e6)
