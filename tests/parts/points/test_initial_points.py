"""Initial points: triangulation with known answers, matching against a loop, depth, choice of the source."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError, MissingDependencyError
from scenewise.parts.points.choose import InitialPoints, initial_points, random_points_in_view, within_reach
from scenewise.parts.points.features import ViewFeatures, detect_features
from scenewise.parts.points.from_depth import depth_edges, points_from_depth, thinned, unproject
from scenewise.parts.points.masked import shown_somewhere
from scenewise.parts.points.matching import match_along_epipolar_planes, match_views, matching_pairs
from scenewise.parts.points.multi_view import Observations, nearest_to_rays, refine_points
from scenewise.parts.points.settings import TriangulationSettings, spread_evenly
from scenewise.parts.points.tracks import consistent_matches, join_tracks
from scenewise.parts.points.triangulation import triangulate_capture, triangulate_observations
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

WIDTH, HEIGHT, FOCAL = 160, 120, 150.0
K = np.array([[FOCAL, 0, 80.0], [0, FOCAL, 60.0], [0, 0, 1.0]])
LENIENT = TriangulationSettings(support_least=0)


def looking_at(center: np.ndarray, target: np.ndarray) -> np.ndarray:
    """camera_from_world with −Y of the camera towards world +Z."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = rotation, -rotation @ center
    return camera_from_world


def arc(views: int, offset: np.ndarray | None = None) -> np.ndarray:
    """Cameras on an uneven arc 4 units away from the origin (or from ``offset``)."""
    middle = np.zeros(3) if offset is None else offset
    angles = np.linspace(-0.5, 0.6, views)
    centers = np.stack([4 * np.sin(angles), -4 * np.cos(angles), 0.5 + 0.3 * angles**2 + 0.1 * angles], axis=1)
    return np.stack([looking_at(center + middle, middle) for center in centers])


def project(camera_from_world: np.ndarray, points: np.ndarray) -> np.ndarray:
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    return np.stack([FOCAL * in_camera[:, 0] / in_camera[:, 2] + 80, FOCAL * in_camera[:, 1] / in_camera[:, 2] + 60], axis=1)


def sightings(poses: np.ndarray, points: np.ndarray, seen: np.ndarray) -> Observations:
    """All (point, view) of ``seen`` [points, views], grouped by point."""
    point, view = np.nonzero(seen)
    pixels = np.stack([project(poses[v], points[p : p + 1])[0] for p, v in zip(point, view)])
    return Observations(point, view, pixels)


# ---------------------------------------------------------------------------------------------------------- triangulation


def test_points_in_three_views_are_recovered() -> None:
    rng = np.random.default_rng(0)
    poses, points = arc(6), rng.uniform(-0.8, 0.8, (50, 3))
    seen = rng.permuted(np.tile(np.arange(6) < 3, (50, 1)), axis=1)  # three views each, at random
    observations = sightings(poses, points, seen)
    linear = nearest_to_rays(observations, 50, poses, np.stack([K] * 6))
    assert np.abs(linear - points).max() < 1e-6
    found = triangulate_observations(
        observations,
        np.tile(np.array([[10, 20, 30]], np.uint8), (len(observations.point), 1)),
        poses,
        np.stack([K] * 6),
        origin_in_world=np.zeros(3),
        settings=LENIENT,
    )
    assert np.abs(found.cloud.points_in_world - points).max() < 1e-6
    assert (found.views == 3).all() and found.reprojection_px.max() < 1e-6
    assert found.cloud.colors_u8 is not None and (found.cloud.colors_u8 == [10, 20, 30]).all()


def test_linear_triangulation_equals_a_loop() -> None:
    rng = np.random.default_rng(1)
    poses, points = arc(4), rng.uniform(-0.8, 0.8, (7, 3))
    observations = sightings(poses, points, rng.random((7, 4)) < 0.8)
    noisy = Observations(
        observations.point, observations.view, observations.pixels + rng.normal(0, 0.5, observations.pixels.shape)
    )
    together = nearest_to_rays(noisy, 7, poses, np.stack([K] * 4))
    for point in range(7):
        a, b = np.zeros((3, 3)), np.zeros(3)
        for view, pixel in zip(noisy.view[noisy.point == point], noisy.pixels[noisy.point == point]):
            rotation, translation = poses[view][:3, :3], poses[view][:3, 3]
            ray = rotation.T @ np.linalg.inv(K) @ np.array([*pixel, 1.0])
            ray /= np.linalg.norm(ray)
            across = np.eye(3) - np.outer(ray, ray)
            a, b = a + across, b + across @ (-rotation.T @ translation)
        assert np.allclose(together[point], np.linalg.solve(a, b), atol=1e-9)


