"""Boxes around points."""

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.geometry.boxes import axis_aligned_box, box_iou, upright_box

UP = np.array([0.0, 0.0, 1.0])


def turned_block(size=(4.0, 1.0, 2.0), yaw_deg=30.0, center=(5.0, -3.0, 1.0), count=4000) -> np.ndarray:
    angle = np.radians(yaw_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    inside = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3))
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    return np.concatenate([inside, corners]) * size @ turn.T + center


def test_an_upright_box_finds_turn_size_and_middle():
    box = upright_box(turned_block(), UP)
    np.testing.assert_allclose(box.center_in_world, [5, -3, 1], atol=1e-9)
    np.testing.assert_allclose(box.size, [4, 1, 2], atol=1e-9)  # the longer side first, height last
    np.testing.assert_allclose(box.world_from_box[:, 0], [np.cos(np.pi / 6), 0.5, 0], atol=1e-9)  # turned left by 30°
    assert np.linalg.det(box.world_from_box) == pytest.approx(1.0)


def test_corners_run_along_the_axes_of_the_box():
    box = upright_box(turned_block(), UP)
    first, last = box.corners_in_world[0], box.corners_in_world[-1]
    np.testing.assert_allclose(last - first, box.world_from_box @ box.size, atol=1e-9)
    np.testing.assert_allclose(box.corners_in_world[1] - first, [0, 0, 2], atol=1e-9)  # z changes fastest


def test_edges_join_corners_that_differ_along_one_axis():
    box = upright_box(turned_block(), UP)
    lengths = np.linalg.norm(np.diff(box.edges_in_world, axis=1)[:, 0], axis=1)
    np.testing.assert_allclose(lengths, np.repeat([2.0, 1.0, 4.0], 4), atol=1e-9)
    assert len(np.unique(np.round(box.edges_in_world.reshape(24, 3), 6), axis=0)) == 8
    assert len({tuple(np.round(edge.ravel(), 6)) for edge in box.edges_in_world}) == 12


def test_another_up_direction_turns_the_box():
    points = turned_block()[:, [2, 0, 1]]  # height lies along x
    box = upright_box(points, np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(box.size, [4, 1, 2], atol=1e-9)
    np.testing.assert_allclose(box.world_from_box[:, 2], [1, 0, 0], atol=1e-12)


def test_trimming_ignores_strays():
    points = np.concatenate([turned_block(), [[100.0, 100.0, 100.0]]])
    low, high = axis_aligned_box(points, trim=0.01)
    assert (high < 10).all()
    assert axis_aligned_box(points)[1][0] == 100
    box = upright_box(points, UP, trim=0.01)
    assert (np.abs(box.size - [4, 1, 2]) < 0.2).all()
    assert low[2] == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(
    "points",
    [np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0, 0], [3, 4, 0]]), np.linspace([0.0, 0, 0], [3, 4, 0], 9)],
    ids=["one", "two", "line"],
)
def test_few_points_and_lines_have_boxes_too(points):
    box = upright_box(points, UP)
    np.testing.assert_allclose(box.size, [5.0 * (len(points) > 1), 0, 0], atol=1e-9)
    np.testing.assert_allclose(box.center_in_world, (points[0] + points[-1]) / 2, atol=1e-9)


def test_a_square_of_four_corners_keeps_its_turn():
    box = upright_box(np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]), UP)
    np.testing.assert_allclose(box.size, [2, 2, 0], atol=1e-12)


def test_intersection_over_union():
    zero, one = np.zeros(3), np.ones(3)
    assert box_iou(zero, one, np.array([0.5, 0, 0]), np.array([1.5, 1, 1])) == pytest.approx(1 / 3)
    assert box_iou(zero, one, one + 1, one + 2) == 0
    assert box_iou(zero, one, zero, one) == 1
    assert box_iou(zero, zero, zero, zero) == 0


def test_no_points_are_refused():
    with pytest.raises(ConventionError, match="at least one"):
        upright_box(np.zeros((0, 3)), UP)
