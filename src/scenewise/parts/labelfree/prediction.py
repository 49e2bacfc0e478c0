"""Names for points that nothing but points is known of: what a trained 3D student is for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.randomness import keyed_generator
from scenewise.errors import ConventionError, ShapeError
from scenewise.geometry.cells import count_distinct
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.students import PointStudent, device_of
from scenewise.scenes.label_fields import LabelField

MAX_VOXELS = 600_000
"""Of a tile.  A full-width MinkUNet14A needs about 3 kB per voxel to predict: some 2 GB."""
MARGIN_VOXELS = 48
"""What a tile sees around what it names; beyond, a network of stride 16 has hardly any influence left."""


@dataclass(frozen=True)
class PredictionGrids:
    """Voxels that points are sorted into to be named.

    Attributes:
        voxel: edge in metres, as in training.
        repeats: grids whose logits are summed; the first lies as given, others are shifted by less than a voxel.
        seed: of the shifts.
        max_voxels: larger clouds are named tile by tile.
    """

    voxel: float
    repeats: int = 1
    seed: int = 0
    max_voxels: int = MAX_VOXELS

    def __post_init__(self) -> None:
        if self.repeats < 1 or not (math.isfinite(self.voxel) and self.voxel > 0):
            raise ConventionError("repeats, voxel", expected="1 or more, a length above 0", got=f"{self.repeats}, {self.voxel}")


@torch.no_grad()
def predict_points(
    student: PointStudent,
    text: Float32[Tensor, "classes dim"],
    points_in_scan: Float32[np.ndarray, "n 3"],
    inputs: Float32[np.ndarray, "n channels"],
    grids: PredictionGrids,
    *,
    progress: Progress | None = None,
) -> LabelField:
    """argmax_c Σ_r ψ(f_r, T̂_c) for every point, r over shifted grids.

    Every point gets a class, several in one voxel too: there is no "ignore" row among the texts, which would win wherever all
    logits are negative (known from CLIP2Scene's released code).

    Args:
        student: trained; left in the mode it was in.
        text: unit embedding per class.
        points_in_scan: metres, +Z up.
        inputs: as in training.
        grids: of voxels.
        progress: where to report.

    Returns:
        Class of each point, and the softmax of its mean logits as confidence.

    Raises:
        ConventionError: points that are not finite.
        ShapeError: another number of inputs than points.
    """
    voxel, repeats = grids.voxel, grids.repeats
    if len(inputs) != len(points_in_scan):
        raise ShapeError("inputs", expected=f"{len(points_in_scan)} rows, one per point", got=len(inputs))
    if not np.isfinite(points_in_scan).all():
        raise ConventionError("points", expected="finite positions", got="NaN or Inf", fix="drop those points first")
    progress = NullProgress() if progress is None else progress
    was_training = student.training
    student.eval()
    class_ids = np.empty(len(points_in_scan), dtype=np.int32)
    confidence = np.empty(len(points_in_scan), dtype=np.float32)
    shifts = [torch.zeros(3)] + [torch.rand(3, generator=keyed_generator(grids.seed, "shift", i)) for i in range(1, repeats)]
    places = torch.from_numpy(points_in_scan) / voxel
    values = torch.from_numpy(inputs)
    try:
        with progress.stage("name points", len(points_in_scan)) as stage:
            for own, seen in tiles(places.numpy(), grids.max_voxels):
                logits = sum(
                    (_logits(student, text, places[seen] + shift, values[seen]) for shift in shifts), start=torch.zeros(())
                )
                mean = logits[torch.from_numpy(np.searchsorted(seen, own))].float() / repeats
                sure, said = mean.softmax(dim=1).max(dim=1)
                class_ids[own], confidence[own] = said.numpy(), sure.clamp(0.0, 1.0).numpy()
                stage.advance(len(own))
    finally:
        student.train(was_training)
    return LabelField(class_ids, confidence)


def _logits(
    student: PointStudent, text: Float32[Tensor, "classes dim"], places: Float[Tensor, "n 3"], inputs: Float[Tensor, "n channels"]
) -> Float[Tensor, "n classes"]:
    device = device_of(student)
    batch = torch.zeros(len(places), dtype=torch.int64, device=device)
    cloud = VoxelisedPoints.from_points(inputs.to(device), places.to(device), batch)
    return student(cloud).logits(text.to(device)).cpu()


def tiles(
    places: Float32[np.ndarray, "n 3"], max_voxels: int, margin: float = MARGIN_VOXELS
) -> Iterator[tuple[Int64[np.ndarray, "own"], Int64[np.ndarray, "seen"]]]:
    """Cuts points into boxes of at most ``max_voxels`` occupied voxels, halving the longer horizontal side at the median.

    Args:
        places: in voxels.
        max_voxels: in a box; what it sees around itself comes on top.
        margin: how far it sees, in voxels.

    Yields:
        Rows of the points to name, and of those to look at; both ascending, the former among the latter.
    """
    everything = np.arange(len(places))
    pending = [everything] if len(places) else []
    while pending:
        own = pending.pop()
        here = places[own]
        low, high = here.min(axis=0), here.max(axis=0)
        axis = int(np.argmax((high - low)[:2]))
        middle = float(np.median(here[:, axis]))
        first = here[:, axis] < middle
        if _occupied(here, max_voxels) > max_voxels and first.any() and high[axis] - low[axis] > 2.0:
            pending += [own[~first], own[first]]
        elif len(own) == len(places):
            yield own, everything
        else:
            near = ((places >= low - margin) & (places <= high + margin)).all(axis=1)
            yield own, np.flatnonzero(near)


def _occupied(places: Float32[np.ndarray, "n 3"], enough: int) -> int:
    """Voxels the points lie in; not counted where there are too few points for ``enough``."""
    if len(places) <= enough:
        return len(places)
    cells = np.floor(places).astype(np.int64)
    cells -= cells.min(axis=0)
    size = cells.max(axis=0) + 1
    return count_distinct((cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2])
