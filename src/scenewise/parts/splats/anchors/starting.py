"""Where the first anchors are: in the cells of a grid that hold points."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64

from scenewise.errors import ConventionError
from scenewise.parts.splats.fields import neighbor_spacing
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.point_clouds import PointCloud

_CELLS = 1 << 40  # coordinates beyond this many cells would overflow when cells are numbered


def occupied_cells(points_in_world: Float[np.ndarray, "n 3"], size: float) -> Int64[np.ndarray, "cells 3"]:
    """Cells that hold a point, each once, sorted: round(p / size)."""
    return np.unique(np.round(points_in_world.astype(np.float64) / size).astype(np.int64), axis=0)


def finest_cell(points_in_world: Float[np.ndarray, "n 3"], extent: float) -> float:
    """A cell size that tells neighbouring points apart: half the median gap between a point and its neighbours.

    Source: the released code takes the median of the *squared* gaps where no size is given, which depends on the unit of length;
    this is what was meant.

    Args:
        points_in_world: at least one.
        extent: size of the scene.

    Raises:
        ConventionError: no points.
    """
    _require_points(len(points_in_world))
    return 0.5 * float(np.median(neighbor_spacing(points_in_world, extent)))


def _require_points(count: int) -> None:
    if not count:
        raise ConventionError("initial points", expected="at least one", got=0, fix="give the capture points or depth maps")


def anchors_from_points(
    points: PointCloud, extent: float, cell: float, *, slots: int, channels: int, device: torch.device | str = "cpu"
) -> Anchors:
    """An anchor in every cell that holds points, as large as the gap to its neighbours; features and offsets are zero.

    Source: Lu et al. 2024 (Scaffold-GS), Eq. 4 and released code.

    Args:
        points: positions in world units, at least one.
        extent: size of the scene.
        cell: edge of the grid's cells, world units.
        slots: children of an anchor.
        channels: numbers in a feature.
        device: where the result lives.

    Raises:
        ConventionError: no points, or a cell that has no size or is far too small for where they lie.
    """
    _require_points(len(points))
    if not (math.isfinite(cell) and cell > 0.0):
        raise ConventionError("cell", expected="a finite size above 0", got=cell)
    if float(np.abs(points.points_in_world).max()) / cell > _CELLS:
        raise ConventionError("cell", expected="one that suits the scene", got=cell, fix="raise it")
    centers = occupied_cells(points.points_in_world, cell) * cell
    n = len(centers)
    log_scales = torch.from_numpy(np.log(neighbor_spacing(centers, extent))).float()
    return Anchors(
        positions=torch.from_numpy(centers).float(),
        offsets=torch.zeros(n, slots, 3),
        features=torch.zeros(n, channels),
        log_scales=log_scales[:, None].expand(n, 6).clone(),
    ).to(device)