def test_refinement_minimises_the_reprojection_error() -> None:
    from scipy.optimize import least_squares

    rng = np.random.default_rng(2)
    poses, point = arc(3), np.array([[0.3, -0.2, 0.4]])
    observations = sightings(poses, point, np.ones((1, 3), bool))
    noisy = Observations(observations.point, observations.view, observations.pixels + rng.normal(0, 2.0, (3, 2)))
    intrinsics = np.stack([K] * 3)
    refined = refine_points(nearest_to_rays(noisy, 1, poses, intrinsics), noisy, poses, intrinsics, iterations=10)

    def error(x: np.ndarray) -> np.ndarray:
        return np.concatenate([project(poses[v], x[None])[0] - noisy.pixels[i] for i, v in enumerate(noisy.view)])

    assert np.allclose(refined[0], least_squares(error, point[0], xtol=1e-14, ftol=1e-14).x, atol=1e-6)


def test_a_wrong_sighting_is_dropped_and_a_point_behind_is_not_made() -> None:
    poses = arc(5)
    points = np.array([[0.2, 0.1, 0.0], [0.0, 0.3, -0.2]])
    observations = sightings(poses, points, np.ones((2, 5), bool))
    pixels = observations.pixels.copy()
    pixels[3] += [4.0, -5.0]  # view 3 of point 0
    pixels[5:] += np.array([[30.0, 0], [-20, 9], [0, -25], [14, 31], [-33, -8]])  # point 1 mixed up altogether
    colors = np.full((10, 3), 100, np.uint8)
    colors[3] = 255
    found = triangulate_observations(
        Observations(observations.point, observations.view, pixels),
        colors,
        poses,
        np.stack([K] * 5),
        origin_in_world=np.zeros(3),
        settings=LENIENT,
    )
    assert len(found.cloud) >= 1 and np.abs(found.cloud.points_in_world[0] - points[0]).max() < 1e-6
    assert found.views[0] == 4 and found.cloud.colors_u8 is not None and (found.cloud.colors_u8[0] == 100).all()
    # Rays that meet behind the cameras only: two parallel-looking views with crossed pixels.
    pair = np.stack([np.eye(4), np.eye(4)])
    pair[1, 0, 3] = -1.0  # second camera at x = +1
    behind = Observations(np.array([0, 0]), np.array([0, 1]), np.array([[70.0, 60.0], [90.0, 60.0]]))
    assert (
        len(
            triangulate_observations(
                behind, np.zeros((2, 3), np.uint8), pair, np.stack([K] * 2), origin_in_world=np.zeros(3), settings=LENIENT
            ).cloud
        )
        == 0
    )


def test_unsupported_two_view_points_are_dropped() -> None:
    rng = np.random.default_rng(3)
    poses = arc(2)
    wall = np.stack([rng.uniform(-0.7, 0.7, 60), np.zeros(60), rng.uniform(-0.5, 0.5, 60)], axis=1)
    points = np.concatenate([wall, [[0.05, -1.5, 0.3]]])  # the last stands far in front of the wall, alone
    observations = sightings(poses, points, np.ones((61, 2), bool))
    found = triangulate_observations(
        observations, np.zeros((122, 3), np.uint8), poses, np.stack([K] * 2), origin_in_world=np.zeros(3)
    )
    assert len(found.cloud) == 60 and np.abs(found.cloud.points_in_world - wall).max() < 1e-6


# --------------------------------------------------------------------------------------------------------------- matching


