"""Towns: reproducible, uneven, photographed evenly from above; their points lie on what is seen."""

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.kernels import ray_casting
from scenewise.kernels.ray_casting import Shape
from scenewise.scenes.cameras import Cameras
from scenewise.worlds import facades, town_captures
from scenewise.worlds.cameras import pinhole
from scenewise.worlds.drone import attitude, drone_cameras, drone_flight
from scenewise.worlds.materials import Material
from scenewise.worlds.primitives import Primitive, box
from scenewise.worlds.town import Town, town
from scenewise.worlds.town_captures import SKY, gradients, photograph_town, town_capture, town_depth, town_points

SEED = 5
QUARTERS = [(x, y) for x in (0, 1) for y in (0, 1)]


@pytest.fixture(scope="module")
def place() -> Town:
    return town(SEED)


def unprojected(camera: Cameras, depth: np.ndarray) -> np.ndarray:
    """World positions [height, width, 3] of pixel centres."""
    v, u = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K.numpy()).T
    return transform_points(camera.world_from_camera.numpy(), rays * depth[..., None].astype(np.float64))


def projected(camera: Cameras, points: np.ndarray) -> np.ndarray:
    """Pixels (u, v) of world positions."""
    pixels = transform_points(camera.camera_from_world.numpy(), points) @ camera.K.numpy().T
    return pixels[:, :2] / pixels[:, 2:]


def middle(place: Town, quarter: tuple[int, int]) -> tuple[float, float]:
    return (0.25 + 0.5 * quarter[0]) * place.size[0], (0.25 + 0.5 * quarter[1]) * place.size[1]


class TestTown:
    def test_a_seed_is_one_town(self, place: Town) -> None:
        again, other = town(SEED), town(SEED + 1)
        assert again == place and other != place
        camera = drone_cameras(place, 5, 48, 32)[3]
        np.testing.assert_array_equal(photograph_town(again, camera), photograph_town(place, camera))
        assert (photograph_town(other, camera) != photograph_town(place, camera)).mean() > 0.5

    def test_has_a_busy_quarter_two_mixed_ones_and_an_open_one_across(self, place: Town) -> None:
        names = {quarter: place.district(*middle(place, quarter)) for quarter in QUARTERS}
        x, y = place.busy_corner
        assert names == {(x, y): "busy", (1 - x, y): "mixed", (x, 1 - y): "mixed", (1 - x, 1 - y): "open"}
        assert {town(seed).busy_corner for seed in range(12)} == set(QUARTERS)

    @pytest.mark.parametrize("seed", [SEED, 10, 11])
    def test_is_harder_in_the_busy_quarter_than_in_the_open_one(self, seed: int) -> None:
        """Energy of the gradients of a picture of each quarter from above: it says how much there is to fit."""
        place = town(seed)
        energy: dict[str, list[float]] = {"busy": [], "mixed": [], "open": []}
        for quarter in QUARTERS:
            x, y = middle(place, quarter)
            camera = pinhole(attitude(np.array([x, y, 60.0]), 0.0, 90.0), 160, 160, 50.0)
            energy[place.district(x, y)].append(float((gradients(photograph_town(place, camera)) ** 2).mean()))
        assert energy["busy"][0] > 2 * energy["open"][0]
        assert energy["open"][0] < min(energy["mixed"]) and max(energy["mixed"]) < energy["busy"][0]

    def test_pictures_are_lit(self, place: Town) -> None:
        for index in range(0, 20, 6):
            image = photograph_town(place, drone_cameras(place, 20, 96, 64)[index]).astype(float)
            assert 60 < image.mean() < 180 and (image.max(-1) >= 254).mean() < 0.05

    def test_shadows_fall_away_from_the_sun(self, place: Town) -> None:
        foot = np.array([60.0, 60.0, 0.0])
        sun = np.array(place.lighting.lamp_in_world) - foot
        assert np.linalg.norm(sun) > 5 * 120 and sun[2] > 0.7 * np.linalg.norm(sun)  # high, and too far to shine unevenly
        reach = 10.0 * np.array([sun[0], sun[1], 0.0]) / sun[2]  # of the shadow of what is 10 m high, the other way
        parts = (box(60.0, 60.0, -1.0, 300.0, 300.0, 1.0, _plain("sand")), box(60.0, 60.0, 0.0, 2.0, 2.0, 10.0, _plain("brick")))
        camera = pinhole(attitude(np.array([60.0, 60.0, 80.0]), 0.0, 90.0), 160, 160, 50.0)
        image = photograph_town(Town(0, place.size, place.busy_corner, parts, place.lighting), camera).mean(-1)
        shade, sunny, beyond = (
            image[int(v), int(u)]
            for u, v in projected(camera, np.stack([foot - 0.85 * reach, foot + 0.85 * reach, foot - 1.3 * reach]))
        )
        assert shade < 0.75 * min(sunny, beyond)

    def test_other_sizes_are_filled(self) -> None:
        place = town(3, size=(60.0, 180.0))
        built = [part for part in place.parts if part.center[2] > 2.0 and part.shape is Shape.BOX]
        x, y = np.array([part.center[:2] for part in built]).T
        assert 0 < x.min() < 20 and 40 < x.max() < 60 and 0 < y.min() < 20 and 160 < y.max() < 180

    @pytest.mark.parametrize("size", [(120.0, 10.0), (5000.0, 120.0), (float("nan"), 120.0)])
    def test_refuses_sizes_that_are_no_town(self, size: tuple[float, float]) -> None:
        with pytest.raises(ConventionError, match="size"):
            town(0, size=size)


