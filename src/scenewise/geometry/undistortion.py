"""The pinhole camera that replaces a lens, and where in the photograph its pixels lie."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64

from scenewise.errors import ConventionError
from scenewise.geometry.lens_cameras import LensCamera, distort
from scenewise.geometry.lens_models import Array

_MAX_HALF_FIELD = math.tan(math.radians(70.0))  # a pinhole image wider than this is mostly stretched rim
_EDGE_TOLERANCE = 0.01  # pixels; sides are found from samples, and the sampling map is clamped to the photograph
_EDGE_SAMPLES = 65  # per side of the candidate rectangle; the lens is smooth at that spacing


@dataclass(frozen=True)
class PinholeImage:
    """The pinhole image that replaces a distorted photograph.

    Attributes:
        K: intrinsics in pixels, pixel centres at half-integers.
        width: in pixels.
        height: in pixels.
    """

    K: Float64[np.ndarray, "3 3"]
    width: int
    height: int


def _seen(
    lens_camera: LensCamera, rays: Float64[np.ndarray, "*batch n 2"], tolerance: float = _EDGE_TOLERANCE
) -> Bool[np.ndarray, "*batch n"]:
    """Rays whose pixel can be interpolated inside the photograph and where the model does not fold back over itself."""
    step = 1e-6
    with np.errstate(all="ignore"):  # far outside its range a polynomial lens overflows; such rays are simply not seen
        pixels = distort(lens_camera, rays)
        d_x = distort(lens_camera, rays + np.array([step, 0.0])) - pixels
        d_y = distort(lens_camera, rays + np.array([0.0, step])) - pixels
        folded = d_x[..., 0] * d_y[..., 1] - d_x[..., 1] * d_y[..., 0] <= 0
        inside = (
            (pixels[..., 0] >= 0.5 - tolerance)
            & (pixels[..., 0] <= lens_camera.width - 0.5 + tolerance)
            & (pixels[..., 1] >= 0.5 - tolerance)
            & (pixels[..., 1] <= lens_camera.height - 0.5 + tolerance)
        )
        return inside & ~folded & (np.abs(rays) <= _MAX_HALF_FIELD).all(axis=-1)


def _border(low: Array, high: Array) -> Array:
    """Points on the sides (top, bottom, left, right) of boxes with corners ``low``, ``high`` [..., 2] → [..., samples, 2]."""
    t = np.linspace(0.0, 1.0, _EDGE_SAMPLES)
    zero, one = np.zeros_like(t), np.ones_like(t)
    unit = np.concatenate([np.stack(side, axis=-1) for side in ((t, zero), (t, one), (zero, t), (one, t))])
    return low[..., None, :] + unit * (high - low)[..., None, :]


def rays_of(lens_camera: LensCamera, pixels: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Rays (X/Z, Y/Z) of pixels: the inverse of ``distort`` by Newton's method from the pinhole's ray.

    NaN or a wrong ray where it does not converge, as beyond the fold of a polynomial lens.
    """
    K, step = lens_camera.K, 1e-7
    focal = np.array([K[0, 0], K[1, 1]])
    rays = (pixels - K[:2, 2]) / focal
    if lens_camera.is_pinhole or not len(pixels):
        return rays
    with np.errstate(all="ignore"):
        for _ in range(20):
            image = distort(lens_camera, rays)
            a, c = ((distort(lens_camera, rays + np.array([step, 0.0])) - image) / step).T
            b, d = ((distort(lens_camera, rays + np.array([0.0, step])) - image) / step).T
            x, y = (pixels - image).T
            update = np.stack([d * x - b * y, a * y - c * x], axis=-1) / (a * d - b * c)[:, None]
            rays = rays + update
            if not np.abs(update).max() > 1e-10:  # so written that NaN ends the loop too
                break
    return rays


