"""Bundle adjustment that starts from given poses: tracks triangulated, outliers dropped, everything adjusted, round by round.

Whoever waits for it should call it through :mod:`scenewise.parts.poses.refinement.child`: the package that adjusts is compiled.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.undistortion import rays_of
from scenewise.parts.points.multi_view import Observations, nearest_to_rays, ray_angles, refine_points, reprojection
from scenewise.parts.poses.mapping import import_pycolmap

_DROPS = 3  # of the worst sightings of each point, in each round
_WORTH_A_ROUND = 0.8  # of the limit: a smaller step is not worth one
_SQUARE = 0.02  # relative difference of fx and fy below which a pinhole is taken for one with square pixels


@dataclass(frozen=True)
class BundleSettings:
    """Limits of the adjustment; pixel figures are at the working size.

    Attributes:
        first_factor: the first round keeps sightings within this many times the median error under the given poses.
        final_px: the limit falls to this, and below while ``tight_factor`` times the median error of what agrees is less.
        tight_factor: see there.
        least_px: the limit never falls below.
        tight_rounds: with a limit below ``final_px``, at most.
        falling: from one round to the next the limit falls by this factor at most.
        loss_share: scale of the robust (Cauchy) loss, as a share of the limit.
        least_views: a point needs so many.
        least_angle_deg: widest angle between its rays that a point needs.
        least_sightings: a view with fewer keeps its given pose.
        per_view: so many tracks of each view are used where there are as many.
        iterations: of the solver in a round.
        tolerance: relative change of the cost at which the solver ends.
        seed: of the choice of tracks.
    """

    first_factor: float = 4.0
    final_px: float = 3.0
    tight_factor: float = 4.0
    least_px: float = 0.5
    tight_rounds: int = 3
    falling: float = 3.0
    loss_share: float = 0.25
    least_views: int = 3
    least_angle_deg: float = 1.0
    least_sightings: int = 15
    per_view: int = 800
    iterations: int = 40
    tolerance: float = 1e-5
    seed: int = 0


@dataclass(frozen=True)
class Bundle:
    """Cameras and what they see.

    Attributes:
        lenses: that took the photographs.
        lens_of: index of the lens of each view.
        camera_from_local: poses in a frame whose origin lies among them and whose unit is about their spread.
        observations: sightings in pixels of the photographs, grouped by point.
    """

    lenses: tuple[LensCamera, ...]
    lens_of: Int64[np.ndarray, "n"]
    camera_from_local: Float64[np.ndarray, "n 4 4"]
    observations: Observations


@dataclass(frozen=True)
class AdjustedBundle:
    """A bundle and the points that its sightings agree on.

    Attributes:
        bundle: with lenses and poses as adjusted.
        points_in_local: of each track; NaN where it could not be triangulated.
        kept: sightings that agree with their point.
        adjusted: views with enough of them; the others have kept their pose.
    """

    bundle: Bundle
    points_in_local: Float64[np.ndarray, "t 3"]
    kept: Bool[np.ndarray, "o"]
    adjusted: Bool[np.ndarray, "n"]


def free_lens(lens: LensCamera) -> LensCamera:
    """The lens with distortion to be found: a pinhole becomes SIMPLE_RADIAL, or OPENCV where its pixels are not square."""
    if lens.model not in {"PINHOLE", "SIMPLE_PINHOLE"}:
        return lens
    K = lens.K
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    if abs(fx - fy) <= _SQUARE * min(fx, fy):
        return replace(lens, model="SIMPLE_RADIAL", params=((fx * fy) ** 0.5, cx, cy, 0.0))
    return replace(lens, model="OPENCV", params=(fx, fy, cx, cy, 0.0, 0.0, 0.0, 0.0))


def choose_tracks(observations: Observations, views: int, settings: BundleSettings) -> Bool[np.ndarray, "o"]:
    """Sightings of tracks that suffice: tracks of many views first, until each view has its share.

    Equally long tracks (and all beyond a dozen views) come in a random order, so that they are spread over the image.
    """
    count = int(observations.point.max()) + 1 if len(observations.point) else 0
    length = np.bincount(observations.point, minlength=count)
    shuffled = np.random.default_rng(settings.seed).random(count)
    order = np.lexsort((shuffled, -np.minimum(length, 12)))
    starts = np.searchsorted(observations.point, np.arange(count))
    have, chosen = np.zeros(views, dtype=np.int64), np.zeros(count, dtype=bool)
    for track in order.tolist():
        if length[track] < settings.least_views:
            break
        seen = observations.view[starts[track] : starts[track] + length[track]]
        if (have[seen] < settings.per_view).any():
            chosen[track] = True
            have[seen] += 1
    return chosen[observations.point]


def straightened(bundle: Bundle) -> tuple[Observations, Float64[np.ndarray, "n 3 3"]]:
    """Sightings where a lens without distortion would have them, and the K of each view."""
    K = np.stack([bundle.lenses[index].K for index in bundle.lens_of])
    pixels = np.empty_like(bundle.observations.pixels)
    lens_of_sighting = bundle.lens_of[bundle.observations.view]
    for index, lens in enumerate(bundle.lenses):
        mine = lens_of_sighting == index
        rays = rays_of(lens, bundle.observations.pixels[mine])
        pixels[mine] = rays * lens.K[[0, 1], [0, 1]] + lens.K[:2, 2]
    return replace(bundle.observations, pixels=pixels), K


def triangulated(
    bundle: Bundle, limit_px: float, settings: BundleSettings
) -> tuple[Float64[np.ndarray, "t 3"], Bool[np.ndarray, "o"]]:
    """Points of all tracks under a bundle's cameras, and the sightings within ``limit_px`` of them."""
    seen, K = straightened(bundle)
    poses = bundle.camera_from_local
    count = int(seen.point.max()) + 1 if len(seen.point) else 0
    kept = np.isfinite(seen.pixels).all(axis=1)
    points = np.full((count, 3), np.nan)
    for remaining in reversed(range(_DROPS + 1)):
        current = seen.selected(kept)
        points = refine_points(nearest_to_rays(current, count, poses, K), current, poses, K)
        if remaining:
            error = distances(points, current, poses, K)
            worst = np.zeros(count)
            np.maximum.at(worst, current.point, error)
            # One bad sighting spoils the residuals of the good ones, so only the worst of each point go.
            kept[np.flatnonzero(kept)[(error > limit_px) & (error >= 0.7 * worst[current.point])]] = False
    current = seen.selected(kept)
    error = distances(points, current, poses, K)
    kept[np.flatnonzero(kept)[error > limit_px]] = False
    current = seen.selected(kept)
    views = np.bincount(current.point, minlength=count)
    angle = ray_angles(points, current, poses, count)
    good = (views >= settings.least_views) & (angle >= settings.least_angle_deg) & np.isfinite(points).all(axis=1)
    kept &= good[seen.point]
    return points, kept


