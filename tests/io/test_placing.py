"""Local origins and near planes of captures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture

from scenewise.geometry.view_overlap import camera_centers
from scenewise.io.placing import NEAR_SHARE, about, in_source, in_world, in_world_frame, placed, typical_depth
from scenewise.scenes.captures import Capture
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.point_clouds import PointCloud

UTM = np.array([500_000.0, 5_400_000.0, 300.0])


def centers_of(capture: Capture) -> np.ndarray:
    return camera_centers(np.stack([frame.camera.camera_from_world.numpy() for frame in capture.frames]))


def moved(capture: Capture, move: np.ndarray, scale: float = 1.0) -> Capture:
    """The capture as its files would describe it elsewhere: another frame, and nobody says so."""
    frames = []
    for frame in capture.frames:
        pose = frame.camera.world_from_camera
        pose[:3, 3] = pose[:3, 3] * scale + torch.from_numpy(move)
        frames.append(replace(frame, camera=replace(frame.camera, camera_from_world=torch.linalg.inv(pose))))
    points = capture.points.points_in_world * scale + move
    return replace(capture, frames=tuple(frames), points=PointCloud(points))


@pytest.fixture(scope="module")
def capture() -> Capture:
    made = fabricated_capture()
    points = np.random.default_rng(0).normal(size=(500, 3)) * 0.3
    return replace(made, points=PointCloud(points))


def test_near_the_origin_only_the_near_plane_is_set(capture):
    found = placed(capture)
    assert np.array_equal(found.world_from_source, np.eye(4)) and found.points is capture.points
    depth = typical_depth(capture)
    in_camera = [frame.camera.camera_from_world.numpy() @ [0.0, 0.0, 0.0, 1.0] for frame in capture.frames]
    assert depth == pytest.approx(float(np.median([place[2] for place in in_camera])), rel=0.1)  # the points lie about the origin
    for before, after in zip(capture.frames, found.frames):
        assert torch.equal(before.camera.camera_from_world, after.camera.camera_from_world)
        assert after.camera.near == pytest.approx(NEAR_SHARE * depth)


@pytest.mark.parametrize("move", [UTM, np.array([1e7, 0, 0]), np.array([0, -1e7, 0]), np.array([0, 0, 1e7])])
def test_far_away_the_origin_is_local_and_known_to_the_last_digit(capture, move):
    far = moved(capture, move)
    found = placed(far)
    assert np.abs(centers_of(found)).max() < 20.0
    assert np.array_equal(found.world_from_source[:3, :3], np.eye(3))
    origin = -found.world_from_source[:3, 3]
    assert np.array_equal(origin, np.round(origin))  # reads well
    assert np.abs(centers_of(found) + origin - centers_of(far)).max() < 1e-7
    assert np.abs(found.points.points_in_world + origin - far.points.points_in_world).max() < 1e-8
    assert np.abs(in_source(found.points, found.world_from_source).points_in_world - far.points.points_in_world).max() < 1e-8
    assert found.frames[0].camera.near == pytest.approx(placed(capture).frames[0].camera.near, rel=1e-6)


def test_the_origin_moves_where_steps_of_float32_become_visible(capture):
    depth = typical_depth(capture)
    # Steps of float32 below 1,024 are 2⁻¹⁴ ≈ 6.1e-5: too coarse for anything nearer than 6.1 units.
    assert depth < 6.0
    assert placed(moved(capture, np.array([900.0, 0, 0]))).world_from_source[0, 3] != 0
    assert placed(moved(capture, np.array([100.0, 0, 0]))).world_from_source[0, 3] == 0
    large = moved(capture, np.array([900.0, 0, 0]), scale=100.0)  # the same place, seen from farther away
    assert placed(large).world_from_source[0, 3] == 0


def test_one_stray_pose_moves_nothing(capture):
    stray = moved(capture, np.zeros(3))
    first = moved(capture, UTM).frames[0]
    assert np.array_equal(placed(replace(stray, frames=(first, *stray.frames[1:]))).world_from_source, np.eye(4))


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_near_plane_grows_with_the_scene(capture, scale):
    near, far = (placed(each).frames[0].camera.near for each in (capture, moved(capture, np.zeros(3), scale)))
    assert far == pytest.approx(scale * near, rel=1e-6)


def test_a_georeference_still_points_to_the_same_places(capture):
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    known = replace(capture, georeference=Georeference(32615, 2.0, turn, UTM))
    about_one = about(known, np.array([3.0, -5.0, 7.0]))
    before = known.georeference.projected_from_world(known.points.points_in_world)
    after = about_one.georeference.projected_from_world(about_one.points.points_in_world)
    assert np.abs(before - after).max() < 1e-8
    assert np.allclose(before[0], UTM + 2.0 * turn @ known.points.points_in_world[0])


def test_a_capture_opened_anew_comes_back_to_its_scene(capture):
    """A scene of an older version, or one that lost pictures, has another origin than the reader finds today."""
    there = placed(moved(capture, UTM))
    for offset in (np.zeros(3), np.array([1.0, -2.0, 4.0])):
        world_from_source = np.eye(4)
        world_from_source[:3, 3] = offset - UTM
        back = in_world_frame(there, world_from_source)
        assert np.array_equal(back.world_from_source, world_from_source)
        assert np.abs(centers_of(back) - centers_of(capture) - offset).max() < 1e-7


def test_clouds_turn_with_frames_that_are_turned():
    turned = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, 20.0], [0.0, 0.0, 1.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
    cloud = PointCloud(np.array([[1.0, 2.0, 3.0]]), normals_in_world=np.array([[1.0, 0.0, 0.0]]))
    found = in_world(cloud, turned)
    assert found.points_in_world.tolist() == [[8.0, 21.0, 33.0]] and found.normals_in_world.tolist() == [[0.0, 1.0, 0.0]]
    back = in_source(found, turned)
    assert np.allclose(back.points_in_world, cloud.points_in_world) and np.allclose(back.normals_in_world, cloud.normals_in_world)


def test_no_frames_no_depth():
    empty = Capture(root=Path("/nowhere"), source_format="colmap", frames=())
    assert placed(empty) is empty
