"""Settings of CNS, each with its source where one is known.

"Paper" is Chen et al. 2023, *Towards Label-free Scene Understanding by Vision Foundation Models*, arXiv 2306.03899.  Its code was
never published and its learning rates, lengths and weights could not be read anywhere, so these are CLIP2Scene's, by the same
authors, and marked "taken over".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from scenewise.parts.labelfree.backbone_choice import BackboneName, PixelBackboneName
from scenewise.parts.labelfree.recipes import ROOM_AUGMENTATION, Augmentation

Granularity = Literal["step", "scene", "element"]


@dataclass(frozen=True)
class CnsConfig:
    """Everything that decides a run, the data and the seed apart.

    Attributes:
        backbone: paper: MinkowskiNet34.
        width: multiple of the backbone's channels.
        pixel_backbone: paper: DeepLabV3 on ResNet50; None leaves the 2D student out (an ablation, not in the paper).
        pixel_width: multiple of its channels.
        pixel_stride: pixels per cell of its grid; DeepLabV3's 8.
        voxel: edge in metres; taken over: 5 cm on ScanNet.
        epochs: of both stages; taken over: 30.
        batch_scans: scans per step over all devices; taken over: 8.
        views_per_step: pictures of each scan in a step; taken over: 8.
        optimizer: of both students; SGD is taken over, AdamW fits runs of a few hundred steps.
        learning_rate: of both students; taken over: 0.1.
        momentum: taken over.
        dampening: taken over.
        weight_decay: taken over.
        clip_norm: largest gradient norm of each group; None = no limit.
        region_refined: stage one's labels are the mode within each region of SAM (paper: label refinement).
        switch_shares: of {refined teacher, own prediction, other student's} in stage two; paper: a third each.
        switch_from: first epoch of stage two, counted from 1 in the published length; taken over: 10 of 30.
        published_epochs: length that ``switch_from`` refers to.
        granularity: what one draw decides: all labels of a step, those of each scene, or each row.  Not told in the paper.
        vote_predictions: predicted labels are voted inside regions as well (paper, by its figure of the pipeline).
        min_region: pixels that a region needs to vote; not told.
        match_points: weight of mean(1 − cos) between projected point features and frozen picture features; paper: 1 (not told).
        match_pixels: the same of the 2D student.
        matched_links: (point, pixel) pairs of each scan that are matched in a step, drawn anew; None = all, as in the paper.
        augmentation: taken over.
    """

    backbone: BackboneName = "minkunet34c"
    width: float = 1.0
    pixel_backbone: PixelBackboneName | None = "deeplabv3_resnet50"
    pixel_width: float = 1.0
    pixel_stride: int = 8
    voxel: float = 0.05
    epochs: int = 30
    batch_scans: int = 8
    views_per_step: int | None = 8
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    dampening: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    region_refined: bool = True
    switch_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    switch_from: int = 10
    published_epochs: int = 30
    granularity: Granularity = "step"
    vote_predictions: bool = True
    min_region: int = 100
    match_points: float = 1.0
    match_pixels: float = 1.0
    matched_links: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)


PRESETS: Mapping[str, CnsConfig] = MappingProxyType(
    {
        "scannet": CnsConfig(),
        "nuscenes": CnsConfig(voxel=0.1, epochs=20, batch_scans=4, views_per_step=None, switch_from=11, published_epochs=20),
        # 24 small rooms: narrow students, few pictures and voxels that fit minutes on a CPU; the other methods' backbone, so that
        # methods are compared.
        "rooms": CnsConfig(
            backbone="minkunet14a",
            width=0.25,
            pixel_backbone="deeplab_narrow",
            pixel_width=0.25,
            voxel=0.1,
            epochs=80,
            switch_from=25,  # after the share that epoch 10 has of 30
            published_epochs=80,
            batch_scans=4,
            views_per_step=4,
            min_region=20,
            matched_links=4096,
            clip_norm=10.0,
            optimizer="adamw",
            learning_rate=0.01,
            weight_decay=0.01,
            augmentation=ROOM_AUGMENTATION,
        ),
    }
)
"""By data set."""
