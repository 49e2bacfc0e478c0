"""Cameras from key points that are sought in a picture: what is found is the camera that it was made with."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.support import library_examples
from tests.support.library_examples import turn, unit_rows

from scenewise.errors import MissingDependencyError
from scenewise.parts.retrieval.keypoints import KeyPoints
from scenewise.parts.retrieval.locating import CameraPose, camera_pose, settled, sightings
from scenewise.teachers.consistent import PictureFeatures

DIM, ROWS, COLUMNS, WIDTH, HEIGHT = 48, 60, 80, 320, 240
K = np.array([[300.0, 0, 160], [0, 310, 118], [0, 0, 1]])  # asymmetric: no number is another's
CAMERA = np.eye(4)
CAMERA[:3, :3] = turn((0.2, 1, 0.1), 15) @ turn((1, 0, 0), 80)
CAMERA[:3, 3] = -CAMERA[:3, :3] @ np.array([2.5, -6.0, 1.4])


def key_points(rng: np.random.Generator, count: int) -> KeyPoints:
    """In a room, so different from each other that a cell between two is like either."""
    return replace(library_examples.key_points(rng, count), features=unit_rows(rng, count, DIM))


def projected(points: KeyPoints, camera_from_world: np.ndarray = CAMERA) -> np.ndarray:
    in_camera = points.positions @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    assert (in_camera[:, 2] > 0.5).all()
    return (in_camera @ K.T)[:, :2] / in_camera[:, 2:]


def picture(points: KeyPoints, hidden: int = 0, seed: int = 9) -> PictureFeatures:
    """Every cell looks like the key points near it, the more the nearer, beside noise; the first few are hidden."""
    rng = np.random.default_rng(seed)
    features = 0.5 * unit_rows(rng, ROWS * COLUMNS, DIM).reshape(ROWS, COLUMNS, DIM)
    v, u = np.meshgrid((np.arange(ROWS) + 0.5) * HEIGHT / ROWS, (np.arange(COLUMNS) + 0.5) * WIDTH / COLUMNS, indexing="ij")
    for (x, y), feature in list(zip(projected(points), points.features))[hidden:]:
        nearness = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 4.0**2))
        features += nearness[..., None] * feature
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return PictureFeatures(features.astype(np.float32), np.full((ROWS, COLUMNS), 0.5, np.float32), HEIGHT, WIDTH)


def off(camera: CameraPose) -> tuple[float, float]:
    """Metres and degrees from the true camera."""
    found = camera.camera_from_world
    places = [-pose[:3, :3].T @ pose[:3, 3] for pose in (found, CAMERA)]
    cosine = (np.trace(found[:3, :3] @ CAMERA[:3, :3].T) - 1) / 2
    return float(np.linalg.norm(places[0] - places[1])), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def test_key_points_are_found_between_cells():
    points = key_points(np.random.default_rng(0), 40)
    found = sightings(picture(points), points)
    true = projected(points)[found.rows]
    shown = ((true > 0) & (true < [WIDTH, HEIGHT])).all(axis=1)
    apart = np.linalg.norm(found.pixels - true, axis=1)[shown]
    assert len(apart) >= 30 and np.median(apart) < 1.0  # pixels, of cells of four
    np.testing.assert_allclose(found.likeness.reshape(40, -1).mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(found.likeness.reshape(40, -1).std(axis=1), 1, atol=1e-3)


def test_what_two_key_points_are_most_like_belongs_to_the_more_alike():
    points = key_points(np.random.default_rng(0), 3)
    twin = points.features[0] + 0.1 * points.features[1]
    features = np.stack([points.features[0], twin / np.linalg.norm(twin), points.features[2]])
    seen = PictureFeatures(np.zeros((4, 5, DIM), np.float32), np.zeros((4, 5), np.float32), 16, 20)
    seen.features[1, 3], seen.features[2, 0] = features[1], features[2]
    found = sightings(seen, replace(points, features=features))
    assert found.rows.tolist() == [1, 2]
    np.testing.assert_allclose(found.pixels, [[14, 6], [2, 10]], atol=2.1)


def test_a_camera_is_found_and_settled():
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    points = key_points(np.random.default_rng(0), 120)
    found = sightings(picture(points, hidden=40), points)
    camera = camera_pose(found, K)
    assert camera is not None and camera.is_believed and camera.focal == 300 and camera.in_view >= 100
    better = settled(found, K, camera)
    assert off(better)[0] < 0.05 and off(better)[1] < 0.4 and better.inliers >= camera.inliers - 2 and better.fit == camera.fit
    np.testing.assert_allclose(better.camera_from_world[:3, :3] @ better.camera_from_world[:3, :3].T, np.eye(3), atol=1e-9)
    same = settled(found, K, camera)
    np.testing.assert_array_equal(same.camera_from_world, better.camera_from_world)


def test_settling_finds_what_repeats_elsewhere():
    """Half of the key points look like others; seen from about the right place, each is found where it is."""
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    points = key_points(np.random.default_rng(3), 120)
    points.features[60:] = points.features[:60]
    found = sightings(picture(points), points)
    nearly = CAMERA.copy()
    nearly[:3, :3] = turn((1, 2, 3), 0.8) @ CAMERA[:3, :3]
    nearly[:3, 3] = -nearly[:3, :3] @ np.array([2.55, -6.05, 1.43])
    begun = CameraPose(nearly, 10, 120, 300.0, 18.0)
    assert off(settled(found, K, begun))[0] < 0.5 * off(begun)[0]


def test_a_picture_of_another_scene_has_no_camera_that_is_believed():
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    points = key_points(np.random.default_rng(0), 120)
    other = key_points(np.random.default_rng(1), 120)
    camera = camera_pose(sightings(picture(points), other), K)
    assert camera is None or not camera.is_believed
    assert camera_pose(sightings(picture(points), points.first(5)), K) is None


def test_without_poselib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "poselib", None)
    points = key_points(np.random.default_rng(0), 20)
    with pytest.raises(MissingDependencyError, match=r'poselib.*pip install "scenewise\[library\]"'):
        camera_pose(sightings(picture(points), points), K)
