"""Settings of the union: what of each method takes part.

Nobody published this combination; HICL's paper only says that it "does not conflict" with CNS.  So there are no values to follow:
each part keeps those of its own method, and where two differ HICL's are taken, whose run is the longest.  Values of
:class:`StudentTraining` that are not named here are CLIP2Scene's.
"""

from dataclasses import dataclass, field

from scenewise.parts.labelfree.settings import Correlations, SecondStudent, StudentTraining, presets_of
from scenewise.parts.segments.vote_settings import VoteSettings


@dataclass(frozen=True)
class UnionConfig(Correlations, SecondStudent, StudentTraining):
    """Everything that decides a run, the data, the teacher's answers and the seed apart.  The teacher is SC-CLIP by default.

    Attributes:
        backbone: HICL's, of 14 layers.
        epochs: HICL's.
        batch_scans: HICL's.
        views_per_step: pictures of each scan in a step; CNS's.
        learning_rate: of both students; HICL's.
        vote: in geometric sets, after the vote in regions; weighted by confidence.
        region_refined: labels are voted inside 2D regions of each picture first (CNS).
        switch_shares: of {refined teacher, own prediction, other student's} (CNS).
        switch_from: first epoch of switching, counted from 1 in the published length: after a third of the run, as in CNS.
        vote_predictions: predicted labels are voted as well: of points in geometric sets (HICL), of pixels in regions (CNS).
        min_region: pixels that a region needs to vote.
        combine: "mean" of the active losses (HICL), or "sum" (CNS).
    """

    epochs: int = 120
    learning_rate: float = 0.2
    vote: VoteSettings = field(default_factory=lambda: VoteSettings(weighting="confidence"))
    region_refined: bool = True
    switch_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    switch_from: int = 41
    vote_predictions: bool = True
    min_region: int = 100


PRESETS = presets_of(
    UnionConfig,
    nuscenes={"backbone": "spvcnn", "epochs": 30, "views_per_step": None},
    # Few pictures and tokens as well.
    rooms={
        "pixel_backbone": "deeplab_narrow",
        "pixel_width": 0.25,
        "switch_from": 28,  # after the share that epoch 41 has of 120
        "views_per_step": 4,
        "tokens": 256,
        "heads": 4,
        "min_region": 20,
        "matched_links": 4096,
    },
)
"""By data set."""