def _plain(name: str) -> Material:
    return facades.plain(np.random.default_rng(0), name)


class TestAttitude:
    """A small box at a known place, by hand: 20 m east and 35 m north of the camera, which is 100 m above it."""

    @pytest.mark.parametrize(
        ("heading", "roll", "right_m", "up_m"),
        [(0.0, 0.0, 20.0, 35.0), (90.0, 0.0, -35.0, 20.0), (180.0, 0.0, -20.0, -35.0), (0.0, 90.0, -35.0, 20.0)],
    )
    def test_looking_down(self, heading: float, roll: float, right_m: float, up_m: float) -> None:
        parts = (
            box(60.0, 60.0, -1.0, 500.0, 500.0, 1.0, _plain("asphalt")),
            box(80.0, 95.0, 0.0, 3.0, 3.0, 0.01, _plain("red")),
        )
        place = Town(0, (120.0, 120.0), (0, 0), parts, town(SEED).lighting)
        camera = pinhole(attitude(np.array([60.0, 60.0, 100.0]), heading, 90.0, roll), 200, 160, 60.0)
        image = photograph_town(place, camera).astype(float)
        is_red = image[..., 0] > 2 * image[..., 1]
        v, u = (is_red.nonzero()[axis].mean() + 0.5 for axis in (0, 1))
        focal = 100 / np.tan(np.deg2rad(30))
        np.testing.assert_allclose([u, v], [100 + focal * right_m / 100, 80 - focal * up_m / 100], atol=0.6)

    def test_looking_ahead(self) -> None:
        pose = attitude(np.array([1.0, 2.0, 3.0]), 90.0, 30.0)
        np.testing.assert_allclose(pose[:3, 2], [np.sqrt(0.75), 0.0, -0.5], atol=1e-12)  # east and down
        np.testing.assert_allclose(pose[:3, 0], [0.0, -1.0, 0.0], atol=1e-12)  # south is to the right
        np.testing.assert_allclose(pose[:3, 3], [1.0, 2.0, 3.0])
        assert np.linalg.det(pose) == pytest.approx(1.0)