def distances(
    points: Float64[np.ndarray, "t 3"],
    observations: Observations,
    camera_from_local: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
) -> Float64[np.ndarray, "o"]:
    """Reprojection errors in pixels; infinite for points behind the camera and those that could not be triangulated."""
    error, _ = reprojection(points, observations, camera_from_local, K)
    distance = np.linalg.norm(error, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)


def points_of(bundle: Bundle, used: Bool[np.ndarray, "o"]) -> Float64[np.ndarray, "t 3"]:
    """Points of all tracks under a bundle's cameras, each from all of its used sightings; NaN where these are too few."""
    seen, K = straightened(bundle)
    count = int(seen.point.max()) + 1 if len(seen.point) else 0
    current = seen.selected(used & np.isfinite(seen.pixels).all(axis=1))
    return refine_points(nearest_to_rays(current, count, bundle.camera_from_local, K), current, bundle.camera_from_local, K)


def errors_of(bundle: Bundle) -> Float64[np.ndarray, "o"]:
    """Reprojection error of every sighting, no outlier dropped, with each track triangulated from all of its sightings."""
    seen, K = straightened(bundle)
    return distances(points_of(bundle, np.ones(len(seen.point), dtype=bool)), seen, bundle.camera_from_local, K)


def limits_px(first: float, settings: BundleSettings, pixel_scale: float) -> list[float]:
    """The limit of each round, from the first down to ``final_px``."""
    last = settings.final_px * pixel_scale
    limits = [max(first, 2.0 * last)]
    while limits[-1] > last * settings.falling:
        limits.append(limits[-1] / settings.falling)
    return [*limits, last]


