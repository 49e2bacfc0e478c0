"""What one step sees: varied clouds, some pictures of each, and rays through pixels whose depth is known.

All that is drawn for a scan depends on (seed, step, scan) alone: neither on the other scans of the step nor on the process
that has it, so several processes see what one would, and a resumed run what the unbroken one did.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.engine.randomness import keyed_generator
from scenewise.methods.condense.options import CondenseConfig, Variation
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import ImageU8

_DEPTH_TEST = 0.05
"""Metres, and share of the depth, within which a point is the one that a pixel shows."""

_BESIDE = 0.25  # of a picture's size
_BEHIND = 0.5  # metres


@dataclass(frozen=True)
class Rays:
    """Pixels of pictures with known depth, and where in the volume they look.

    Attributes:
        scan: which scan of the step each belongs to.
        view: which of all its pictures.
        pixel: continuous position (u, v) in the picture; centres of pixels are at half-integers.
        origin: of the ray, in the varied cloud's axes, metres.
        direction: of length 1 along the camera's +Z, in the same axes.
        depth: along the camera's +Z, metres.
        point: what the pixel shows, in the scan's axes, metres.
        twin_view: another picture that shows the same point; −1 where none of those drawn does.
        twin_pixel: where.
    """

    scan: Int64[Tensor, "rays"]
    view: Int64[Tensor, "rays"]
    pixel: Float[Tensor, "rays 2"]
    origin: Float[Tensor, "rays 3"]
    direction: Float[Tensor, "rays 3"]
    depth: Float[Tensor, "rays"]
    point: Float[Tensor, "rays 3"]
    twin_view: Int64[Tensor, "rays"]
    twin_pixel: Float[Tensor, "rays 2"]

    def __len__(self) -> int:
        return len(self.scan)


@dataclass(frozen=True)
class ConsistencyBatch:
    """Data of one step, or of one process in it.

    Attributes:
        cloud: points of all scans.
        pictures: colours in [0, 1], a tensor for each scan.
        priors: what the frozen model says of the unvaried pictures.
        cameras: of the pictures, one after the other, in the axes of the varied clouds.
        scan_of_view: whose picture each is.
        rays: through them.
        shifts: of each cloud, in voxels: a point lies at point / voxel + shift.
    """

    cloud: VoxelisedPoints
    pictures: tuple[Float[Tensor, "views 3 height width"], ...]
    priors: tuple[Float[Tensor, "views rows columns dim"], ...]
    cameras: tuple[Cameras, ...]
    scan_of_view: tuple[int, ...]
    rays: Rays
    shifts: Float[Tensor, "scans 3"]

    @property
    def num_scans(self) -> int:
        """Of this process."""
        return len(self.pictures)


@dataclass(frozen=True)
class Place:
    """How a scan is laid for a step.

    Attributes:
        turn: varied_from_scan, about the up axis.
        shift: in voxels, after that.
    """

    turn: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]


def consistency_batch(
    scans: Sequence[tuple[int, PosedScan]],
    config: CondenseConfig,
    seed: int,
    step: int,
    device: torch.device | None = None,
    *,
    varied: bool = True,
) -> ConsistencyBatch:
    """Varies and joins scans.

    Args:
        scans: numbers in the data set and the scans.
        config: how much of each, and how it is varied.
        seed: of the run.
        step: what is drawn depends on it.
        device: where the step is computed.
        varied: False shows clouds and pictures as they are.
    """
    device = torch.device("cpu") if device is None else device
    positions, inputs, items, pictures, priors, rays, shifts = [], [], [], [], [], [], []
    cameras: list[Cameras] = []
    scan_of_view: list[int] = []
    for item, (number, scan) in enumerate(scans):
        generator = keyed_generator("condense", seed, step, number)
        chosen = torch.randperm(len(scan.pictures_u8), generator=generator)[: config.views_per_scan].sort().values.tolist()
        taken = scan.with_views(chosen)
        place, points, colors = varied_cloud(taken, config, generator, varied=varied)
        positions.append(points)
        inputs.append(colors)
        items.append(torch.full((len(points),), item))
        pictures.append(_pictures(taken, config.variation, generator, varied=varied).to(device))
        priors.append(torch.from_numpy(taken.prior).to(device))
        rays.append(_rays(taken, place, item, len(cameras), config, generator))
        shifts.append(place.shift)
        cameras += _cameras(taken, place)
        scan_of_view += [item] * len(chosen)
    cloud = VoxelisedPoints.from_points(
        torch.cat(inputs).to(device), torch.cat(positions).to(device), torch.cat(items).to(device)
    )
    joined = Rays(*(torch.cat([getattr(each, name) for each in rays]).to(device) for name in Rays.__dataclass_fields__))
    return ConsistencyBatch(
        cloud, tuple(pictures), tuple(priors), tuple(cameras), tuple(scan_of_view), joined, torch.stack(shifts).to(device)
    )


def varied_cloud(
    scan: PosedScan, config: CondenseConfig, generator: torch.Generator, *, varied: bool = True
) -> tuple[Place, Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Where the scan lies, positions of its points in voxels, and their colours in [−1, 1].

    Args:
        scan: with the pictures of the step alone.
        config: how clouds are varied.
        generator: of what is drawn.
        varied: False: all points as they are.
    """
    variation = config.variation
    points = torch.from_numpy(scan.points_in_scan)
    colors = torch.from_numpy(scan.colors_u8).float() / 255.0
    matrix, shift = torch.eye(3), torch.zeros(3)
    if varied:
        turn, share, cut = torch.rand(3, generator=generator).tolist()
        shift = variation.shift_voxels * torch.rand(3, generator=generator)
        matrix = turn_about_up(2.0 * math.pi * turn if variation.turn else 0.0)
        stays = torch.rand(len(points), generator=generator) < variation.least_points + (1 - variation.least_points) * share
        if cut >= variation.whole:
            stays &= looked_at(scan, points)
        if bool(stays.any()):
            points, colors = points[stays], colors[stays]
        colors = relit(colors, variation, generator)
        colors = (colors + variation.noise * torch.randn(colors.shape, generator=generator)).clamp(0.0, 1.0)
    place = Place(matrix, shift)
    return place, points @ (matrix.T / config.voxel) + shift, 2.0 * colors - 1.0


