"""Rigid and similarity transforms, named ``target_from_source``."""

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes: OpenGL looks along −Z with +Y up, OpenCV along +Z with +Y down."""


def transform_points(
    target_from_source: Float64[np.ndarray, "4 4"], points_in_source: Float64[np.ndarray, "*batch 3"]
) -> Float64[np.ndarray, "*batch 3"]:
    """Points moved by a 4×4 affine transform (last row 0 0 0 1)."""
    return points_in_source @ target_from_source[:3, :3].T + target_from_source[:3, 3]


def fit_similarity(
    points_in_source: Float64[np.ndarray, "n 3"], points_in_target: Float64[np.ndarray, "n 3"]
) -> tuple[float, Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]:
    """Least-squares ``target ≈ scale · R · source + offset``.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", Eq. 40–42.

    Returns:
        scale > 0, proper rotation R, offset.

    Raises:
        ConventionError: fewer than three points, or points on one line (the rotation about it is undetermined).
    """
    if len(points_in_source) < 3:
        raise ConventionError("fit_similarity", expected="at least 3 points", got=len(points_in_source))
    source_mean, target_mean = points_in_source.mean(0), points_in_target.mean(0)
    source, target = points_in_source - source_mean, points_in_target - target_mean
    covariance = target.T @ source / len(source)
    u, singular, vt = np.linalg.svd(covariance)
    if singular[1] < 1e-9 * max(singular[0], 1e-300):
        raise ConventionError(
            "fit_similarity", expected="points that span a plane", got="points on one line", fix="add positions off that line"
        )
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / (source**2).sum() * len(source))
    return scale, rotation, target_mean - scale * rotation @ source_mean