def _inner_rectangle(lens_camera: LensCamera) -> tuple[Array, Array] | None:
    """The box between the innermost points of the photograph's four edges in the plane of rays; None when it is not all seen.

    This is the usual construction (OpenCV's ``getOptimalNewCameraMatrix`` with alpha 0) and takes half a millisecond, which
    counts where thousands of photographs have a camera each.
    """
    size = np.array([lens_camera.width, lens_camera.height], dtype=np.float64)
    edges = rays_of(lens_camera, _border(np.array([0.5, 0.5]), size - 0.5)).reshape(4, _EDGE_SAMPLES, 2)
    low = np.array([edges[2, :, 0].max(), edges[0, :, 1].max()])
    high = np.array([edges[3, :, 0].min(), edges[1, :, 1].min()])
    if not (np.isfinite(edges).all() and (low < high).all() and (np.abs(edges) < _MAX_HALF_FIELD).all()):
        return None
    t = np.linspace(0.0, 1.0, 9)
    interior = np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
    probes = np.concatenate([_border(low, high), low + interior * (high - low)])
    if not _seen(lens_camera, probes).all():
        return None
    # The innermost point of an edge may lie beyond the neighbouring side, as with moustache distortion: then a side can move.
    pixel = (high - low) / size
    outward = np.array([[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    moved = np.concatenate([low, high]) + outward * np.concatenate([pixel, pixel])
    if _seen(lens_camera, _border(moved[:, :2], moved[:, 2:]), 2 * _EDGE_TOLERANCE).all(axis=-1).any():
        return _with_sides_moved_out(lens_camera, low, high, high - low, steps=24)
    return low, high


def _largest_step(
    lens_camera: LensCamera, low: Array, high: Array, grow_low: Array, grow_high: Array, steps: int, tolerance: float
) -> float:
    """Largest t in [0, 1] for which the box (low + t·grow_low, high + t·grow_high) and every smaller one are seen."""
    start, stop = 0.0, 1.0
    while stop - start > 1e-5:
        t = np.linspace(start, stop, steps + 1)[1:]  # the smallest box was established before
        boxes = _border(low + t[:, None] * grow_low, high + t[:, None] * grow_high)
        bad = np.flatnonzero(~np.all(_seen(lens_camera, boxes, tolerance), axis=-1))
        if not bad.size:
            return stop
        start, stop = (float(t[bad[0] - 1]) if bad[0] else start), float(t[bad[0]])
    return start


def _with_sides_moved_out(lens_camera: LensCamera, low: Array, high: Array, reach: Array, steps: int) -> tuple[Array, Array]:
    """The box after each side has moved out as far as it can; twice, because moving one side may free another by a little.

    The samples on a side shift when its neighbours move and then meet the photograph's edge elsewhere, so each pass allows a
    hundredth of a pixel more than what the box was found with.
    """
    for tolerance in (2 * _EDGE_TOLERANCE, 3 * _EDGE_TOLERANCE):
        for axis in (0, 1):
            grow = np.zeros(2)
            grow[axis] = reach[axis]
            low = low - _largest_step(lens_camera, low, high, -grow, 0 * grow, steps, tolerance) * grow
            high = high + _largest_step(lens_camera, low, high, 0 * grow, grow, steps, tolerance) * grow
    return low, high


def _grown_rectangle(lens_camera: LensCamera) -> tuple[Array, Array] | None:
    """For lenses whose edges have no ray of their own (wide fisheyes, folding polynomials): a box grown from within.

    It grows around the ray of the image's centre in the photograph's proportions until a side or corner meets the photograph's
    edge, the model's fold or the widest field, then each side grows on alone, until none can be moved further out.
    """
    K = lens_camera.K
    middle = rays_of(lens_camera, np.array([[lens_camera.width / 2, lens_camera.height / 2]]))
    axis_of_lens = np.zeros((1, 2))
    start = next((ray for ray in (middle, axis_of_lens) if _seen(lens_camera, ray).all()), None)
    if start is None:
        return None
    centre = start[0]
    reach = np.array([lens_camera.width / K[0, 0], lens_camera.height / K[1, 1]])
    t = _largest_step(lens_camera, centre, centre, -reach, reach, 50, _EDGE_TOLERANCE)
    return _with_sides_moved_out(
        lens_camera, centre - t * reach, centre + t * reach, np.array([2 * _MAX_HALF_FIELD] * 2), steps=50
    )


@lru_cache(maxsize=16384)  # a camera per photograph must fit; an entry takes half a kilobyte
def undistorted_camera(lens_camera: LensCamera) -> PinholeImage:
    """The largest pinhole image every pixel of which the photograph covers: no black border.

    Pixels keep the photograph's aspect ratio and the image is scaled to fit the photograph's size, so a mild lens loses a few
    rows and a fisheye does not make images larger.  The field is cut at 70° off axis.

    Raises:
        ConventionError: the lens sees nothing around the image's centre (parameters of another camera or unit).
    """
    width, height = lens_camera.width, lens_camera.height
    K = lens_camera.K
    if lens_camera.is_pinhole:
        return PinholeImage(K, width, height)
    rectangle = _inner_rectangle(lens_camera) or _grown_rectangle(lens_camera)
    extent = np.zeros(2)
    if rectangle is not None:  # between outermost pixel centres, in pixels of the photograph's focal length
        extent = (rectangle[1] - rectangle[0]) * np.array([K[0, 0], K[1, 1]])
    if rectangle is None or extent.min() < min(1.0, width - 1, height - 1):
        raise ConventionError(
            f"lens {lens_camera.model} {list(lens_camera.params)}",
            expected=f"a lens that images the centre of {width}×{height} pixels",
            got="next to nothing visible",
            fix="check that the parameters belong to this image size",
        )
    low = rectangle[0]
    zoom = min((size - 1) / length if size > 1 else math.inf for size, length in zip((width, height), extent.tolist()))
    zoom = zoom if math.isfinite(zoom) else 1.0
    fx, fy = zoom * K[0, 0], zoom * K[1, 1]
    new_width, new_height = (
        max(1, min(size, int(length * zoom + 1 + 1e-6))) for size, length in zip((width, height), extent.tolist())
    )
    new_K = np.array([[fx, 0.0, 0.5 - fx * low[0]], [0.0, fy, 0.5 - fy * low[1]], [0.0, 0.0, 1.0]])
    return PinholeImage(new_K, new_width, new_height)


def sampling_map(lens_camera: LensCamera, pinhole: PinholeImage) -> Float32[np.ndarray, "height width 2"]:
    """Where in the photograph each pixel of the pinhole image lies.

    Returns:
        (u, v) in pixels of the photograph, centre of the first pixel at (0.5, 0.5), within the photograph.
    """
    K = pinhole.K
    x = (np.arange(pinhole.width) + 0.5 - K[0, 2]) / K[0, 0]
    y = (np.arange(pinhole.height) + 0.5 - K[1, 2]) / K[1, 1]
    result = np.empty((pinhole.height, pinhole.width, 2), dtype=np.float32)
    rows = max(1, 65536 // pinhole.width)  # strips keep the float64 temporaries in the processor's cache
    for top in range(0, pinhole.height, rows):
        rays = np.stack(np.broadcast_arrays(x[None, :], y[top : top + rows, None]), axis=-1)
        result[top : top + rows] = distort(lens_camera, rays)
    np.clip(result[..., 0], 0.5, lens_camera.width - 0.5, out=result[..., 0])
    np.clip(result[..., 1], 0.5, lens_camera.height - 0.5, out=result[..., 1])
    return result