class TestFlight:
    @pytest.mark.parametrize(("size", "views"), [((120.0, 120.0), 60), ((60.0, 180.0), 41), ((60.0, 60.0), 1)])
    def test_is_above_all_roofs_and_looks_down(self, size: tuple[float, float], views: int) -> None:
        place = town(SEED, size=size)
        poses = drone_flight(place, views)
        assert poses.shape == (views, 4, 4)
        assert poses[:, 2, 3].min() >= place.height + 5
        assert poses[:, 2, 2].max() < -np.sin(np.deg2rad(35))
        assert torch.isfinite(drone_cameras(place, views, 30, 20).camera_from_world).all()

    def test_is_two_fifths_straight_down_and_the_rest_in_four_directions(self, place: Town) -> None:
        forward = drone_flight(place, 100)[:, :3, 2]
        assert (forward[:, 2] < -0.99).tolist() == [True] * 40 + [False] * 60
        ahead = forward[40:, :2] / np.linalg.norm(forward[40:, :2], axis=1, keepdims=True)
        for k, course in enumerate([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)]):
            assert (ahead[15 * k : 15 * (k + 1)] @ course > 0.95).all()
        pitch = np.rad2deg(np.arcsin(-forward[40:, 2]))
        assert 35 < pitch.min() < 42 and 50 < pitch.max() < 56

    def test_is_flown_again_alike_and_otherwise_over_another_town(self, place: Town) -> None:
        np.testing.assert_array_equal(drone_flight(place, 30), drone_flight(town(SEED), 30))
        assert np.abs(drone_flight(place, 30) - drone_flight(town(SEED + 1), 30)).max() > 0.1

    @pytest.mark.parametrize("size", [(120.0, 120.0), (100.0, 160.0)])
    def test_every_part_of_the_town_gets_its_share(self, size: tuple[float, float]) -> None:
        place = town(SEED, size=size)
        cameras = drone_cameras(place, 60, 60, 40)
        seen = np.zeros((8, 8), dtype=int)  # by how many views each cell of an eighth of the sides is seen
        shown = np.zeros((2, 2))  # how many views show a good piece of each quarter
        for index in range(60):
            depth = town_depth(place, cameras[index])
            assert (depth > 0).all()  # no sky
            at = unprojected(cameras[index], depth).reshape(-1, 3)[:, :2] / size
            cells = np.floor(8 * at[((at >= 0) & (at < 1)).all(1)]).astype(int)
            counts = np.zeros((8, 8))
            np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
            seen += counts >= 5
            shown += counts.reshape(2, 4, 2, 4).sum((1, 3)) > 0.15 * depth.size
        assert seen.min() >= 6
        assert shown.min() > 0.3 * 60 and shown.max() < 1.4 * shown.min()

    def test_refuses_no_views(self, place: Town) -> None:
        with pytest.raises(ConventionError, match="views"):
            drone_flight(place, 0)


class TestSky:
    def test_is_where_the_land_ends(self, place: Town) -> None:
        camera = pinhole(attitude(np.array([60.0, -100.0, 40.0]), 0.0, 5.0, 7.0), 120, 80, 60.0)
        image, raw = photograph_town(place, camera), ray_casting.photograph(place.scene, camera).numpy()
        depth = town_depth(place, camera)
        assert (depth[:10] == 0).all() and (depth[50:] > 0).all()
        np.testing.assert_array_equal(image[:10], np.broadcast_to(np.round(np.array(SKY) * 255).astype(np.uint8), (10, 120, 3)))
        np.testing.assert_array_equal(image[50:], raw[50:])
        assert image.mean(-1).min() > 20  # no black seam where land and sky share a pixel

    def test_is_not_looked_for_where_the_corners_see_land(self, place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ray_casting, "surface_maps", lambda *_: pytest.fail("traced twice"))
        photograph_town(place, drone_cameras(place, 4, 24, 16)[3])


def distances_to_surfaces(parts: tuple[Primitive, ...], points: np.ndarray) -> np.ndarray:
    """From each point to the nearest surface: exact for boxes, to first order near round solids."""
    nearest = np.full(len(points), np.inf)
    for part in parts:
        c, s = np.cos(part.yaw), np.sin(part.yaw)
        dx, dy, dz = (points - part.center).T
        local, half = np.stack([c * dx + s * dy, c * dy - s * dx, dz], axis=1), np.array(part.half_size)
        if part.shape is Shape.BOX:
            over = np.abs(local) - half
            distance = np.linalg.norm(np.maximum(over, 0), axis=1) + np.minimum(over.max(1), 0)
        elif part.shape is Shape.ELLIPSOID:
            scaled = np.linalg.norm(local / half, axis=1)
            distance = scaled * (scaled - 1) / np.linalg.norm(local / half**2, axis=1)
        else:
            low, high = part.end_scales
            slope = (high - low) * half[0] / (2 * half[2])
            radius = half[0] * (low + high) / 2 + slope * local[:, 2]
            side = (np.linalg.norm(local[:, :2], axis=1) - radius) / np.hypot(1, slope)
            distance = np.maximum(side, np.abs(local[:, 2]) - half[2])
        nearest = np.minimum(nearest, np.abs(distance))
    return nearest


