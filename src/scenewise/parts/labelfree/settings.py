"""What all label-free methods let a person set, and what a kind of data asks of any of them.

Nothing here imports torch: the command line is built from these records.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar

BackboneName = Literal["minkunet14a", "minkunet18a", "minkunet34c", "spvcnn"]
PixelBackboneName = Literal["deeplabv3_resnet50", "deeplab_narrow"]
OptimizerKind = Literal["sgd", "adamw"]
Level = Literal["scene", "batch"]


@dataclass(frozen=True)
class Augmentation:
    """What is done to clouds and pictures, drawn anew for every scan and epoch.

    Attributes:
        rotate_up: turn about the up axis by U(0, 2π).
        flip: mirror x and y, each with probability ½.
        shift_voxels: add U(0, this) voxels along every axis, so that voxel borders fall elsewhere.
        flip_pictures: mirror left–right with probability ½.
        scale: multiply by U(1 − this, 1 + this).
        color_jitter: standard deviation of what is added to colour inputs.
        most_points: of more points in a scan, so many are drawn anew in every epoch; None = all.
    """

    rotate_up: bool = True
    flip: bool = True
    shift_voxels: float = 16.0
    flip_pictures: bool = True
    scale: float = 0.0
    color_jitter: float = 0.0
    most_points: int | None = None


@dataclass(frozen=True)
class OptimizerSettings:
    """One group of trained parameters.  The learning rate falls by half a cosine to 0 over all epochs, step by step.

    Attributes:
        kind: which.
        learning_rate: at the start.
        momentum: of SGD.
        dampening: of SGD.
        weight_decay: of both.
        clip_norm: largest gradient norm of the group; None = no clipping.
    """

    kind: OptimizerKind
    learning_rate: float
    momentum: float = 0.9
    dampening: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float | None = None


@dataclass(frozen=True)
class StudentTraining:
    """How students are trained, whatever the method tells them.  Defaults: CLIP2Scene's code on ScanNet, which others take over.

    Attributes:
        backbone: of the 3D student.
        width: multiple of its channels.
        voxel: edge in metres.
        epochs: passes over the scans.
        batch_scans: scans per step over all devices.
        views_per_step: pictures of each scan in a step, drawn at random; None = all.
        optimizer: of the students; SGD is published, AdamW fits runs of a few hundred steps.
        learning_rate: of the students, down to 0 by half a cosine.
        momentum: of SGD.
        dampening: of SGD.
        weight_decay: of the students.
        clip_norm: largest gradient norm of each student; None = no limit.
        augmentation: any turn about the up axis, mirrored x and y; pictures mirrored.
    """

    backbone: BackboneName = "minkunet14a"
    width: float = 1.0
    voxel: float = 0.05
    epochs: int = 30
    batch_scans: int = 8
    views_per_step: int | None = 8
    optimizer: OptimizerKind = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    dampening: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def student_optimizer(self) -> OptimizerSettings:
        """Of every student."""
        return OptimizerSettings(
            self.optimizer, self.learning_rate, self.momentum, self.dampening, self.weight_decay, self.clip_norm
        )


@dataclass(frozen=True)
class SecondStudent:
    """A 2D student beside the 3D one, and frozen picture features that both match.  Defaults: CNS's.

    Attributes:
        pixel_backbone: of the 2D student; None leaves it out (an ablation).
        pixel_width: multiple of its channels.
        pixel_stride: pixels per cell of its grid.
        match_points: weight of mean(1 − cos) between projected point features and frozen picture features.
        match_pixels: the same of the 2D student.
        matched_links: (point, pixel) pairs of each scan that are matched in a step, drawn anew; None = all.
    """

    pixel_backbone: PixelBackboneName | None = "deeplabv3_resnet50"
    pixel_width: float = 1.0
    pixel_stride: int = 8
    match_points: float = 1.0
    match_pixels: float = 1.0
    matched_links: int | None = None

    def matched(self) -> dict[str, float]:
        """Weights of the feature matching that takes part, by the names of its losses."""
        pixels = self.match_pixels if self.pixel_backbone is not None else 0.0
        weights = {"match_points": self.match_points, "match_pixels": pixels}
        return {name: weight for name, weight in weights.items() if weight}


@dataclass(frozen=True)
class Correlations:
    """Transformers over the points of a scene and of a batch, and what they tell the 3D student.  Defaults: HICL's.

    Attributes:
        levels: which points attend to each other: those of a scene, then those of all scenes of the batch.
        tokens: points sampled per scene.
        layers: of each transformer.
        heads: of the attention.
        feedback: the transformers' answers are told back to the 3D network.
        correlation_from: first epoch of the transformers, counted from 1 in the published length.
        feedback_from: first epoch of the feedback.
        published_epochs: length that these refer to.
        combine: "mean" of the active losses, or "sum".
        transformer_learning_rate: of the transformers' AdamW, down to 0 by half a cosine.
        transformer_weight_decay: of the same.
    """

    levels: tuple[Level, ...] = ("scene", "batch")
    tokens: int = 1024
    layers: int = 3
    heads: int = 8
    feedback: bool = True
    correlation_from: int = 11
    feedback_from: int = 21
    published_epochs: int = 120
    combine: Literal["mean", "sum"] = "mean"
    transformer_learning_rate: float = 2e-4
    transformer_weight_decay: float = 0.01

    def transformer_optimizer(self) -> OptimizerSettings:
        """Of the transformers."""
        return OptimizerSettings("adamw", self.transformer_learning_rate, weight_decay=self.transformer_weight_decay)


DATA_SETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "scannet": {},
        "nuscenes": {"voxel": 0.1},
        # 24 small rooms: a quarter of the width, voxels and steps that fit minutes on a CPU.
        "rooms": {
            "width": 0.25,
            "voxel": 0.1,
            "epochs": 80,
            "batch_scans": 4,
            "optimizer": "adamw",
            "learning_rate": 0.01,
            "weight_decay": 0.01,
            "clip_norm": 10.0,
            # A third of a room's vertices says as much and costs a third.
            "augmentation": Augmentation(most_points=20_000),
        },
    }
)
"""What a data set changes of :class:`StudentTraining` in every method."""

_Settings = TypeVar("_Settings", bound=StudentTraining)


def presets_of(settings: type[_Settings], **own: Mapping[str, Any]) -> Mapping[str, _Settings]:
    """Settings of a method by data set: its defaults, what the data set changes in every method, what it changes in this one.

    Args:
        settings: record of the method.
        own: changes by data set.
    """
    unknown = set(own) - set(DATA_SETS)
    assert not unknown, f"no such data set: {unknown}"
    return MappingProxyType({name: settings(**{**shared, **own.get(name, {})}) for name, shared in DATA_SETS.items()})
