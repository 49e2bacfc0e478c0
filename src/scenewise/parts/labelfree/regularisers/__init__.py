"""Losses beside cross entropy; each is a :class:`~scenewise.parts.labelfree.steps.Regulariser`.

correlation       tokens of a scene, then of the batch, look at each other and are told the labels (HICL)
feedback          what the transformers say is told back to the network (HICL)
matching          features agree with frozen ones, or with the other student's (CNS, CLIP2Scene, OpenScene)
grid_consistency  points of a cell agree with their attended mean (CLIP2Scene)
"""

from scenewise.parts.labelfree.regularisers.correlation import (
    CorrelatedTokens,
    Correlation,
    CorrelationSettings,
    build_correlation,
)
from scenewise.parts.labelfree.regularisers.feedback import FeedbackKL
from scenewise.parts.labelfree.regularisers.grid_consistency import GridConsistency
from scenewise.parts.labelfree.regularisers.matching import FeatureMatch

__all__ = [
    "CorrelatedTokens",
    "Correlation",
    "CorrelationSettings",
    "FeatureMatch",
    "FeedbackKL",
    "GridConsistency",
    "build_correlation",
]
