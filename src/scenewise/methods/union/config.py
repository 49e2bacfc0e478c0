"""Settings of the union: what of each method takes part.

Nobody published this combination; HICL's paper only says that it "does not conflict" with CNS.  So there are no values to follow:
each part keeps those of its own method, and where two differ HICL's are taken, whose run is the longest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from scenewise.parts.labelfree.backbone_choice import BackboneName, PixelBackboneName
from scenewise.parts.labelfree.recipes import ROOM_AUGMENTATION, Augmentation
from scenewise.parts.segments.votes import MajorityVote

Level = Literal["scene", "batch"]


@dataclass(frozen=True)
class UnionConfig:
    """Everything that decides a run, the data, the teacher's answers and the seed apart.  The teacher is SC-CLIP by default.

    Attributes:
        backbone: HICL's, of 14 layers.
        width: multiple of the backbone's channels.
        pixel_backbone: CNS's.
        pixel_width: multiple of its channels.
        pixel_stride: pixels per cell of its grid; CNS's.
        voxel: edge in metres.
        epochs: HICL's.
        batch_scans: HICL's.
        views_per_step: pictures of each scan in a step; CNS's.
        optimizer: of both students; SGD is published, AdamW fits runs of a few hundred steps.
        learning_rate: of both students; HICL's.
        momentum: CLIP2Scene's.
        dampening: CLIP2Scene's.
        weight_decay: CLIP2Scene's.
        clip_norm: largest gradient norm of each student; None = no limit.
        transformer_learning_rate: of the transformers' AdamW; HICL's.
        transformer_weight_decay: of the same.
        vote: in geometric sets, after the vote in regions; weighted by confidence.
        region_refined: labels are voted inside 2D regions of each picture first (CNS).
        levels: of the correlations (HICL).
        tokens: points sampled per scene (HICL).
        layers: of each transformer (HICL).
        heads: of the attention.
        feedback: the transformers' answers are told back to the 3D network (HICL).
        switch_shares: of {refined teacher, own prediction, other student's} (CNS).
        switch_from: first epoch of switching, counted from 1 in the published length: after a third of the run, as in CNS.
        vote_predictions: predicted labels are voted as well: of points in geometric sets (HICL), of pixels in regions (CNS).
        min_region: pixels that a region needs to vote.
        match_points: weight of feature matching of the 3D student (CNS).
        match_pixels: the same of the 2D student.
        matched_links: (point, pixel) pairs of each scan that are matched in a step, drawn anew; None = all.
        correlation_from: first epoch of the transformers (HICL).
        feedback_from: first epoch of the feedback (HICL).
        published_epochs: length that these epochs refer to.
        combine: "mean" of the active losses (HICL), or "sum" (CNS).
        augmentation: CLIP2Scene's.
    """

    backbone: BackboneName = "minkunet14a"
    width: float = 1.0
    pixel_backbone: PixelBackboneName | None = "deeplabv3_resnet50"
    pixel_width: float = 1.0
    pixel_stride: int = 8
    voxel: float = 0.05
    epochs: int = 120
    batch_scans: int = 8
    views_per_step: int | None = 8
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.2
    momentum: float = 0.9
    dampening: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    transformer_learning_rate: float = 2e-4
    transformer_weight_decay: float = 0.01
    vote: MajorityVote = field(default_factory=lambda: MajorityVote(weighting="confidence"))
    region_refined: bool = True
    levels: tuple[Level, ...] = ("scene", "batch")
    tokens: int = 1024
    layers: int = 3
    heads: int = 8
    feedback: bool = True
    switch_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    switch_from: int = 41
    vote_predictions: bool = True
    min_region: int = 100
    match_points: float = 1.0
    match_pixels: float = 1.0
    matched_links: int | None = None
    correlation_from: int = 11
    feedback_from: int = 21
    published_epochs: int = 120
    combine: Literal["mean", "sum"] = "mean"
    augmentation: Augmentation = field(default_factory=Augmentation)


PRESETS: Mapping[str, UnionConfig] = MappingProxyType(
    {
        "scannet": UnionConfig(),
        "nuscenes": UnionConfig(backbone="spvcnn", voxel=0.1, epochs=30, views_per_step=None),
        # 24 small rooms: narrow students, few pictures, voxels, tokens and steps that fit minutes on a CPU.
        "rooms": UnionConfig(
            width=0.25,
            pixel_backbone="deeplab_narrow",
            pixel_width=0.25,
            voxel=0.1,
            epochs=80,
            switch_from=28,  # after the share that epoch 41 has of 120
            batch_scans=4,
            views_per_step=4,
            tokens=256,
            heads=4,
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
