"""Limits of the triangulation, and what its stages have in common."""

from dataclasses import dataclass

import numpy as np

from scenewise.engine.progress import NullProgress
from scenewise.scenes.frames import Frame


@dataclass(frozen=True)
class TriangulationSettings:
    """Limits of the triangulation; pixel figures are at the working resolution.

    Attributes:
        max_side: larger images are reduced to this many pixels along their longer side before features are found.
        min_side: smaller images are enlarged to this many pixels, at most twice, since SIFT sees little below its first blur;
            positions are still counted in pixels of the image before enlarging.
        octave_layers: SIFT scales per octave.
        sigma: SIFT blur of the first layer.
        max_views: of longer captures, this many views are taken, evenly spread in name order.
        min_features: features kept per view even when ``features_per_point`` would leave fewer.
        max_features: features kept per view at most.
        features_per_point: features detected in all views together per point wanted.
        contrast: SIFT contrast threshold.  Far below OpenCV's 0.04: epipolar geometry rejects what the contrast test would.
        edge: SIFT edge threshold.  Above OpenCV's 10: a point on an edge is well placed where the epipolar line crosses the edge.
        neighbours: partners per view.
        min_overlap: least share of a view that its partner must see.
        min_angle_deg: least viewing angle of a pair, and of the widest pair of rays of a point.
        max_angle_deg: largest viewing angle at which SIFT is still tried.
        epipolar_px: largest distance of a match from its epipolar line.
        ratio: largest ratio of best to second-best descriptor distance.
        max_distance: largest descriptor distance; RootSIFT vectors are unit and non-negative, so √2 means nothing in common.
        reprojection_px: largest reprojection error of an observation.
        pair_reprojection_px: the same for points seen by two views only, whose error along the line is not observed.
        sure_views: points seen by this many views are believed without support from their neighbours.
        support_neighbours: nearest points in the image that are asked.
        support_least: how many of them must lie at the same depth.
        support_depth: relative difference that counts as the same depth.
    """

    max_side: int = 960
    min_side: int = 720
    octave_layers: int = 3
    sigma: float = 1.6
    max_views: int = 400
    min_features: int = 512
    max_features: int = 6000
    features_per_point: float = 3.0
    contrast: float = 0.003
    edge: float = 25.0
    neighbours: int = 10
    min_overlap: float = 0.25
    min_angle_deg: float = 1.0
    max_angle_deg: float = 40.0
    epipolar_px: float = 1.5
    ratio: float = 0.8
    max_distance: float = 0.75
    reprojection_px: float = 1.5
    pair_reprojection_px: float = 0.75
    sure_views: int = 4
    support_neighbours: int = 8
    support_least: int = 3
    support_depth: float = 0.04


DEFAULT_SETTINGS = TriangulationSettings()
SILENT = NullProgress()


def spread_evenly(frames: tuple[Frame, ...], most: int) -> tuple[Frame, ...]:
    """At most ``most`` frames, evenly spaced in the given order, first and last included."""
    if len(frames) <= most:
        return frames
    return tuple(frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, most).round().astype(np.int64)))
