"""Settings of the classifier of objects.  All are ours; nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from scenewise.errors import ConventionError
from scenewise.networks.consistent.shape import PointBackbone

Scale = Literal["metres", "extent"]


@dataclass(frozen=True)
class ObjectVariation:
    """What is changed about an object, drawn anew whenever it is looked at.

    Attributes:
        turn: about the up axis by any angle.
        mirror: half of the time.
        scale: deviation of the logarithm of its size.
        stretch: the same of each axis on its own.
        jitter: deviation of what is added to each position, in voxels.
        shift_voxels: along every axis, so that voxel borders fall elsewhere.
        least_points: share of its points that stays, drawn between this and 1.
        light: deviation of the logarithm of brightness.
        tint: the same of each colour channel.
        gamma: the same of the exponent.
        noise: deviation of what is added to each point's colour, of 1.
        grey: share of the time that it is shown without colours.
    """

    turn: bool = True
    mirror: bool = True
    scale: float = 0.1
    stretch: float = 0.05
    jitter: float = 0.1
    shift_voxels: float = 16.0
    least_points: float = 0.3
    light: float = 0.2
    tint: float = 0.08
    gamma: float = 0.15
    noise: float = 0.02
    grey: float = 0.1

    def __post_init__(self) -> None:
        for name in ("scale", "stretch", "jitter", "shift_voxels", "light", "tint", "gamma", "noise"):
            if not 0 <= getattr(self, name) < 1000:
                raise ConventionError(f"variation.{name}", expected="0 or more, below 1000", got=getattr(self, name))
        for name in ("least_points", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConventionError(f"variation.{name}", expected="a share from 0 to 1", got=getattr(self, name))


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything that decides a run, the data, the seed and the start apart.

    Attributes:
        backbone: of the network; a pre-trained one brings its own.
        width: multiple of its channels; likewise.
        hidden: channels of a layer between pooled features and logits; 0 = the head is linear.
        frozen: the backbone stays as it is, and only the head learns.
        scale: "metres": objects are taken as large as they are; "extent": the smallest ball about the middle of an object's box
            that holds it gets diameter 1.
        voxel: edge, in metres or as a share of the extent.
        points: of an object that are looked at, at most.
        steps: of training.
        batch_objects: in a step.
        rate: of AdamW, down to 0 by half a cosine.
        backbone_rate: multiple of it for the backbone.
        weight_decay: of all.
        smoothing: share of each label that is spread over all classes.
        clip_norm: largest norm of all gradients together.
        variation: of what is shown.
    """

    backbone: PointBackbone = "minkunet14a"
    width: float = 1.0
    hidden: int = 0
    frozen: bool = False
    scale: Scale = "metres"
    voxel: float = 0.04
    points: int = 2048
    steps: int = 6000
    batch_objects: int = 32
    rate: float = 2e-3
    backbone_rate: float = 1.0
    weight_decay: float = 0.05
    smoothing: float = 0.1
    clip_norm: float = 5.0
    variation: ObjectVariation = field(default_factory=ObjectVariation)

    def __post_init__(self) -> None:
        for name in ("points", "steps", "batch_objects"):
            if getattr(self, name) < 1:
                raise ConventionError(name, expected="at least 1", got=getattr(self, name))
        if self.batch_objects > 512:
            raise ConventionError("batch_objects", expected="at most 512", got=self.batch_objects)
        for name in ("voxel", "rate", "backbone_rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConventionError(name, expected="above 0", got=getattr(self, name))
        if not 0 < self.width <= 16:
            raise ConventionError("width", expected="above 0, up to 16", got=self.width)
        if not 0 <= self.hidden <= 16384:
            raise ConventionError("hidden", expected="0 to 16384", got=self.hidden)
        if not 0 <= self.smoothing < 1:
            raise ConventionError("smoothing", expected="from 0, below 1", got=self.smoothing)
        if not 0 <= self.weight_decay < float("inf"):
            raise ConventionError("weight_decay", expected="0 or more", got=self.weight_decay)


OBJECTS = ClassifierConfig(width=0.25, voxel=0.05, steps=600, batch_objects=22, rate=1e-2)
"""Narrow, for procedural objects on a CPU."""

MODELNET = replace(ClassifierConfig(), scale="extent", variation=replace(ObjectVariation(), grey=0.0))
"""For ModelNet40 and ScanObjectNN: no colours, and no length that means anything."""

PRESETS: Mapping[str, ClassifierConfig] = MappingProxyType({"objects": OBJECTS, "modelnet": MODELNET})
"""By kind of data."""
