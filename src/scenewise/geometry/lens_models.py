"""Lens models: how each bends a ray before it meets the focal plane.

Names, parameter order and formulas are COLMAP's (https://colmap.github.io/cameras.html).  With ``x = X/Z, y = Y/Z`` a model bends
``(x, y)`` to ``(x', y')`` and then ``u = fx·x' + cx, v = fy·y' + cy``; the centre of the first pixel is (0.5, 0.5).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
_Bend = Callable[[Array, Array, Sequence[float]], tuple[Array, Array]]

_SMALL_ANGLE = 1e-9  # below it θ/r and tan⁻¹(r·t)/r are taken at their limit


def straight(x: Array, y: Array, _: Sequence[float]) -> tuple[Array, Array]:
    """No bending: a pinhole."""
    return x, y


def _radial(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    r2 = x * x + y * y
    factor = 1 + r2 * (k[0] + (r2 * k[1] if len(k) > 1 else 0.0))
    return x * factor, y * factor


def _tangential(x: Array, y: Array, r2: Array, p1: float, p2: float) -> tuple[Array, Array]:
    """Decentring of Brown 1966 in OpenCV's order."""
    return 2 * p1 * x * y + p2 * (r2 + 2 * x * x), 2 * p2 * x * y + p1 * (r2 + 2 * y * y)


def _opencv(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    k1, k2, p1, p2 = k
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * k2)
    dx, dy = _tangential(x, y, r2, p1, p2)
    return x * radial + dx, y * radial + dy


def _full_opencv(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    k1, k2, p1, p2, k3, k4, k5, k6 = k
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    dx, dy = _tangential(x, y, r2, p1, p2)
    return x * radial + dx, y * radial + dy


def _equidistant(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    """θ_d = θ·(1 + k₁θ² + k₂θ⁴ + …) along the ray's direction (Kannala & Brandt 2006)."""
    r = np.sqrt(x * x + y * y)
    theta = np.arctan(r)
    t2 = theta * theta
    series = np.zeros_like(t2)
    for coefficient in reversed(k):
        series = t2 * (coefficient + series)
    factor = np.where(r > _SMALL_ANGLE, theta / np.maximum(r, _SMALL_ANGLE), 1.0) * (1 + series)
    return x * factor, y * factor


def _thin_prism_fisheye(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    k1, k2, p1, p2, k3, k4, sx1, sy1 = k
    x, y = _equidistant(x, y, ())
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    dx, dy = _tangential(x, y, r2, p1, p2)
    return x * radial + dx + sx1 * r2, y * radial + dy + sy1 * r2


def _rad_tan_thin_prism_fisheye(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    """Six radial terms of the angle, then decentring (p₀ along x) and a four-term thin prism: "Fisheye624"."""
    p0, p1, s0, s1, s2, s3 = k[6:]
    x, y = _equidistant(x, y, k[:6])
    r2 = x * x + y * y
    dx, dy = _tangential(x, y, r2, p1, p0)
    return x + dx + r2 * (s0 + r2 * s1), y + dy + r2 * (s2 + r2 * s3)


def _fov(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    """r_d = tan⁻¹(2·r·tan(ω/2)) / ω (Devernay & Faugeras 2001)."""
    omega = k[0]
    if abs(omega) < 1e-6:  # the limit ω → 0 is a pinhole
        return x, y
    slope = 2 * math.tan(omega / 2)
    r = np.sqrt(x * x + y * y)
    factor = np.where(r > _SMALL_ANGLE, np.arctan(slope * r) / (np.maximum(r, _SMALL_ANGLE) * omega), slope / omega)
    return x * factor, y * factor


def _division(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    """Inverse of r = r_d / (1 + k·r_d²) (Fitzgibbon 2001); NaN for rays that the lens does not see."""
    discriminant = 1 - 4 * k[0] * (x * x + y * y)
    factor = 2 / (1 + np.sqrt(np.where(discriminant >= 0, discriminant, np.nan)))
    return x * factor, y * factor


def _eucm(x: Array, y: Array, k: Sequence[float]) -> tuple[Array, Array]:
    """(x, y) / (α·√(β·r² + 1) + 1 − α) (Khomutenko et al. 2016, "An enhanced unified camera model")."""
    alpha, beta = k
    factor = 1 / (alpha * np.sqrt(beta * (x * x + y * y) + 1) + 1 - alpha)
    return x * factor, y * factor


@dataclass(frozen=True)
class LensModel:
    """One of COLMAP's models.

    Attributes:
        model_id: COLMAP's number.
        focal_lengths: one, or one for each axis.
        extra: number of parameters behind the principal point.
        bend: from (X/Z, Y/Z) and those parameters to the place on a focal plane at distance 1.
        fisheye: whether it bends even where all further parameters are zero.
    """

    model_id: int
    focal_lengths: int
    extra: int
    bend: _Bend
    fisheye: bool = False


LENS_MODELS: dict[str, LensModel] = {
    "SIMPLE_PINHOLE": LensModel(0, 1, 0, straight),
    "PINHOLE": LensModel(1, 2, 0, straight),
    "SIMPLE_RADIAL": LensModel(2, 1, 1, _radial),
    "RADIAL": LensModel(3, 1, 2, _radial),
    "OPENCV": LensModel(4, 2, 4, _opencv),
    "OPENCV_FISHEYE": LensModel(5, 2, 4, _equidistant, fisheye=True),
    "FULL_OPENCV": LensModel(6, 2, 8, _full_opencv),
    "FOV": LensModel(7, 2, 1, _fov, fisheye=True),
    "SIMPLE_RADIAL_FISHEYE": LensModel(8, 1, 1, _equidistant, fisheye=True),
    "RADIAL_FISHEYE": LensModel(9, 1, 2, _equidistant, fisheye=True),
    "THIN_PRISM_FISHEYE": LensModel(10, 2, 8, _thin_prism_fisheye, fisheye=True),
    "RAD_TAN_THIN_PRISM_FISHEYE": LensModel(11, 2, 12, _rad_tan_thin_prism_fisheye, fisheye=True),
    "SIMPLE_DIVISION": LensModel(12, 1, 1, _division),
    "DIVISION": LensModel(13, 2, 1, _division),
    "SIMPLE_FISHEYE": LensModel(14, 1, 0, _equidistant, fisheye=True),
    "FISHEYE": LensModel(15, 2, 0, _equidistant, fisheye=True),
    "EUCM": LensModel(16, 2, 2, _eucm, fisheye=True),
}
"""COLMAP's models by name.  EQUIRECTANGULAR (17) is absent: no pinhole image can hold a full panorama."""

MODEL_NAMES = {lens.model_id: name for name, lens in LENS_MODELS.items()} | {17: "EQUIRECTANGULAR"}
"""Name by COLMAP's number."""

PANORAMAS = frozenset({"EQUIRECTANGULAR", "SPHERICAL", "PANORAMA"})
"""What tools call a camera that sees all around."""

CUT_PANORAMAS = (
    "cut the panoramas into pinhole views before reconstructing, for example with COLMAP's panorama_sfm.py or "
    "`ns-process-data images --camera-type equirectangular --images-per-equirect 8`"
)
