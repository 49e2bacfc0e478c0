"""Which pixel shows which point: analytic rooms with truth by ray casting, and one hand-computed case per convention."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels import ray_casting
from scenewise.parts.lifting import VisibilityTest, ZBuffer, median_view_depth, stream_visible_pixels, visible_pixels
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.frames import Frame
from scenewise.worlds.captures import room_cameras, truth
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import DEMO_SEEDS


def camera(width: int = 40, height: int = 30, position: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Cameras:
    """Looks along +Z; f = 50, principal point (20, 15)."""
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3, 3] = -torch.tensor(position, dtype=torch.float64)
    K = torch.tensor([[50.0, 0.0, 20.0], [0.0, 50.0, 15.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(camera_from_world, K, width, height)


def frame(
    of: Cameras, depth: np.ndarray | None = None, mask: np.ndarray | None = None, name: str = "a", has_image: bool = True
) -> Frame:
    image = np.zeros((of.height, of.width, 3), np.uint8)
    return Frame(
        name,
        of,
        (lambda: image) if has_image else None,
        None if depth is None else lambda: depth,
        None if mask is None else lambda: mask,
    )


def flat(depth: float) -> np.ndarray:
    return np.full((30, 40), depth, dtype=np.float32)


def pixels(table: Correspondence) -> list[tuple[int, int, int, int]]:
    return [tuple(int(x) for x in row) for row in zip(table.element, table.view, table.row, table.column)]  # type: ignore[misc]


class TestConventions:
    def test_the_pixel_is_the_one_that_holds_the_projection(self):
        """(0.1, 0.06, 2) → u = 20 + 50·0.05 = 22.5, v = 15 + 50·0.03 = 16.5: row 16, column 22.  u = 21.98 stays in column 21."""
        points = np.array([[0.1, 0.06, 2.0], [1.98 * 2 / 50, 0.0, 2.0], [-0.001, -0.001, 2.0]])
        assert pixels(visible_pixels(points, [frame(camera(), flat(2.0))])) == [(0, 0, 16, 22), (1, 0, 15, 21), (2, 0, 14, 19)]

    def test_rounding_down_equals_rounding_to_nearest_with_centres_at_integers(self):
        rng = np.random.default_rng(0)
        points = rng.uniform([-0.7, -0.5, 1.0], [0.7, 0.5, 3.0], (500, 3))
        table = visible_pixels(points, [frame(camera())], VisibilityTest(z_buffer=None))
        seen = points[table.element]
        u_at_integers = 50 * seen[:, 0] / seen[:, 2] + 19.5
        assert len(table) > 200
        np.testing.assert_array_equal(table.column, np.floor(u_at_integers + 0.5))

    def test_the_depth_tested_is_that_of_the_pixel_written(self):
        depth = flat(9.0)
        depth[16, 22] = 2.0
        assert pixels(visible_pixels(np.array([[0.119, 0.079, 2.0]]), [frame(camera(), depth)])) == [(0, 0, 16, 22)]
        assert len(visible_pixels(np.array([[0.121, 0.079, 2.0]]), [frame(camera(), depth)])) == 0

    def test_edges_of_the_image_and_border(self):
        # u from 0 (inside) to 40 (outside); v likewise with 30
        points = np.array([[-0.8, 0, 2], [0.7999, 0, 2], [0.8001, 0, 2], [-0.8001, 0, 2], [0, -0.6, 2], [0, 0.6001, 2]])
        table = visible_pixels(points, [frame(camera(), flat(2.0))])
        assert pixels(table) == [(0, 0, 15, 0), (1, 0, 15, 39), (4, 0, 0, 20)]
        kept = visible_pixels(
            np.array([[-0.6, 0, 2], [-0.6001, 0, 2], [0.5999, 0, 2], [0.6, 0, 2]]), [frame(camera())], VisibilityTest(border=5)
        )
        assert pixels(kept) == [(0, 0, 15, 5), (2, 0, 15, 34)]

    def test_tolerances(self):
        """|D − z| ≤ 0.05 + 0.1·D with D = 2: from 1.75 to 2.25; the relative part is of the measured depth, not of z."""
        z = np.array([1.74, 1.76, 2.24, 2.26])
        points = np.stack([np.zeros(4), np.zeros(4), z], axis=1)
        table = visible_pixels(
            points, [frame(camera(), flat(2.0))], VisibilityTest(absolute_tolerance=0.05, relative_tolerance=0.1)
        )
        assert table.element.tolist() == [1, 2]
        default = visible_pixels(points, [frame(camera(), flat(1.8))])
        assert default.element.tolist() == [1]

    def test_no_measurement_shows_nothing_and_masks_are_kept(self):
        depth, mask = flat(2.0), np.ones((30, 40), dtype=bool)
        depth[15, 20], depth[15, 21], mask[15, 22] = 0.0, np.nan, False
        points = np.array([[0.01, 0.01, 2.0], [0.05, 0.01, 2.0], [0.09, 0.01, 2.0], [0.13, 0.01, 2.0]])
        assert visible_pixels(points, [frame(camera(), depth, mask)]).element.tolist() == [3]
        assert visible_pixels(points, [frame(camera(), depth, mask)], VisibilityTest(use_masks=False)).element.tolist() == [2, 3]
        at_the_lens = np.array([[0.0, 0.0, 0.03]])  # within the tolerance of a depth of 0, which is no depth
        assert len(visible_pixels(at_the_lens, [frame(camera(), flat(0.0))])) == 0

    def test_behind_the_camera_and_non_finite_points(self):
        points = np.array([[0, 0, -2.0], [0, 0, 0.0], [np.nan, 0, 2], [0, np.inf, 2], [0, 0, 2.0]])
        table = visible_pixels(points, [frame(camera())])
        assert table.element.tolist() == [4] and table.num_elements == 5
        assert len(visible_pixels(points, [frame(camera())], VisibilityTest(minimum_depth=2.5))) == 0

    def test_georeferenced_coordinates_lose_nothing(self):
        """UTM magnitudes: the same pixels as about the origin."""
        rng = np.random.default_rng(1)
        points = rng.uniform([-0.8, -0.6, 1.0], [0.8, 0.6, 3.0], (2000, 3))
        offset = np.array([448_000.0, 5_411_000.0, 120.0])
        near = visible_pixels(points, [frame(camera())], VisibilityTest(z_buffer=None))
        far = visible_pixels(points + offset, [frame(camera(position=tuple(offset)))], VisibilityTest(z_buffer=None))
        assert len(near) > 800
        assert np.mean(np.isin(near.element, far.element)) > 0.999
        same = np.intersect1d(near.element, far.element)
        a, b = near.column[np.isin(near.element, same)], far.column[np.isin(far.element, same)]
        assert (a == b).mean() > 0.999 and np.abs(a - b).max() <= 1


class TestViews:
    def test_skipped_views_are_counted(self):
        turned = camera()
        gone = frame(camera(), flat(2.0), name="b", has_image=False)
        broken = frame(turned, flat(2.0), name="c")
        turned.camera_from_world[0, 3] = float("nan")  # records check their values once; tensors can change later
        table = visible_pixels(np.array([[0.0, 0.0, 2.0]]), [None, frame(camera(), flat(2.0)), gone, broken])
        assert table.skipped_views == (0, 2, 3) and table.num_views == 4
        assert pixels(table) == [(0, 1, 15, 20)]

    def test_rows_are_ordered_by_view_then_element_and_streaming_gives_the_same(self):
        rng = np.random.default_rng(2)
        points = rng.uniform([-1.5, -1.0, 0.5], [1.5, 1.0, 4.0], (40_000, 3))
        views = [frame(camera(position=(x, 0.0, 0.0)), name=str(x)) for x in (0.0, 0.3, -0.2)]
        table = visible_pixels(points, views)
        order = table.view.astype(np.int64) * len(points) + table.element
        assert (np.diff(order) > 0).all()
        streamed = list(stream_visible_pixels(points, views))
        assert [part.view for part in streamed] == [0, 1, 2]
        np.testing.assert_array_equal(np.concatenate([part.element for part in streamed]), table.element)
        np.testing.assert_allclose(streamed[1].depth, points[streamed[1].element][:, 2], rtol=1e-14)

    def test_nothing_in_nothing_out(self):
        empty = visible_pixels(np.zeros((0, 3)), [frame(camera())])
        assert len(empty) == 0 and empty.num_elements == 0
        assert len(visible_pixels(np.zeros((5, 3)), [])) == 0

    @pytest.mark.errors
    def test_wrong_sizes_and_settings(self):
        point = np.array([[0.0, 0.0, 2.0]])
        with pytest.raises(ShapeError, match="depth of frame a"):
            visible_pixels(point, [frame(camera(), np.ones((40, 30), np.float32))])
        with pytest.raises(ConventionError, match="absolute_tolerance"):
            visible_pixels(point, [frame(camera())], VisibilityTest(absolute_tolerance=-1.0))
        with pytest.raises(ConventionError, match="cell"):
            ZBuffer(cell=0)


def test_points_that_face_away_are_not_visible():
    points = np.array([[0.0, 0.0, 2.0]] * 3)
    normals = np.array([[0.0, 0.1, -2.0], [0.0, 0.1, 2.0], [0.0, 0.0, 0.0]])
    assert visible_pixels(points, [frame(camera(), flat(2.0))], normals_in_world=normals).element.tolist() == [0, 2]


class TestZBuffer:
    def test_keeps_what_is_near_the_nearest_of_its_cell(self):
        """Cells of 8 px: columns 16–23.  Nearest 2 m: up to 2.5 m stays; nearest 20 m: up to 21 m (5 %)."""
        z = np.array([2.0, 2.49, 2.51, 20.0, 20.99, 21.01])
        u = np.array([20.0, 22.0, 23.0, 30.0, 30.5, 31.0])
        points = np.stack([(u - 20) / 50 * z, np.full(6, 0.01) * z, z], axis=1)
        assert visible_pixels(points, [frame(camera())]).element.tolist() == [0, 1, 3, 4]
        beside = visible_pixels(points, [frame(camera())], VisibilityTest(z_buffer=ZBuffer(cell=1))).element.tolist()
        assert beside == [0, 1, 2, 3, 4, 5][: len(beside)] and 2 in beside
        assert len(visible_pixels(points, [frame(camera())], VisibilityTest(z_buffer=None))) == 6

    def test_without_metres_tolerances_follow_the_median_depth(self):
        """A scene and its copy at 1/200 of the size show the same points."""
        rng = np.random.default_rng(3)
        front = rng.uniform([-1.5, -1.0, 3.9], [1.5, 1.0, 4.1], (2000, 3))
        points = np.concatenate([front, rng.uniform([-2.0, -1.5, 7.0], [2.0, 1.5, 7.5], (1000, 3))])
        median = median_view_depth(points, [camera()])
        assert 3.9 < median < 4.2
        large = visible_pixels(points, [frame(camera())], VisibilityTest(z_buffer=ZBuffer(cell=4)), scale="arbitrary")
        small = visible_pixels(points / 200, [frame(camera())], VisibilityTest(z_buffer=ZBuffer(cell=4)), scale="arbitrary")
        np.testing.assert_array_equal(large.element, small.element)
        hidden = np.setdiff1d(np.arange(2000, 3000), large.element)
        assert len(hidden) > 100
        depth = flat(4.0) / 200
        tight = visible_pixels(points / 200, [frame(camera(), depth)], scale="arbitrary")
        metric = visible_pixels(points / 200, [frame(camera(), depth)], scale="metric")
        assert 0 < len(tight) < len(metric)  # 5 cm would be the whole scene

    def test_a_scene_nobody_sees_has_no_scale(self):
        with pytest.raises(ConventionError, match="none in any image"):
            median_view_depth(np.array([[0.0, 0.0, -1.0]]), [camera()])


@settings(deadline=None, max_examples=30, derandomize=True)
@given(u=st.floats(0.0, 39.999), v=st.floats(0.0, 29.999), depth=st.floats(0.1, 50.0), seed=st.integers(0, 1000))
def test_unprojected_pixels_come_back(u: float, v: float, depth: float, seed: int):
    """Project ∘ unproject: the pixel and, to 1e-6, the depth, for any rigid pose."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, rng.uniform(-5, 5, 3)
    base = camera()
    of = replace(base, camera_from_world=torch.from_numpy(pose))
    in_camera = np.linalg.inv(base.K.numpy()) @ np.array([u, v, 1.0]) * depth
    point = rotation.T @ (in_camera - pose[:3, 3])
    (seen,) = stream_visible_pixels(point[None], [frame(of)])
    on_edge = min(u % 1, 1 - u % 1, v % 1, 1 - v % 1) < 1e-6
    if not on_edge:
        assert seen.row.tolist() == [int(v)] and seen.column.tolist() == [int(u)]
        assert abs(float(seen.depth[0]) - depth) < 1e-6


