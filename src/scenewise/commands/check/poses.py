"""What the camera poses of a capture tell before any pixel is read: doubles, strays, connections, coverage."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.geometry.view_overlap import (
    ViewPairs,
    camera_centers,
    candidate_pairs,
    focus_point,
    inside_image,
    looking_directions,
    neighbour_spacing,
    project_points,
    scene_depths,
    view_overlap,
)
from scenewise.scenes.frames import Frame

Layout = Literal["inward", "outward", "parallel", "mixed"]

CONNECTED_OVERLAP = 0.15
"""Views that share less than this of what they see do not help each other."""

_NEIGHBOURS = 24
_STRAY_SPACINGS = 8.0
_STRAY_DISTANCE = 5.0
_SECTORS = 12
_POINT_SAMPLE = 4000


@dataclass(frozen=True)
class PoseHealth:
    """Findings about positions and directions.

    Attributes:
        duplicates: groups of frames with the same position and direction.
        strays: frames whose position is far from all others.
        view_groups: frames that hang together by overlapping views, largest group first.
        layout: whether cameras look at a common place, away from one, the same way, or neither.
        direction_coherence: length of the mean looking direction; 1 = all the same way, 0 = all around.
        median_spacing: distance to the nearest other camera, world units.
        extent: diagonal of the box around all positions, world units.
        median_depth: typical distance of what is seen, world units.
        median_partners: overlapping views per view, counted among its nearest two dozen.
        median_angle_deg: viewing angle of a view to its best-overlapping distinct neighbour.
    """

    duplicates: tuple[tuple[str, ...], ...]
    strays: tuple[str, ...]
    view_groups: tuple[tuple[str, ...], ...]
    layout: Layout
    direction_coherence: float
    median_spacing: float
    extent: float
    median_depth: float
    median_partners: int
    median_angle_deg: float


@dataclass(frozen=True)
class Coverage:
    """From where the scene is seen.

    Attributes:
        largest_gap_deg: largest angle around the up direction without a camera, as seen from the scene's middle; None unless the
            cameras look inward.
        gap_toward_deg: azimuth of the middle of that gap, degrees from the world's first horizontal axis; None likewise.
        elevations_deg: lowest and highest camera above the horizon of the scene's middle; None likewise.
        sectors_seen: how many of 12 sectors around hold a camera; None likewise.
        points: how many points the next two are measured on; 0 when the capture has none and no depth.
        views_per_point: 10 %, 50 % and 90 % quantiles of the number of training views that see a point (occlusion ignored).
        thin_share: share of points seen by fewer than three views.
        points_in_front: share of (point, view) pairs with the point in front of the camera.
    """

    largest_gap_deg: float | None
    gap_toward_deg: float | None
    elevations_deg: tuple[float, float] | None
    sectors_seen: int | None
    points: int
    views_per_point: tuple[float, float, float] | None
    thin_share: float | None
    points_in_front: float | None


@dataclass(frozen=True)
class ViewGeometry:
    """Cameras of some frames as arrays, with who overlaps whom.

    Attributes:
        camera_from_world: rigid transforms.
        K: intrinsics in pixels.
        sizes: width and height in pixels.
        depths: plausible depths per camera.
        neighbours: overlapping pairs among near ones.
    """

    camera_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]
    sizes: Int64[np.ndarray, "n 2"]
    depths: Float64[np.ndarray, "n d"]
    neighbours: ViewPairs


def view_geometry(frames: tuple[Frame, ...], points_in_world: Float64[np.ndarray, "m 3"] | None) -> ViewGeometry:
    """Cameras and overlaps of frames; points, where there are some, tell how far away things are."""
    camera_from_world = np.stack([frame.camera.camera_from_world.numpy() for frame in frames])
    K = np.stack([frame.camera.K.numpy() for frame in frames])
    sizes = np.array([(frame.camera.width, frame.camera.height) for frame in frames], dtype=np.int64)
    depths = scene_depths(camera_from_world, K, sizes, points_in_world)
    pairs = candidate_pairs(camera_from_world, _NEIGHBOURS)
    return ViewGeometry(camera_from_world, K, sizes, depths, view_overlap(camera_from_world, K, sizes, depths, pairs))


def pose_health(names: tuple[str, ...], geometry: ViewGeometry) -> PoseHealth:
    """Checks positions, directions and connections; ``names`` belong to the cameras in order."""
    centers, directions = camera_centers(geometry.camera_from_world), looking_directions(geometry.camera_from_world)
    linked = geometry.neighbours.overlap >= CONNECTED_OVERLAP
    partners = np.bincount(geometry.neighbours.pairs[linked].reshape(-1), minlength=len(names))
    # The best partner that is a different place: pure rotations and doubles show no parallax.
    seen = geometry.neighbours
    score = np.where(linked & (seen.angle_deg > 0.1), seen.overlap, -1.0)
    best_angle = np.full(len(names), np.nan)
    best_score = np.zeros(len(names))
    for (i, j), value, angle in zip(seen.pairs.tolist(), score.tolist(), seen.angle_deg.tolist()):
        for view in (i, j):
            if value > best_score[view]:
                best_score[view], best_angle[view] = value, angle
    known = best_angle[np.isfinite(best_angle)]
    return PoseHealth(
        duplicates=_duplicates(names, geometry.camera_from_world),
        strays=_strays(names, centers),
        view_groups=_groups(names, seen.pairs[linked]),
        layout=_layout(centers, directions),
        direction_coherence=float(np.linalg.norm(directions.mean(axis=0))),
        median_spacing=neighbour_spacing(centers) if len(centers) > 1 else 0.0,
        extent=float(np.linalg.norm(centers.max(axis=0) - centers.min(axis=0))),
        median_depth=float(np.median(geometry.depths)),
        median_partners=int(np.median(partners)),
        median_angle_deg=float(np.median(known)) if len(known) else 0.0,
    )


def _duplicates(names: tuple[str, ...], camera_from_world: Float64[np.ndarray, "n 4 4"]) -> tuple[tuple[str, ...], ...]:
    """Frames whose pose is the same to a millionth of the cameras' extent and 0.01°."""
    centers = camera_centers(camera_from_world)
    extent = float(np.linalg.norm(centers.max(axis=0) - centers.min(axis=0))) or 1.0
    place = np.concatenate([(centers - centers[0]) / extent * 1e6, camera_from_world[:, :3, :3].reshape(-1, 9) / 1.7e-4], axis=1)
    return tuple(tuple(names[i] for i in group) for group in _near_groups(place, 1.0))


