"""Depth measured by one camera, seen from another: lifted, moved, projected, the nearest in front."""

import numpy as np
from jaxtyping import Float32, Float64

_SLACK = 1.01  # neighbouring footprints overlap by a hundredth of a pixel's width, so that rounding leaves no gap
_SURFACE_STEP = 0.05  # neighbours whose depths differ by less are taken for one surface
_MOST_STRETCH = 2.0  # a surface seen more steeply than that by the other camera keeps its gaps


def registered_depth(
    depth: Float32[np.ndarray, "rows columns"],
    K_depth: Float64[np.ndarray, "3 3"],
    color_from_depth: Float64[np.ndarray, "4 4"],
    K_color: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
) -> Float32[np.ndarray, "height width"]:
    """Depth on the pixel grid of a colour camera, with occlusion.

    Each measurement covers a rectangle of colour pixels as large as its own pixel appears there: the ratio of the focal lengths
    times that of the depths, or the distance to its neighbours on the same surface where that is larger.  So a near surface has
    no gaps through which a far one could show.  Of several measurements on a pixel the nearest counts.

    Args:
        depth: along +Z of the depth camera, any unit, 0 = no measurement.
        K_depth: intrinsics of ``depth``'s pixels, centres at half-integers.
        color_from_depth: rigid, in the unit of ``depth``.
        K_color: intrinsics of the colour image without distortion.
        width: of the colour image, pixels.
        height: of the colour image, pixels.

    Returns:
        Depth along +Z of the colour camera in the same unit; 0 where nothing was measured or the depth camera could not see.
    """
    rows, columns = depth.shape
    matrix = color_from_depth.astype(np.float32)
    across = ((np.arange(columns) + 0.5 - K_depth[0, 2]) / K_depth[0, 0]).astype(np.float32)[None, :]
    down = ((np.arange(rows) + 0.5 - K_depth[1, 2]) / K_depth[1, 1]).astype(np.float32)[:, None]
    measured = np.isfinite(depth) & (depth > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(measured, depth, np.float32(np.nan))
        x_color, y_color, z_color = (
            z * (axis[0] * across + axis[1] * down + axis[2]) + axis[3] for axis in (matrix[0], matrix[1], matrix[2])
        )
        z_color = np.where(z_color > 0, z_color, np.float32(np.nan))
        u = np.float32(K_color[0, 0]) * x_color / z_color + np.float32(K_color[0, 2])
        v = np.float32(K_color[1, 1]) * y_color / z_color + np.float32(K_color[1, 2])
        shrink = z / z_color
        half_u = _half_footprint(u, z, np.float32(K_color[0, 0] / K_depth[0, 0]) * shrink, axis=1)
        half_v = _half_footprint(v, z, np.float32(K_color[1, 1] / K_depth[1, 1]) * shrink, axis=0)
        usable = np.isfinite(u) & np.isfinite(v)
        usable &= (u + half_u > 0) & (u - half_u < width) & (v + half_v > 0) & (v - half_v < height)
    u, v, half_u, half_v, z_color = u[usable], v[usable], half_u[usable], half_v[usable], z_color[usable]
    left, right = _covered(u, half_u, width)
    top, bottom = _covered(v, half_v, height)
    nearest = np.full(height * width, np.inf, dtype=np.float32)
    for step_v in range(int((bottom - top).max(initial=-1)) + 1):
        row = top + step_v
        in_rows = np.flatnonzero(row <= bottom)
        for step_u in range(int((right - left)[in_rows].max(initial=-1)) + 1):
            column = left[in_rows] + step_u
            hit = column <= right[in_rows]
            which = in_rows[hit]
            np.minimum.at(nearest, row[which] * width + column[hit], z_color[which])
    return np.where(np.isfinite(nearest), nearest, np.float32(0)).reshape(height, width)


def _half_footprint(
    position: Float32[np.ndarray, "rows columns"],
    depth: Float32[np.ndarray, "rows columns"],
    pixel: Float32[np.ndarray, "rows columns"],
    axis: int,
) -> Float32[np.ndarray, "rows columns"]:
    """Half the extent of each measurement along an axis of the colour image.

    Args:
        position: along that axis in colour pixels, NaN where nothing is measured.
        depth: as measured, NaN likewise.
        pixel: extent of a depth pixel that faces the camera.
        axis: of the depth map, along which its neighbours lie.
    """
    one, two = [slice(None), slice(None)], [slice(None), slice(None)]
    one[axis], two[axis] = slice(None, -1), slice(1, None)
    before, after = tuple(one), tuple(two)
    near = np.abs(depth[after] - depth[before]) < _SURFACE_STEP * depth[before]  # NaN compares false
    spacing = np.where(near, np.abs(position[after] - position[before]), np.float32(0))
    extent = pixel.copy()
    extent[before] = np.fmax(extent[before], np.fmin(spacing, _MOST_STRETCH * pixel[before]))
    extent[after] = np.fmax(extent[after], np.fmin(spacing, _MOST_STRETCH * pixel[after]))
    return np.float32(0.5 * _SLACK) * extent


def _covered(position: Float32[np.ndarray, "n"], half: Float32[np.ndarray, "n"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last pixel whose centre lies within ``half`` of a position, at least the one it lies in; clipped to the image."""
    own = np.floor(position)
    first = np.minimum(np.ceil(position - half - np.float32(0.5)), own)
    last = np.maximum(np.floor(position + half - np.float32(0.5)), own)
    return np.maximum(first, 0).astype(np.int64), np.minimum(last, count - 1).astype(np.int64)