def surface_points(room: Room, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on surfaces that are open to the room, with outward normals: where rays from random places inside it end."""
    rng = np.random.default_rng(seed)
    origins = rng.uniform(0.1, np.array(room.size) - 0.1, (count, 3)).astype(np.float32)
    directions = rng.normal(size=(count, 3)).astype(np.float32)
    hits = ray_casting.cast_rays(room.scene.primitives, torch.from_numpy(origins), torch.from_numpy(directions))
    distance = hits.distances.numpy()
    points = (origins + directions * distance[:, None]).astype(np.float64)
    return points[np.isfinite(distance)], hits.normals_in_world.numpy()[np.isfinite(distance)].astype(np.float64)


def truly_visible(room: Room, of: Cameras, points: np.ndarray) -> np.ndarray:
    """Inside the image, and a ray from the camera reaches the point: by ray casting, without any depth map."""
    in_camera = points @ of.camera_from_world.numpy()[:3, :3].T + of.camera_from_world.numpy()[:3, 3]
    pixel = in_camera @ of.K.numpy().T
    with np.errstate(all="ignore"):
        u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
    inside = (in_camera[:, 2] > 0) & (u >= 0) & (u < of.width) & (v >= 0) & (v < of.height)
    center = of.centers_in_world.numpy()
    origins = torch.from_numpy(np.repeat(center[None], len(points), 0).astype(np.float32))
    hits = ray_casting.cast_rays(room.scene.primitives, origins, torch.from_numpy((points - center).astype(np.float32)))
    far = np.linalg.norm(points - center, axis=1)
    return inside & ((hits.distances.numpy() - 1) * far > -1e-3)


def recall_and_false(table: Correspondence, true: np.ndarray) -> tuple[float, float, float]:
    """Share of the truly visible (view, point) pairs that were found; share of the found, and of the hidden, that are wrong."""
    found = np.zeros_like(true)
    found[table.view, table.element] = True
    wrong = found & ~true
    return float(found[true].mean()), float(wrong.sum() / found.sum()), float(wrong.sum() / (~true).sum())


def room_frames(room: Room, views: int, width: int, height: int) -> list[Frame]:
    cameras = room_cameras(room, views, width, height)
    depths = [truth(room, cameras[i]).depth for i in range(views)]
    return [frame(cameras[i], depths[i], name=str(i)) for i in range(views)]


def test_visible_recall_and_false_visible_on_analytic_rooms(capsys: pytest.CaptureFixture[str]):
    lines = []
    for seed in (DEMO_SEEDS[49], DEMO_SEEDS[3]):
        room = furnished_room(seed)
        points, normals = surface_points(room, 30_000, seed)
        frames = room_frames(room, 8, 640, 480)
        true = np.stack([truly_visible(room, one.camera, points) for one in frames])
        recall, false, of_hidden = recall_and_false(visible_pixels(points, frames, normals_in_world=normals), true)
        plain = recall_and_false(visible_pixels(points, frames), true)
        lines.append(
            f"lifting, room {seed}, 640×480: visible recall {recall:.4f}, false visible {false:.4f} of the found "
            f"({of_hidden:.4f} of the hidden); without normals {plain[0]:.4f}, {plain[1]:.4f} ({plain[2]:.4f})"
        )
        assert recall >= 0.98 and false <= 0.01 and of_hidden <= 0.01, lines[-1]
        assert plain[0] >= 0.98 and plain[2] <= 0.01 and plain[1] <= 0.04, lines[-1]
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_pose_noise_degrades_gracefully():
    room = furnished_room(DEMO_SEEDS[49])
    frames = room_frames(room, 4, 320, 240)
    points, normals = surface_points(room, 20_000, 5)
    true = np.stack([truly_visible(room, one.camera, points) for one in frames])
    direction = torch.tensor([0.6, -0.64, 0.48], dtype=torch.float64)
    figures = []
    for noise in (0.0, 0.01, 0.03, 0.1):
        moved = []
        for one in frames:
            pose = one.camera.camera_from_world.clone()
            pose[:3, 3] += direction * noise
            moved.append(replace(one, camera=replace(one.camera, camera_from_world=pose)))
        figures.append(recall_and_false(visible_pixels(points, moved, normals_in_world=normals), true))
    recalls, wrong, _ = zip(*figures)
    assert recalls[0] > recalls[1] > recalls[2] > recalls[3] > 0.1
    assert recalls[1] > 0.9 and recalls[2] > 0.6
    assert wrong[0] <= 0.01 and wrong[2] < 0.03 and wrong[3] < 0.15


def test_occluded_points_are_rejected():
    """A wall before a wall: only the front one is seen, whatever lies behind it by more than the tolerance."""
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 20), np.linspace(-0.4, 0.4, 20)), -1).reshape(-1, 2)
    front, back = np.c_[grid, np.full(400, 2.0)], np.c_[grid, np.full(400, 2.2)]
    table = visible_pixels(np.concatenate([back, front]), [frame(camera(), flat(2.0))], progress=NullProgress())
    assert set(table.element.tolist()) == set(range(400, 800))
