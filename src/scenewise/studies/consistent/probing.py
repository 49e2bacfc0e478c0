"""How much of the true classes can be read off features: linear probes, and fine-tuning of the whole network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from scenewise.engine.randomness import keyed_generator, keyed_seed
from scenewise.methods.condense.batches import turn_about_up
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.consistent.point_branch import PointBranch
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.worlds.classes import CLASS_NAMES

_PROBE_STEPS = 300
_PROBE_RATE = 0.05
_PROBE_DECAY = 1e-4
_TUNE_RATE = 3e-3
_CLASSES = len(CLASS_NAMES)


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of some places with their true classes.

    Attributes:
        features: of each.
        class_ids: truth.
    """

    features: Float32[np.ndarray, "n dim"]
    class_ids: Int64[np.ndarray, "n"]


@dataclass(frozen=True)
class LabelledCloud:
    """A room's points with their true classes.

    Attributes:
        points: metres.
        colors_u8: sRGB.
        class_ids: truth.
    """

    points: Float32[np.ndarray, "n 3"]
    colors_u8: np.ndarray
    class_ids: Int64[np.ndarray, "n"]


def probe_miou(learned: Sequence[LabelledFeatures], measured: Sequence[LabelledFeatures], seed: int) -> float:
    """mIoU in per cent of a linear classifier of standardised features (multinomial logistic regression by AdamW).

    Args:
        learned: rooms that it is fitted on.
        measured: others.
        seed: of the first weights.
    """
    features = torch.from_numpy(np.concatenate([each.features for each in learned])).float()
    labels = torch.from_numpy(np.concatenate([each.class_ids for each in learned]))
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "probe"))
        head = nn.Linear(features.shape[1], _CLASSES)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_PROBE_RATE, weight_decay=_PROBE_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _PROBE_STEPS)
    standard = (features - mean) / deviation
    generator = keyed_generator("probe batches", seed)
    for _ in range(_PROBE_STEPS):
        rows = torch.randint(len(labels), (min(4096, len(labels)),), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(head(standard[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    confusion = ConfusionMatrix(CLASS_NAMES)
    with torch.no_grad():
        for each in measured:
            told = head((torch.from_numpy(each.features).float() - mean) / deviation).argmax(1).numpy()
            confusion.update(told, each.class_ids)
    return 100.0 * confusion.scores().miou


def tuned_miou(
    branch: PointBranch,
    learned: Sequence[LabelledCloud],
    measured: Sequence[LabelledCloud],
    *,
    voxel: float,
    steps: int,
    rooms: int,
    seed: int,
) -> float:
    """mIoU in per cent of the backbone with a linear head, all of it trained on labels.

    Args:
        branch: whose backbone it begins as; it is changed.
        learned: labelled rooms.
        measured: others.
        voxel: edge, metres.
        steps: of AdamW, its rate down to 0 by half a cosine.
        rooms: in a step.
        seed: of the head, of turns and of the order.
    """
    backbone = branch.backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "tuned head"))
        head = nn.Linear(backbone.out_channels, _CLASSES)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_TUNE_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    backbone.train()
    for step in range(steps):
        generator = keyed_generator("tuning", seed, step)
        chosen = torch.randint(len(learned), (rooms,), generator=generator).tolist()
        cloud, labels = _joined([learned[index] for index in chosen], voxel, generator)
        optimizer.zero_grad()
        logits = head(backbone.voxel_features(cloud)).index_select(0, cloud.voxels.voxel_of_point)
        F.cross_entropy(logits, labels, ignore_index=-1).backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        schedule.step()
    backbone.eval()
    confusion = ConfusionMatrix(CLASS_NAMES)
    with torch.no_grad():
        for each in measured:
            cloud, labels = _joined([each], voxel, None)
            told = head(backbone.voxel_features(cloud)).argmax(1)[cloud.voxels.voxel_of_point]
            confusion.update(told.numpy(), labels.numpy())
    return 100.0 * confusion.scores().miou


def _joined(
    rooms: Sequence[LabelledCloud], voxel: float, generator: torch.Generator | None
) -> tuple[VoxelisedPoints, Int64[Tensor, "n"]]:
    """Clouds as the network takes them, turned and shifted where there is a generator."""
    positions, inputs, items, labels = [], [], [], []
    for item, room in enumerate(rooms):
        points = torch.from_numpy(room.points) / voxel
        if generator is not None:
            angle, *shift = torch.rand(4, generator=generator).tolist()
            points = points @ turn_about_up(2 * np.pi * angle).T + 16.0 * torch.tensor(shift)
        positions.append(points)
        inputs.append(torch.from_numpy(room.colors_u8).float() / 127.5 - 1.0)
        items.append(torch.full((len(points),), item))
        labels.append(torch.from_numpy(room.class_ids))
    return VoxelisedPoints.from_points(torch.cat(inputs), torch.cat(positions), torch.cat(items)), torch.cat(labels)
