"""How poses are looked for, and which limits they keep."""

from dataclasses import dataclass
from typing import Literal

PairChoice = Literal["auto", "all", "sequential", "gps", "similar"]
LensChoice = Literal["auto", "SIMPLE_RADIAL", "OPENCV"]


@dataclass(frozen=True)
class PoseSettings:
    """Limits of structure from motion; pixel figures are at the working size unless said otherwise.

    Attributes:
        pairs: which pictures are compared: by what is known of them ("auto"), all with all, each with those that follow it, with
            those nearest by GPS, or with those that look most alike.
        lens: camera model; "auto" takes OPENCV where it lowers the error on tracks left out, else SIMPLE_RADIAL.
        seed: of every random choice.
        max_side: pictures are reduced to this many pixels along their longer side before features are found.
        max_features: features per picture, the strongest.
        contrast: SIFT contrast threshold.  Half of OpenCV's 0.04, so that walls and floors have features too.
        ratio: largest ratio of best to second-best descriptor distance.
        max_distance: largest descriptor distance; RootSIFT vectors are unit and non-negative.
        probe_features: of a pair, so many features of each picture, those of the largest scale, are compared first.  Source: Wu
            2013, "Towards Linear-Time Incremental Structure from Motion", section 4.
        probe_matches: fewer matches among these, and the pair is left.
        inlier_px: largest distance of a match from its epipolar line.
        min_inliers: fewer, and a pair is not used.
        max_trials: samples of RANSAC per pair.
        all_pairs_up_to: pictures up to which "auto" compares all with all.
        neighbours: pictures that each is compared with in the order of their names, besides those two and four times as far.
        partners: pictures that each is compared with by GPS or by likeness.
        words: clusters of descriptors that likeness is measured with.
        pose_px: largest error of a point from which a picture's pose is told.
        bundle_growth: growth of a model after which all of it is adjusted again.
        held_out: share of the tracks that the check leaves out of the bundle.
        max_reprojection_px: observations beyond it are dropped.
        mapping_rounds: steps of an adjustment of the whole model at most, and how often it is repeated while a model grows.  Less
            than the package takes: on 200 frames of a film the errors were the same after half of the time.
        local_rounds: likewise of what lies around a picture that was added.
        mapping_tolerance: relative gain per step below which such an adjustment ends.
        bundle_rounds: steps of the last adjustments at most.
        bundle_tolerance: relative gain per step below which it ends.
        gain_of_lens: least relative gain on tracks left out for which "auto" takes the lens with more parameters.
    """

    pairs: PairChoice = "auto"
    lens: LensChoice = "auto"
    seed: int = 0
    max_side: int = 640
    max_features: int = 2048
    contrast: float = 0.02
    ratio: float = 0.8
    max_distance: float = 0.7
    probe_features: int = 400
    probe_matches: int = 4
    inlier_px: float = 4.0
    min_inliers: int = 15
    max_trials: int = 1000
    all_pairs_up_to: int = 80
    neighbours: int = 10
    partners: int = 24
    words: int = 64
    pose_px: float = 12.0
    bundle_growth: float = 1.4
    mapping_rounds: tuple[int, int] = (20, 2)
    local_rounds: tuple[int, int] = (15, 1)
    mapping_tolerance: float = 1e-5
    held_out: float = 0.1
    max_reprojection_px: float = 4.0
    bundle_rounds: int = 50
    bundle_tolerance: float = 1e-6
    gain_of_lens: float = 0.02
