"""From pixels to points and splats: which pixel shows which element, and what the views together say about it.

visibility    points × views → Correspondence (depth test, or a z-buffer of the points themselves)
votes         classes that views name for elements, as a sparse table
features      values of dense fields at pixels, and their means
aggregation   Correspondence × what a teacher says per view → both of them
gaussians     the same onto splats, through each Gaussian's share α·T of every pixel, and back into pictures
"""

from scenewise.parts.lifting.aggregation import mean_features, pair_histogram, pair_labels, vote_histogram
from scenewise.parts.lifting.features import FeatureSums, sample_field
from scenewise.parts.lifting.gaussians import GaussianFeatures, gaussian_features, gaussian_votes, render_scores
from scenewise.parts.lifting.visibility import (
    ViewPixels,
    VisibilityTest,
    ZBuffer,
    median_view_depth,
    stream_visible_pixels,
    visible_pixels,
)
from scenewise.parts.lifting.votes import VoteHistogram, VoteSums

__all__ = [
    "FeatureSums",
    "GaussianFeatures",
    "ViewPixels",
    "VisibilityTest",
    "VoteHistogram",
    "VoteSums",
    "ZBuffer",
    "gaussian_features",
    "gaussian_votes",
    "mean_features",
    "median_view_depth",
    "pair_histogram",
    "pair_labels",
    "render_scores",
    "sample_field",
    "stream_visible_pixels",
    "visible_pixels",
    "vote_histogram",
]
