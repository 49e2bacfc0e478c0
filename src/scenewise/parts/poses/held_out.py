"""How well a bundle predicts what it has not seen: tracks left out of it, and which lens predicts them best.

The figure of a bundle adjustment itself falls with every parameter that is added.  Here a share of the tracks takes no part in
it; each is then triangulated from all of its observations but one, and the error is measured at that one.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.parts.points.multi_view import Observations, nearest_to_rays, refine_points, reprojection
from scenewise.parts.poses.records import PixelErrors
from scenewise.parts.poses.settings import PoseSettings

_LEAST_OBSERVATIONS = 3  # two to triangulate from, one to measure at
_FEWEST_PICTURES = 8  # fewer, and the tangential terms of a lens take up what belongs to the poses
_SIMPLE, _OPENCV = "SIMPLE_RADIAL", "OPENCV"


@dataclass(frozen=True)
class Tracks:
    """Observations of points in a model, grouped by point.

    Attributes:
        point: index of the point of each observation, 0 … t − 1.
        image_id: of each observation.
        pixels: in the full picture, as photographed.
    """

    point: Int64[np.ndarray, "o"]
    image_id: Int64[np.ndarray, "o"]
    pixels: Float64[np.ndarray, "o 2"]


@dataclass(frozen=True)
class CheckedModel:
    """A model with the lens that predicts best.

    Attributes:
        model: pycolmap's reconstruction, all tracks in its bundle.
        reprojection: of all observations.
        held_out: of observations that were left out.
    """

    model: Any
    reprojection: PixelErrors
    held_out: PixelErrors


def checked_model(model: Any, settings: PoseSettings, *, pixel_scale: float) -> CheckedModel:
    """Measures a model on tracks left out, and takes the lens that the settings name or that predicts them best.

    Args:
        model: pycolmap's reconstruction with SIMPLE_RADIAL cameras; left as it is.
        settings: share left out, seed, lens.
        pixel_scale: pixels of the full picture per pixel at the working size.
    """
    left_out = _choose_tracks(model, settings)
    kept = copy.deepcopy(model)
    tracks = _tracks(model, left_out)
    for point_id in left_out.tolist():
        kept.delete_point3D(point_id)
    errors: dict[str, np.ndarray] = {}
    wanted = _lenses_to_try(model, settings)
    for lens in wanted:
        candidate = copy.deepcopy(kept)
        _take_lens(candidate, lens)
        adjust_bundle(candidate, settings)
        errors[lens] = _errors_left_out(candidate, tracks, settings.seed)
    limit = settings.max_reprojection_px * pixel_scale
    scores = {lens: _score(found, limit) for lens, found in errors.items()}
    best = wanted[0]
    if len(wanted) == 2 and scores[wanted[1]] < (1.0 - settings.gain_of_lens) * scores[wanted[0]]:
        best = wanted[1]
    final = copy.deepcopy(model)
    if best == _OPENCV:
        _take_lens(final, best)
        adjust_bundle(final, settings)
    final.update_point_3d_errors()
    every = np.array(sorted(final.points3D.keys()), dtype=np.int64)
    return CheckedModel(final, _summary(_errors_inside(final, _tracks(final, every), every)), _summary(errors[best]))


def _lenses_to_try(model: Any, settings: PoseSettings) -> tuple[str, ...]:
    if settings.lens != "auto":
        return (settings.lens,)
    return (_SIMPLE,) if model.num_reg_images() < _FEWEST_PICTURES else (_SIMPLE, _OPENCV)


def adjust_bundle(model: Any, settings: PoseSettings) -> None:
    """Bundle adjustment of poses, points, focal lengths and distortion on one thread, so that its sums are in one order."""
    import pycolmap

    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = settings.bundle_rounds
    options.ceres.solver_options.function_tolerance = settings.bundle_tolerance
    pycolmap.bundle_adjustment(model, options)


def _take_lens(model: Any, lens: str) -> None:
    """Turns SIMPLE_RADIAL cameras into OPENCV's, which contain them."""
    import pycolmap

    if lens != _OPENCV:
        return
    for camera in model.cameras.values():
        if camera.model_name == _SIMPLE:
            focal, cx, cy, k = (float(value) for value in camera.params)
            camera.model = pycolmap.CameraModelId.OPENCV
            camera.params = [focal, focal, cx, cy, k, 0.0, 0.0, 0.0]


