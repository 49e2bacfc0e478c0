"""Procedural rooms as posed scans: points on surfaces, poses that show them, and files that are found again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.posed_rooms import ROOM, GridTeacher, fused

from scenewise.methods.condense import rooms as condense_rooms
from scenewise.methods.condense.rooms import FusedRoom, learning_cameras, measured_depth, one_per_cell, posed_room, room_files
from scenewise.parts.scans.posing import prior_on_grid
from scenewise.worlds.captures import truth
from scenewise.worlds.rooms import furnished_room

SEED = 104


def sigma(depth: np.ndarray) -> np.ndarray:
    return 0.0012 + 0.0019 * np.maximum(depth - 0.4, 0.0) ** 2


@pytest.fixture(scope="module")
def noisy() -> FusedRoom:
    return fused(SEED)


@pytest.mark.parametrize("noise", [False, True])
def test_fused_points_lie_on_surfaces_within_noise(noise: bool) -> None:
    """Each point is shown by the middle of some pixel, and the true surface there is as far away as the point."""
    room, cameras = furnished_room(SEED), learning_cameras(furnished_room(SEED), ROOM)
    made = fused(SEED, noise=noise)
    best = np.full(len(made.points_in_world), np.inf)
    for view in range(len(cameras)):
        known = truth(room, cameras[view]).depth
        pose, K = (each[view].numpy() for each in (cameras.camera_from_world, cameras.K))
        at = made.points_in_world @ pose[:3, :3].T + pose[:3, 3]
        pixel = at @ K.T / at[:, 2:]
        inside = (at[:, 2] > 0) & (pixel[:, :2] >= 0).all(1) & (pixel[:, 0] < ROOM.width) & (pixel[:, 1] < ROOM.height)
        column, row = np.floor(pixel[inside, 0]).astype(int), np.floor(pixel[inside, 1]).astype(int)
        middle = (np.abs(pixel[inside, :2] - np.floor(pixel[inside, :2]) - 0.5) < 1e-3).all(1)
        error = np.abs(known[row, column] - at[inside, 2]) / (5.0 * sigma(at[inside, 2]) if noise else 1.0)
        best[inside] = np.minimum(best[inside], np.where(middle, error, np.inf))
    assert best.max() < (1.0 if noise else 1e-4)
    assert noise == (best.max() > 1e-3)


def test_depth_is_as_noisy_as_a_structured_light_cameras() -> None:
    depth = np.full((200, 200), 3.0, dtype=np.float32)
    depth[:, 100:] = 1.0
    found = measured_depth(depth, np.random.default_rng(1))
    for part, true in ((found[:, :98], 3.0), (found[:, 102:], 1.0)):
        assert part.std() == pytest.approx(float(sigma(np.array(true))), rel=0.05) and part.mean() == pytest.approx(
            true, abs=1e-3
        )
    assert not found[:, 99:101].any(), "nothing at an edge"


def test_one_point_of_each_cell_is_kept() -> None:
    points = np.array(
        [[0.0, 0.0, 0.0], [0.09, 0.09, 0.0], [0.11, 0.0, 0.0], [0.0, 0.0, 0.15], [0.12, 0.01, 0.09], [0.0, 5.0, 0.0]]
    )
    assert one_per_cell(points, 0.1).tolist() == [0, 2, 3, 5]


def test_poses_project_points_onto_the_pixels_that_show_them(noisy: FusedRoom) -> None:
    scan = posed_room(noisy, "room", GridTeacher())
    middle = (noisy.points_in_world.min(axis=0) + noisy.points_in_world.max(axis=0)) / 2
    np.testing.assert_allclose(scan.points_in_scan, noisy.points_in_world - middle, atol=1e-6)
    np.testing.assert_allclose(scan.points_in_scan.min(axis=0), -scan.points_in_scan.max(axis=0), atol=1e-5)
    shown = np.zeros(len(scan), dtype=bool)
    for view in range(ROOM.views):
        at = scan.points_in_scan.astype(np.float64) @ scan.camera_from_scan[view, :3, :3].T + scan.camera_from_scan[view, :3, 3]
        pixel = at @ scan.K[view].T / at[:, 2:]
        inside = (at[:, 2] > 0) & (pixel[:, :2] >= 0).all(1) & (pixel[:, 0] < ROOM.width) & (pixel[:, 1] < ROOM.height)
        column, row = (
            np.floor(pixel[:, axis]).astype(int).clip(0, side - 1) for axis, side in ((0, ROOM.width), (1, ROOM.height))
        )
        own = inside & (np.abs(scan.depths[view, row, column] - at[:, 2]) < 1e-4)
        own &= (np.abs(pixel[:, :2] - np.floor(pixel[:, :2]) - 0.5) < 1e-2).all(1)
        np.testing.assert_array_equal(scan.pictures_u8[view, row[own], column[own]], scan.colors_u8[own])
        np.testing.assert_array_equal(noisy.pixel_class_ids[view, row[own], column[own]], noisy.class_ids[own])
        shown |= own
    assert shown.all(), "each point is what the pixel it comes from shows"


def test_the_prior_is_what_the_teacher_says(noisy: FusedRoom) -> None:
    scan = posed_room(noisy, "room", teacher := GridTeacher())
    assert scan.name == "room" and len(teacher.asked) == ROOM.views and scan.prior.shape[:3] == (3, 12, 16)
    for view in range(ROOM.views):
        said = teacher.dense(noisy.pictures_u8[view], "any")
        assert said is not None
        np.testing.assert_array_equal(scan.prior[view], prior_on_grid(said.values, ROOM.height, ROOM.width))


def test_every_room_has_a_tour_of_its_own() -> None:
    first, again, other = (learning_cameras(furnished_room(seed), ROOM) for seed in (SEED, SEED, SEED + 1))
    assert np.array_equal(first.camera_from_world, again.camera_from_world) and not np.array_equal(first.K, other.K)
    assert len(first) == ROOM.views and (first.width, first.height) == (64, 48)
    for camera in (first, other):
        angle = 2 * np.degrees(np.arctan(ROOM.width / 2 / float(camera.K[0, 0, 0])))
        assert 55.0 <= angle <= 80.0


def test_files_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    fuse = condense_rooms.fused_seed
    monkeypatch.setattr(condense_rooms, "fused_seed", lambda seed, settings: (made.append(seed), fuse(seed, settings))[1])
    teacher = GridTeacher()
    first = room_files([100, 101], ROOM, tmp_path, teacher)
    assert made == [100, 101] and len(first) == 2 and first[1].name == "room-101"
    again = room_files([101, 100, 102], ROOM, tmp_path, teacher, max_bytes=7)
    assert made == [100, 101, 102] and again.paths[1] == first.paths[0] and again.max_bytes == 7
    np.testing.assert_array_equal(again[0].points_in_scan, first[1].points_in_scan)
    assert again.fingerprint != first.fingerprint == room_files([100, 101], ROOM, tmp_path, teacher).fingerprint
    room_files([100], replace(ROOM, spacing=0.12), tmp_path, teacher)
    other = GridTeacher()
    other.fingerprint = "grid-2"  # type: ignore[misc]
    room_files([100], ROOM, tmp_path, other)
    assert made == [100, 101, 102, 100, 100], "other settings and other teachers are other scans"
    assert len(list(tmp_path.iterdir())) == 5
