"""Where the depth camera stands beside the colour camera, and how long the unit of the poses is: points against depth maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

_SLOPE_PIXELS = 3  # depth steps by centimetres from one code to the next; over six pixels that averages out
_SMOOTH = 0.05  # relative difference within those six pixels that makes it an edge
_FIRST_GATE, _LAST_GATE = 0.15, 0.05  # relative residual beyond which a point does not count, falling over the first half
_ITERATIONS = 30
_ROBUST = 3.0  # times the median residual, as scale of the Cauchy weights


@dataclass(frozen=True)
class DepthSightings:
    """Points of a reconstruction in the axes of the colour cameras that see them, with the depth maps of these frames.

    Attributes:
        points_in_color: in the reconstruction's own unit.
        frame: index of the depth map of each.
        depths: metres along +Z of the depth camera, 0 = no measurement.
        K_depth: intrinsics of the depth maps.
    """

    points_in_color: Float64[np.ndarray, "m 3"]
    frame: Int64[np.ndarray, "m"]
    depths: Sequence[Float32[np.ndarray, "_ _"]]
    K_depth: Float64[np.ndarray, "3 3"]


@dataclass(frozen=True)
class DepthFit:
    """How points and depth maps fit together.

    Attributes:
        metres_per_unit: scale of the reconstruction.
        depth_from_color: rigid, metres.
        median_error: median distance along the ray's depth between points and depth maps, metres.
        count: points measured; 0 where none fell on a smooth measured surface.
    """

    metres_per_unit: float
    depth_from_color: Float64[np.ndarray, "4 4"]
    median_error: float
    count: int


def fit_depth(sightings: DepthSightings, start: DepthFit, *, adjust_transform: bool) -> DepthFit:
    """Gauss–Newton on the differences in depth, with Cauchy weights: scale and, if asked for, the six numbers of the transform.

    The residual of a point X = s·R·p + t is z(π(X)) − X_z, divided by X_z², as sensors of structured light and stereo err.
    Steps that a slanted surface would cause are part of the derivative, so that shifts along the image are found too.

    Args:
        sightings: points and depth maps.
        start: where to begin; its error is not read.
        adjust_transform: whether the transform is to be found, or is known.
    """
    scale, transform = start.metres_per_unit, start.depth_from_color.copy()
    for number in range(_ITERATIONS):
        rotated = scale * sightings.points_in_color @ transform[:3, :3].T
        found = _read(sightings, rotated + transform[:3, 3])
        gate = max(_LAST_GATE, _FIRST_GATE - 2 * number / _ITERATIONS * (_FIRST_GATE - _LAST_GATE))
        usable = found.usable & (np.abs(found.residual) <= gate * found.depth)
        if int(usable.sum()) < 16:
            break
        residual = found.residual[usable] / found.depth[usable] ** 2
        width = max(_ROBUST * float(np.median(np.abs(residual))), 1e-6)
        weight = 1.0 / (1.0 + (residual / width) ** 2)
        slope = found.slope[usable] / found.depth[usable, None] ** 2
        columns = [(slope * rotated[usable]).sum(axis=1)[:, None]]  # by the logarithm of the scale
        if adjust_transform:
            columns += [np.cross(rotated[usable], slope), slope]  # by a rotation vector: s·(ω × x) = ω·(x × s); by the shift
        jacobian = np.concatenate(columns, axis=1)
        normal = jacobian.T @ (jacobian * weight[:, None])
        normal += 1e-9 * np.diag(np.diag(normal)) + 1e-15 * np.eye(len(normal))
        step = -np.linalg.solve(normal, jacobian.T @ (residual * weight))
        scale *= float(np.exp(np.clip(step[0], -0.1, 0.1)))
        if adjust_transform:
            transform[:3, :3] = _rotation(step[1:4]) @ transform[:3, :3]
            transform[:3, 3] += step[4:7]
        if np.abs(step).max() < 1e-7:
            break
    return measure_depth(sightings, DepthFit(scale, transform, np.nan, 0))


def measure_depth(sightings: DepthSightings, fit: DepthFit) -> DepthFit:
    """The median error of a fit as it is; points off by more than a half of their depth are occluded, not wrong."""
    moved = fit.metres_per_unit * sightings.points_in_color @ fit.depth_from_color[:3, :3].T + fit.depth_from_color[:3, 3]
    found = _read(sightings, moved)
    usable = found.usable & (np.abs(found.residual) <= 0.5 * found.depth)
    count = int(usable.sum())
    median = float(np.median(np.abs(found.residual[usable]))) if count else float("nan")
    return DepthFit(fit.metres_per_unit, fit.depth_from_color, median, count)


@dataclass(frozen=True)
class _Readings:
    """What depth maps say where points fall.

    Attributes:
        usable: in front, inside the map, on a smooth measured surface.
        depth: read, metres.
        residual: depth read minus depth of the point.
        slope: derivative of the residual by the point.
    """

    usable: Bool[np.ndarray, "m"]
    depth: Float64[np.ndarray, "m"]
    residual: Float64[np.ndarray, "m"]
    slope: Float64[np.ndarray, "m 3"]


def _read(sightings: DepthSightings, points: Float64[np.ndarray, "m 3"]) -> _Readings:
    K, count = sightings.K_depth, len(points)
    z = np.where(points[:, 2] > 1e-6, points[:, 2], np.nan)
    u = K[0, 0] * points[:, 0] / z + K[0, 2]
    v = K[1, 1] * points[:, 1] / z + K[1, 2]
    depth, along_u, along_v = np.full(count, np.nan), np.full(count, np.nan), np.full(count, np.nan)
    reach = _SLOPE_PIXELS
    for frame in np.unique(sightings.frame).tolist():
        values = sightings.depths[frame]
        rows, columns = values.shape
        mine = np.flatnonzero(sightings.frame == frame)
        inside = (u[mine] >= reach + 1) & (u[mine] < columns - reach - 1) & (v[mine] >= reach + 1) & (v[mine] < rows - reach - 1)
        mine = mine[inside]  # NaN compares false
        at = [_bilinear(values, u[mine] + du, v[mine] + dv) for du, dv in _cross(reach)]
        lowest, highest = np.min(at, axis=0), np.max(at, axis=0)
        smooth = (lowest > 0) & (highest - lowest <= _SMOOTH * highest)
        depth[mine] = np.where(smooth, np.mean(at, axis=0), np.nan)
        along_u[mine] = (at[2] - at[1]) / (2 * reach)
        along_v[mine] = (at[4] - at[3]) / (2 * reach)
    usable = np.isfinite(depth)
    by_x, by_y = along_u * K[0, 0] / z, along_v * K[1, 1] / z
    slope = np.stack([by_x, by_y, -by_x * points[:, 0] / z - by_y * points[:, 1] / z - 1.0], axis=1)
    return _Readings(usable, depth, depth - z, slope)


def _cross(reach: int) -> tuple[tuple[int, int], ...]:
    return (0, 0), (-reach, 0), (reach, 0), (0, -reach), (0, reach)


def _bilinear(
    values: Float32[np.ndarray, "rows columns"], u: Float64[np.ndarray, "k"], v: Float64[np.ndarray, "k"]
) -> Float64[np.ndarray, "k"]:
    """Depth between pixel centres; 0 where one of the four was not measured."""
    left, top = np.floor(u - 0.5).astype(np.int64), np.floor(v - 0.5).astype(np.int64)
    a, b = u - 0.5 - left, v - 0.5 - top
    corners = [values[top + dv, left + du].astype(np.float64) for dv in (0, 1) for du in (0, 1)]
    weights = [(1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a]
    mean = sum(weight * corner for weight, corner in zip(weights, corners))
    return np.where(np.min(corners, axis=0) > 0, mean, 0.0)


def _rotation(vector: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())