def _choose_tracks(model: Any, settings: PoseSettings) -> Int64[np.ndarray, "t"]:
    """Identities of the points whose tracks are left out: a share of those that enough pictures see."""
    long = [key for key, point in model.points3D.items() if point.track.length() >= _LEAST_OBSERVATIONS]
    identities = np.array(sorted(long), dtype=np.int64)
    wanted = int(np.ceil(settings.held_out * len(identities)))
    order = np.random.default_rng(settings.seed).permutation(len(identities))
    return np.sort(identities[order[:wanted]])


def _tracks(model: Any, identities: Int64[np.ndarray, "t"]) -> Tracks:
    rows = [
        (index, element.image_id, element.point2D_idx)
        for index, key in enumerate(identities.tolist())
        for element in model.points3D[key].track.elements
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    pixels = np.zeros((len(table), 2))
    for image_id in np.unique(table[:, 1]).tolist():
        mine = np.flatnonzero(table[:, 1] == image_id)
        points = model.images[image_id].points2D
        pixels[mine] = [points[feature].xy for feature in table[mine, 2].tolist()]
    return Tracks(table[:, 0], table[:, 1], pixels)


@dataclass(frozen=True)
class _StraightViews:
    """Registered pictures as pinholes, and observations where a lens without distortion would have them."""

    observations: Observations
    camera_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]


def _straightened(model: Any, tracks: Tracks) -> _StraightViews:
    """The distortion is undone with the model's cameras; errors are then those of the photograph to first order."""
    image_ids = np.unique(tracks.image_id)
    poses = np.tile(np.eye(4), (len(image_ids), 1, 1))
    K = np.tile(np.eye(3), (len(image_ids), 1, 1))
    pixels = np.full((len(tracks.point), 2), np.nan)
    for index, image_id in enumerate(image_ids.tolist()):
        image = model.images[image_id]
        camera = model.cameras[image.camera_id]
        poses[index, :3] = image.cam_from_world().matrix()
        focal = float(camera.mean_focal_length())
        K[index, 0, 0] = K[index, 1, 1] = focal
        mine = tracks.image_id == image_id
        pixels[mine] = focal * np.asarray(camera.cam_from_img(tracks.pixels[mine]))
    views = np.searchsorted(image_ids, tracks.image_id).astype(np.int64)
    return _StraightViews(Observations(tracks.point, views, pixels), poses, K)


def _errors_left_out(model: Any, tracks: Tracks, seed: int) -> Float64[np.ndarray, "e"]:
    """Error of one observation of each track, triangulated from the others, in pixels of the full picture."""
    views = _straightened(model, tracks)
    everything = views.observations
    finite = np.isfinite(everything.pixels).all(axis=1)
    count = int(tracks.point.max()) + 1 if len(tracks.point) else 0
    if count == 0:
        return np.zeros(0)
    # One observation of each track, drawn: the first of each in a random order.
    order = np.random.default_rng(seed + 1).permutation(len(tracks.point))
    _, first = np.unique(tracks.point[order], return_index=True)
    measured = np.zeros(len(tracks.point), dtype=bool)
    measured[order[first]] = True
    others = everything.selected(~measured & finite)
    points = refine_points(
        nearest_to_rays(others, count, views.camera_from_world, views.K), others, views.camera_from_world, views.K
    )
    error, depth = reprojection(points, everything.selected(measured & finite), views.camera_from_world, views.K)
    distance = np.linalg.norm(error, axis=1)
    # A point that cannot be triangulated, or lies behind the camera, is as wrong as can be.
    return np.where((depth > 0) & np.isfinite(distance), distance, np.inf)


def _errors_inside(model: Any, tracks: Tracks, identities: Int64[np.ndarray, "t"]) -> Float64[np.ndarray, "e"]:
    """Errors of all observations in the bundle, in pixels of the full picture."""
    views = _straightened(model, tracks)
    points = np.array([model.points3D[key].xyz for key in identities.tolist()]).reshape(-1, 3)
    error, _ = reprojection(points, views.observations, views.camera_from_world, views.K)
    return np.linalg.norm(error, axis=1)


def _score(errors: Float64[np.ndarray, "e"], limit_px: float) -> float:
    """Mean error, none counted beyond the limit: a few strays must not decide."""
    return float(np.minimum(errors, limit_px).mean()) if len(errors) else np.inf


def _summary(errors: Float64[np.ndarray, "e"]) -> PixelErrors:
    if len(errors) == 0:
        return PixelErrors(0, None, None)
    finite = errors[np.isfinite(errors)]
    median = float(np.median(errors))
    return PixelErrors(len(errors), median if np.isfinite(median) else None, float(finite.mean()) if len(finite) else None)