def looked_at(scan: PosedScan, points: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
    """Points that lie in some picture or a quarter of its size beside it, no deeper than half a metre behind all it shows."""
    height, width = scan.pictures_u8.shape[1:3]
    found = torch.zeros(len(points), dtype=torch.bool)
    for pose, K, depths in zip(scan.camera_from_scan, scan.K, scan.depths):
        project = torch.from_numpy(K @ pose[:3]).float()
        u, v, depth = (points @ project[:, :3].T + project[:, 3]).unbind(1)
        deepest = float(depths.max()) + _BEHIND
        inside = (depth > 0) & (depth < deepest)
        inside &= (u > -_BESIDE * width * depth) & (u < (1 + _BESIDE) * width * depth)
        inside &= (v > -_BESIDE * height * depth) & (v < (1 + _BESIDE) * height * depth)
        found |= inside
    return found


def turn_about_up(angle: float) -> Float[Tensor, "3 3"]:
    """The rotation about +Z by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def relit(colors: Float[Tensor, "*rows 3"], variation: Variation, generator: torch.Generator) -> Float[Tensor, "*rows 3"]:
    """Colours in [0, 1] under other light: (gain · colour^gamma), the gain another one for each channel."""
    light, gamma = torch.randn(2, generator=generator).tolist()
    tint = torch.randn(3, generator=generator)
    gain = torch.exp(variation.light * light + variation.tint * tint)
    return (gain * colors.clamp_min(1e-4) ** math.exp(variation.gamma * gamma)).clamp(0.0, 1.0)


def _pictures(
    scan: PosedScan, variation: Variation, generator: torch.Generator, *, varied: bool
) -> Float[Tensor, "views 3 height width"]:
    """Colours, each picture under light of its own; cut to whole cells of the 2D branch."""
    height, width = (side // 4 * 4 for side in scan.pictures_u8.shape[1:3])
    colors = torch.from_numpy(scan.pictures_u8[:, :height, :width]).float() / 255.0
    if varied:
        colors = torch.stack([relit(picture, variation, generator) for picture in colors])
    return colors.permute(0, 3, 1, 2).contiguous()


def _cameras(scan: PosedScan, place: Place) -> list[Cameras]:
    """Of all pictures, in the varied cloud's axes."""
    scan_from_varied = np.eye(4)
    scan_from_varied[:3, :3] = place.turn.double().numpy().T
    height, width = (side // 4 * 4 for side in scan.pictures_u8.shape[1:3])
    poses = torch.from_numpy(scan.camera_from_scan @ scan_from_varied)
    return [Cameras(pose, torch.from_numpy(K), width, height) for pose, K in zip(poses, scan.K)]


def _rays(scan: PosedScan, place: Place, item: int, first_view: int, config: CondenseConfig, generator: torch.Generator) -> Rays:
    """Pixels drawn at random among those with a depth, as many from each picture; some evenly, some where there is detail."""
    height, width = (side // 4 * 4 for side in scan.pictures_u8.shape[1:3])
    found = []
    for view in range(len(scan.pictures_u8)):
        depths = torch.from_numpy(scan.depths[view, :height, :width])
        rows, columns = torch.nonzero(depths > 0, as_tuple=True)
        if not len(rows):
            continue
        by_detail = round(config.rays.per_view * config.rays.detailed)
        drawn = torch.randint(len(rows), (config.rays.per_view - by_detail,), generator=generator)
        if by_detail:
            weights = detail(scan.pictures_u8[view, :height, :width])[rows, columns]
            drawn = torch.cat([drawn, torch.multinomial(weights, by_detail, replacement=True, generator=generator)])
        rows, columns = rows[drawn], columns[drawn]
        found.append(_looking(scan, view, rows, columns, depths[rows, columns]))
    if not found:
        none = torch.zeros(0, dtype=torch.int64)
        nowhere, flat = torch.zeros(0, 3), torch.zeros(0, 2)
        return Rays(none, none, flat, nowhere, nowhere, torch.zeros(0), nowhere, none, flat)
    views, pixel, origin, direction, depth = (torch.cat(parts) for parts in zip(*found))
    point = origin + depth[:, None] * direction
    twin_view, twin_pixel = _twins(scan, views, point, (height, width))
    return Rays(
        scan=torch.full((len(views),), item),
        view=views + first_view,
        pixel=pixel,
        origin=origin @ place.turn.T,
        direction=direction @ place.turn.T,
        depth=depth,
        point=point,
        twin_view=torch.where(twin_view >= 0, twin_view + first_view, -1),
        twin_pixel=twin_pixel,
    )


def detail(picture_u8: ImageU8) -> Float[Tensor, "height width"]:
    """How much brightness changes between the neighbours of each pixel, and a little everywhere; of 255."""
    brightness = torch.from_numpy(picture_u8).float().mean(-1)
    wide = F.pad(brightness[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across = (wide[1:-1, 2:] - wide[1:-1, :-2]).abs()
    down = (wide[2:, 1:-1] - wide[:-2, 1:-1]).abs()
    return across + down + 1.0


def _looking(
    scan: PosedScan, view: int, rows: Int64[Tensor, "m"], columns: Int64[Tensor, "m"], depth: Float[Tensor, "m"]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """View, pixel, origin, direction of unit depth, and depth; in the scan's axes."""
    pixel = torch.stack([columns + 0.5, rows + 0.5], dim=1)
    scan_from_camera = np.linalg.inv(scan.camera_from_scan[view])
    turn = torch.from_numpy(scan_from_camera[:3, :3] @ np.linalg.inv(scan.K[view])).float()
    direction = F.pad(pixel, (0, 1), value=1.0) @ turn.T
    origin = torch.from_numpy(scan_from_camera[:3, 3]).float().expand(len(rows), 3)
    return torch.full((len(rows),), view), pixel, origin, direction, depth


def _twins(
    scan: PosedScan, view: Int64[Tensor, "m"], point: Float[Tensor, "m 3"], size: tuple[int, int]
) -> tuple[Int64[Tensor, "m"], Float[Tensor, "m 2"]]:
    """Another picture that shows each point, the next one in a circle that does, and where; −1 where there is none."""
    count = len(scan.pictures_u8)
    seen = [projected(scan, other, point, size) for other in range(count)]
    twin, where = torch.full((len(view),), -1), torch.zeros(len(view), 2)
    for step in range(count - 1, 0, -1):  # the nearest in the circle is written last
        other = (view + step) % count
        rows = torch.arange(len(view))
        shows = torch.stack([is_seen for is_seen, _ in seen])[other, rows]
        twin = torch.where(shows, other, twin)
        where = torch.where(shows[:, None], torch.stack([pixel for _, pixel in seen])[other, rows], where)
    return twin, where


def projected(
    scan: PosedScan, view: int, point: Float[Tensor, "m 3"], size: tuple[int, int]
) -> tuple[Bool[Tensor, "m"], Float[Tensor, "m 2"]]:
    """Whether a picture shows points, by its depth, and at which pixels (u, v).

    Args:
        scan: whose picture.
        view: which.
        point: in the scan's axes.
        size: rows and columns of the part of the picture that counts.
    """
    pose = torch.from_numpy(scan.camera_from_scan[view]).float()
    at = (point @ pose[:3, :3].T + pose[:3, 3]) @ torch.from_numpy(scan.K[view]).float().T
    depth = at[:, 2]
    pixel = at[:, :2] / depth.clamp_min(1e-6)[:, None]
    height, width = size
    inside = (depth > 1e-3) & (pixel >= 0).all(1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    column, row = pixel[:, 0].clamp(0, width - 1).long(), pixel[:, 1].clamp(0, height - 1).long()
    measured = torch.from_numpy(scan.depths[view])[row, column]
    return inside & (measured > 0) & ((measured - depth).abs() <= _DEPTH_TEST * depth.clamp_min(1.0)), pixel
