"""Points from photographs alone: features matched along the known epipolar geometry, joined into tracks, triangulated, filtered.

The cameras are given, so nothing is estimated but positions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from scenewise.engine.progress import Progress
from scenewise.geometry.view_overlap import camera_centers
from scenewise.io.resizing import resized
from scenewise.parts.points.features import detect_features
from scenewise.parts.points.matching import match_views, matching_pairs
from scenewise.parts.points.multi_view import (
    Observations,
    distinct_views,
    nearest_to_rays,
    ray_angles,
    refine_points,
    reprojection,
)
from scenewise.parts.points.settings import DEFAULT_SETTINGS, SILENT, TriangulationSettings, spread_evenly
from scenewise.parts.points.tracks import observations_of_tracks
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class TriangulatedPoints:
    """Points with how well they are supported; row i of each belongs to point i.

    Attributes:
        cloud: positions and mean observed colours.
        views: number of views that observe the point.
        reprojection_px: root mean square reprojection error at the working resolution.
        angle_deg: widest angle between two rays of the point, up to a factor of two (largest angle to the mean ray, doubled).
    """

    cloud: PointCloud
    views: Int64[np.ndarray, "n"]
    reprojection_px: Float64[np.ndarray, "n"]
    angle_deg: Float64[np.ndarray, "n"]


def triangulate_capture(
    frames: tuple[Frame, ...],
    *,
    wanted: int,
    settings: TriangulationSettings = DEFAULT_SETTINGS,
    threads: int = 2,
    progress: Progress = SILENT,
) -> TriangulatedPoints:
    """Triangulates points from feature matches between posed photographs.

    Args:
        frames: views with images; usually a capture's training frames.
        wanted: roughly how many points are asked for; sets how many features are kept.  All points found are returned.
        settings: thresholds.
        threads: workers for decoding, detection and matching; the result does not depend on it.
        progress: shows the stages.

    Returns:
        Points, possibly none, in the frame of the cameras.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    frames = spread_evenly(frames, settings.max_views)
    if len(frames) < 2:
        return _no_points()
    frames = tuple(_at_working_size(frame, settings.max_side) for frame in frames)
    camera_from_world = np.stack([frame.camera.camera_from_world.numpy() for frame in frames])
    K = np.stack([frame.camera.K.numpy() for frame in frames])
    origin = camera_centers(camera_from_world).mean(axis=0)  # small numbers also where the world is georeferenced
    camera_from_local = camera_from_world.copy()
    camera_from_local[:, :3, 3] += camera_from_world[:, :3, :3] @ origin

    limit = int(np.clip(settings.features_per_point * wanted / len(frames), settings.min_features, settings.max_features))
    features = detect_features(frames, limit=limit, settings=settings, threads=threads, progress=progress)
    sizes = np.array([(frame.camera.width, frame.camera.height) for frame in frames], dtype=np.int64)
    pairs = matching_pairs(camera_from_local, K, sizes, settings)
    matches = match_views(features, camera_from_local, K, pairs, settings=settings, threads=threads, progress=progress)
    observations, colors = observations_of_tracks(features, matches, camera_from_local, K, settings)
    return triangulate_observations(observations, colors, camera_from_local, K, origin_in_world=origin, settings=settings)


def _at_working_size(frame: Frame, max_side: int) -> Frame:
    """The frame, reduced if its longer side exceeds ``max_side``."""
    reduction = max_side / max(frame.camera.width, frame.camera.height)
    if reduction >= 1:
        return frame
    return resized(frame, max(1, round(frame.camera.width * reduction)), max(1, round(frame.camera.height * reduction)))


_OUTLIER_ROUNDS = 4


