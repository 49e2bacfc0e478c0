"""An adjusted bundle put back where the given poses were, in their unit or in that of the depth maps."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.geometry.transforms import fit_similarity
from scenewise.geometry.view_overlap import camera_centers
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.poses.refinement.bundle import AdjustedBundle, Bundle, points_of
from scenewise.parts.poses.refinement.depth import DepthFit, DepthSightings, fit_depth, measure_depth
from scenewise.parts.poses.refinement.views import RefinementViews

_DEPTH_FRAMES = 60  # tens of thousands of sightings; more add memory, no accuracy
_FEWEST_MEASURED = 200


@dataclass(frozen=True)
class LocalFrame:
    """Where small numbers are: world = origin + unit · local.

    Attributes:
        origin: mean of the given centres.
        unit: their root mean square distance from it.
    """

    origin: Float64[np.ndarray, "3"]
    unit: float

    def camera_from_local(self, camera_from_world: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 4 4"]:
        """Poses in this frame."""
        poses = camera_from_world.copy()
        poses[:, :3, 3] = (poses[:, :3, 3] + poses[:, :3, :3] @ self.origin) / self.unit
        return poses


def local_frame(centers: Float64[np.ndarray, "n 3"]) -> LocalFrame:
    """A frame for cameras at these places."""
    origin = centers.mean(axis=0)
    spread = float(np.sqrt(((centers - origin) ** 2).sum(axis=1).mean()))
    return LocalFrame(origin, spread if spread > 0 else 1.0)


@dataclass(frozen=True)
class PlacedDepth:
    """What is known of the depth camera.

    Attributes:
        before: with the given poses, intrinsics and transform.
        after: as found.
        K: of the depth maps.
        transform_given: whether the capture told the transform, which was then kept.
    """

    before: DepthFit
    after: DepthFit
    K: Float64[np.ndarray, "3 3"]
    transform_given: bool


@dataclass(frozen=True)
class Placed:
    """An adjusted bundle in the world.

    Attributes:
        camera_from_world: of every view; those that were not adjusted have their given pose.
        points_in_world: of each track, NaN where there is none.
        scale_change: length of the world after ÷ before; 1 where nothing but the given poses tells it.
        follows: whose poses the given ones look like.
        depth: of captures with depth.
    """

    camera_from_world: Float64[np.ndarray, "n 4 4"]
    points_in_world: Float64[np.ndarray, "t 3"]
    scale_change: float
    follows: Literal["color", "depth"]
    depth: PlacedDepth | None


def place(views: RefinementViews, given: Bundle, found: AdjustedBundle, local: LocalFrame) -> Placed:
    """The adjusted bundle under the similarity that brings its cameras to the given ones; the scale is that of the depth maps
    where there are enough of them.

    Args:
        views: with the given poses and depth.
        given: the same sightings with the given lenses and poses.
        found: the adjusted bundle in ``local``.
        local: the frame both are in.
    """
    seen_from = found.bundle.camera_from_local
    usable = found.adjusted if int(found.adjusted.sum()) >= 3 else np.ones(len(seen_from), dtype=bool)
    similarity = _similarity(seen_from[usable], given.camera_from_local[usable])
    depth = _place_depth(views, given, found, local, similarity * local.unit)
    scale = similarity * local.unit if depth is None else depth.after.metres_per_unit
    color_from_depth = np.eye(4) if depth is None else np.linalg.inv(depth.after.depth_from_color)
    placings = [_placing(views, seen_from, usable, scale, local, np.eye(4), "color")]
    if depth is not None:
        placings.append(_placing(views, seen_from, usable, scale, local, color_from_depth, "depth"))
    best = min(placings, key=lambda one: one.rms)
    rotation, offset = best.rotation, best.offset
    poses = views.camera_from_world.copy()
    if best.follows == "depth":  # views that were not adjusted have the depth camera's pose
        poses = np.linalg.inv(np.linalg.inv(poses) @ np.linalg.inv(color_from_depth))
    moved = scale * camera_centers(seen_from) @ rotation.T + offset + local.origin
    turned = seen_from[:, :3, :3] @ rotation.T
    poses[found.adjusted, :3, :3] = turned[found.adjusted]
    poses[found.adjusted, :3, 3] = -np.einsum("nij,nj->ni", turned, moved)[found.adjusted]
    points = scale * found.points_in_local @ rotation.T + offset + local.origin
    return Placed(poses, points, scale / (similarity * local.unit), best.follows, depth)


@dataclass(frozen=True)
class _Placing:
    """A rigid transform to the world, about its local origin, that brings one of the two cameras to the given poses."""

    follows: Literal["color", "depth"]
    rms: float
    rotation: Float64[np.ndarray, "3 3"]
    offset: Float64[np.ndarray, "3"]


def _placing(
    views: RefinementViews,
    seen_from: Float64[np.ndarray, "n 4 4"],
    usable: Bool[np.ndarray, "n"],
    scale: float,
    local: LocalFrame,
    color_from_camera: Float64[np.ndarray, "4 4"],
    follows: Literal["color", "depth"],
) -> _Placing:
    axes = np.swapaxes(seen_from[usable, :3, :3], 1, 2)
    source = scale * camera_centers(seen_from[usable]) + axes @ color_from_camera[:3, 3]
    target = views.centers[usable] - local.origin
    given_axes = np.swapaxes(views.camera_from_world[usable, :3, :3], 1, 2)
    rotation = _rotation_between(source, axes @ color_from_camera[:3, :3], target, given_axes, local.unit)
    offset = (target - source @ rotation.T).mean(axis=0)
    rms = float(np.sqrt(((source @ rotation.T + offset - target) ** 2).sum(axis=1).mean()))
    return _Placing(follows, rms, rotation, offset)


def _similarity(found: Float64[np.ndarray, "n 4 4"], given: Float64[np.ndarray, "n 4 4"]) -> float:
    """How many times larger the given cameras' figure is than the found one's, whatever their rotation: ratio of spreads."""
    spreads = []
    for poses in (found, given):
        centers = camera_centers(poses)
        spreads.append(float(np.sqrt(((centers - np.median(centers, axis=0)) ** 2).sum(axis=1).mean())))
    return spreads[1] / spreads[0] if min(spreads) > 0 else 1.0


def _rotation_between(
    source: Float64[np.ndarray, "n 3"],
    source_axes: Float64[np.ndarray, "n 3 3"],
    target: Float64[np.ndarray, "n 3"],
    target_axes: Float64[np.ndarray, "n 3 3"],
    reach: float,
) -> Float64[np.ndarray, "3 3"]:
    """Rotation that brings centres and the tips of axes of length ``reach`` to each other: defined for cameras on a line too."""
    tips = [source[:, None] + reach * np.swapaxes(source_axes, 1, 2), target[:, None] + reach * np.swapaxes(target_axes, 1, 2)]
    ends = [np.concatenate([centers, tip.reshape(-1, 3)]) for centers, tip in zip((source, target), tips)]
    return fit_similarity(ends[0], ends[1])[1]


def _place_depth(
    views: RefinementViews, given: Bundle, found: AdjustedBundle, local: LocalFrame, metres_per_unit: float
) -> PlacedDepth | None:
    """The depth camera beside the adjusted cameras; None without enough depth."""
    chosen = spread_evenly(tuple(frame for frame, depth in zip(views.frames, views.depth) if depth is not None), _DEPTH_FRAMES)
    names = {frame.name for frame in chosen}
    measured = [view for view, frame in enumerate(views.frames) if frame.name in names]
    sources = [views.depth[view] for view in measured]
    if not sources or sources[0] is None:
        return None
    first = sources[0]
    maps = [source.read() for source in sources if source is not None]
    transform = np.eye(4) if first.color_from_depth is None else np.linalg.inv(first.color_from_depth)
    kept = found.kept & found.adjusted[found.bundle.observations.view]
    sightings = _sightings(found.bundle, found.points_in_local, kept, measured)
    fits = []
    for K in (first.K, *_other_intrinsics(views, found, measured[0])):
        here = DepthSightings(*sightings, maps, K)
        fit = fit_depth(here, DepthFit(metres_per_unit, transform, np.nan, 0), adjust_transform=first.color_from_depth is None)
        fits.append((K, fit))
    if fits[0][1].count < _FEWEST_MEASURED:
        return None
    # A sensor that registers its depth itself, whose colour intrinsics were wrong, has the wrong ones for depth too.
    K, after = min(fits, key=lambda one: one[1].median_error) if first.color_from_depth is None else fits[0]
    points = points_of(given, kept)
    before = measure_depth(
        DepthSightings(*_sightings(given, points, kept, measured), maps, first.K),
        DepthFit(local.unit, transform, np.nan, 0),
    )
    return PlacedDepth(before, after, K, first.color_from_depth is not None)


def _other_intrinsics(views: RefinementViews, found: AdjustedBundle, view: int) -> tuple[Float64[np.ndarray, "3 3"], ...]:
    """Those of the adjusted colour camera at the size of the depth maps, where depth may lie on its pixels."""
    source = views.depth[view]
    if source is None or source.color_from_depth is not None:
        return ()
    lens = found.bundle.lenses[found.bundle.lens_of[view]]
    plain = replace(lens, model="PINHOLE", params=(*map(float, lens.K[[0, 1], [0, 1]]), *map(float, lens.K[:2, 2])))
    return (plain.resized(*source.size).K,)


def _sightings(
    bundle: Bundle, points: Float64[np.ndarray, "t 3"], kept: Bool[np.ndarray, "o"], measured: list[int]
) -> tuple[Float64[np.ndarray, "m 3"], np.ndarray]:
    """Points in the axes of the views that see them, for views with a depth map, and the index of that map."""
    seen = bundle.observations.selected(kept)
    number = np.full(len(bundle.lens_of), -1, dtype=np.int64)
    number[measured] = np.arange(len(measured))
    mine = (number[seen.view] >= 0) & np.isfinite(points[seen.point]).all(axis=1)
    poses = bundle.camera_from_local[seen.view[mine]]
    in_camera = np.einsum("nij,nj->ni", poses[:, :3, :3], points[seen.point[mine]]) + poses[:, :3, 3]
    return in_camera, number[seen.view[mine]]
