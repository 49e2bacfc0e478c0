"""Whether poses and intrinsics fit the pictures: features matched without them, and how far from its place each is seen."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.engine.progress import Progress
from scenewise.errors import CaptureWarning, MissingDependencyError, ScenewiseError
from scenewise.geometry.view_overlap import ViewPairs, project_points
from scenewise.parts.points.from_depth import unproject
from scenewise.parts.points.multi_view import Observations, nearest_to_rays, ray_angles, refine_points, reprojection
from scenewise.parts.poses.refinement.matches import FreeMatches, MatchSettings, match_freely
from scenewise.scenes.frames import Frame

WARN_PX = 2.0
"""Median error in pixels of the photograph above which poses and pictures do not fit.

In photographs that are much larger than the working size, features are found no better than to a pixel of that; there the limit
is ``WARN_WORKING_PX`` of it."""
WARN_WORKING_PX = 1.5

_MATCHING = MatchSettings(max_side=640, features=1200)
_GROUPS = 10  # a view and two that see the same from elsewhere: at most 30 views
_LEAST_OVERLAP = 0.3
_ANGLES_DEG = (0.5, 40.0)
_LEAST_ANGLE_DEG = 2.0  # between the rays of a point: nearly parallel ones tell its direction, not its place
_FEWEST = 50


@dataclass(frozen=True)
class Calibration:
    """How well poses and intrinsics predict where features are seen.

    Attributes:
        views: matched, spread over the capture.
        points: seen by three of them.
        error_px: median distance, in pixels of the photograph, between where a feature is seen and where the other two views that
            see it expect it; None where there are too few.
        error_with_depth_px: the same where one view and its depth map expect it; None without depth.
        limit_px: above which either is worth a warning.
    """

    views: int
    points: int
    error_px: float | None
    error_with_depth_px: float | None
    limit_px: float

    @property
    def worst_px(self) -> float:
        """The larger of the two, 0 where neither is known."""
        return max(self.error_px or 0.0, self.error_with_depth_px or 0.0)


def calibration_of(
    frames: tuple[Frame, ...], neighbours: ViewPairs, *, threads: int = 2, progress: Progress
) -> Calibration | None:
    """Matches some groups of three views and measures what their poses expect.

    Args:
        frames: with images.
        neighbours: overlapping pairs of these frames.
        threads: workers.
        progress: shows the stages.

    Returns:
        None where nothing can be matched: without OpenCV, with fewer than three views that overlap, or unreadable images.
    """
    views, pairs = sampled_groups(neighbours, len(frames))
    if len(views) < 3:
        return None
    chosen = tuple(frames[view] for view in views.tolist())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaptureWarning)  # of masks and pictures, which are reported by themselves
            matches = match_freely(chosen, pairs, _MATCHING, threads=threads, progress=progress)
            errors, points = errors_without_depth(chosen, matches.tracks())
            with_depth = errors_with_depth(chosen, matches)
    except (MissingDependencyError, OSError, ScenewiseError):  # the pass over the images names what cannot be read
        return None
    limit = max(WARN_PX, WARN_WORKING_PX * matches.pixel_scale)
    return Calibration(len(chosen), points, _median(errors), _median(with_depth), limit)


def sampled_groups(neighbours: ViewPairs, count: int) -> tuple[Int64[np.ndarray, "v"], Int64[np.ndarray, "p 2"]]:
    """Views spread over a capture, each with the two that see most of the same at an angle: which views, and their pairs."""
    seen = neighbours
    # As for triangulation: an angle of 8° costs SIFT little and shows what poses are worth.
    fit = np.where(seen.angle_deg < 8, 0.5 + seen.angle_deg / 16, np.exp(-(((seen.angle_deg - 8) / 20) ** 2)))
    low, high = _ANGLES_DEG
    usable = (seen.overlap >= _LEAST_OVERLAP) & (seen.angle_deg >= low) & (seen.angle_deg <= high)
    score = np.where(usable, seen.overlap * fit, -1.0)
    pairs: set[tuple[int, int]] = set()
    for view in np.unique(np.linspace(0, count - 1, min(_GROUPS, count)).round().astype(np.int64)).tolist():
        mine = np.flatnonzero((seen.pairs == view).any(axis=1) & usable)
        best = mine[np.argsort(-score[mine], kind="stable")[:2]]
        group = sorted([view, *(seen.pairs[best].sum(axis=1) - view).tolist()])
        pairs |= {(one, other) for number, one in enumerate(group) for other in group[number + 1 :]}
    table = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    views, places = np.unique(table, return_inverse=True)
    return views, places.reshape(-1, 2)


def errors_without_depth(frames: tuple[Frame, ...], tracks: Observations) -> tuple[Float64[np.ndarray, "e"], int]:
    """Distance between each sighting and the point that the track's other sightings make, and the number of points.

    Only tracks of three views and more count: two views alone make a point that fits both, wherever along the line it lies.
    """
    poses = np.stack([frame.camera.camera_from_world.numpy() for frame in frames])
    K = np.stack([frame.camera.K.numpy() for frame in frames])
    origin = np.mean([frame.camera.centers_in_world.numpy() for frame in frames], axis=0)
    poses[:, :3, 3] += poses[:, :3, :3] @ origin  # small numbers also where the world is georeferenced
    length = np.bincount(tracks.point, minlength=1)
    seen = tracks.selected(length[tracks.point] >= 3)
    point = np.unique(seen.point, return_inverse=True)[1].reshape(-1)
    seen = Observations(point, seen.view, seen.pixels)
    count = int(point.max()) + 1 if len(point) else 0
    rank = np.arange(len(point)) - np.searchsorted(point, point)
    errors = [np.zeros(0)]
    for number in range(int(rank.max()) + 1 if count else 0):
        others, held = seen.selected(rank != number), seen.selected(rank == number)
        points = refine_points(nearest_to_rays(others, count, poses, K), others, poses, K)
        wide = ray_angles(points, others, poses, count)[held.point] >= _LEAST_ANGLE_DEG
        error, _ = reprojection(points, held, poses, K)
        errors.append(_finite_or_inf(error)[wide])
    return np.concatenate(errors), count


def errors_with_depth(frames: tuple[Frame, ...], matches: FreeMatches) -> Float64[np.ndarray, "e"]:
    """Distance between each match and where the other view's depth puts it, both ways; empty without depth."""
    errors = [np.zeros(0)]
    ends = matches.matches
    both = np.concatenate([ends, ends[:, [2, 3, 0, 1]]])
    for view, frame in enumerate(frames):
        if frame.load_depth is None:
            continue
        mine = both[both[:, 0] == view]
        depth = frame.load_depth()
        pixels = matches.pixels[view][mine[:, 1]]
        rows = np.clip(pixels[:, 1].astype(np.int64), 0, depth.shape[0] - 1)
        columns = np.clip(pixels[:, 0].astype(np.int64), 0, depth.shape[1] - 1)
        measured = np.isfinite(depth[rows, columns]) & (depth[rows, columns] > 0)
        places = unproject(frame.camera, rows, columns, depth)
        for other in np.unique(mine[:, 2]).tolist():
            here = np.flatnonzero((mine[:, 2] == other) & measured)
            camera = frames[other].camera
            expected, _ = project_points(camera.camera_from_world.numpy(), camera.K.numpy(), places[here])
            shift = pixels[here] - np.stack([columns[here] + 0.5, rows[here] + 0.5], axis=1)  # within the pixel of the map
            errors.append(_finite_or_inf(expected + shift - matches.pixels[other][mine[here, 3]]))
    return np.concatenate(errors)


def _finite_or_inf(error: Float64[np.ndarray, "e 2"]) -> Float64[np.ndarray, "e"]:
    distance = np.linalg.norm(error, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)


def _median(errors: Float64[np.ndarray, "e"]) -> float | None:
    if len(errors) < _FEWEST:
        return None
    middle = float(np.median(errors))
    return middle if np.isfinite(middle) else None
