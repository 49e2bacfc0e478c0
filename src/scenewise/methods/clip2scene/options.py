"""Settings of CLIP2Scene, each with its source.

"Paper" is Chen et al. 2023, arXiv 2301.04926; "code" its released code, which is what was run where the two differ.
"""

from dataclasses import dataclass
from typing import Literal

from scenewise.parts.labelfree.settings import StudentTraining, presets_of

FeatureLoss = Literal["cosine", "grid", "none"]


@dataclass(frozen=True)
class Clip2SceneConfig(StudentTraining):
    """Everything that decides a run, the data and the seed apart.  Values of :class:`StudentTraining` are the code's.

    Attributes:
        backbone: code: MinkUNet14A on ScanNet, SPVCNN on nuScenes.
        voxel: edge in metres; code: 5 cm on ScanNet.
        epochs: code: 30 on ScanNet, 20 on nuScenes.
        batch_scans: scans per step over all devices; code: 8 on two.
        views_per_step: code: 8 random views of each scan; None = all.
        clip_norm: largest gradient norm; None as in the code.  Features are not normalised, so logits have no bound.
        labels: "pairs": every (point, pixel) pair of the step is a row (code); "view_vote": the mode over all views, one row per
            point, which is not in the paper.
        switch_shares: of {teacher, own prediction, other student's} once switching has begun; code: ½, ½.
        switch_from: first epoch of switching, counted from 1 in the published length; see :func:`phase_starts`.
        published_epochs: length that ``switch_from`` refers to.
        feature_loss: "cosine": mean(1 − cos) to frozen features (code, ScanNet); "grid": spatial-temporal consistency, pixels
            and points of a cell fused by attention (code, nuScenes; paper, section 3.3); "none".
        feature_weight: of that loss beside the cross entropy; code: 1.
        matched_links: (point, pixel) pairs of each scan that "cosine" matches in a step, drawn anew; None = all, as in the code.
        grid_cell: edge of its cells in metres; code: 0.1 m, and at most 8 pairs in each.
        grid_cells: cells of each scan that "grid" takes in a step, drawn anew; None = all, as in the code.
    """

    labels: Literal["pairs", "view_vote"] = "pairs"
    switch_shares: tuple[float, float, float] = (0.5, 0.5, 0.0)
    switch_from: int = 10
    published_epochs: int = 30
    feature_loss: FeatureLoss = "cosine"
    feature_weight: float = 1.0
    matched_links: int | None = None
    grid_cell: float = 0.1
    grid_cells: int | None = None


PRESETS = presets_of(
    Clip2SceneConfig,
    nuscenes={
        "backbone": "spvcnn",
        "epochs": 20,
        "batch_scans": 4,
        "views_per_step": None,  # the six cameras
        "switch_from": 11,
        "published_epochs": 20,
        "feature_loss": "grid",
    },
    rooms={
        "switch_from": 25,  # after the share that epoch 10 has of 30
        "published_epochs": 80,
        "matched_links": 4096,
        "grid_cells": 2048,
    },
)
"""By data set."""
