"""How many blocks there are to be, and the box that they are cut from, when nobody says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import ResourceError
from scenewise.methods.momentum_gs.partition import Points
from scenewise.parts.splats.anchors.baking import BAKING_BYTES, BakeSettings
from scenewise.parts.splats.anchors.decoder import DecoderSettings
from scenewise.parts.splats.fitting import GAUSSIANS_PER_POINT, PIXELS_PER_GAUSSIAN, pixels_of
from scenewise.parts.splats.memory import gaussian_memory, training_memory
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import gaussian_numbers

_OUTLIERS = 0.02
"""Part of the points on either side that a box need not hold."""
_COPIES, _FLOAT = 8, 4  # as in parts/splats/memory.py: value, gradient, moments, what is kept to fall back on
_CHILD_BYTES = 650
"""A decoded Gaussian with its gradients, and the same in the rasteriser."""
SEEN_CHILDREN = 0.3
"""Part of the children that a view decodes in the mean; measured on a town and on a beach."""


def anchor_bytes(decoder: DecoderSettings) -> int:
    """Memory that an anchor takes in training, or what becomes of it while that settles, which is more."""
    floats = 3 + 3 * decoder.slots + decoder.channels + 6 + 2 * decoder.slots + 2
    training = _COPIES * _FLOAT * floats + math.ceil(SEEN_CHILDREN * decoder.slots * _CHILD_BYTES)
    degree = BakeSettings().sh_degree
    each = sum(gaussian_memory(degree).values()) + _FLOAT * gaussian_numbers(degree)  # and as it was baked
    settling = _FLOAT * floats + GAUSSIANS_PER_ANCHOR * each
    return max(training, settling)


def blocks_within(anchors: int, most_of_block: int, background: float) -> int:
    """How many blocks so many anchors take.

    Args:
        anchors: of the whole scene when all is trained.
        most_of_block: anchors that one process has room for.
        background: anchors of other blocks that a block holds, as a multiple of its own.
    """
    return max(1, math.ceil(anchors * (1.0 + background) / most_of_block))


def grid_of(blocks: int, sides: Sequence[float]) -> tuple[int, int, int]:
    """So many blocks along each side of the ground that cells come close to squares; at least ``blocks`` in all, one layer high.

    >>> grid_of(4, (1.0, 1.0)), grid_of(4, (10.0, 1.0)), grid_of(5, (2.0, 1.0))
    ((2, 2, 1), (4, 1, 1), (3, 2, 1))
    """
    best: tuple[float, tuple[int, int, int]] | None = None
    for across in range(1, blocks + 1):
        along = math.ceil(blocks / across)
        shape = abs(math.log((sides[0] / along) / (sides[1] / across)))
        cost = shape + 0.5 * (along * across - blocks)
        if best is None or cost < best[0] - 1e-12:
            best = (cost, (along, across, 1))
    assert best is not None, "one block is a grid"
    return best[1]


def frame_of_box(box: Sequence[float]) -> Float64[np.ndarray, "4 4"]:
    """partition_from_world of a box given by its lower and upper corner."""
    low, high = np.array(box[:3], dtype=np.float64), np.array(box[3:], dtype=np.float64)
    frame = np.eye(4)
    frame[:3, :3] = np.diag(2.0 / (high - low))
    frame[:3, 3] = -(high + low) / (high - low)
    return frame


def found_frame(
    cameras: Sequence[Cameras], points: Points, up_in_world: Float64[np.ndarray, "3"] | None
) -> tuple[Float64[np.ndarray, "4 4"], tuple[float, float]]:
    """partition_from_world of a box around what the cameras look at, and the lengths of its sides on the ground.

    x runs along the longer side of the ground, z upwards.  What lies far out (two of a hundred points on either side) does not
    count, so that the box holds what is worth a block of its own.

    Args:
        cameras: training cameras.
        points: of the scene, world units.
        up_in_world: where known; else across the plane that cameras and points lie in most nearly.
    """
    centers = torch.stack([camera.centers_in_world for camera in cameras]).numpy().astype(np.float64)
    around = points.astype(np.float64)
    around = around[_within(around)]
    places = np.concatenate([centers, around])
    up = _up(places, up_in_world)
    ground = np.linalg.eigh(np.outer(up, up))[1][:, :2]  # two directions across
    flat = around @ ground
    # The longest direction on the ground; numpy's sign is arbitrary, so the largest component is made positive.
    along = ground @ _directions(flat)[:, -1]
    along /= np.linalg.norm(along) * np.sign(along[np.abs(along).argmax()])
    axes = np.stack([along, np.cross(up, along), up])
    low, high = np.quantile(around @ axes.T, [_OUTLIERS, 1.0 - _OUTLIERS], axis=0)
    # Points in one place have a box all the same, a small one.
    size = float((high - low).max()) or float(np.ptp(places, axis=0).max()) or 1.0
    high = np.maximum(high, low + 1e-3 * size)
    frame = np.eye(4)
    frame[:3, :3] = np.diag(2.0 / (high - low)) @ axes
    frame[:3, 3] = -(high + low) / (high - low)
    return frame, (float(high[0] - low[0]), float(high[1] - low[1]))


def _up(places: Float64[np.ndarray, "n 3"], up_in_world: Float64[np.ndarray, "3"] | None) -> Float64[np.ndarray, "3"]:
    if up_in_world is not None:
        return up_in_world / np.linalg.norm(up_in_world)
    normal = _directions(places)[:, 0]
    return normal * np.sign(normal[np.abs(normal).argmax()])


def _directions(places: Float64[np.ndarray, "n dimensions"]) -> Float64[np.ndarray, "dimensions dimensions"]:
    """Unit vectors, as columns, along which places are spread less to more."""
    away = places - places.mean(axis=0)
    return np.asarray(np.linalg.eigh(away.T @ away)[1])


def _within(points: Float64[np.ndarray, "n 3"]) -> np.ndarray:
    low = np.quantile(points, 0.005, axis=0, method="lower")  # of few points none is left out
    high = np.quantile(points, 0.995, axis=0, method="higher")
    return ((points >= low) & (points <= high)).all(axis=1)


GAUSSIANS_PER_ANCHOR = 5
"""Children that are left of an anchor's ten once they are baked: fox 5.0, town 4.6."""
_MOST_OF_BLOCK = 40_000
"""Anchors of a block where nobody names a budget: what a process of about a gigabyte trains."""
_FEWEST_OF_BLOCK = 500
_FEWEST_GAUSSIANS = 20_000
_UNEVEN = 1.3
"""A block may have so many times its share of the anchors."""


