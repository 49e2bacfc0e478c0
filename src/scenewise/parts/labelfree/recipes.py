"""A method as a composition of parts: what the trainer is given.  It knows nothing about papers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jaxtyping import Float32
from torch import Tensor, nn

from scenewise.networks.backbones import Backbone3D
from scenewise.parts.labelfree.schedules import LossSchedule
from scenewise.parts.labelfree.settings import Augmentation, OptimizerSettings
from scenewise.parts.labelfree.steps import LabelSource, Regulariser
from scenewise.parts.segments.votes import MajorityVote


@dataclass(frozen=True)
class PointLabels:
    """How the fixed labels of points come about.

    Attributes:
        region_vote: vote inside 2D regions of each view first (CNS).
        min_region: smaller regions do not vote, pixels.
        by: "pairs": every (point, pixel) pair is a row with its pixel's label (CLIP2Scene); "view_vote": the mode over the views;
            "set_vote": HICL's vote in geometric sets with ``set_vote``'s settings.
        set_vote: of "set_vote".
    """

    by: Literal["pairs", "view_vote", "set_vote"]
    region_vote: bool = False
    min_region: int = 100
    set_vote: MajorityVote = field(default_factory=MajorityVote)


@dataclass(frozen=True)
class Recipe:
    """Everything the trainer needs to know.

    Attributes:
        name: of the method.
        point_labels: fixed supervision.
        build_points: makes the 3D backbone.
        build_pixels: makes the 2D backbone, a module images [b, 3, h, w] → latent [b, c, rows, columns] with ``out_channels``;
            None without a 2D student.
        build_regularisers: (text, channels of the points' latent, of the pixels' latent or 0, of the targets or 0) → the losses
            beside cross entropy, which are named "points" and "pixels".
        source: where labels come from.
        schedule: which losses act when.
        voxel: edge in metres.
        batch_scans: scans per step over all ranks.
        views_per_step: pictures of each scan in a step; None = all.
        epochs: passes over the scans.
        points_optimizer: of the 3D student.
        pixels_optimizer: of the 2D student.
        extra_optimizer: of what regularisers train.
        optimizers_by_loss: of what single regularisers train, where it is another, by their names.
        augmentation: of the data.
        config: the method's resolved settings as JSON values, written beside the run.
    """

    name: str
    point_labels: PointLabels
    build_points: Callable[[int], Backbone3D]
    build_regularisers: Callable[[Float32[Tensor, "classes dim"], int, int, int], tuple[Regulariser, ...]]
    source: LabelSource
    schedule: LossSchedule
    voxel: float
    batch_scans: int
    epochs: int
    points_optimizer: OptimizerSettings
    build_pixels: Callable[[], nn.Module] | None = None
    pixels_optimizer: OptimizerSettings | None = None
    extra_optimizer: OptimizerSettings | None = None
    optimizers_by_loss: Mapping[str, OptimizerSettings] = field(default_factory=dict)
    views_per_step: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    config: Mapping[str, Any] = field(default_factory=dict)


def settings_as_json(config: Any) -> dict[str, Any]:
    """A method's settings, a record of plain values, as they will be read back: tuples are lists."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values