def adjust(
    bundle: Bundle, settings: BundleSettings, *, pixel_scale: float, told: Callable[[float], None] = lambda share: None
) -> AdjustedBundle:
    """Poses, focal lengths, distortion and points that agree with the sightings.  The same bits for the same input.

    Args:
        bundle: as given, with lenses as they are to be adjusted (:func:`free_lens`) and the sightings to use.
        settings: limits.
        pixel_scale: pixels of the photographs per pixel at the working size.
        told: called with the share of the rounds that are done.

    Raises:
        MissingDependencyError: pycolmap is not installed.
    """
    error = errors_of(bundle)
    finite = error[np.isfinite(error)]
    first = settings.first_factor * float(np.median(finite)) if len(finite) else 0.0
    limits = limits_px(first, settings, pixel_scale)
    rounds = len(limits) + settings.tight_rounds
    for number in range(rounds):
        points, kept = triangulated(bundle, limits[number], settings)
        adjusted = np.bincount(bundle.observations.view[kept], minlength=len(bundle.lens_of)) >= settings.least_sightings
        used = kept & adjusted[bundle.observations.view]
        bundle = _solved(bundle, points, used, settings, settings.loss_share * limits[number])
        told((number + 1) / (rounds + 1))
        if number + 1 == len(limits):
            tighter = max(settings.tight_factor * _middle_error(bundle, used), settings.least_px * pixel_scale)
            if tighter > _WORTH_A_ROUND * limits[-1]:
                break
            limits.append(tighter)
    points, kept = triangulated(bundle, limits[-1], settings)
    adjusted = np.bincount(bundle.observations.view[kept], minlength=len(bundle.lens_of)) >= settings.least_sightings
    return AdjustedBundle(bundle, points, kept, adjusted)


def _middle_error(bundle: Bundle, used: Bool[np.ndarray, "o"]) -> float:
    """Median error of the used sightings, each point from these alone; 0 where there are none."""
    seen, K = straightened(bundle)
    errors = distances(points_of(bundle, used), seen, bundle.camera_from_local, K)[used]
    return float(np.median(errors)) if len(errors) else 0.0


def _solved(
    bundle: Bundle,
    points: Float64[np.ndarray, "t 3"],
    kept: Bool[np.ndarray, "o"],
    settings: BundleSettings,
    loss_px: float,
) -> Bundle:
    """One adjustment of everything that the kept sightings touch."""
    pycolmap = import_pycolmap()
    model = as_model(bundle, points, kept)
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_principal_point = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = loss_px
    solver = options.ceres.solver_options
    solver.num_threads = 1  # sums in one order
    solver.max_num_iterations, solver.function_tolerance = settings.iterations, settings.tolerance
    config = pycolmap.BundleAdjustmentConfig()
    used = np.unique(bundle.observations.view[kept])
    if len(used) < 2:
        return bundle
    for view in used.tolist():
        config.add_image(view + 1)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()
    poses = bundle.camera_from_local.copy()
    for view in used.tolist():
        poses[view, :3] = model.images[view + 1].cam_from_world().matrix()
    lenses = list(bundle.lenses)
    for index in np.unique(bundle.lens_of[used]).tolist():
        lenses[index] = replace(lenses[index], params=tuple(float(value) for value in model.cameras[index + 1].params))
    return replace(bundle, camera_from_local=poses, lenses=tuple(lenses))


def as_model(
    bundle: Bundle,
    points: Float64[np.ndarray, "t 3"],
    kept: Bool[np.ndarray, "o"],
    names: tuple[str, ...] | None = None,
) -> Any:
    """pycolmap's reconstruction of a bundle: lens i is camera i + 1, view i is image i + 1."""
    pycolmap = import_pycolmap()
    model = pycolmap.Reconstruction()
    for index, lens in enumerate(bundle.lenses):
        camera = pycolmap.Camera(
            camera_id=index + 1, model=lens.model, width=lens.width, height=lens.height, params=list(lens.params)
        )
        model.add_camera_with_trivial_rig(camera)
    seen = bundle.observations.selected(kept)
    place = np.zeros(len(seen.view), dtype=np.int64)
    for view, lens_index in enumerate(bundle.lens_of.tolist()):
        mine = np.flatnonzero(seen.view == view)
        place[mine] = np.arange(len(mine))
        name = f"{view:06d}" if names is None else names[view]
        image = pycolmap.Image(name=name, camera_id=lens_index + 1, image_id=view + 1, keypoints=seen.pixels[mine])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(bundle.camera_from_local[view, :3]))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(seen.point) != 0])) if len(seen.point) else np.zeros(0, np.int64)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(seen.point)]):
        elements = [
            pycolmap.TrackElement(view + 1, spot) for view, spot in zip(seen.view[start:end].tolist(), place[start:end].tolist())
        ]
        model.add_point3D(points[seen.point[start]], pycolmap.Track(elements))
    return model
