"""From scans to what one training step sees: turned, flipped and shifted anew for every scan and epoch.

All that is drawn for a scan depends on (seed, epoch, scan) alone: neither on the other scans of the batch, nor on the rank that
has it, nor on where a run was resumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from scenewise.engine.randomness import keyed_generator
from scenewise.errors import ConventionError
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.batches import PictureBatch, PixelLinks, TrainingBatch
from scenewise.parts.labelfree.fixed_labels import FixedLabels
from scenewise.parts.labelfree.settings import Augmentation
from scenewise.parts.labelfree.supervision import Supervision
from scenewise.parts.scans.scans import TrainingScan

_MAX_SCALE = 0.95


@dataclass(frozen=True)
class BatchMember:
    """A scan of a batch.

    Attributes:
        index: in the data set; what is drawn for the scan depends on it.
        scan: its data.
        labels: its fixed labels.
    """

    index: int
    scan: TrainingScan
    labels: FixedLabels


@dataclass(frozen=True)
class Draws:
    """What was drawn for a scan in an epoch.  Everything is always drawn, so that switching one thing off changes no other.

    Attributes:
        matrix: augmented_from_scan without the shift: mirror and scale, then turn about +Z.
        shift: in voxels.
        views: chosen ones, ascending.
        flipped: whether each of them is mirrored left–right.
    """

    matrix: Float32[Tensor, "3 3"]
    shift: Float32[Tensor, "3"]
    views: tuple[int, ...]
    flipped: tuple[bool, ...]


def drawn(augmentation: Augmentation, num_views: int, views_per_step: int | None, *key: object) -> Draws:
    """The draws that belong to a key such as (seed, epoch, scan).

    Args:
        augmentation: what is done.
        num_views: of the scan.
        views_per_step: how many to choose; None = all.
    """
    if not 0.0 <= augmentation.scale <= _MAX_SCALE:
        raise ConventionError("Augmentation.scale", expected=f"0 to {_MAX_SCALE}", got=augmentation.scale)
    generator = keyed_generator("augmentation", *key)
    turn, mirror_x, mirror_y, stretch, *shift = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    angle = 2.0 * np.pi * turn if augmentation.rotate_up else 0.0
    scale = 1.0 + augmentation.scale * (2.0 * stretch - 1.0)
    mirrored = [-1.0 if augmentation.flip and chance < 0.5 else 1.0 for chance in (mirror_x, mirror_y)]
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    matrix = scale * rotation @ torch.diag(torch.tensor([*mirrored, 1.0], dtype=torch.float64))
    order = torch.randperm(num_views, generator=generator).tolist()
    chance_of_view = torch.rand(num_views, generator=generator).tolist()
    views = sorted(order if views_per_step is None else order[:views_per_step])
    return Draws(
        matrix.to(torch.float32),
        torch.tensor([augmentation.shift_voxels * part for part in shift], dtype=torch.float32),
        tuple(views),
        tuple(augmentation.flip_pictures and chance_of_view[view] < 0.5 for view in views),
    )


@dataclass(frozen=True)
class BatchSettings:
    """How scans become batches, the same in every step.

    Attributes:
        augmentation: what is done to them.
        voxel: edge in metres.
        views_per_step: pictures of each scan; None = all.
        seed: of the run.
        with_pictures: whether a loss or a source needs labels, regions or targets of pixels.
        with_images: whether a 2D student looks at the pictures.
    """

    augmentation: Augmentation
    voxel: float
    views_per_step: int | None
    seed: int
    with_pictures: bool
    with_images: bool


def training_batch(
    members: Sequence[BatchMember], settings: BatchSettings, *, epoch: int, device: torch.device | None = None
) -> TrainingBatch:
    """Augments and joins scans.

    Args:
        members: in the order of the batch.
        settings: how.
        epoch: counted from 1.
        device: where the step is computed.

    Raises:
        ConventionError: scans with different numbers of input channels, views of different sizes, or images that are missing.
    """
    augmentation, seed = settings.augmentation, settings.seed
    device = torch.device("cpu") if device is None else device
    channels = {member.scan.inputs.shape[1] for member in members}
    if len(channels) != 1:
        raise ConventionError("scans of a batch", expected="the same number of input channels", got=sorted(channels))
    if augmentation.most_points is not None:
        members = [thinned(member, augmentation.most_points, seed, epoch) for member in members]
    draws = [
        drawn(augmentation, len(member.scan.views), settings.views_per_step, seed, epoch, member.index) for member in members
    ]
    counts = [len(member.scan) for member in members]
    first_point = torch.tensor([0, *np.cumsum(counts).tolist()], dtype=torch.int64)
    positions, inputs = [], []
    for member, draw in zip(members, draws):
        points = torch.from_numpy(member.scan.points_in_scan)
        positions.append(points @ draw.matrix.T / settings.voxel + draw.shift)
        inputs.append(_jittered(member, augmentation.color_jitter, seed, epoch))
    batch = torch.repeat_interleave(torch.arange(len(members)), torch.tensor(counts, dtype=torch.int64))
    cloud = VoxelisedPoints.from_points(torch.cat(inputs).to(device), torch.cat(positions).to(device), batch.to(device))
    pictures, links = (
        _pictures(members, draws, first_point, settings.with_images, device) if settings.with_pictures else (None, None)
    )
    return TrainingBatch(
        scans=tuple(member.index for member in members),
        names=tuple(member.scan.name for member in members),
        cloud=cloud,
        first_point=first_point.to(device),
        segments=_numbered([torch.from_numpy(member.scan.segments) for member in members]).to(device),
        points=_supervision(members, draws, first_point, device),
        pictures=pictures,
        links=links,
    )


def thinned(member: BatchMember, most: int, seed: int, epoch: int) -> BatchMember:
    """At most so many of a scan's points, others in every epoch, with the labels and the pixels of those.

    Args:
        member: the scan.
        most: points that stay, each with the same chance.
        seed: of the run.
        epoch: counted from 1.
    """
    scan, labels = member.scan, member.labels
    if len(scan) <= most:
        return member
    generator = keyed_generator("points", seed, epoch, member.index)
    rows = torch.randperm(len(scan), generator=generator)[:most].sort().values.numpy()
    place = np.full(len(scan), -1, dtype=np.int64)
    place[rows] = np.arange(most)
    shown = place[scan.pixels.element] >= 0
    pixels = replace(
        scan.pixels,
        element=place[scan.pixels.element[shown]],
        view=scan.pixels.view[shown],
        row=scan.pixels.row[shown],
        column=scan.pixels.column[shown],
        num_elements=most,
    )
    told = labels.points
    stays = place[told.element] >= 0
    points = replace(
        told,
        element=place[told.element[stays]].astype(told.element.dtype),
        class_ids=told.class_ids[stays],
        view=None if told.view is None else told.view[stays],
    )
    fewer = replace(
        scan,
        points_in_scan=scan.points_in_scan[rows],
        inputs=scan.inputs[rows],
        segments=scan.segments[rows],
        pixels=pixels,
    )
    return BatchMember(member.index, fewer, replace(labels, points=points))


def _jittered(member: BatchMember, deviation: float, seed: int, epoch: int) -> Float32[Tensor, "n channels"]:
    inputs = torch.from_numpy(member.scan.inputs)
    if deviation == 0.0:
        return inputs
    generator = keyed_generator("jitter", seed, epoch, member.index)
    return (inputs + deviation * torch.randn(inputs.shape, generator=generator)).clamp(-1.0, 1.0)


def _numbered(ids: Sequence[Tensor]) -> Int64[Tensor, "..."]:
    """Set numbers one after another: the sets of one scan or view are never those of another; −1 stays."""
    parts, offset = [], 0
    for part in ids:
        wide = part.to(torch.int64)
        parts.append(torch.where(wide >= 0, wide + offset, wide))
        offset += max(0, int(wide.max()) + 1) if wide.numel() else 0
    return torch.cat(parts)


def _supervision(
    members: Sequence[BatchMember], draws: Sequence[Draws], first_point: Int64[Tensor, "scans_and_one"], device: torch.device
) -> Supervision:
    elements, classes = [], []
    for member, draw, begin in zip(members, draws, first_point.tolist()):
        labels = member.labels.points
        element, class_ids = labels.element, labels.class_ids
        if labels.view is not None:
            takes_part = np.zeros(len(member.scan.views), dtype=bool)
            takes_part[list(draw.views)] = True
            here = takes_part[labels.view]
            element, class_ids = element[here], class_ids[here]
        elements.append(torch.from_numpy(element + begin))
        classes.append(torch.from_numpy(np.ascontiguousarray(class_ids)))
    return Supervision(torch.cat(elements).to(device), torch.cat(classes).to(device))


def _pictures(
    members: Sequence[BatchMember],
    draws: Sequence[Draws],
    first_point: Int64[Tensor, "scans_and_one"],
    with_images: bool,
    device: torch.device,
) -> tuple[PictureBatch, PixelLinks]:
    """The chosen views; whatever belongs to a pixel is mirrored with it, the links too."""
    labels: list[Tensor] = []
    images, regions, targets, scan_of_view = [], [], [], []
    point, view_of_link, row, column = [], [], [], []
    for scan_number, (member, draw, begin) in enumerate(zip(members, draws, first_point.tolist())):
        pixels = member.scan.pixels
        for view, flipped in zip(draw.views, draw.flipped):
            number = len(labels)
            source = member.scan.views[view]
            labels.append(_mirrored(torch.from_numpy(member.labels.pixels[view]).to(torch.int64), flipped))
            if with_images:
                if source.image_u8 is None:
                    raise ConventionError(f"view {source.name} of {member.scan.name}", expected="its picture", got="none")
                image = torch.from_numpy(source.image_u8).permute(2, 0, 1).to(torch.float32) / 255.0
                images.append(_mirrored(image, flipped))
            if source.regions is not None:
                regions.append(_mirrored(torch.from_numpy(source.regions), flipped)[None])
            if source.targets is not None:
                values = torch.from_numpy(source.targets)
                targets.append(values.flip(1) if flipped else values)
            scan_of_view.append(scan_number)
            here = slice(*np.searchsorted(pixels.view, [view, view + 1]).tolist())
            columns = torch.from_numpy(pixels.column[here]).to(torch.int64)
            point.append(torch.from_numpy(pixels.element[here]) + begin)
            view_of_link.append(torch.full((len(columns),), number))
            row.append(torch.from_numpy(pixels.row[here]).to(torch.int64))
            column.append(source.width - 1 - columns if flipped else columns)
    pictures = PictureBatch(
        images=_stacked("pictures", images).to(device) if with_images else None,
        labels=_stacked("labels of views", labels).to(device),
        regions=_numbered(regions).to(device) if regions and len(regions) == len(labels) else None,
        # As they are kept: in half precision, channels last in memory, where whoever asks for a pixel's finds them side by side.
        targets=_stacked("targets of views", targets).to(device).permute(0, 3, 1, 2)
        if targets and len(targets) == len(labels)
        else None,
        scan=torch.tensor(scan_of_view, dtype=torch.int64, device=device),
    )
    links = PixelLinks(*(torch.cat(part).to(device) for part in (point, view_of_link, row, column)))
    return pictures, links


def _mirrored(values: Tensor, flipped: bool) -> Tensor:
    """Left–right, where columns are the last axis."""
    return values.flip(-1) if flipped else values


def _stacked(what: str, parts: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(part.shape) for part in parts}
    if len(shapes) != 1:
        raise ConventionError(
            what,
            expected="the same size in all scans of a batch",
            got=sorted(shapes)[:4] or "no view",
            fix="prepare them at one size",
        )
    return torch.stack(list(parts))
