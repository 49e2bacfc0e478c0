"""Overlap of views: hand-computed pairs, and the asymmetric case that fails when an axis is flipped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.geometry.view_overlap import (
    camera_centers,
    candidate_pairs,
    focus_point,
    inside_image,
    looking_directions,
    neighbour_spacing,
    project_points,
    scene_depths,
    view_overlap,
)


def camera_at(center: list[float], right: list[float], down: list[float]) -> np.ndarray:
    """camera_from_world of a camera with these axes in the world."""
    rotation = np.stack([np.array(right, float), np.array(down, float), np.cross(right, down)])
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = rotation
    camera_from_world[:3, 3] = -rotation @ np.array(center, float)
    return camera_from_world


K = np.array([[100.0, 0.0, 60.0], [0.0, 50.0, 20.0], [0.0, 0.0, 1.0]])
SIZE = np.array([120, 40], dtype=np.int64)


def test_projection_of_one_point_by_hand() -> None:
    # Camera at (1, 2, 3), looking along world +X, right = world −Y, down = world −Z.  The point lies 4 ahead, 1 to the right
    # (−Y) and 0.5 above (+Z): u = 60 + 100·1/4, v = 20 + 50·(−0.5)/4.
    pose = camera_at([1, 2, 3], [0, -1, 0], [0, 0, -1])
    pixels, depth = project_points(pose, K, np.array([[5.0, 1.0, 3.5]]))
    assert np.allclose(looking_directions(pose[None])[0], [1, 0, 0])
    assert np.allclose(camera_centers(pose[None])[0], [1, 2, 3])
    assert np.allclose(pixels, [[85.0, 13.75]]) and np.allclose(depth, [4.0])


def test_points_behind_are_nan_and_outside() -> None:
    pixels, depth = project_points(np.eye(4), K, np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert np.isnan(pixels[:2]).all() and (depth[:2] <= 0).all()
    assert inside_image(pixels, SIZE).tolist() == [False, False, True]


def test_overlap_of_a_sideways_step() -> None:
    # At depth 10 the view is 120/100·10 = 12 wide.  A step of 4.8 to the right leaves 7.2 of 12 in common; five columns of
    # samples at 1.2, 3.6, … 10.8: those beyond 4.8 (three of five) are seen by the other.
    poses = np.stack([camera_at([0, 0, 0], [1, 0, 0], [0, 1, 0]), camera_at([4.8, 0, 0], [1, 0, 0], [0, 1, 0])])
    seen = view_overlap(poses, np.stack([K, K]), np.stack([SIZE, SIZE]), np.full((2, 1), 10.0), np.array([[0, 1]]))
    assert seen.overlap[0] == pytest.approx(0.6)
    # Viewing angle of the middle shared samples: around 2·atan(2.4/10) for a point between both, a little less off the middle.
    assert 24.0 < seen.angle_deg[0] < 27.0


def test_cameras_back_to_back_share_nothing() -> None:
    poses = np.stack([camera_at([0, 0, 0], [1, 0, 0], [0, 1, 0]), camera_at([0, 0, -1], [-1, 0, 0], [0, 1, 0])])
    seen = view_overlap(poses, np.stack([K, K]), np.stack([SIZE, SIZE]), np.full((2, 1), 10.0), np.array([[0, 1]]))
    assert seen.overlap[0] == 0 and seen.angle_deg[0] == 0


def test_different_image_sizes_are_respected() -> None:
    poses = np.stack([np.eye(4), np.eye(4)])
    sizes = np.array([[120, 40], [60, 40]], dtype=np.int64)  # the second has the same K but only the left half of the picture
    seen = view_overlap(poses, np.stack([K, K]), sizes, np.full((2, 1), 3.0), np.array([[0, 1]]))
    # Columns of the first at 12, 36, 60, 84, 108 pixels: two lie left of 60.  All of the second are seen by the first.
    assert seen.overlap[0] == pytest.approx((2 / 5 + 1) / 2)


def test_focus_is_where_the_axes_meet_and_not_behind() -> None:
    target = np.array([3.0, -2.0, 5.0])
    centers = target + np.array([[4.0, 0, 0], [0, 5.0, 0], [0, 1.0, 6.0]])
    directions = (target - centers) / np.linalg.norm(target - centers, axis=1, keepdims=True)
    point = focus_point(centers, directions)
    assert point is not None and np.allclose(point, target)
    assert focus_point(centers, -directions) is None
    assert focus_point(centers, np.tile([0.0, 0.0, 1.0], (3, 1))) is None  # parallel


@settings(deadline=None, max_examples=25, derandomize=True)
@given(shift=st.tuples(*[st.floats(-1e6, 1e6) for _ in range(3)]))
def test_focus_moves_with_the_world(shift: tuple[float, float, float]) -> None:
    target = np.array([1.0, 2.0, 3.0])
    centers = target + np.array([[4.0, 0, 0], [0, 5.0, 0], [0, 1.0, 6.0]])
    directions = (target - centers) / np.linalg.norm(target - centers, axis=1, keepdims=True)
    point = focus_point(centers + np.array(shift), directions)
    assert point is not None and np.allclose(point - np.array(shift), target, atol=1e-7)


def test_depths_from_points_and_without() -> None:
    poses = np.stack([camera_at([0, 0, 0], [1, 0, 0], [0, 1, 0]), camera_at([0, 0, -5], [1, 0, 0], [0, 1, 0])])
    sizes, intrinsics = np.stack([SIZE, SIZE]), np.stack([K, K])
    points = np.stack([np.zeros(101), np.zeros(101), np.linspace(10, 20, 101)], axis=1)
    known = scene_depths(poses, intrinsics, sizes, points)
    assert np.allclose(known, [[11, 15, 19], [16, 20, 24]])
    guessed = scene_depths(poses, intrinsics, sizes)  # parallel axes: multiples of the spacing of 5
    assert np.allclose(guessed[0], [15, 40, 100, 250])


def test_few_cameras_pair_all_with_all_and_many_with_their_nearest() -> None:
    line = np.stack([camera_at([float(x), 0, 0], [1, 0, 0], [0, 1, 0]) for x in range(20)])
    assert len(candidate_pairs(line[:4], 5)) == 6
    pairs = candidate_pairs(line, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all() and set(map(tuple, pairs.tolist())) >= {(i, i + 1) for i in range(19)}
    assert (pairs[:, 1] - pairs[:, 0]).max() <= 2
    assert len(candidate_pairs(line[:1], 2)) == 0


def test_spacing_ignores_doubles() -> None:
    centers = np.array([[0.0, 0, 0], [0, 0, 0], [2.0, 0, 0], [4.0, 0, 0]])
    assert neighbour_spacing(centers) == 2.0
    assert neighbour_spacing(np.zeros((3, 3))) == 1.0
    assert neighbour_spacing(1e-12 * centers) == pytest.approx(2e-12)  # whatever the unit
    assert neighbour_spacing(centers + 1e7) == pytest.approx(2.0)
    assert neighbour_spacing(np.full((3, 3), 0.1) + 1e7) == 1.0
