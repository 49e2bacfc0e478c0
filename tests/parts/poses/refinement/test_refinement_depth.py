"""A depth camera placed beside the colour camera: planes whose depth is known at every pixel."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scenewise.parts.poses.refinement.depth import DepthFit, DepthSightings, fit_depth, measure_depth

K_DEPTH = np.array([[300.0, 0, 165], [0, 310.0, 118], [0, 0, 1]])
PLANES = [((0.4, -0.2, -1.0), -2.0), ((-0.6, 0.1, -1.0), -3.2), ((0.1, 0.7, -1.0), -1.4), ((0.0, 0.0, -1.0), -2.5)]


def depth_of_plane(normal: tuple[float, float, float], distance: float) -> np.ndarray:
    """n·X = d in the depth camera's axes, at every pixel."""
    u, v = np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5)
    rays = np.stack([(u - 165) / 300, (v - 118) / 310, np.ones_like(u)], axis=-1)
    return (distance / (rays @ np.array(normal))).astype(np.float32)


def scene(scale: float, depth_from_color: np.ndarray, noise: float = 0.0) -> DepthSightings:
    """Points on the planes in the colour cameras' axes, in a unit of ``scale`` metres; some of them anywhere."""
    rng = np.random.default_rng(0)
    points, frames, maps = [], [], []
    for number, plane in enumerate(PLANES):
        depth = depth_of_plane(*plane)
        rows, columns = rng.integers(8, 230, 400), rng.integers(8, 310, 400)
        z = depth[rows, columns].astype(np.float64)
        in_depth = np.stack([(columns + 0.5 - 165) / 300 * z, (rows + 0.5 - 118) / 310 * z, z], axis=1)
        in_color = (in_depth - depth_from_color[:3, 3]) @ depth_from_color[:3, :3]
        points.append(in_color / scale * (1 + noise * rng.normal(size=(400, 1))))
        frames.append(np.full(400, number))
        depth[100:110] = 0
        depth[:, 200:] = np.where(np.arange(200, 320) < 215, depth[:, 200:] + 1.0, depth[:, 200:])
        maps.append(depth)
    return DepthSightings(np.concatenate(points), np.concatenate(frames), maps, K_DEPTH)


def moved() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad([0.7, -0.9, 0.4])).as_matrix()
    matrix[:3, 3] = [0.026, -0.008, 0.011]
    return matrix


def test_scale_and_transform_are_found() -> None:
    true = moved()
    found = fit_depth(scene(1.7, true, 0.0002), DepthFit(1.65, np.eye(4), np.nan, 0), adjust_transform=True)
    assert found.metres_per_unit == pytest.approx(1.7, rel=2e-3)
    np.testing.assert_allclose(found.depth_from_color[:3, 3], true[:3, 3], atol=3e-3)
    np.testing.assert_allclose(found.depth_from_color[:3, :3], true[:3, :3], atol=6e-4)
    assert found.median_error < 0.001 and found.count > 1000


def test_the_direction_is_depth_from_color() -> None:
    """With the inverse as truth the same start must lead elsewhere: (26, −8, 11) mm is not its own opposite."""
    found = fit_depth(scene(1.0, np.linalg.inv(moved())), DepthFit(1.0, np.eye(4), np.nan, 0), adjust_transform=True)
    np.testing.assert_allclose(found.depth_from_color, np.linalg.inv(moved()), atol=1e-3)
    assert found.depth_from_color[0, 3] < -0.02


def test_a_given_transform_is_kept() -> None:
    true = moved()
    found = fit_depth(scene(0.6, true), DepthFit(0.63, true, np.nan, 0), adjust_transform=False)
    np.testing.assert_array_equal(found.depth_from_color, true)
    assert found.metres_per_unit == pytest.approx(0.6, rel=2e-4)


def test_nothing_measured() -> None:
    sightings = scene(1.0, np.eye(4))
    empty = DepthSightings(sightings.points_in_color, sightings.frame, [0 * one for one in sightings.depths], K_DEPTH)
    assert measure_depth(empty, DepthFit(1.0, np.eye(4), np.nan, 0)).count == 0
    assert fit_depth(empty, DepthFit(1.0, np.eye(4), np.nan, 0), adjust_transform=True).count == 0
