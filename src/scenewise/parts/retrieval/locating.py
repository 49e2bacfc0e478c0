"""Where a picture was taken in a scene of which some hundred key points are kept.

Key points of the picture are of no use for that: both sets cover what they are of, each in its own way, and two of one place
lie decimetres apart.  Each of the scene's is sought among all cells of the picture instead.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from scenewise.errors import MissingDependencyError
from scenewise.geometry.transforms import transform_points
from scenewise.parts.retrieval.keypoints import KeyPoints
from scenewise.teachers.consistent import PictureFeatures

LEAST_INLIERS = 6
"""Key points that must be seen where they are found before there is a camera at all; three always are, five by chance."""
_LEAST_FIT, _LEAST_SHARE = 18.0, 0.06
"""Fit and share of the key points in view that agree from which a camera is believed.  Of rooms that a picture does not show, the
best cameras stand far outside, see the whole of it as a few cells, and reach fits of 23 with 5 % of the key points; those of the
right room have 9 % and more."""
_REPROJECTION = 1.25  # cells of the 2D branch between a key point and where it is found
_TRIES = 4000
_NEAREST = 0.2  # metres in front of a camera
_FEW = 30.0  # key points in view: of fewer, a mean tells little
_WINDOWS = (4, 3, 2, 2)  # cells around where a camera sees a key point
_LIKE = 1.0  # deviations that a cell must be more like a key point than the others are
_LOSS_CELLS = 0.75  # cells off from which a key point counts less
_WORSE = 1.0


@dataclass(frozen=True)
class CameraPose:
    """Where a picture was taken from.

    Attributes:
        camera_from_world: rigid 4×4, OpenCV axes.
        inliers: key points that are found where this camera sees them.
        in_view: key points in its field of view; others may hide some.
        focal: pixels; as given.
        fit: Σ z / √in_view, z = how much more like the key point the cell is that shows it than the other cells of the picture,
            in deviations: tells cameras apart, of one scene and of several; before the camera is settled, which raises that of
            wrong ones as well.
    """

    camera_from_world: Float64[np.ndarray, "4 4"]
    inliers: int
    in_view: int
    focal: float
    fit: float

    @property
    def is_believed(self) -> bool:
        """Its key points are like what the picture shows there, as no camera makes them by chance."""
        return self.fit >= _LEAST_FIT and self.inliers >= _LEAST_SHARE * self.in_view


@dataclass(frozen=True)
class Sightings:
    """How like the cells of a picture the key points of a scene are, and where each is found.

    Attributes:
        positions: of all key points.
        likeness: of each with each cell, in deviations from its mean over the picture.
        rows: key points that no other one is more like the cell than, which they are most like.
        pixels: where these are found, between cells; (u, v).
        width: of the picture, pixels.
        height: likewise.
    """

    positions: Float64[np.ndarray, "n 3"]
    likeness: Float32[np.ndarray, "n rows columns"]
    rows: Int64[np.ndarray, "found"]
    pixels: Float64[np.ndarray, "found 2"]
    width: int
    height: int


def sightings(seen: PictureFeatures, held: KeyPoints) -> Sightings:
    """Seeks key points in a picture.

    Args:
        seen: the picture's cells.
        held: key points of a scene, at least one.
    """
    rows, columns, dim = seen.features.shape
    cosines = held.features @ seen.features.reshape(-1, dim).T
    best = cosines.argmax(axis=1)
    found = np.nonzero(cosines[np.arange(len(held)), best] >= cosines[:, best].max(axis=0))[0]
    mean, deviation = cosines.mean(axis=1, keepdims=True), cosines.std(axis=1, keepdims=True)
    likeness = ((cosines - mean) / np.maximum(deviation, 1e-6)).reshape(-1, rows, columns)
    row, column = best[found] // columns, best[found] % columns
    v, u = _between_cells(likeness[found], row, column)
    pixels = np.stack([(u + 0.5) * seen.width / columns, (v + 0.5) * seen.height / rows], axis=1)
    return Sightings(held.positions.astype(np.float64), likeness, found, pixels, seen.width, seen.height)


def _between_cells(
    maps: Float32[np.ndarray, "m rows columns"], row: Int64[np.ndarray, "m"], column: Int64[np.ndarray, "m"]
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "m"]]:
    """Row and column of each map's maximum: the peak of the parabola through it and its neighbours, each way."""
    number = np.arange(len(maps))

    def at(down: int, right: int) -> Float64[np.ndarray, " m"]:
        rows = np.clip(row + down, 0, maps.shape[1] - 1)
        values: Float64[np.ndarray, " m"] = maps[number, rows, np.clip(column + right, 0, maps.shape[2] - 1)].astype(np.float64)
        return values

    def peak(before: Float64[np.ndarray, " m"], after: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
        bend = before - 2.0 * at(0, 0) + after
        return np.where(bend < -1e-9, np.clip(0.5 * (before - after) / np.minimum(bend, -1e-9), -0.5, 0.5), 0.0)

    return row + peak(at(-1, 0), at(1, 0)), column + peak(at(0, -1), at(0, 1))


def camera_pose(found: Sightings, K: Float64[np.ndarray, "3 3"]) -> CameraPose | None:
    """The camera that sees most key points where they are found (LO-RANSAC of PoseLib on three-point poses, refined on all that
    agree); not yet settled.

    Args:
        found: key points in the picture.
        K: of the picture.

    Returns:
        None where fewer than six are.

    Raises:
        MissingDependencyError: PoseLib is not installed.
    """
    try:
        import poselib
    except ImportError as error:
        raise MissingDependencyError("poselib", needed_for="finding where a picture was taken", extra="library") from error
    if len(found.rows) < LEAST_INLIERS:
        return None
    limits: dict[str, float] = {
        "max_error": _REPROJECTION * found.width / found.likeness.shape[2],
        "max_iterations": _TRIES,
        "min_iterations": 100,
        "seed": 0,
    }
    pose, facts = poselib.estimate_absolute_pose(found.pixels, found.positions[found.rows], _camera(found, K), limits, {})
    if int(np.count_nonzero(facts["inliers"])) < LEAST_INLIERS:
        return None
    camera_from_world = np.eye(4)
    camera_from_world[:3] = np.asarray(pose.Rt)
    return _described(found, K, camera_from_world)


def _camera(found: Sightings, K: Float64[np.ndarray, "3 3"]) -> dict[str, object]:
    """As PoseLib takes it."""
    numbers = [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])]
    return {"model": "PINHOLE", "width": found.width, "height": found.height, "params": numbers}


