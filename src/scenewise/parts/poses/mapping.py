"""Pictures, features and verified pairs in COLMAP's database, and the models its mapper makes of them.

The same bits come out for the same seed: pictures are numbered in the order they are given, every pair is verified with a seed of
its own whatever runs beside it, and the mapper runs on one thread.  The package reads no picture: features and colours are ours.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ConventionError, MissingDependencyError
from scenewise.parts.poses.feature_files import PictureFeatures
from scenewise.parts.poses.matching import match_pictures
from scenewise.parts.poses.settings import PoseSettings

FOCAL_GUESS = 1.2
"""Focal length in units of the longer side where nothing is known; COLMAP's own."""
_PAIRS_PER_COMMIT = 64
_SMALLEST_MODEL = 10
_ENOUGH = 0.9  # share of the pictures in one model that needs no second try
_SECOND_TRY = 1000  # added to the seed
_PAIR_ANGLE_DEG, _SMALL_PAIR_ANGLE_DEG = 16.0, 6.0  # between the first two pictures; films and drones have less


@dataclass(frozen=True)
class MappedPicture:
    """A picture as the mapper needs it.

    Attributes:
        name: in the model.
        camera: index of the camera that took it.
        features: of it, or None where it cannot be used.
    """

    name: str
    camera: int
    features: PictureFeatures | None


@dataclass(frozen=True)
class MappedCamera:
    """A camera that several pictures may share.

    Attributes:
        width: in pixels.
        height: in pixels.
        focal_px: by EXIF, or None.
    """

    width: int
    height: int
    focal_px: float | None