def features_of(poses: np.ndarray, points: np.ndarray, seed: int = 0) -> tuple[list[ViewFeatures], list[np.ndarray]]:
    """Each view's projections in a random order with a descriptor per point; also which point each feature shows."""
    rng = np.random.default_rng(seed)
    descriptors = np.abs(rng.normal(size=(len(points), 128)))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    features, truth = [], []
    for pose in poses:
        order = rng.permutation(len(points))
        noisy = descriptors[order] + 0.02 * rng.normal(size=(len(points), 128))
        noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
        features.append(
            ViewFeatures(project(pose, points[order]), noisy.astype(np.float16), np.zeros((len(points), 3), np.uint8))
        )
        truth.append(order)
    return features, truth


def test_matches_are_right_and_as_many_as_a_loop_finds() -> None:
    rng = np.random.default_rng(4)
    poses, points = arc(4), rng.uniform(-0.8, 0.8, (300, 3))
    features, truth = features_of(poses, points)
    settings = TriangulationSettings()
    pairs = matching_pairs(poses, np.stack([K] * 4), np.full((4, 2), [WIDTH, HEIGHT]), settings)
    matches = match_views(features, poses, np.stack([K] * 4), pairs, settings=settings)
    assert (pairs.pairs == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]).all()  # 0 and 3 are 63° apart
    for i, a, j, b in matches:
        assert truth[i][a] == truth[j][b]
    assert len(matches) >= 0.98 * 5 * 300
    # The same rule for one pair, feature by feature: within 1.5 px of the epipolar line, best and mutual, ratio test.
    first, second = features[0], features[2]
    relative = poses[2] @ np.linalg.inv(poses[0])
    t = relative[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    fundamental = np.linalg.inv(K).T @ cross @ relative[:3, :3] @ np.linalg.inv(K)
    similarity = first.descriptors.astype(np.float32) @ second.descriptors.astype(np.float32).T
    for a in range(300):
        line = fundamental @ np.array([*first.pixels[a], 1.0])
        for b in range(300):
            if abs(line @ np.array([*second.pixels[b], 1.0])) / np.hypot(line[0], line[1]) > 1.5:
                similarity[a, b] = -1
    expected = set()
    for a in range(300):
        b = int(similarity[a].argmax())
        rivals = np.sort(np.delete(similarity[a], b))
        best, second_best = similarity[a, b], rivals[-1]
        if similarity[:, b].argmax() == a and np.sqrt(2 - 2 * best) <= 0.8 * np.sqrt(2 - 2 * second_best):
            expected.add((a, b))
    mine = {(a, b) for i, a, j, b in matches.tolist() if (i, j) == (0, 2)}
    assert len(mine ^ expected) <= 6  # the line distance is measured per plane angle here, so the limit differs a little


def test_a_feature_off_its_epipolar_line_is_not_matched() -> None:
    poses, point = arc(2), np.array([[0.1, 0.2, -0.1]])
    features, _ = features_of(poses, point)
    centers = np.stack([-pose[:3, :3].T @ pose[:3, 3] for pose in poses])

    def ray(view: int, pixel: np.ndarray) -> np.ndarray:
        direction = poses[view][:3, :3].T @ np.linalg.inv(K) @ np.array([*pixel, 1.0])
        return (direction / np.linalg.norm(direction))[None]

    def matched(shift: list[float]) -> int:
        moved = features[1].pixels + np.array(shift)
        return len(
            match_along_epipolar_planes(
                ray(0, features[0].pixels[0]),
                ray(1, moved[0]),
                features[0].descriptors,
                features[1].descriptors,
                moved,
                baseline=centers[1] - centers[0],
                focal_px=FOCAL,
                settings=TriangulationSettings(),
            )
        )

    assert matched([0, 0]) == 1
    assert matched([5, 0]) == 1  # the arc is level, so lines run nearly along rows
    assert matched([0, 5]) == 0
    assert matched([-150, 0]) == 0  # the rays would meet behind the cameras


def test_matches_are_mutual() -> None:
    """Two features of the first view on one ray of descent: the second view's only feature takes the more similar one."""
    poses = arc(2)
    centers = np.stack([-pose[:3, :3].T @ pose[:3, 3] for pose in poses])
    point = np.array([0.1, 0.2, -0.1])
    beside = point + 0.2 * (centers[1] - centers[0])  # in the same epipolar plane
    rays = np.stack([point - centers[0], beside - centers[0]])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    other = (point - centers[1])[None] / np.linalg.norm(point - centers[1])
    descriptor = np.zeros((1, 128))
    descriptor[0, 0] = 1
    similar = np.zeros((2, 128))
    similar[:, 0], similar[:, 1] = [1.0, 0.9], [0.0, np.sqrt(1 - 0.81)]
    for order in ([0, 1], [1, 0]):
        matched = match_along_epipolar_planes(
            rays[order],
            other,
            similar[order].astype(np.float16),
            descriptor.astype(np.float16),
            project(poses[1], point[None]),
            baseline=centers[1] - centers[0],
            focal_px=FOCAL,
            settings=TriangulationSettings(max_angle_deg=60.0),
        )
        assert matched.tolist() == [[order.index(0), 0]]


def test_views_that_see_nothing_in_common_are_not_paired() -> None:
    poses = np.stack(
        [looking_at(np.array([0.0, -4, 0]), np.zeros(3)), looking_at(np.array([0.0, -4, 0.5]), np.array([0, -40.0, 0]))]
    )
    pairs = matching_pairs(poses, np.stack([K] * 2), np.full((2, 2), [WIDTH, HEIGHT]), TriangulationSettings())
    assert len(pairs.pairs) == 0


# ----------------------------------------------------------------------------------------------------------------- tracks


def test_joined_tracks_and_their_conflicts() -> None:
    view = np.array([0, 1, 2, 0, 1, 2, 0])
    pixels = np.array([[0.0, 0], [0, 0], [0, 0], [50, 0], [50, 0], [50, 0], [90, 9]])
    right = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5]])
    assert join_tracks(right, view, pixels).tolist() == [0, 0, 0, 1, 1, 1, -1]
    wrong = np.concatenate([right, [[2, 4]]])  # joins both; it stands in no triangle, the others do
    assert join_tracks(wrong, view, pixels).tolist() == [0, 0, 0, 1, 1, 1, -1]
    twin = np.concatenate([pixels[:-1], [[1.0, 0]]])  # feature 6 describes the spot of feature 0 once more
    assert join_tracks(np.concatenate([right, [[6, 1]]]), view, twin).tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert join_tracks(np.zeros((0, 2), np.int64), view, pixels).tolist() == [-1] * 7


