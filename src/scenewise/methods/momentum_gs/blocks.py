"""What a block begins with: its own anchors, and what stands behind them, thinned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.spatial import cKDTree

from scenewise.kernels.anchor_decoder import visible_rows
from scenewise.methods.momentum_gs.coarse import CoarseModel
from scenewise.methods.momentum_gs.config import BackgroundSettings
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.parts.splats.anchors.starting import anchors_from_points
from scenewise.scenes.anchors import Anchors, joined
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.point_clouds import PointCloud

_POINTS = 1 << 14
_WIDER = 1.3  # factor on the angle until the background is small enough


@dataclass(frozen=True)
class BlockStart:
    """What a block begins with.

    Attributes:
        anchors: its own, then those behind.
        own: how many are its own.
    """

    anchors: Anchors
    own: int


def start_of_block(
    block: int,
    partition: Partition,
    model: CoarseModel,
    cameras: Sequence[Cameras],
    settings: BackgroundSettings,
    points: PointCloud | None = None,
    most: int | None = None,
    cap: int | None = None,
) -> BlockStart:
    """The anchors that a block begins with.

    Args:
        block: its number.
        partition: all blocks.
        model: of the whole scene.
        cameras: of the block.
        settings: of what stands behind.
        points: of the scene: cells of the block that hold some, and no anchor yet, get one.
        most: anchors of its own that it may begin with, or None; of more cells some are left out, evenly.
        cap: anchors in all, or None; the coarse model's less important ones give way.
    """
    owner = partition.block_of(model.anchors.positions.numpy())
    rows = torch.from_numpy(np.flatnonzero(owner == block))
    if cap is not None and len(rows) > cap:
        strongest = torch.argsort(model.importance[rows], descending=True, stable=True)[:cap]
        rows = rows[strongest].sort().values
    own = model.anchors.select(rows)
    most = most if cap is None else min(cap, most or cap)
    if points is not None:
        own = joined([own, _new_anchors(block, partition, model, own, points, most)])
    seen = torch.zeros(len(model.anchors), dtype=torch.bool)
    for camera in cameras:
        seen[visible_rows(model.anchors.positions, model.anchors.log_scales, camera)] = True
    behind = torch.from_numpy(owner != block) & seen
    rows = behind.nonzero()[:, 0]
    if cap is not None and len(own):
        settings = replace(settings, most=min(settings.most, (cap - len(own)) / len(own)))
    thin = thinned_background(model.anchors.select(rows), model.importance[rows], own.positions, model.cell, settings)
    return BlockStart(joined([own, thin]), len(own))


def _new_anchors(
    block: int, partition: Partition, model: CoarseModel, own: Anchors, points: PointCloud, most: int | None
) -> Anchors:
    """Anchors for points in cells of the block without one; their features and offsets are those of the nearest anchor.

    A cell is the block's that owns its middle, where the anchor goes: blocks begin with no anchor outside of them, and no two
    with the same one.
    """
    cells = _cells_of_block(block, partition, points, model.cell)
    taken = {tuple(cell) for cell in np.round(own.positions.numpy().astype(np.float64) / model.cell).astype(np.int64).tolist()}
    cells = cells[np.array([tuple(cell) not in taken for cell in cells.tolist()], dtype=bool)]
    room = len(cells) if most is None else max(0, most - len(own))
    if len(cells) > room:
        cells = cells[np.linspace(0, len(cells) - 1, room).astype(np.int64)]
    if not len(cells) or not len(own):
        return own.select(torch.zeros(0, dtype=torch.int64))
    places = PointCloud(cells * model.cell)
    fresh = anchors_from_points(places, model.scene_extent, model.cell, slots=own.slots, channels=own.channels)
    _, nearest = cKDTree(own.positions.numpy()).query(fresh.positions.numpy())
    near = own.select(torch.from_numpy(np.asarray(nearest, dtype=np.int64)))
    return Anchors(fresh.positions, near.offsets.clone(), near.features.clone(), fresh.log_scales)


def _cells_of_block(block: int, partition: Partition, points: PointCloud, cell: float) -> Int64[np.ndarray, "cells 3"]:
    """Cells with points whose middles a block owns, each once; of the points, which are the whole scene's, some at a time."""
    found = [np.zeros((0, 3), dtype=np.int64)]
    for start in range(0, len(points), _POINTS):
        cells = np.unique(np.round(points.points_in_world[start : start + _POINTS] / cell).astype(np.int64), axis=0)
        centers = (cells * cell).astype(np.float32)  # as anchors hold them
        found.append(cells[partition.block_of(centers) == block])
    return np.unique(np.concatenate(found), axis=0)


def thinned_background(
    anchors: Anchors,
    importance: Float[torch.Tensor, "n"],
    own: Float[torch.Tensor, "m 3"],
    cell: float,
    settings: BackgroundSettings,
) -> Anchors:
    """Of anchors outside of a block one for each cell, the more important ones; cells grow with the distance from the block.

    The one that stays becomes larger by the root of the number it stands for: surfaces have two dimensions.

    Args:
        anchors: outside.
        importance: of each.
        own: positions of the block's anchors.
        cell: edge of the finest cells.
        settings: how many may stay.
    """
    most = int(settings.most * len(own))
    if not len(anchors) or most == 0 or not len(own):
        return anchors.select(torch.zeros(0, dtype=torch.int64))
    positions = anchors.positions.numpy().astype(np.float64)
    distance, _ = cKDTree(own.numpy()).query(positions)
    angle, strength = settings.angle, importance.numpy().astype(np.float64)
    while True:
        kept, counts = _one_each(positions, strength, _level(distance, angle, cell), cell)
        if len(kept) <= most or angle > 1e3:
            break
        angle *= _WIDER
    if len(kept) > most:  # few cells, on many levels: coarser ones do not become fewer any more
        strongest = np.sort(np.argsort(-strength[kept], kind="stable")[:most])
        kept, counts = kept[strongest], counts[strongest]
    chosen = anchors.select(torch.from_numpy(kept))
    larger = torch.from_numpy(0.5 * np.log(counts)).float()[:, None]
    return Anchors(chosen.positions, chosen.offsets, chosen.features, chosen.log_scales + larger)


def _level(distance: Float[np.ndarray, "n"], angle: float, cell: float) -> Int64[np.ndarray, "n"]:
    """Cells have 2^level times the finest edge."""
    return np.maximum(0, np.floor(np.log2(np.maximum(distance * angle / cell, 1.0)))).astype(np.int64)


def _one_each(
    positions: Float[np.ndarray, "n 3"], strength: Float[np.ndarray, "n"], level: Int64[np.ndarray, "n"], cell: float
) -> tuple[Int64[np.ndarray, "kept"], Int64[np.ndarray, "kept"]]:
    """The strongest row of every cell, rising, and how many rows the cell has."""
    edge = cell * np.exp2(level.astype(np.float64))
    keys = np.concatenate([level[:, None], np.round(positions / edge[:, None]).astype(np.int64)], axis=1)
    _, cell_of, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    order = np.lexsort((-strength, cell_of))
    first = np.ones(len(order), dtype=bool)
    first[1:] = cell_of[order][1:] != cell_of[order][:-1]
    kept = np.sort(order[first])
    return kept, counts[cell_of[kept]]


def is_in_block(partition: Partition, block: int, positions: torch.Tensor) -> Bool[torch.Tensor, " n"]:
    """Whether a block owns each position of the world."""
    return torch.from_numpy(partition.block_of(positions.detach().cpu().numpy()) == block).to(positions.device)
