"""Local coordinates, those a capture came in, and where a camera looks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.library_examples import turn

from scenewise.geometry.orbits import look_at
from scenewise.geometry.transforms import transform_points
from scenewise.parts.retrieval.frames import (
    camera_from_local,
    camera_from_source,
    heading_and_pitch,
    in_source_frame,
    source_from_source,
)
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

OFFSET = np.array([500_000.25, 6_160_000.5, 30.0])


def rigid(rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, shift
    return transform


def test_a_camera_sees_the_same_before_and_after_the_offset():
    camera = rigid(turn((1, 2, 3), 40), np.array([0.5, -1.0, 2.0]))
    local = np.array([[0.2, -0.3, 4.0], [1.0, 2.0, 3.0]])
    in_source = camera_from_source(camera, OFFSET)
    np.testing.assert_allclose(transform_points(in_source, local + OFFSET), transform_points(camera, local), atol=1e-8)
    np.testing.assert_allclose(camera_from_local(in_source, OFFSET), camera, atol=1e-8)


def test_a_transform_between_local_frames_becomes_one_between_captures():
    local = rigid(3 * turn((0, 0.2, 1), 100), np.array([4.0, 5.0, 6.0]))
    there = np.array([10.0, -20.0, 5.0])
    points = np.array([[1.0, 2.0, 3.0], [-2.0, 0.5, 1.0]])
    moved = source_from_source(local, OFFSET, there)
    np.testing.assert_allclose(transform_points(moved, points + OFFSET), transform_points(local, points) + there, atol=1e-7)


@pytest.mark.parametrize(
    ("target", "up", "wanted"),
    [
        ((1, 0, 0), None, (0, 0)),
        ((0, 1, 0), None, (90, 0)),  # counter-clockwise: +Y is to the left of +X
        ((-1, -1, 0), None, (-135, 0)),
        ((1, 0, 1), None, (0, 45)),
        ((0, 2, -2), (0, 0, 1), (90, -45)),
        ((0, 0, 1), (0, -1, 0), (90, 0)),  # Y points down: from above, +Z is to the left of +X
        ((0, 1, 0), (1, 0, 0), (0, 0)),  # X is the vertical: headings count from +Y
        ((0, 0, 1), (1, 0, 0), (90, 0)),
    ],
)
def test_headings(target: tuple[float, ...], up: tuple[float, ...] | None, wanted: tuple[float, float]):
    up_in_source = None if up is None else np.array(up, dtype=np.float64)
    world_from_camera = look_at(OFFSET, OFFSET + np.array(target), np.array([0.0, 0, 1]) if up is None else up_in_source)
    assert heading_and_pitch(np.linalg.inv(world_from_camera), up_in_source) == pytest.approx(wanted, abs=1e-4)


def test_straight_down_has_no_heading():
    assert heading_and_pitch(np.diag([1.0, -1.0, -1.0, 1.0]), None) == (0.0, -90.0)


def test_a_scan_is_moved_back_to_where_its_capture_came_from():
    """What a camera sees of a point does not change; the up direction turns along."""
    world_from_source = rigid(turn((0.3, 1, 0.2), 70), np.array([-5.0, 3.0, 1.0]))
    in_source = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.5]])
    in_world = transform_points(world_from_source, in_source)
    camera = Cameras(
        torch.from_numpy(rigid(turn((1, 0, 0), 30), np.ones(3))), torch.diag(torch.tensor([90.0, 80, 1]).double()), 64, 48
    )
    capture = Capture(
        root=Path("somewhere"),
        source_format="rgbd",
        frames=(Frame("a.png", camera, load_image=None),),
        scale="metric",
        up_in_world=world_from_source[:3, 2],
        world_from_source=world_from_source,
    )
    raw = RawScan("scan", PointCloud(in_world, np.zeros((2, 3), np.uint8)), "points", capture)
    back = in_source_frame(raw)
    assert back.capture is not None
    np.testing.assert_allclose(back.cloud.points_in_world, in_source, atol=1e-12)
    np.testing.assert_allclose(back.capture.up_in_world, [0, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(back.capture.world_from_source, np.eye(4))
    seen = [
        transform_points(each.camera.camera_from_world.numpy(), points)
        for each, points in ((capture.frames[0], in_world), (back.capture.frames[0], in_source))
    ]
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-12)
    unmoved = RawScan("scan", raw.cloud, "points", replace(capture, world_from_source=np.eye(4)))
    assert in_source_frame(unmoved) is unmoved
