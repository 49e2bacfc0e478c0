"""Matches between views that have poses, verified without them: what poses are to be measured by must not depend on them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.io.resizing import resized
from scenewise.parts.points.features import detect_features
from scenewise.parts.points.multi_view import Observations
from scenewise.parts.points.settings import TriangulationSettings
from scenewise.parts.points.tracks import join_tracks
from scenewise.parts.poses.matching import mutual_matches
from scenewise.parts.poses.settings import PoseSettings
from scenewise.scenes.frames import Frame

_CONFIDENCE = 0.999


@dataclass(frozen=True)
class MatchSettings:
    """How views are matched; pixel figures are at the working size.

    Attributes:
        max_side: larger images are reduced to this many pixels along their longer side.
        features: per view, the strongest.
        contrast: SIFT contrast threshold; a quarter of OpenCV's 0.04, so that walls and floors have features too.
        edge: SIFT edge threshold.
        inlier_px: largest distance of a match from its epipolar line, by the fundamental matrix that most of the pair agree on.
        min_inliers: fewer, and the pair is not used.
        trials: of RANSAC.
    """

    max_side: int = 960
    features: int = 2048
    contrast: float = 0.01
    edge: float = 12.0
    inlier_px: float = 2.0
    min_inliers: int = 20
    trials: int = 2000


@dataclass(frozen=True)
class FreeMatches:
    """Features of views and matches that agree on some epipolar geometry, whatever the poses say.

    Attributes:
        pixels: of each view, positions in its full (undistorted) image, centres at half-integers.
        matches: rows (view, feature, other view, other feature).
        pixel_scale: pixels of the full image per pixel at the working size, median of the views.
    """

    pixels: tuple[Float64[np.ndarray, "_ 2"], ...]
    matches: Int64[np.ndarray, "m 4"]
    pixel_scale: float

    def tracks(self) -> Observations:
        """Points through all views they are matched in, one sighting a view, grouped by point."""
        counts = np.array([len(pixels) for pixels in self.pixels], dtype=np.int64)
        first = np.concatenate([[0], np.cumsum(counts)])
        view = np.repeat(np.arange(len(counts)), counts)
        pixels = np.concatenate(self.pixels) if len(counts) else np.zeros((0, 2))
        ends = self.matches
        edges = np.stack([first[ends[:, 0]] + ends[:, 1], first[ends[:, 2]] + ends[:, 3]], axis=1)
        track = join_tracks(edges, view, pixels, same_spot_px=2.0 * self.pixel_scale)
        seen = np.flatnonzero(track >= 0)
        order = seen[np.lexsort((seen, view[seen], track[seen]))]
        once = np.ones(len(order), dtype=bool)
        once[1:] = (np.diff(track[order]) != 0) | (np.diff(view[order]) != 0)
        order = order[once]
        return Observations(track[order], view[order].astype(np.int64), pixels[order])


def match_freely(
    frames: tuple[Frame, ...],
    pairs: Int64[np.ndarray, "p 2"],
    settings: MatchSettings,
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> FreeMatches:
    """Features of all frames, and the matches of pairs that are mutual, pass the ratio test and fit one fundamental matrix.

    The result does not depend on the number of threads, nor on the frames' poses.

    Args:
        frames: with images.
        pairs: indices of frames to compare.
        settings: thresholds.
        threads: workers.
        progress: shows the stages.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    progress = NullProgress() if progress is None else progress
    working = tuple(_at_working_size(frame, settings.max_side) for frame in frames)
    sift = TriangulationSettings(min_side=1, contrast=settings.contrast, edge=settings.edge)
    features = detect_features(working, limit=settings.features, settings=sift, threads=threads, progress=progress)
    ratios = [
        np.array([full.camera.width / small.camera.width, full.camera.height / small.camera.height])
        for full, small in zip(frames, working)
    ]
    thresholds = PoseSettings()

    def match(pair: Sequence[int]) -> Int64[np.ndarray, "m 4"]:
        i, j = int(pair[0]), int(pair[1])
        one, two = features[i], features[j]
        found = mutual_matches(one.descriptors.astype(np.float32), two.descriptors.astype(np.float32), thresholds)
        found = found[_on_one_geometry(one.pixels[found[:, 0]], two.pixels[found[:, 1]], settings)]
        ends = np.empty((len(found), 4), dtype=np.int64)
        ends[:, 0], ends[:, 1], ends[:, 2], ends[:, 3] = i, found[:, 0], j, found[:, 1]
        return ends

    rows = [np.zeros((0, 4), dtype=np.int64)]
    with ThreadPoolExecutor(max(1, threads)) as pool, progress.stage("matching views", len(pairs)) as stage:
        for ends in pool.map(match, pairs.tolist()):
            rows.append(ends)
            stage.advance()
    pixels = tuple(view.pixels * ratio for view, ratio in zip(features, ratios))
    return FreeMatches(pixels, np.concatenate(rows), float(np.median([ratio.max() for ratio in ratios] or [1.0])))


def _at_working_size(frame: Frame, max_side: int) -> Frame:
    reduction = max_side / max(frame.camera.width, frame.camera.height)
    if reduction >= 1:
        return frame
    return resized(frame, max(1, round(frame.camera.width * reduction)), max(1, round(frame.camera.height * reduction)))


def _on_one_geometry(
    pixels: Float64[np.ndarray, "m 2"], other_pixels: Float64[np.ndarray, "m 2"], settings: MatchSettings
) -> Bool[np.ndarray, "m"]:
    """Matches on the epipolar lines of the fundamental matrix that most of them agree on; none where too few do."""
    import cv2

    nothing = np.zeros(len(pixels), dtype=bool)
    if len(pixels) < settings.min_inliers:
        return nothing
    options = cv2.UsacParams()
    options.confidence, options.maxIterations, options.threshold = _CONFIDENCE, settings.trials, settings.inlier_px
    options.isParallel, options.randomGeneratorState = False, 0  # the same samples every time
    options.score, options.loMethod = cv2.SCORE_METHOD_MSAC, cv2.LOCAL_OPTIM_INNER_LO
    try:
        _, inliers = cv2.findFundamentalMat(pixels, other_pixels, options)
    except cv2.error:  # degenerate positions
        return nothing
    if inliers is None:
        return nothing
    good = np.asarray(inliers[:, 0] > 0)
    return good if int(good.sum()) >= settings.min_inliers else nothing
