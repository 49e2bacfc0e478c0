"""Settings of CNS, each with its source where one is known.

"Paper" is Chen et al. 2023, *Towards Label-free Scene Understanding by Vision Foundation Models*, arXiv 2306.03899.  Its code was
never published and its learning rates, lengths and weights could not be read anywhere, so these are CLIP2Scene's, by the same
authors, and marked "taken over"; so are the values of :class:`StudentTraining` that are not named here.
"""

from dataclasses import dataclass
from typing import Literal

from scenewise.parts.labelfree.settings import BackboneName, SecondStudent, StudentTraining, presets_of

Granularity = Literal["step", "scene", "element"]


@dataclass(frozen=True)
class CnsConfig(SecondStudent, StudentTraining):
    """Everything that decides a run, the data and the seed apart.

    Attributes:
        backbone: paper: MinkowskiNet34.
        pixel_backbone: paper: DeepLabV3 on ResNet50; None leaves the 2D student out (an ablation, not in the paper).
        pixel_stride: pixels per cell of its grid; DeepLabV3's 8.
        epochs: of both stages; taken over: 30.
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
    """

    backbone: BackboneName = "minkunet34c"
    region_refined: bool = True
    switch_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    switch_from: int = 10
    published_epochs: int = 30
    granularity: Granularity = "step"
    vote_predictions: bool = True
    min_region: int = 100


PRESETS = presets_of(
    CnsConfig,
    nuscenes={"epochs": 20, "batch_scans": 4, "views_per_step": None, "switch_from": 11, "published_epochs": 20},
    # Few pictures as well; the other methods' backbone, so that methods are compared.
    rooms={
        "backbone": "minkunet14a",
        "pixel_backbone": "deeplab_narrow",
        "pixel_width": 0.25,
        "switch_from": 25,  # after the share that epoch 10 has of 30
        "published_epochs": 80,
        "views_per_step": 4,
        "min_region": 20,
        "matched_links": 4096,
    },
)
"""By data set."""
