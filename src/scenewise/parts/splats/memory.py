"""How much memory training splats will take, before it starts."""

import math
from collections.abc import Sequence

from scenewise.engine.memory import MemoryEstimate
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import gaussian_numbers

PROCESS_BYTES = 400_000_000
"""Interpreter, torch, SciPy and OpenCV loaded and used (resident size measured before the first step; a constant, so that the
cap that follows from a budget is the same in every run)."""
MATCHING_BYTES = 450_000_000
"""Descriptors and similarity blocks while initial points are triangulated.  The number of features is bounded by the number of
points wanted, so this hardly depends on the number of photographs.  Half of it stays with the process afterwards."""
_FLOAT = 4
_COPIES = 8  # value, gradient, two moments; three of them again in the state to fall back on; one in flight when rows are edited
_RASTER_BYTES = 420  # projected Gaussian, its gradients, its entries in the tile lists, screen gradients, statistics
_PIXEL_BYTES = 220  # picture, photograph and their gradients; depth, alpha; the fields of SSIM
_DECODE_FACTOR = 3  # a photograph while it is decoded and undistorted


def decoded_bytes(frames: Sequence[Frame], factors: Sequence[int] = ()) -> int:
    """All frames decoded: colour, and depth and masks where there are any; also at the smaller sizes of a coarse-to-fine
    schedule.
    """
    total = 0
    for frame in frames:
        pixels = frame.camera.width * frame.camera.height
        each = 3 + (0 if frame.load_depth is None else _FLOAT) + (frame.load_mask is not None) + (frame.load_coverage is not None)
        total += pixels * each
    return math.ceil(total * (1.0 + sum(1.0 / factor**2 for factor in factors)))


def training_memory(frames: Sequence[Frame], *, sh_degree: int, cache_bytes: int, matches: bool = False) -> MemoryEstimate:
    """Estimate for training on these frames.

    Args:
        frames: the training frames.
        sh_degree: highest degree of view-dependent colour.
        cache_bytes: what the decode cache will hold.
        matches: whether initial points are triangulated from feature matches.
    """
    pixels = max(frame.camera.width * frame.camera.height for frame in frames)
    return MemoryEstimate(
        fixed={
            "program": PROCESS_BYTES,
            "photographs": cache_bytes + _DECODE_FACTOR * 3 * pixels,
            "pictures": _PIXEL_BYTES * pixels,
            **({"feature matching": MATCHING_BYTES} if matches else {}),
        },
        per_gaussian=gaussian_memory(sh_degree),
    )


def gaussian_memory(sh_degree: int) -> dict[str, int]:
    """Bytes that a Gaussian of this degree takes in training, by part."""
    return {"parameters": _COPIES * _FLOAT * gaussian_numbers(sh_degree), "rasteriser": _RASTER_BYTES}