def _near_groups(places: Float64[np.ndarray, "n d"], radius: float) -> list[list[int]]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    close = cKDTree(places).query_pairs(radius, output_type="ndarray")
    if len(close) == 0:
        return []
    graph = coo_matrix((np.ones(len(close)), (close[:, 0], close[:, 1])), shape=(len(places), len(places)))
    _, label = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for index in np.unique(close).tolist():
        groups.setdefault(int(label[index]), []).append(index)
    return list(groups.values())


def _strays(names: tuple[str, ...], centers: Float64[np.ndarray, "n 3"]) -> tuple[str, ...]:
    """Frames that are far from their nearest neighbour and from the middle, both measured by what is usual here."""
    from scipy.spatial import cKDTree

    if len(centers) < 5:
        return ()
    nearest = cKDTree(centers).query(centers, k=2)[0][:, 1]
    middle = np.median(centers, axis=0)
    distance = np.linalg.norm(centers - middle, axis=1)
    stray = (nearest > _STRAY_SPACINGS * max(neighbour_spacing(centers), 1e-12)) & (
        distance > _STRAY_DISTANCE * max(float(np.median(distance)), 1e-12)
    )
    return tuple(names[i] for i in np.flatnonzero(stray).tolist())


def _groups(names: tuple[str, ...], links: Int64[np.ndarray, "p 2"]) -> tuple[tuple[str, ...], ...]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(names), len(names)))
    count, label = connected_components(graph, directed=False)
    groups = [tuple(names[i] for i in np.flatnonzero(label == group).tolist()) for group in range(count)]
    return tuple(sorted(groups, key=lambda group: (-len(group), group)))


def _layout(centers: Float64[np.ndarray, "n 3"], directions: Float64[np.ndarray, "n 3"]) -> Layout:
    if float(np.linalg.norm(directions.mean(axis=0))) > 0.95:
        return "parallel"
    if focus_point(centers, directions) is not None:
        return "inward"
    return "outward" if focus_point(centers, -directions) is not None else "mixed"


def coverage_of(
    geometry: ViewGeometry,
    layout: Layout,
    up_in_world: Float64[np.ndarray, "3"] | None,
    points_in_world: Float64[np.ndarray, "m 3"] | None,
) -> Coverage:
    """From which sides the scene is seen and by how many views each point."""
    centers, directions = camera_centers(geometry.camera_from_world), looking_directions(geometry.camera_from_world)
    focus = focus_point(centers, directions)
    gap = toward = elevations = sectors = None
    if layout == "inward" and focus is not None and up_in_world is not None:
        gap, toward, elevations, sectors = _around(centers - focus, up_in_world)
    if points_in_world is None or len(points_in_world) == 0:
        return Coverage(gap, toward, elevations, sectors, 0, None, None, None)
    sample = points_in_world[np.linspace(0, len(points_in_world) - 1, min(_POINT_SAMPLE, len(points_in_world))).astype(np.int64)]
    views, in_front = np.zeros(len(sample), np.int64), 0
    for i in range(len(centers)):
        pixels, depth = project_points(geometry.camera_from_world[i], geometry.K[i], sample)
        views += inside_image(pixels, geometry.sizes[i])
        in_front += int((depth > 0).sum())
    low, middle, high = np.quantile(views, [0.1, 0.5, 0.9])
    return Coverage(
        largest_gap_deg=gap,
        gap_toward_deg=toward,
        elevations_deg=elevations,
        sectors_seen=sectors,
        points=len(points_in_world),
        views_per_point=(float(low), float(middle), float(high)),
        thin_share=float(np.mean(views < 3)),
        points_in_front=in_front / (len(sample) * len(centers)),
    )


def _around(offsets: Float64[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"]) -> tuple[float, float, tuple[float, float], int]:
    """Largest azimuth gap, where it points, range of elevations, and sectors with a camera."""
    first = np.eye(3)[np.argmin(np.abs(up))]
    first = first - up * (first @ up)
    first /= np.linalg.norm(first)
    second = np.cross(up, first)
    azimuth = np.sort(np.rad2deg(np.arctan2(offsets @ second, offsets @ first)) % 360)
    gaps = np.diff(np.concatenate([azimuth, azimuth[:1] + 360]))
    widest = int(np.argmax(gaps))
    elevation = np.rad2deg(np.arcsin(np.clip(offsets @ up / np.maximum(np.linalg.norm(offsets, axis=1), 1e-300), -1, 1)))
    sectors = len(np.unique(np.minimum((azimuth / (360 / _SECTORS)).astype(np.int64), _SECTORS - 1)))
    toward = float((azimuth[widest] + gaps[widest] / 2) % 360)
    return float(gaps[widest]), toward, (float(elevation.min()), float(elevation.max())), sectors