def test_matches_vote_the_wrong_one_out() -> None:
    poses, points = arc(5), np.array([[0.2, 0.1, 0.3], [-0.4, 0.2, -0.1]])
    pixels = np.concatenate([project(pose, points) for pose in poses])  # feature 2v shows point 0, 2v + 1 point 1
    view = np.repeat(np.arange(5), 2)
    right = np.array([[0, 2 * v] for v in range(1, 5)] + [[1, 2 * v + 1] for v in range(1, 5)])
    # A wrong partner on the epipolar line of feature 0 in view 4: point 0 seen at another depth.
    center = -poses[0][:3, :3].T @ poses[0][:3, 3]
    decoy = project(poses[4], (center + 0.8 * (points[0] - center))[None])
    edges = np.concatenate([right, [[0, 10]]])
    kept = consistent_matches(
        edges, np.append(view, 4), np.concatenate([pixels, decoy]), poses, np.stack([K] * 5), tolerance_px=2.0
    )
    assert kept.tolist() == [True] * 8 + [False]


# -------------------------------------------------------------------------------------------------------- whole captures


def textured(seed: int = 0) -> np.ndarray:
    """A picture with blobs of all sizes, 512×512."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((512, 512, 3))
    for cells in (8, 16, 32, 64, 128):
        picture += np.kron(rng.random((cells, cells, 3)), np.ones((512 // cells, 512 // cells, 1)))
    return picture / 5 * 255


def wall_capture(*, views: int = 6, with_depth: bool = False, offset: np.ndarray | None = None) -> Capture:
    """A textured wall in the plane y = 0 (moved by ``offset``), photographed from an arc; frames 0 and 4 are held out.

    Held-out frames cannot be decoded, so a test that touches them fails.
    """
    texture, middle = textured(), np.zeros(3) if offset is None else offset
    frames = []
    for number, pose in enumerate(arc(views, offset)):
        v, u = np.meshgrid(np.arange(HEIGHT) + 0.5, np.arange(WIDTH) + 0.5, indexing="ij")
        rays = np.stack([(u - 80) / FOCAL, (v - 60) / FOCAL, np.ones_like(u)], axis=-1) @ pose[:3, :3]
        center = -pose[:3, :3].T @ pose[:3, 3] - middle
        depth = (-center[1] / rays[..., 1]).astype(np.float32)
        hit = center + depth[..., None] * rays
        column = np.clip((hit[..., 0] / 4 + 0.5) * 511, 0, 511)
        row = np.clip((0.5 - hit[..., 2] / 4) * 511, 0, 511)
        low_r, low_c = np.minimum(row.astype(int), 510), np.minimum(column.astype(int), 510)
        fr, fc = (row - low_r)[..., None], (column - low_c)[..., None]
        image = (texture[low_r, low_c] * (1 - fr) + texture[low_r + 1, low_c] * fr) * (1 - fc)
        image += (texture[low_r, low_c + 1] * (1 - fr) + texture[low_r + 1, low_c + 1] * fr) * fc
        image_u8 = image.round().astype(np.uint8)
        held_out = number % 4 == 0

        def load(image_u8: np.ndarray = image_u8, held_out: bool = held_out) -> np.ndarray:
            assert not held_out, "a held-out view was read"
            return image_u8

        def load_depth(depth: np.ndarray = depth, held_out: bool = held_out) -> np.ndarray:
            assert not held_out, "a held-out view was read"
            return depth

        camera = Cameras(torch.from_numpy(pose), torch.from_numpy(K), WIDTH, HEIGHT)
        frames.append(Frame(f"{number}.png", camera, load, load_depth if with_depth else None))
    return Capture(Path("wall"), "world", tuple(frames), test_names=frozenset({"0.png", "4.png"}))


def test_wall_is_triangulated_from_training_frames_only() -> None:
    found = initial_points(wall_capture(), source="matches", maximum=5000)
    assert found.source == "matches" and "triangulated from matches between 4 training frames" in found.provenance
    points = found.cloud.points_in_world
    assert len(points) >= TOO_FEW and found.views is not None and found.median_reprojection_px is not None
    distance = np.abs(points[:, 1])
    assert np.median(distance) < 0.02 and np.mean(distance < 0.1) > 0.97
    assert found.median_reprojection_px < 0.5


TOO_FEW = 1000


def test_same_seed_and_other_thread_count_give_the_same_points() -> None:
    capture = wall_capture()
    one, two, other = (
        initial_points(capture, source="matches", maximum=500, seed=seed, threads=threads).cloud
        for seed, threads in ((3, 1), (3, 2), (4, 1))
    )
    assert len(one) == 500 and np.array_equal(one.points_in_world, two.points_in_world)
    assert not np.array_equal(one.points_in_world, other.points_in_world)


def test_georeferenced_worlds_lose_nothing() -> None:
    offset = np.array([5e5, 4.2e6, 120.0])
    near = triangulate_capture(wall_capture().train_frames, wanted=2000)
    far = triangulate_capture(wall_capture(offset=offset).train_frames, wanted=2000)
    shift = abs(len(near.cloud) - len(far.cloud))
    assert shift <= 0.02 * len(near.cloud)  # rounding of the pictures differs in single pixels
    assert np.median(np.abs(far.cloud.points_in_world[:, 1] - offset[1])) < 0.02


def test_feature_positions_have_centres_at_half_integers() -> None:
    """A bright disc around (60.5, 40.5) in a 120×90 picture: SIFT must say that, enlarged or not."""
    v, u = np.meshgrid(np.arange(90) + 0.5, np.arange(120) + 0.5, indexing="ij")
    disc = (255 * np.exp(-((u - 60.5) ** 2 + (v - 40.5) ** 2) / (2 * 4.0**2))).astype(np.uint8)
    image = np.repeat(disc[..., None], 3, axis=2)
    camera = Cameras(torch.eye(4, dtype=torch.float64), torch.from_numpy(K), 120, 90)
    for min_side in (0, 720):
        settings = TriangulationSettings(min_side=min_side)
        (view,) = detect_features((Frame("disc", camera, lambda: image),), limit=100, settings=settings)
        assert np.abs(view.pixels - [60.5, 40.5]).max(axis=1).min() < 0.08


def test_depth_points_lie_on_the_wall_with_its_colours() -> None:
    capture = wall_capture(with_depth=True)
    found = initial_points(capture, maximum=1500)
    assert found.source == "depth" and "depth maps of 4 training frames" in found.provenance
    assert 1200 <= len(found.cloud) <= 1500
    assert np.abs(found.cloud.points_in_world[:, 1]).max() < 1e-5
    dense = points_from_depth(capture.train_frames, maximum=100_000)
    points, colors = dense.points_in_world, dense.colors_u8
    assert colors is not None
    inside = (np.abs(points[:, [0, 2]]) < 1.9).all(axis=1)
    column, row = (points[inside, 0] / 4 + 0.5) * 511, (0.5 - points[inside, 2] / 4) * 511
    expected = textured()[row.round().astype(int), column.round().astype(int)]
    assert np.median(np.abs(colors[inside] - expected)) < 8


def test_unprojection_by_hand() -> None:
    # Camera at (1, 2, 3) looking along world +X, right = −Y, down = −Z.  Pixel (column 94, row 44) has its centre at
    # (94.5, 44.5): 14.5/150 to the right and 15.5/150 up of the axis; at depth 6: (7, 2 − 0.58, 3 + 0.62).
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    camera_from_world[:3, 3] = -camera_from_world[:3, :3] @ np.array([1.0, 2.0, 3.0])
    camera = Cameras(torch.from_numpy(camera_from_world), torch.from_numpy(K), WIDTH, HEIGHT)
    depth = np.full((HEIGHT, WIDTH), 6, np.float32)
    assert np.allclose(unproject(camera, np.array([44]), np.array([94]), depth), [[7.0, 1.42, 3.62]])


def test_depth_edges_by_hand() -> None:
    depth = np.array([[2.0, 2.05, 3.0, 3.0], [2.0, 0.0, 3.0, np.nan]], np.float32)
    assert depth_edges(depth).tolist() == [[False, True, True, False], [False, True, False, True]]


def test_thinning_keeps_means() -> None:
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [10.0, 0, 0], [10.3, 0, 0]])
    colors = np.array([[0, 0, 0], [10, 20, 30], [200, 0, 0], [100, 0, 0]], np.uint8)
    thin = thinned(PointCloud(points + 1e6, colors), 2)
    assert len(thin) == 2 and np.allclose(np.sort(thin.points_in_world[:, 0]) - 1e6, [0.05, 10.15])
    assert thin.colors_u8 is not None and {tuple(c) for c in thin.colors_u8.tolist()} == {(5, 10, 15), (150, 0, 0)}
    assert thinned(PointCloud(points, colors), 4) is not None


def test_points_of_the_capture_are_cleaned() -> None:
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(size=(1500, 3)), [[np.nan, 0, 0], [np.inf, 0, 0], [1e6, 0, 0]]])
    capture = wall_capture()
    with_points = Capture(
        capture.root,
        "colmap",
        capture.frames,
        points=PointCloud(points, np.full((1503, 3), 7, np.uint8)),
        test_names=capture.test_names,
    )
    found = initial_points(with_points)
    assert found.source == "capture" and np.array_equal(found.cloud.points_in_world, points[:1500])
    assert "2 dropped for NaN or Inf, 1 dropped as far outliers" in found.provenance
    assert len(initial_points(with_points, trim_far=False).cloud) == 1501
    few = initial_points(with_points, maximum=1200, seed=1)
    assert len(few.cloud) == 1200 and "a random 1200 of them kept" in few.provenance
    assert within_reach(points[:1500], np.ones(1500, bool)).all()


def test_random_points_top_up_and_are_admitted() -> None:
    blank = wall_capture()
    gray = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    frames = tuple(Frame(frame.name, frame.camera, lambda: gray) for frame in blank.frames)
    found: InitialPoints = initial_points(Capture(Path("blank"), "world", frames), maximum=3000)
    assert found.source == "random" and len(found.cloud) == 3000 and "3000 random points" in found.provenance
    assert found.cloud.colors_u8 is not None and (found.cloud.colors_u8 == 90).all()
    seen = np.zeros(3000, int)
    for frame in frames:
        pixels = project(frame.camera.camera_from_world.numpy(), found.cloud.points_in_world)
        seen += ((pixels >= 0) & (pixels < [WIDTH, HEIGHT])).all(axis=1)
    assert np.mean(seen >= 2) > 0.95
    few = Capture(Path("few"), "colmap", frames, points=PointCloud(np.zeros((5, 3))))
    topped = initial_points(few, maximum=3000)
    assert "5 points of the capture; topped up with 2995 random points" in topped.provenance


def test_points_that_masks_hide_in_every_view_are_left_out() -> None:
    """The left fifth of every picture is hidden: a point that lies there in one view and elsewhere in another is kept."""
    capture = wall_capture()
    used = np.ones((HEIGHT, WIDTH), bool)
    used[:, :32] = False
    frames = tuple(replace(frame, load_mask=lambda: used) for frame in capture.frames)
    rng = np.random.default_rng(2)
    points = rng.uniform([-2.4, -0.4, -0.8], [1.5, 0.4, 0.8], (1500, 3))
    column = np.stack([project(frame.camera.camera_from_world.numpy(), points)[:, 0] for frame in frames])
    row = np.stack([project(frame.camera.camera_from_world.numpy(), points)[:, 1] for frame in frames])
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    expected = (inside & (column >= 32)).any(axis=0) | ~inside.any(axis=0)
    assert 20 < (~expected).sum() < 750 and ((inside & (column < 32)).any(axis=0) & expected).sum() > 20
    assert np.array_equal(shown_somewhere(points, frames), expected)
    assert shown_somewhere(points, capture.frames).all()
    found = initial_points(replace(capture, frames=frames, points=PointCloud(points)), trim_far=False)
    assert np.array_equal(found.cloud.points_in_world[: expected.sum()], points[expected])
    assert f"{(~expected).sum()} dropped because masks hide them in every view" in found.provenance


def test_random_points_keep_away_from_what_masks_hide() -> None:
    blank = wall_capture()
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture[30:60, 40:90] = 200
    used = picture[..., 0] == 90
    frames = tuple(Frame(frame.name, frame.camera, lambda: picture, load_mask=lambda: used) for frame in blank.frames)
    found = random_points_in_view(frames, 2000, np.random.default_rng(0))
    assert found.colors_u8 is not None and (found.colors_u8 == 90).all()


def test_asking_for_what_is_not_there() -> None:
    capture = wall_capture()
    for source in ("capture", "depth"):
        with pytest.raises(ConventionError, match="wall has none"):
            initial_points(capture, source=source)  # type: ignore[arg-type]
    nothing = Capture(Path("empty"), "world", tuple(Frame(f.name, f.camera, None) for f in capture.frames))
    with pytest.raises(ConventionError, match="at least one frame with an image"):
        initial_points(nothing)


def test_without_opencv_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "scenewise\[io\]"'):
        initial_points(wall_capture(), source="matches")


def test_frames_are_spread_evenly() -> None:
    frames = wall_capture(views=9).frames
    assert [frame.name for frame in spread_evenly(frames, 3)] == ["0.png", "4.png", "8.png"]
    assert spread_evenly(frames, 9) == frames


@pytest.mark.slow
@pytest.mark.data
def test_fox(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scenewise.io.captures import open_capture

    if not (data_root / "fox").is_dir():
        pytest.skip(f"no fox in {data_root}")
    capture = open_capture(data_root / "fox", factor=4)
    wall, cpu = time.perf_counter(), time.process_time()
    found = initial_points(capture, maximum=30_000)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with capsys.disabled():
        print(f"\nfox: {found.provenance}; {wall:.1f} s, {cpu:.1f} s of processor time")
    assert len(found.cloud) >= 10_000
    assert found.median_reprojection_px is not None and found.median_reprojection_px < 1
