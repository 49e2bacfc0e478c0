"""Scans, a network and a recipe so small that a step takes milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from scenewise.kernels.sparse_conv import mean_in_voxels
from scenewise.networks.batch_norm import BatchNorm
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.label_sources import Fixed
from scenewise.parts.labelfree.recipes import PointLabels, Recipe
from scenewise.parts.labelfree.schedules import LossPhase, LossSchedule
from scenewise.parts.labelfree.settings import Augmentation, OptimizerSettings
from scenewise.parts.labelfree.steps import LossContext, LossTerm
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.label_fields import LabelField

CLASSES = 3
HEIGHT, WIDTH = 6, 10


class TinyBackbone(nn.Module):
    """Mean of the inputs in a voxel, two linear layers with batch norm; knows colours, not shapes."""

    out_channels = 8

    def __init__(self, in_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(in_channels, 8, bias=False), nn.Linear(8, 8, bias=False)])
        self.norms = nn.ModuleList([BatchNorm(8), BatchNorm(8)])
        self.dropout = dropout

    def forward(self, cloud: VoxelisedPoints, rows: Tensor | None = None) -> Tensor:
        values = mean_in_voxels(cloud.inputs, cloud.voxels)
        for layer, norm in zip(self.layers, self.norms):
            values = norm(layer(values), relu=True)
        values = nn.functional.dropout(values, self.dropout, self.training)
        of_points = values[cloud.voxels.voxel_of_point]
        return of_points if rows is None else of_points[rows]


class TinyPixels(nn.Module):
    """Half the resolution."""

    out_channels = 6

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.norm = BatchNorm(6)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images), relu=True)


class Spread:
    """A regulariser with a module of its own: Σ ‖W z‖² over points."""

    name = "spread"

    def __init__(self, channels: int) -> None:
        self.layer = nn.Linear(channels, 2)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"layer": self.layer}

    def __call__(self, context: LossContext) -> LossTerm:
        begins = context.batch.first_point[:-1]
        mine = context.outputs["points"].latent[torch.cat([begins, begins + 7])]
        rows, begin = context.gather(mine)
        assert torch.equal(rows[begin : begin + len(mine)], mine)
        # Every row looks at the rows of all scans, as attention over the batch does.
        weights = (mine @ rows.T).softmax(1)
        return LossTerm(self.layer(weights @ rows).square().sum(), len(mine), {"gathered": float(len(rows))})


def tiny_scan(seed: int, points: int = 120, views: int = 3) -> TrainingScan:
    """Three colours, a class each; every view shows some points, and names a fifth of its pixels wrongly."""
    draw = np.random.default_rng(seed)
    class_ids = draw.integers(0, CLASSES, points)
    inputs = (2.0 * np.eye(CLASSES)[class_ids] - 1.0) * 0.8 + draw.normal(0, 0.05, (points, 3))
    where = draw.uniform(-1.0, 1.0, (points, 3))
    tables, pictures = [], []
    for view in range(views):
        element = np.sort(draw.choice(points, HEIGHT * WIDTH // 2, replace=False))
        pixel = draw.permutation(HEIGHT * WIDTH)[: len(element)]
        labels = np.full(HEIGHT * WIDTH, -1, dtype=np.int32)
        labels[pixel] = np.where(draw.random(len(pixel)) < 0.2, draw.integers(0, CLASSES, len(pixel)), class_ids[element])
        image = np.full((HEIGHT * WIDTH, 3), 128, dtype=np.uint8)
        image[pixel] = np.clip((inputs[element] + 1.0) * 127.5, 0, 255).astype(np.uint8)
        said = LabelField.certain(labels.reshape(HEIGHT, WIDTH))
        regions = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 7).astype(np.int32)
        targets = draw.normal(size=(3, 5, 4)).astype(np.float16)
        pictures.append(ScanView(f"view{view}", said, image.reshape(HEIGHT, WIDTH, 3), regions, targets))
        tables.append((element, np.full(len(element), view), pixel // WIDTH, pixel % WIDTH))
    element, view_ids, row, column = (np.concatenate(parts) for parts in zip(*tables))
    table = Correspondence(element.astype(np.int64), *(part.astype(np.int32) for part in (view_ids, row, column)), points, views)
    segments = (class_ids * 2 + (where[:, 0] > 0)).astype(np.int32)
    return TrainingScan(f"scan{seed}", where.astype(np.float32), inputs.astype(np.float32), segments, tuple(pictures), table)


@dataclass(frozen=True)
class TinyScans:
    scans: tuple[TrainingScan, ...]
    fingerprint: str = "tiny"

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> TrainingScan:
        return self.scans[index]


def tiny_scans(count: int = 5) -> TinyScans:
    return TinyScans(tuple(tiny_scan(seed, points=100 + 17 * seed) for seed in range(count)))


def tiny_text() -> Tensor:
    return nn.functional.normalize(torch.randn(CLASSES, 7, generator=torch.Generator().manual_seed(3)), dim=1)


def tiny_recipe(
    *,
    pixels: bool = False,
    spread: bool = False,
    phases: Sequence[LossPhase] | None = None,
    dropout: float = 0.0,
    epochs: int = 4,
    batch_scans: int = 3,
    **changes: object,
) -> Recipe:
    weights = {"points": 1.0} | ({"pixels": 1.0} if pixels else {}) | ({"spread": 0.5} if spread else {})
    adamw = OptimizerSettings("adamw", 2e-3)
    recipe = Recipe(
        name="tiny",
        point_labels=PointLabels("view_vote"),
        build_points=lambda channels: TinyBackbone(channels, dropout),
        build_pixels=TinyPixels if pixels else None,
        build_regularisers=lambda text, of_points, of_pixels, of_targets: (Spread(of_points),) if spread else (),
        source=Fixed(),
        schedule=LossSchedule(tuple(phases or (LossPhase(1, weights),)), "mean"),
        voxel=0.2,
        batch_scans=batch_scans,
        epochs=epochs,
        views_per_step=2,
        points_optimizer=OptimizerSettings("sgd", 0.2, clip_norm=5.0),
        pixels_optimizer=OptimizerSettings("sgd", 0.05) if pixels else None,
        extra_optimizer=adamw if spread else None,
        augmentation=Augmentation(shift_voxels=3.0, scale=0.1, color_jitter=0.02),
        config={"method": "tiny", "epochs": epochs},
    )
    return replace(recipe, **changes)
