"""Cameras stand free and see what they are meant to see."""

import math

import numpy as np
import pytest

from scenewise.worlds.cameras import clearance, close_up, looking_at, pinhole, random_view, tour
from scenewise.worlds.captures import truth
from scenewise.worlds.classes import class_id
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import DEMO_SEEDS


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [furnished_room(seed) for seed in DEMO_SEEDS[10:16]]


def test_looking_at_by_hand() -> None:
    pose = looking_at(np.array([1.0, 2.0, 1.5]), np.array([1.0, 5.0, 1.5]))
    expected = [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 2.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]]
    np.testing.assert_allclose(pose, expected, atol=1e-12)  # right = +X, down = −Z, forward = +Y


def test_pinhole_field_of_view() -> None:
    camera = pinhole(np.eye(4), 200, 100, 90.0)
    np.testing.assert_allclose(camera.K.numpy(), [[100.0, 0.0, 100.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]], atol=1e-9)


def test_clearance_by_hand(rooms: list[Room]) -> None:
    room = rooms[0]
    part = max((p for thing in room.objects if thing.class_name == "table" for p in thing.parts), key=lambda p: p.half_size[0])
    assert clearance(room, np.array([part.center]))[0] == 0.0
    width, length, height = room.size
    outside = np.array([[-0.5, length / 2, 1.0], [width / 2, length / 2, height + 0.2]])
    np.testing.assert_allclose(clearance(room, outside), [-0.5, -0.2])
    bare = Room(0, room.size, room.objects[:6], room.lighting)
    np.testing.assert_allclose(clearance(bare, np.array([[0.4, length / 2, 1.2]])), [0.4])


class TestTour:
    def test_never_inside_furniture(self, rooms: list[Room]) -> None:
        for room in rooms:
            assert clearance(room, tour(room, 64)[:, :3, 3]).min() >= 0.15

    def test_smooth_but_for_the_change_of_rings(self, rooms: list[Room]) -> None:
        for room in rooms:
            steps = np.linalg.norm(np.diff(tour(room, 80)[:, :3, 3], axis=0), axis=-1)
            assert np.sort(steps)[-2] < 1.1
            assert np.median(steps) < 0.5

    def test_mixed_heights_and_sees_nearly_everything(self, rooms: list[Room]) -> None:
        for room in rooms[:2]:
            poses = tour(room, 40)
            assert np.ptp(poses[:, 2, 3]) > 0.4
            seen = set()
            for pose in poses:
                ids, counts = np.unique(truth(room, pinhole(pose, 64, 48, 70.0)).instance_ids, return_counts=True)
                seen |= set(ids[counts > 10].tolist())
            assert len(seen) >= 0.9 * len(room.objects)
            assert {0, 1, 2, 3, 4, 5} <= seen

    @pytest.mark.parametrize("frames", [1, 2, 7])
    def test_any_number_of_frames(self, rooms: list[Room], frames: int) -> None:
        poses = tour(rooms[0], frames)
        assert poses.shape == (frames, 4, 4) and np.isfinite(poses).all()

    def test_level_and_right_handed(self, rooms: list[Room]) -> None:
        poses = tour(rooms[0], 16)
        np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1.0)
        np.testing.assert_allclose(poses[:, 2, 0], 0.0, atol=1e-12)  # +X of the camera is horizontal
        assert (poses[:, 2, 1] < -0.5).all()  # +Y of the camera points down


def test_random_views_stand_free_and_differ(rooms: list[Room]) -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    poses = [random_view(room, rng) for room in rooms for _ in range(5)]
    assert len({pose.tobytes() for pose in poses}) == len(poses)
    for pose, room in zip(poses, [room for room in rooms for _ in range(5)]):
        assert clearance(room, pose[None, :3, 3])[0] >= 0.15


def test_close_ups_show_their_object(rooms: list[Room]) -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    found = 0
    for room in rooms[:1]:
        for instance in range(6, len(room.objects)):
            pose = close_up(room, instance, rng, 60.0)
            if pose is None:
                continue
            found += 1
            view = truth(room, pinhole(pose, 48, 48, 60.0))
            assert (view.instance_ids == instance).mean() > 0.15
            assert (view.class_ids[view.instance_ids == instance] == class_id(room.objects[instance].class_name)).all()
            assert view.depth.min() > 0.05
    assert found > 6


def test_up_is_up(rooms: list[Room]) -> None:
    """The ceiling fills the top of a picture that looks slightly up, the floor the bottom of one that looks down."""
    room = Room(0, rooms[0].size, rooms[0].objects[:6], rooms[0].lighting)
    eye = np.array([room.size[0] / 2, 0.5, 1.2])
    up = truth(room, pinhole(looking_at(eye, eye + np.array([0.0, 1.0, math.tan(0.3)])), 40, 40, 80.0)).class_ids
    down = truth(room, pinhole(looking_at(eye, eye + np.array([0.0, 1.0, -math.tan(0.3)])), 40, 40, 80.0)).class_ids
    assert (up[0] == class_id("ceiling")).all() and not (up[-1] == class_id("ceiling")).any()
    assert (down[-1] == class_id("floor")).all() and not (down[0] == class_id("floor")).any()
