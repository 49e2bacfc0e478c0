"""What a step sees, as a function of the step alone; and objects as they are, for an answer that is always the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.engine.randomness import keyed_generator
from scenewise.errors import ConventionError
from scenewise.methods.condense.batches import relit, turn_about_up
from scenewise.methods.condense.classification.objects import ObjectData
from scenewise.methods.condense.classification.options import ClassifierConfig, ObjectVariation, Scale
from scenewise.methods.condense.options import Variation
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.scenes.classified_clouds import ClassifiedCloud

_MOST_CELLS = 50_000
"""Voxels along an axis: an object that is longer is given in another unit."""


@dataclass(frozen=True)
class ObjectBatch:
    """Objects of a step.

    Attributes:
        cloud: an item for each.
        class_ids: of each.
    """

    cloud: VoxelisedPoints
    class_ids: Int64[Tensor, "objects"]


@dataclass(frozen=True)
class LaidObject:
    """An object on the grid.

    Attributes:
        positions: in voxels.
        inputs: colours in [−1, 1]; zeros where there are none.
    """

    positions: Float[Tensor, "n 3"]
    inputs: Float[Tensor, "n 3"]


def objects_of(step: int, config: ClassifierConfig, count: int, seed: int) -> tuple[int, ...]:
    """Which objects a step looks at: each once in an epoch, in an order that is drawn anew."""
    places = range(step * config.batch_objects, (step + 1) * config.batch_objects)
    orders = {epoch: _order(epoch, count, seed) for epoch in {place // count for place in places}}
    return tuple(orders[place // count][place % count] for place in places)


def object_batch(data: ObjectData, config: ClassifierConfig, seed: int, step: int, device: torch.device) -> ObjectBatch:
    """The varied objects of a step.

    All that is drawn for an object depends on (seed, step, place in the step) alone.

    Raises:
        ConventionError: an object of more voxels than a grid has.
    """
    numbers = objects_of(step, config, len(data), seed)
    laid = []
    for place, number in enumerate(numbers):
        generator = keyed_generator("classifier", seed, step, place)
        laid.append(_varied(data.clouds[number], config, generator))
    class_ids = torch.tensor([data.clouds[number].class_id for number in numbers])
    return ObjectBatch(joined(laid, device), class_ids.to(device))


def as_it_is(cloud: ClassifiedCloud, scale: Scale, voxel: float, points: int) -> LaidObject:
    """An object on the grid without any change, with points taken evenly from its list, its lowest corner at 0.

    Raises:
        ConventionError: no points, or more voxels than a grid has.
    """
    if not len(cloud.points_in_object):
        raise ConventionError(f"object {cloud.name}", expected="points", got="none")
    count = len(cloud.points_in_object)
    rows = np.linspace(0, count - 1, min(points, count)).round().astype(np.int64)
    centred = _centred(cloud.points_in_object, scale)[torch.from_numpy(rows)]
    return _laid(centred / voxel, _colors(cloud, rows), torch.zeros(3), cloud.name, scale)


def joined(laid: Sequence[LaidObject], device: torch.device) -> VoxelisedPoints:
    """Objects as items of one batch."""
    items = torch.arange(len(laid)).repeat_interleave(torch.tensor([len(each.positions) for each in laid]))
    return VoxelisedPoints.from_points(
        torch.cat([each.inputs for each in laid]).to(device),
        torch.cat([each.positions for each in laid]).to(device),
        items.to(device),
    )


def _order(epoch: int, count: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=keyed_generator("classifier order", seed, epoch)).tolist()
    return order


def _centred(points: np.ndarray, scale: Scale) -> Float[Tensor, "n 3"]:
    """With the middle of its box at the origin; of extent 1 where lengths mean nothing."""
    given = torch.from_numpy(np.ascontiguousarray(points)).double()
    given = given - (given.amin(0) + given.amax(0)) / 2
    if scale == "extent":
        given = given / (2.0 * float(given.norm(dim=1).max())) if bool(given.any()) else given
    return given.float()


def _colors(cloud: ClassifiedCloud, rows: np.ndarray) -> Float[Tensor, "n 3"] | None:
    return None if cloud.colors_u8 is None else torch.from_numpy(cloud.colors_u8[rows]).float() / 255.0


def _laid(
    positions: Float[Tensor, "n 3"], colors: Float[Tensor, "n 3"] | None, shift: Float[Tensor, "3"], name: str, scale: Scale
) -> LaidObject:
    positions = positions - positions.amin(0)
    longest = float(positions.max())
    if not longest < _MOST_CELLS:
        unit = "metres" if scale == "metres" else "its extent"
        fix = "tell its true length, or choose larger voxels"
        raise ConventionError(
            f"object {name}", expected=f"fewer than {_MOST_CELLS} voxels ({unit})", got=f"{longest:.3g}", fix=fix
        )
    return LaidObject(positions + shift, torch.zeros_like(positions) if colors is None else 2.0 * colors - 1.0)


def _varied(cloud: ClassifiedCloud, config: ClassifierConfig, generator: torch.Generator) -> LaidObject:
    variation = config.variation
    share, angle, mirror, grey = torch.rand(4, generator=generator).tolist()
    shift = variation.shift_voxels * torch.rand(3, generator=generator)
    sizes = torch.randn(4, generator=generator)
    count = len(cloud.points_in_object)
    stays = min(config.points, max(1, round(count * (variation.least_points + (1.0 - variation.least_points) * share))))
    rows = torch.randperm(count, generator=generator)[:stays].numpy()
    # Scaled by all of it, not by what stays, so that the size does not hang on single points.
    points = _centred(cloud.points_in_object, config.scale)[torch.from_numpy(rows)]
    turn = turn_about_up(2.0 * math.pi * angle if variation.turn else 0.0)
    if variation.mirror and mirror < 0.5:
        turn = turn * torch.tensor([-1.0, 1.0, 1.0])
    factors = torch.exp(variation.scale * sizes[0] + variation.stretch * sizes[1:])
    positions = (points @ turn.T) * (factors / config.voxel)
    positions = positions + variation.jitter * torch.randn(positions.shape, generator=generator)
    colors = None if grey < variation.grey else _colors(cloud, rows)
    return _laid(positions, None if colors is None else _relit(colors, variation, generator), shift, cloud.name, config.scale)


def _relit(colors: Float[Tensor, "n 3"], variation: ObjectVariation, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    light = Variation(light=variation.light, tint=variation.tint, gamma=variation.gamma)
    seen = relit(colors, light, generator)
    return (seen + variation.noise * torch.randn(colors.shape, generator=generator)).clamp(0.0, 1.0)
