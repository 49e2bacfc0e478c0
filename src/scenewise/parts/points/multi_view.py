"""Many points at once from their sightings in many views: linear triangulation, refinement, residuals.

No loop runs over points; sums per point are weighted bin counts.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.geometry.view_overlap import camera_centers


@dataclass(frozen=True)
class Observations:
    """Sightings of points: observation o is the ray of point ``point[o]`` from view ``view[o]``."""

    point: Int64[np.ndarray, "o"]
    view: Int64[np.ndarray, "o"]
    pixels: Float64[np.ndarray, "o 2"]

    def selected(self, keep: Bool[np.ndarray, "o"]) -> "Observations":
        """The observations where ``keep`` holds."""
        return Observations(self.point[keep], self.view[keep], self.pixels[keep])


def nearest_to_rays(
    observations: Observations, count: int, camera_from_world: Float64[np.ndarray, "n 4 4"], K: Float64[np.ndarray, "n 3 3"]
) -> Float64[np.ndarray, "t 3"]:
    """Linear triangulation: the point with the least sum of squared distances to its rays, Σ(I − ddᵀ)·x = Σ(I − ddᵀ)·c.

    Points with fewer than two rays, or parallel ones, come out NaN.
    """
    ray = _observation_rays(observations, camera_from_world, K)
    across = np.eye(3) - ray[:, :, None] * ray[:, None, :]
    centers = camera_centers(camera_from_world)[observations.view]
    normal = sum_by_point(across, observations.point, count)
    moment = sum_by_point(np.einsum("oij,oj->oi", across, centers), observations.point, count)
    determinant = np.linalg.det(normal)
    solvable = determinant > 1e-12
    points = np.full((count, 3), np.nan)
    points[solvable] = np.linalg.solve(normal[solvable], moment[solvable][:, :, None])[:, :, 0]
    return points


def refine_points(
    points_in_world: Float64[np.ndarray, "t 3"],
    observations: Observations,
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    *,
    iterations: int = 4,
) -> Float64[np.ndarray, "t 3"]:
    """Gauss–Newton on the squared reprojection error of each point alone; a step that does not lower the error is not taken."""
    count = len(points_in_world)
    points = points_in_world.copy()
    rotation = camera_from_world[observations.view, :3, :3]
    intrinsics = K[observations.view]
    error, _ = reprojection(points, observations, camera_from_world, K)
    cost = np.bincount(observations.point, weights=(error**2).sum(axis=1), minlength=count)
    for _ in range(iterations):
        in_camera = np.einsum("oij,oj->oi", rotation, points[observations.point]) + camera_from_world[observations.view, :3, 3]
        z = np.where(in_camera[:, 2] > 0, in_camera[:, 2], np.nan)
        # ∂pixel/∂camera point = (K₂ₓ₃ − pixel·(0 0 1)) / z, then the camera's rotation.
        projected = error + observations.pixels
        flat = intrinsics[:, :2, :].copy()
        flat[:, :, 2] -= projected
        jacobian = np.einsum("oij,ojk->oik", flat / z[:, None, None], rotation)
        normal = sum_by_point(np.einsum("oij,oik->ojk", jacobian, jacobian), observations.point, count)
        gradient = sum_by_point(np.einsum("oij,oi->oj", jacobian, error), observations.point, count)
        trace = np.trace(normal, axis1=1, axis2=2)
        usable = np.isfinite(trace) & np.isfinite(gradient).all(axis=1) & (trace > 0)
        step = np.zeros((count, 3))
        damped = normal[usable] + 1e-9 * trace[usable, None, None] * np.eye(3)
        step[usable] = np.linalg.solve(damped, gradient[usable][:, :, None])[:, :, 0]
        moved = points - step
        new_error, _ = reprojection(moved, observations, camera_from_world, K)
        new_cost = np.bincount(observations.point, weights=(new_error**2).sum(axis=1), minlength=count)
        better = new_cost < cost  # NaN compares false
        points = np.where(better[:, None], moved, points)
        cost = np.where(better, new_cost, cost)
        error = np.where(better[observations.point][:, None], new_error, error)
    return points


def reprojection(
    points: Float64[np.ndarray, "t 3"],
    observations: Observations,
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
) -> tuple[Float64[np.ndarray, "o 2"], Float64[np.ndarray, "o"]]:
    """Projected minus observed position, and depth; NaN where the point is not in front."""
    pose = camera_from_world[observations.view]
    in_camera = np.einsum("oij,oj->oi", pose[:, :3, :3], points[observations.point]) + pose[:, :3, 3]
    depth = in_camera[:, 2]
    in_image = np.einsum("oij,oj->oi", K[observations.view], in_camera)
    return in_image[:, :2] / np.where(depth > 0, depth, np.nan)[:, None] - observations.pixels, depth


def ray_angles(
    points: Float64[np.ndarray, "t 3"], observations: Observations, camera_from_world: Float64[np.ndarray, "n 4 4"], count: int
) -> Float64[np.ndarray, "t"]:
    """Twice the largest angle between a ray of a point and the mean of its rays, degrees."""
    toward = camera_centers(camera_from_world)[observations.view] - points[observations.point]
    toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-300)
    mean = sum_by_point(toward, observations.point, count)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-300)
    # 2·asin(|a − b|/2) is exact for small angles, where arccos of a dot product is not.
    chord = np.linalg.norm(toward - mean[observations.point], axis=1)
    largest = np.zeros(count)
    np.maximum.at(largest, observations.point, np.where(np.isfinite(chord), chord, 0.0))
    return np.rad2deg(4 * np.arcsin(np.clip(largest / 2, 0, 1)))


def distinct_views(observations: Observations, count: int) -> Int64[np.ndarray, "t"]:
    pairs = np.unique(np.stack([observations.point, observations.view], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=count).astype(np.int64)


def sum_by_point(values: np.ndarray, point: Int64[np.ndarray, "o"], count: int) -> np.ndarray:
    """Sums rows of ``values`` [o, …] per point, in the observations' order."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    sums = [np.bincount(point, weights=flat[:, c], minlength=count) for c in range(flat.shape[1])]
    return np.stack(sums, axis=1).astype(np.float64).reshape(count, *values.shape[1:])  # an empty bin count is of integers


def _observation_rays(
    observations: Observations, camera_from_world: Float64[np.ndarray, "n 4 4"], K: Float64[np.ndarray, "n 3 3"]
) -> Float64[np.ndarray, "o 3"]:
    homogeneous = np.concatenate([observations.pixels, np.ones((len(observations.pixels), 1))], axis=1)
    world_from_pixel = np.swapaxes(camera_from_world[:, :3, :3], 1, 2) @ np.linalg.inv(K)
    rays = np.einsum("oij,oj->oi", world_from_pixel[observations.view], homogeneous)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
