"""Boxes as a camera sees them, against numbers worked out by hand and against points along the lines."""

import numpy as np
import pytest
import torch

from scenewise.geometry.boxes import OrientedBox
from scenewise.geometry.orbits import look_at
from scenewise.scenes.cameras import Cameras
from scenewise.show.graphs.projection import is_front_edge, is_inside, seen_share, segments_in_picture

K = torch.tensor([[100.0, 0.0, 40.0], [0.0, 50.0, 20.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
AHEAD = Cameras(torch.eye(4, dtype=torch.float64), K, width=100, height=60, near=0.5)


def shown(*ends: list[float]) -> list[list[float]]:
    lines, kept = segments_in_picture(AHEAD, np.array([ends]))
    assert kept.tolist() == [len(lines) == 1]
    return lines[0].tolist() if len(lines) else []


def test_a_line_in_the_picture_stays_whole():
    # 100·1/2 + 40, 50·0.4/2 + 20 and 100·(−0.2)/4 + 40, 50·1.2/4 + 20
    assert shown([1.0, 0.4, 2.0], [-0.2, 1.2, 4.0]) == [pytest.approx([90.0, 30.0]), pytest.approx([35.0, 35.0])]


def test_a_line_from_behind_the_camera_begins_at_the_near_plane():
    # At z = ½ the point is (0.2, 0.1, 0.5): 100·0.4 + 40, 50·0.2 + 20.
    assert shown([0.2, 0.1, 1.0], [0.2, 0.1, -1.0]) == [pytest.approx([60.0, 25.0]), pytest.approx([80.0, 30.0])]
    assert shown([0.2, 0.1, 0.4], [0.3, 0.1, -1.0]) == []


def test_a_line_ends_at_the_sides():
    assert shown([0.0, 0.0, 1.0], [2.0, 0.0, 1.0]) == [pytest.approx([40.0, 20.0]), pytest.approx([100.0, 20.0])]
    assert shown([0.0, -3.0, 1.0], [0.0, 3.0, 1.0]) == [pytest.approx([40.0, 0.0]), pytest.approx([40.0, 60.0])]
    assert shown([2.0, 0.0, 1.0], [3.0, 0.0, 1.0]) == []


def test_lines_agree_with_the_points_on_them():
    rng = np.random.default_rng(5)
    pose = torch.linalg.inv(torch.from_numpy(look_at(np.array([1.0, -2.0, 1.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))))
    camera = Cameras(pose, K, width=100, height=60, near=0.3)
    segments = rng.uniform(-3.0, 3.0, (200, 2, 3))
    lines, kept = segments_in_picture(camera, segments)
    shares = np.linspace(0.0, 1.0, 4001)[:, None]
    at = 0
    for segment, is_kept in zip(segments, kept):
        points = (1 - shares) * segment[0] + shares * segment[1]
        x, y, z = K.numpy() @ (pose.numpy()[:3, :3] @ points.T + pose.numpy()[:3, 3:])
        inside = (z >= camera.near) & (x >= 0) & (x <= 100 * z) & (y >= 0) & (y <= 60 * z)
        assert is_kept or inside.sum() <= 1
        if is_kept and inside.any():
            first, last = np.flatnonzero(inside)[[0, -1]]
            for pixel, index in zip(lines[at], (first, last)):
                assert np.hypot(*(pixel - [x[index] / z[index], y[index] / z[index]])) < 1.0
        at += int(is_kept)
    assert 20 < at == len(lines) < 180


def test_edges_in_front():
    box = OrientedBox(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]), np.eye(3))
    before = is_front_edge(box, np.array([9.0, 2.0, 3.0]))
    front = box.edges_in_world[before]
    assert len(front) == 4 and (front[..., 0] == 1.5).all()
    corner = is_front_edge(box, np.array([9.0, 9.0, -9.0]))
    hidden = box.edges_in_world[~corner].reshape(-1, 3)
    assert corner.sum() == 9 and ((hidden == [0.5, 1.0, 4.5]).all(axis=1)).sum() == 3  # all meet in the farthest corner
    assert not is_front_edge(box, box.center_in_world).any()


def test_turned_boxes_contain_what_they_should():
    c, s = np.cos(np.radians(30.0)), np.sin(np.radians(30.0))
    turned = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])  # the box's x points 30° from the world's x towards its y
    box = OrientedBox(np.array([1.0, 0.0, 0.0]), np.array([4.0, 1.0, 1.0]), turned)
    points = np.array([[1 + 1.9 * c, 1.9 * s, 0.0], [1 + 1.9 * c, -1.9 * s, 0.0], [1 - 0.4 * s, 0.4 * c, 0.4], [-0.9, 0.0, 0.0]])
    assert is_inside(box, points).tolist() == [True, False, True, False]


def test_what_stands_before_a_box_hides_it():
    box = OrientedBox(np.array([0.0, 0.0, 3.0]), np.array([0.6, 0.6, 1.0]), np.eye(3))
    surface, nearer, beyond = (np.full((60, 100), depth) for depth in (2.6, 1.5, 8.0))
    # Its front spans 24 × 12 pixels of its rectangle's 24 × 12: all of the surface lies in it.
    assert seen_share(box, AHEAD, surface) > 0.8
    assert seen_share(box, AHEAD, nearer) == 0.0 and seen_share(box, AHEAD, beyond) == 0.0
    half = surface.copy()
    half[:, :40] = 1.5
    assert 0.35 < seen_share(box, AHEAD, half) < 0.6
    assert seen_share(box, AHEAD, np.zeros((60, 100))) == 0.0
    behind = OrientedBox(np.array([0.0, 0.0, -3.0]), np.ones(3), np.eye(3))
    assert seen_share(behind, AHEAD, surface) == 0.0