class TestPoints:
    def test_lie_on_surfaces_with_the_colours_of_the_photographs(self, place: Town) -> None:
        cameras = drone_cameras(place, 12, 96, 64)
        cloud = town_points(place, cameras, 1201)
        assert len(cloud) == 1201 and cloud.colors_u8 is not None
        distance = distances_to_surfaces(place.parts, cloud.points_in_world)
        assert distance.max() < 0.1 and 0.005 < np.median(distance) < 0.02
        assert (distances_to_surfaces(place.parts, cloud.points_in_world + np.array([0.0, 0.0, 0.5])) > 0.1).mean() > 0.7
        u, v = projected(cameras[0], cloud.points_in_world[:100]).T  # a hundred come from each view
        image = photograph_town(place, cameras[0])
        assert (image[v.astype(int), u.astype(int)] == cloud.colors_u8[:100]).all(-1).mean() > 0.9
        strength = gradients(image)
        assert strength[v.astype(int), u.astype(int)].mean() > 1.7 * strength.mean()

    def test_are_the_same_again(self, place: Town) -> None:
        cameras = drone_cameras(place, 5, 48, 32)
        first, second = (town_points(town(SEED), cameras, 300) for _ in range(2))
        np.testing.assert_array_equal(first.points_in_world, second.points_in_world)
        np.testing.assert_array_equal(first.colors_u8, second.colors_u8)

    def test_are_no_more_than_there_are_pixels_that_see_a_surface(self, place: Town) -> None:
        up = pinhole(attitude(np.array([60.0, 60.0, 40.0]), 0.0, -30.0)[None], 8, 6, 60.0)
        assert len(town_points(place, up, 100)) == 0
        assert len(town_points(place, drone_cameras(place, 2, 8, 6), 1000)) == 2 * 48


class TestCapture:
    def test_is_what_a_drone_brings_home(self) -> None:
        capture = town_capture(SEED, 18, 48, 32, points=400)
        assert capture.source_format == "world" and capture.scale == "metric" and capture.background == SKY
        assert capture.up_in_world is not None and capture.up_in_world.tolist() == [0.0, 0.0, 1.0]
        assert sorted(capture.test_names) == ["view-000000.png", "view-000008.png", "view-000016.png"]
        assert all(frame.load_depth is None for frame in capture.frames)
        assert capture.points is not None and len(capture.points) == 400
        load = capture.frames[7].load_image
        assert load is not None
        np.testing.assert_array_equal(load(), photograph_town(town(SEED), drone_cameras(town(SEED), 18, 48, 32)[7]))

    def test_held_out_views_give_no_points(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Cameras] = []

        def recorded(place: Town, cameras: Cameras, count: int) -> None:
            seen.append(cameras)

        monkeypatch.setattr(town_captures, "town_points", recorded)
        capture = town_capture(SEED, 10, 8, 6)
        assert torch.equal(seen[0].camera_from_world, torch.stack([f.camera.camera_from_world for f in capture.train_frames]))
        assert town_capture(SEED, 1, 8, 6).points is None  # the only view is held out

    def test_nothing_is_rendered_before_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        monkeypatch.setattr(town_captures, "photograph_town", lambda *_: calls.append(1) or np.zeros((6, 8, 3), np.uint8))
        capture = town_capture(SEED, 300, 8, 6, points=0)
        assert not calls and capture.points is None
        load = capture.frames[299].load_image
        assert load is not None and load().shape == (6, 8, 3) and len(calls) == 1
