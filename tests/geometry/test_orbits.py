"""Camera paths: where they look, which way is up, and that they stay where cameras have been."""

import numpy as np
import pytest

from scenewise.geometry.orbits import focus_in_world, look_at, orbit_around, up_from_cameras

UP = np.array([0.0, 0.0, 1.0])


def ring(azimuths_deg: np.ndarray, focus: np.ndarray, distance: float = 3.0, height: float = 1.0) -> np.ndarray:
    angles = np.radians(azimuths_deg)
    offsets = np.stack([distance * np.cos(angles), distance * np.sin(angles), np.full_like(angles, height)], axis=1)
    return np.stack([look_at(focus + offset, focus, UP) for offset in offsets])


def test_look_at_anchor():
    """At (0, −2, 0) looking along +Y with +Z up: right is +X, down is −Z."""
    pose = look_at(np.array([0.0, -2.0, 0.0]), np.array([0.0, 5.0, 0.0]), UP)
    assert pose[:3, 0] == pytest.approx([1, 0, 0])
    assert pose[:3, 1] == pytest.approx([0, 0, -1])
    assert pose[:3, 2] == pytest.approx([0, 1, 0])
    assert pose[:3, 3] == pytest.approx([0, -2, 0])


@pytest.mark.parametrize("target", [[0.0, 0.0, -4.0], [0.0, 0.0, 4.0], [1.0, 2.0, 3.0]])
def test_look_at_is_a_proper_rotation_even_straight_down(target):
    pose = look_at(np.zeros(3), np.array(target), UP)
    assert pose[:3, :3] @ pose[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)


def test_the_focus_is_where_the_axes_cross():
    focus = np.array([1.0, -2.0, 0.5])
    assert focus_in_world(ring(np.array([0.0, 70.0, 200.0]), focus), depth=5.0) == pytest.approx(focus, abs=0.1)
    assert focus_in_world(ring(np.array([0.0, 70.0, 200.0]), focus), depth=np.sqrt(10.0)) == pytest.approx(focus, abs=1e-9)


def test_parallel_axes_focus_at_the_expected_depth():
    """A nadir flight: cameras 50 above the ground at x = 0 … 9 look straight down."""
    poses = np.stack([look_at(np.array([x, 4.0, 50.0]), np.array([x, 4.0, 0.0]), np.array([0.0, 1.0, 0.0])) for x in range(10)])
    assert focus_in_world(poses.astype(np.float64), depth=50.0) == pytest.approx([4.5, 4.0, 0.0], abs=1e-6)


def test_cameras_that_look_outwards_do_not_focus_behind_themselves():
    poses = np.stack([look_at(np.array([0.1 * i, 0.0, 0.0]), np.array([i - 1.0, 5.0, 0.0]), UP) for i in range(3)])
    assert focus_in_world(poses, depth=5.0)[1] > 2.0


def test_a_full_ring_gives_a_full_turn_at_the_cameras_distance_and_height():
    focus = np.array([2.0, 1.0, -1.0])
    orbit = orbit_around(ring(np.arange(0.0, 360.0, 30.0), focus), depth=np.hypot(3.0, 1.0), up=UP)
    assert orbit.half_arc == np.pi and orbit.distance == pytest.approx(np.hypot(3.0, 1.0))
    assert np.degrees(orbit.elevation) == pytest.approx(np.degrees(np.arctan2(1.0, 3.0)))
    poses = orbit.world_from_camera(8)
    assert np.linalg.norm(poses[:, :3, 3] - focus, axis=1) == pytest.approx(np.full(8, orbit.distance))
    looking = (focus - poses[:, :3, 3]) / orbit.distance
    assert poses[:, :3, 2] == pytest.approx(looking, abs=1e-12)
    assert (poses[:, 2, 1] < -0.9).all()  # image down is world down
    assert np.abs(poses[:, :3, 3].mean(0)[:2] - focus[:2]).max() < 1e-9  # all around


def test_a_partial_ring_swings_only_where_cameras_have_been():
    focus = np.zeros(3)
    orbit = orbit_around(ring(np.array([-40.0, -10.0, 20.0, 60.0]), focus), depth=3.0, up=UP)
    centers = orbit.world_from_camera(40)[:, :3, 3]
    azimuths = np.degrees(np.arctan2(centers[:, 1], centers[:, 0]))
    assert azimuths.min() == pytest.approx(10.0 - 45.0, abs=0.5) and azimuths.max() == pytest.approx(10.0 + 45.0, abs=0.5)


def test_a_nadir_flight_is_seen_at_an_angle():
    down = np.array([0.0, 1.0, 0.0])
    poses = np.stack([look_at(np.array([x, 0.0, 50.0]), np.array([x, 0.0, 0.0]), down) for x in (0.0, 1.0, 2.0)])
    assert np.degrees(orbit_around(poses, depth=50.0, up=UP).elevation) == pytest.approx(60.0)


def test_up_is_the_mean_of_upright_cameras():
    assert up_from_cameras(ring(np.arange(0.0, 360.0, 45.0), np.zeros(3))) == pytest.approx(UP, abs=1e-9)


def test_up_of_cameras_that_all_look_down_comes_from_their_level_x_axes():
    """An arc of 80°, pitched down by 40°: the mean of the cameras' own up leans forward by half of that or more."""
    poses = ring(np.array([-40.0, -15.0, 5.0, 40.0]), np.zeros(3))
    height = 4.0 * np.tan(np.radians(40.0))
    steep = np.stack(
        [look_at(np.array([*(4.0 * pose[:2, 3] / np.hypot(*pose[:2, 3])), height]), np.zeros(3), UP) for pose in poses]
    )
    mean = -steep[:, :3, 1].mean(0)
    assert np.degrees(np.arccos(mean[2] / np.linalg.norm(mean))) > 30
    assert np.degrees(np.arccos(up_from_cameras(steep)[2])) < 5
    one_way = np.repeat(steep[:1], 3, axis=0)  # says nothing about pitch
    assert up_from_cameras(one_way) == pytest.approx(-steep[0, :3, 1], abs=1e-9)