@dataclass(frozen=True)
class BlockSizes:
    """How large everything is to be.

    Attributes:
        anchors: of the whole scene when all is trained.
        blocks: how many.
        most_of_block: anchors that a block may have in training, those behind it included.
    """

    anchors: int
    blocks: int
    most_of_block: int


def block_sizes(
    gaussians: int, decoder: DecoderSettings, background: float, *, blocks: int | None, room: int | None, workers: int = 1
) -> BlockSizes:
    """How many blocks there are to be, and how large.

    Args:
        gaussians: that the scene may have.
        decoder: sizes of the decoder.
        background: anchors of other blocks that a block holds, as a multiple of its own.
        blocks: how many were asked for, or None.
        room: memory for anchors in bytes, or None for no limit.
        workers: blocks that this process has in hand at the same time.

    Raises:
        ResourceError: the room does not suffice for so many blocks, or for any.
    """
    anchors = max(1, math.ceil(gaussians / GAUSSIANS_PER_ANCHOR))
    each = anchor_bytes(decoder) * workers
    limit = _MOST_OF_BLOCK if room is None else int(room / each)
    if limit < _FEWEST_OF_BLOCK:
        raise ResourceError(
            "memory for a block",
            expected=f"{_FEWEST_OF_BLOCK * each / 1e6:,.0f} MB beside program and photographs",
            got=f"{max(0, room or 0) / 1e6:,.0f} MB",
            fix="raise --budget, lower --workers, or use --downscale",
        )
    count = blocks_within(math.ceil(_UNEVEN * anchors), limit, background) if blocks is None else blocks
    wanted = math.ceil(_UNEVEN * (1.0 + background) * anchors / count)
    return BlockSizes(anchors, count, max(_FEWEST_OF_BLOCK, wanted if room is None else min(wanted, limit)))


def gaussians_of(frames: Sequence[Frame], points: int) -> int:
    """How many Gaussians a scene asks for: two for each point, but no more than its photographs have pixels for.

    Args:
        frames: training frames.
        points: of the capture, or that its depth maps stand for.
    """
    pixels = pixels_of(frames) // PIXELS_PER_GAUSSIAN
    return max(_FEWEST_GAUSSIANS, min(GAUSSIANS_PER_POINT * points, pixels))


def fixed_bytes(frames: Sequence[Frame], cache_bytes: int) -> int:
    """Memory of a process that trains blocks and bakes them, beside their anchors.

    Args:
        frames: training frames.
        cache_bytes: decoded pixels that are kept.
    """
    return BAKING_BYTES + sum(training_memory(frames, sh_degree=0, cache_bytes=cache_bytes).fixed.values())