def import_pycolmap() -> Any:
    """The package, told to say nothing but errors.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pycolmap
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pycolmap", needed_for="finding the poses of photographs", extra="sfm") from error
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.ERROR)
    return pycolmap


def write_pictures(database: Path, cameras: Sequence[MappedCamera], pictures: Sequence[MappedPicture]) -> None:
    """A database with cameras, pictures and features, unless it is there."""
    pycolmap = import_pycolmap()
    if database.exists():
        return
    beside = database.with_name(f"new-{database.name}")
    beside.unlink(missing_ok=True)
    opened = pycolmap.Database.open(beside)
    with pycolmap.DatabaseTransaction(opened):
        for index, camera in enumerate(cameras, start=1):
            lens = _lens(index, camera)
            opened.write_camera(lens, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=index)
            rig.add_ref_sensor(lens.sensor_id)
            opened.write_rig(rig, use_rig_id=True)
        for index, picture in enumerate(pictures, start=1):
            image = pycolmap.Image(name=picture.name, camera_id=picture.camera + 1, image_id=index)
            opened.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=index, rig_id=picture.camera + 1)
            frame.add_data_id(image.data_id)
            opened.write_frame(frame, use_frame_id=True)
            if picture.features is not None:
                opened.write_keypoints(index, picture.features.pixels)
    opened.close()
    beside.replace(database)


def match_pairs(
    database: Path,
    cameras: Sequence[MappedCamera],
    pictures: Sequence[MappedPicture],
    pairs: Int64[np.ndarray, "p 2"],
    settings: PoseSettings,
    *,
    pixel_scale: float,
    threads: int,
) -> Iterator[int]:
    """Matches and verifies pairs that the database does not have yet; yields how many are done, ever and again.

    Args:
        database: as :func:`write_pictures` makes it.
        cameras: of the pictures.
        pictures: with features.
        pairs: rows of two indices.
        settings: thresholds.
        pixel_scale: pixels of the full picture per pixel at the working size.
        threads: workers; the result does not depend on them.
    """
    pycolmap = import_pycolmap()
    lenses = [_lens(index, camera) for index, camera in enumerate(cameras, start=1)]
    descriptors = [None if one.features is None else one.features.unit_descriptors() for one in pictures]
    points = [None if one.features is None else one.features.pixels.astype(np.float64) for one in pictures]
    options = _verification(settings, pixel_scale)

    def verified(pair: tuple[int, int]) -> tuple[np.ndarray, Any]:
        first, second = pair
        mine, theirs = descriptors[first], descriptors[second]
        if mine is None or theirs is None:
            return np.zeros((0, 2), np.uint32), None
        matches = match_pictures(mine, theirs, settings)
        if len(matches) < settings.min_inliers:
            return matches, None
        camera, other = lenses[pictures[first].camera], lenses[pictures[second].camera]
        geometry = pycolmap.estimate_two_view_geometry(camera, points[first], other, points[second], matches, options)
        return matches, geometry if len(geometry.inlier_matches) >= settings.min_inliers else None

    opened = pycolmap.Database.open(database)
    missing = [(int(i), int(j)) for i, j in pairs if not opened.exists_matches(int(i) + 1, int(j) + 1)]
    done = len(pairs) - len(missing)
    yield done
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(missing), _PAIRS_PER_COMMIT):
            block = missing[start : start + _PAIRS_PER_COMMIT]
            with pycolmap.DatabaseTransaction(opened):
                for (i, j), (matches, geometry) in zip(block, pool.map(verified, block)):
                    opened.write_matches(i + 1, j + 1, matches)
                    if geometry is not None:
                        opened.write_two_view_geometry(i + 1, j + 1, geometry)
            done += len(block)
            yield done
    opened.close()


def _verification(settings: PoseSettings, pixel_scale: float) -> Any:
    options = import_pycolmap().TwoViewGeometryOptions()
    options.min_num_inliers = settings.min_inliers
    options.ransac.max_error = settings.inlier_px * pixel_scale
    options.ransac.max_num_trials = settings.max_trials
    options.ransac.random_seed = settings.seed
    return options


def _lens(index: int, camera: MappedCamera) -> Any:
    focal = FOCAL_GUESS * max(camera.width, camera.height) if camera.focal_px is None else camera.focal_px
    return import_pycolmap().Camera(
        camera_id=index,
        model="SIMPLE_RADIAL",
        width=camera.width,
        height=camera.height,
        params=[focal, camera.width / 2, camera.height / 2, 0.0],
        has_prior_focal_length=camera.focal_px is not None,
    )


def map_pictures(
    database: Path, count: int, settings: PoseSettings, *, pixel_scale: float, told: Callable[[int], None]
) -> list[Any]:
    """Models of the pictures, that with most of them first.

    Where no model holds most pictures, a second try starts from pairs of smaller angle and another seed; the better one counts.

    Args:
        database: with verified pairs.
        count: pictures.
        settings: seed and limits.
        pixel_scale: pixels of the full picture per pixel at the working size.
        told: how many pictures have a pose so far.

    Returns:
        pycolmap's reconstructions, colourless.

    Raises:
        ConventionError: no picture can be registered.
    """
    models = _mapped(database, count, settings.seed, _PAIR_ANGLE_DEG, settings, pixel_scale, told)
    if not models or models[0].num_reg_images() < _ENOUGH * count:
        seed = settings.seed + _SECOND_TRY
        again = _mapped(database, count, seed, _SMALL_PAIR_ANGLE_DEG, settings, pixel_scale, told)
        if again and (not models or _rank(again[0]) > _rank(models[0])):
            models = again
    if not models:
        raise ConventionError(
            f"{count} pictures",
            expected="at least three that show the same things from different places",
            got="none that can be put together",
            fix="take them so that neighbours share more than half of what they show, moving between them, in focus; "
            "plain walls, mirrors and water give no hold",
        )
    return models


def _rank(model: Any) -> tuple[int, int]:
    return model.num_reg_images(), model.num_points3D()


def _mapped(
    database: Path,
    count: int,
    seed: int,
    angle_deg: float,
    settings: PoseSettings,
    pixel_scale: float,
    told: Callable[[int], None],
) -> list[Any]:
    pycolmap = import_pycolmap()
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = seed
    options.num_threads = options.mapper.num_threads = 1
    options.extract_colors = False
    options.min_num_matches = settings.min_inliers
    options.min_model_size = min(_SMALLEST_MODEL, max(3, count // 2))
    options.ba_global_frames_ratio = options.ba_global_points_ratio = settings.bundle_growth
    options.ba_global_max_num_iterations, options.ba_global_max_refinements = settings.mapping_rounds
    options.ba_local_max_num_iterations, options.ba_local_max_refinements = settings.local_rounds
    options.ba_global_function_tolerance = options.ba_local_function_tolerance = settings.mapping_tolerance
    limit = settings.max_reprojection_px * pixel_scale
    mapper, triangulation = options.mapper, options.triangulation
    mapper.init_min_tri_angle = angle_deg
    mapper.init_max_error = mapper.filter_max_reproj_error = limit
    mapper.abs_pose_max_error = settings.pose_px * pixel_scale
    triangulation.merge_max_reproj_error = triangulation.complete_max_reproj_error = limit
    output = database.parent / "models"
    output.mkdir(exist_ok=True)
    registered = 0

    def more(number: int) -> Callable[[], None]:
        def tell() -> None:
            nonlocal registered
            registered += number
            told(min(registered, count))

        return tell

    models = pycolmap.incremental_mapping(
        database, database.parent, output, options, initial_image_pair_callback=more(2), next_image_callback=more(1)
    )
    return sorted(models.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def color_points(model: Any, pictures: Sequence[MappedPicture]) -> None:
    """Gives each point the mean colour of the places where it is seen."""
    for key in sorted(model.points3D.keys()):
        point = model.points3D[key]
        seen = []
        for element in point.track.elements:
            features = pictures[element.image_id - 1].features
            assert features is not None, "a picture with observations has features"
            seen.append(features.colors_u8[element.point2D_idx])
        point.color = np.rint(np.mean(seen, axis=0)).astype(np.uint8)