def settled(found: Sightings, K: Float64[np.ndarray, "3 3"], camera: CameraPose) -> CameraPose:
    """The camera moved to where it sees all its key points near cells that are like them: those too that are found elsewhere,
    at something of the same design.

    Each key point in view is sought again around where the camera sees it, and the pose is fitted to all that are found, those
    far off counting less and less; around that pose in ever smaller windows.
    """
    import poselib

    pose = poselib.CameraPose()
    best = camera
    rows, columns = found.likeness.shape[1:]
    cell = np.array([found.width / columns, found.height / rows])
    dictionary = _camera(found, K)
    for radius in _WINDOWS:
        at = transform_points(best.camera_from_world, found.positions) @ K.T
        where = at[:, :2] / np.maximum(at[:, 2:], 1e-9) / cell
        inside = (at[:, 2] > _NEAREST) & (where >= 0).all(axis=1) & (where < [columns, rows]).all(axis=1)
        row, column = _peaks(found.likeness, np.nonzero(inside)[0], where[inside].astype(np.int64), radius)
        maps = found.likeness[inside]
        sure = maps[np.arange(len(maps)), row, column] > _LIKE
        if int(sure.sum()) < LEAST_INLIERS:
            break
        v, u = _between_cells(maps[sure], row[sure], column[sure])
        pixels = np.stack([u + 0.5, v + 0.5], axis=1) * cell
        pose.R, pose.t = best.camera_from_world[:3, :3], best.camera_from_world[:3, 3]
        limits = {"loss_type": "CAUCHY", "loss_scale": float(_LOSS_CELLS * cell[0])}
        refined, _ = poselib.refine_absolute_pose(pixels, found.positions[inside][sure], pose, dictionary, limits)
        camera_from_world = np.eye(4)
        camera_from_world[:3] = np.asarray(refined.Rt)
        moved = _described(found, K, camera_from_world)
        if moved.fit < best.fit - _WORSE:
            break
        best = moved
    return replace(best, fit=camera.fit)


def _peaks(
    likeness: Float32[np.ndarray, "n rows columns"],
    chosen: Int64[np.ndarray, "m"],
    around: Int64[np.ndarray, "m 2"],
    radius: int,
) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
    """Row and column of the cell most like each chosen key point, at most ``radius`` cells from (column, row)."""
    steps = np.arange(-radius, radius + 1)
    rows = np.clip(around[:, 1, None, None] + steps[:, None], 0, likeness.shape[1] - 1)
    columns = np.clip(around[:, 0, None, None] + steps[None, :], 0, likeness.shape[2] - 1)
    rows, columns = np.broadcast_arrays(rows, columns)
    values = likeness[chosen[:, None, None], rows, columns].reshape(len(chosen), -1)
    best = values.argmax(axis=1)
    number = np.arange(len(chosen))
    return rows.reshape(len(chosen), -1)[number, best], columns.reshape(len(chosen), -1)[number, best]


def _fits(
    found: Sightings,
    K: Float64[np.ndarray, "3 3"],
    poses: Float64[np.ndarray, "k 4 4"],
    among: Int64[np.ndarray, "near"],
) -> tuple[Float64[np.ndarray, "k"], Int64[np.ndarray, "k"]]:
    """Fit of each camera and how many key points are in its view."""
    rows, columns = found.likeness.shape[1:]
    in_camera = np.einsum("kij,nj->kni", poses[:, :3, :3], found.positions[among]) + poses[:, None, :3, 3]
    depth = np.maximum(in_camera[..., 2], 1e-9)
    u = (in_camera[..., 0] * K[0, 0] / depth + K[0, 2]) * columns / found.width
    v = (in_camera[..., 1] * K[1, 1] / depth + K[1, 2]) * rows / found.height
    is_seen: Bool[np.ndarray, "k near"] = (in_camera[..., 2] > _NEAREST) & (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
    column, row = np.clip(u, 0, columns - 1).astype(np.int64), np.clip(v, 0, rows - 1).astype(np.int64)
    likeness = np.where(is_seen, found.likeness[among[None], row, column], 0.0).sum(axis=1)
    count: Int64[np.ndarray, " k"] = is_seen.sum(axis=1)
    return likeness / np.sqrt(np.maximum(count, _FEW)), count


def _described(found: Sightings, K: Float64[np.ndarray, "3 3"], camera_from_world: Float64[np.ndarray, "4 4"]) -> CameraPose:
    fits, count = _fits(found, K, camera_from_world[None], np.arange(len(found.positions)))
    at = transform_points(camera_from_world, found.positions[found.rows]) @ K.T
    pixels = at[:, :2] / np.maximum(at[:, 2:], 1e-9)
    limit = _REPROJECTION * found.width / found.likeness.shape[2]
    agrees = (at[:, 2] > 0) & (np.linalg.norm(pixels - found.pixels, axis=1) < limit)
    return CameraPose(camera_from_world, int(agrees.sum()), int(count[0]), float(K[0, 0]), float(fits[0]))