def triangulate_observations(
    observations: Observations,
    colors_u8: UInt8[np.ndarray, "o 3"],
    camera_from_local: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    *,
    origin_in_world: Float64[np.ndarray, "3"],
    settings: TriangulationSettings = DEFAULT_SETTINGS,
) -> TriangulatedPoints:
    """Positions of observed points: nearest to the rays, Gauss–Newton on the reprojection error, bad sightings dropped.

    Args:
        observations: sightings, grouped by point; points 0 … t − 1.
        colors_u8: colour of each sighting.
        camera_from_local: cameras in a frame whose origin lies among them.
        K: intrinsics in pixels.
        origin_in_world: where that frame's origin lies in the world (axes are the world's).
        settings: thresholds.

    Returns:
        The points that at least two views agree on.
    """
    count = int(observations.point.max()) + 1 if len(observations.point) else 0
    if count == 0:
        return _no_points()
    kept = np.ones(len(observations.point), dtype=bool)
    points = np.full((count, 3), np.nan)
    changed = np.ones(count, dtype=bool)
    for remaining in reversed(range(_OUTLIER_ROUNDS)):
        concerned = observations.selected(kept & changed[observations.point])
        moved = refine_points(nearest_to_rays(concerned, count, camera_from_local, K), concerned, camera_from_local, K)
        points[changed] = moved[changed]
        if remaining == 0:
            break
        error, depth = reprojection(points, concerned, camera_from_local, K)
        distance = np.where(depth > 0, np.linalg.norm(error, axis=1), np.inf)
        worst = np.zeros(count)
        np.maximum.at(worst, concerned.point, distance)
        # One bad sighting spoils the residuals of the good ones, so only the worst of each point go in a round.
        bad = (distance > settings.reprojection_px) & (distance >= 0.7 * worst[concerned.point])
        kept[np.flatnonzero(kept & changed[observations.point])[bad]] = False
        changed = np.bincount(concerned.point[bad], minlength=count) > 0
        if not changed.any():
            break
    current = observations.selected(kept)
    error, depth = reprojection(points, current, camera_from_local, K)
    squared = (error**2).sum(axis=1)
    number = np.maximum(np.bincount(current.point, minlength=count), 1)
    rms = np.sqrt(np.bincount(current.point, weights=squared, minlength=count) / number)
    views = distinct_views(current, count)
    angle = ray_angles(points, current, camera_from_local, count)
    contradicted = np.zeros(count, dtype=bool)
    contradicted[current.point[depth <= 0]] = True
    limit = np.where(views >= 3, settings.reprojection_px, settings.pair_reprojection_px)
    contradicted[current.point[np.linalg.norm(error, axis=1) > 2 * settings.reprojection_px]] = True
    good = (views >= 2) & (rms <= limit) & (angle >= settings.min_angle_deg) & ~contradicted & np.isfinite(points).all(axis=1)
    good &= supported_by_neighbours(points, good, views, current, camera_from_local, settings)
    channels = [np.bincount(current.point, weights=colors_u8[kept, c].astype(np.float64), minlength=count) for c in range(3)]
    mean_color = (np.stack(channels, axis=1) / number[:, None]).round().astype(np.uint8)
    cloud = PointCloud(points_in_world=points[good] + origin_in_world, colors_u8=mean_color[good])
    return TriangulatedPoints(cloud=cloud, views=views[good], reprojection_px=rms[good], angle_deg=angle[good])


def supported_by_neighbours(
    points: Float64[np.ndarray, "t 3"],
    good: Bool[np.ndarray, "t"],
    views: Int64[np.ndarray, "t"],
    observations: Observations,
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    settings: TriangulationSettings,
) -> Bool[np.ndarray, "t"]:
    """Whether a point lies at the depth of what is seen around it.

    A wrong match of two views leaves a small reprojection error at a random depth along the ray, so its neighbours in the image
    disagree with it; right ones lie on one surface.  Points seen by at least ``sure_views`` need no support, and every point may
    give it.

    Returns:
        True for points with support in at least one view that observes them.
    """
    from scipy.spatial import cKDTree

    supported = views >= settings.sure_views
    by_view = np.argsort(observations.view, kind="stable")
    by_view = by_view[good[observations.point[by_view]]]
    for some in np.split(by_view, np.flatnonzero(np.diff(observations.view[by_view])) + 1):
        if len(some) <= settings.support_neighbours:
            continue
        pose = camera_from_world[observations.view[some[0]]]
        point = observations.point[some]
        depth = points[point] @ pose[2, :3] + pose[2, 3]
        asking = np.flatnonzero(~supported[point])
        if len(asking) == 0:
            continue
        # One neighbour more than asked for, because each point is its own nearest.
        _, nearest = cKDTree(observations.pixels[some]).query(
            observations.pixels[some][asking], k=settings.support_neighbours + 1
        )
        alike = np.abs(depth[nearest] / depth[asking][:, None] - 1) <= settings.support_depth
        alike &= point[nearest] != point[asking][:, None]
        supported[point[asking[alike.sum(axis=1) >= settings.support_least]]] = True
    return supported


def _no_points() -> TriangulatedPoints:
    empty = PointCloud(points_in_world=np.zeros((0, 3)), colors_u8=np.zeros((0, 3), np.uint8))
    return TriangulatedPoints(empty, np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
