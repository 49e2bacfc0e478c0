"""Rooms as captures: exact truth, consistent between views, lazy, reproducible."""

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.io.decode_cache import DecodeCache
from scenewise.io.resizing import downscaled
from scenewise.kernels import ray_casting
from scenewise.kernels.ray_casting import reference
from scenewise.scenes.cameras import Cameras
from scenewise.worlds import captures
from scenewise.worlds.cameras import looking_at, pinhole
from scenewise.worlds.captures import photograph, room_cameras, room_capture, truth
from scenewise.worlds.classes import class_id
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED


@pytest.fixture(scope="module")
def room() -> Room:
    return furnished_room(DEFAULT_DEMO_SEED)


def unprojected(camera: Cameras, depth: np.ndarray) -> np.ndarray:
    """World positions [height, width, 3] of pixel centres."""
    v, u = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K.numpy()).T
    return transform_points(camera.world_from_camera.numpy(), rays * depth[..., None].astype(np.float64))


def test_a_wall_seen_at_an_angle_lies_in_its_plane(room: Room) -> None:
    bare = Room(0, room.size, room.objects[:6], room.lighting)
    eye = np.array([1.0, 1.0, 1.3])
    camera = pinhole(looking_at(eye, np.array([room.size[0], room.size[1] / 2, 1.0])), 64, 48, 70.0)
    view = truth(bare, camera)
    points = unprojected(camera, view.depth)
    right_wall = view.instance_ids == 3  # at x = width; skirting boards stand 12 mm before it
    plain = right_wall & (points[..., 2] > 0.08)
    assert plain.sum() > 500
    np.testing.assert_allclose(points[plain][:, 0], room.size[0], atol=1e-4)
    floor = view.class_ids == class_id("floor")
    np.testing.assert_allclose(points[floor][:, 2], 0.0, atol=1e-4)
    straight = truth(bare, pinhole(looking_at(eye, eye + np.array([0.0, 1.0, 0.0])), 64, 48, 40.0))
    on_wall = (straight.instance_ids == 4) & (np.arange(48)[:, None] < 24)
    np.testing.assert_allclose(straight.depth[on_wall], room.size[1] - 1.0, atol=1e-4)  # constant: along +Z, not along rays


def test_pixels_lie_on_the_object_they_name(room: Room) -> None:
    cameras = room_cameras(room, 8, 96, 72)
    for i in range(0, 8, 3):
        view = truth(room, cameras[i])
        points = unprojected(cameras[i], view.depth)
        assert (view.depth > 0).all()
        for instance in np.unique(view.instance_ids):
            thing = room.objects[int(instance)]
            mine = points[view.instance_ids == instance]
            boxes = np.array([[*part.center, *part.half_size, part.yaw] for part in thing.parts])
            offset = mine[:, None] - boxes[None, :, :3]
            c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
            local = np.stack(
                [c * offset[..., 0] + s * offset[..., 1], c * offset[..., 1] - s * offset[..., 0], offset[..., 2]], -1
            )
            assert ((np.abs(local) <= boxes[None, :, 3:6] + 1e-3).all(-1).any(-1)).all(), thing.class_name
            assert (view.class_ids[view.instance_ids == instance] == class_id(thing.class_name)).all()


def depth_and_faces(room: Room, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Depth, and a number per pixel that is the same on one face of one solid."""
    maps = ray_casting.surface_maps(room.scene.primitives, camera)
    hits = ray_casting.cast_rays(room.scene.primitives, *reference.pixel_rays(camera, torch.tensor([0.5, 0.5])))
    assert torch.equal(hits.primitive_ids.reshape(maps.depth.shape), maps.primitive_ids)
    return maps.depth.numpy(), (8 * hits.primitive_ids + hits.faces).reshape(maps.depth.shape).numpy()


def test_two_views_agree_on_the_surface(room: Room) -> None:
    """Where both views see the same flat face, unprojected points of one lie on the surface the other sees, to 1 mm."""
    cameras = room_cameras(room, 40, 160, 120)
    first, second = cameras[3], cameras[4]
    (depth, faces), (other_depth, other_faces) = (depth_and_faces(room, camera) for camera in (first, second))
    points = unprojected(first, depth).reshape(-1, 3)
    in_second = transform_points(second.camera_from_world.numpy(), points)
    pixels = in_second @ second.K.numpy().T
    u, v = pixels[:, 0] / pixels[:, 2] - 0.5, pixels[:, 1] / pixels[:, 2] - 0.5
    inside = (in_second[:, 2] > 0.1) & (u > 0) & (v > 0) & (u < 159) & (v < 119)
    u, v, z, face = u[inside], v[inside], in_second[inside, 2], faces.reshape(-1)[inside]
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    # On a plane 1/z is linear in the picture: interpolating it is exact where the four pixels around share one.
    inverse = 1.0 / other_depth.astype(np.float64)
    around = [(row + dv, column + du) for dv in (0, 1) for du in (0, 1)]
    a, b, c, d = (inverse[place] for place in around)
    flat = (np.abs(a - b - c + d) < 1e-6) & np.all([other_faces[place] == face for place in around], axis=0)
    fu, fv = u - column, v - row
    error = np.abs(1.0 / ((a * (1 - fu) + b * fu) * (1 - fv) + (c * (1 - fu) + d * fu) * fv) - z)
    assert flat.sum() > 0.6 * len(flat) > 6000
    assert error[flat].max() < 1e-3


def test_colour_is_consistent_between_views(room: Room) -> None:
    """Surfaces have no view-dependent colour: the same place has the same colour in two pictures."""
    cameras = room_cameras(room, 60, 96, 72)
    first, second = cameras[10], cameras[11]
    points = unprojected(first, truth(room, first).depth).reshape(-1, 3)
    in_second = transform_points(second.camera_from_world.numpy(), points)
    pixels = in_second @ second.K.numpy().T
    u, v = pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2]
    inside = (in_second[:, 2] > 0.1) & (u > 0) & (v > 0) & (u < 96) & (v < 72)
    row, column = v[inside].astype(int), u[inside].astype(int)
    visible = np.abs(truth(room, second).depth[row, column] - in_second[inside, 2]) < 0.02
    ours = photograph(room, first).reshape(-1, 3)[inside][visible].astype(float)
    theirs = photograph(room, second)[row, column][visible].astype(float)
    assert visible.sum() > 2000
    assert np.median(np.abs(ours - theirs)) < 10
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_pictures_are_lit_and_detailed(room: Room) -> None:
    cameras = room_cameras(room, 6, 96, 72)
    for i in (0, 2, 5):
        image = photograph(room, cameras[i]).astype(float)
        assert 60 < image.mean() < 200
        assert (image.max(-1) >= 254).mean() < 0.2
        luma = image.mean(-1)
        detail = np.abs(luma - (np.roll(luma, 1, 0) + np.roll(luma, -1, 0) + np.roll(luma, 1, 1) + np.roll(luma, -1, 1)) / 4)
        assert np.median(detail[2:-2, 2:-2]) > 0.8  # also walls and floors have something to match


class TestCapture:
    def test_is_an_ordinary_capture(self) -> None:
        capture = room_capture(DEFAULT_DEMO_SEED, 10, 32, 24)
        assert capture.source_format == "world" and capture.scale == "metric"
        assert capture.up_in_world is not None and capture.up_in_world.tolist() == [0.0, 0.0, 1.0]
        assert [frame.name for frame in capture.test_frames] == ["frame-000000.color.png", "frame-000008.color.png"]
        cache = DecodeCache(1 << 20)
        frame = capture.train_frames[0]
        depth = cache.depth(frame)
        assert cache.image(frame).shape == (24, 32, 3) and depth is not None and depth.dtype == np.float32
        half = downscaled(frame, 2)
        assert half.load_image is not None and half.load_image().shape == (12, 16, 3)

    def test_nothing_is_rendered_before_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        monkeypatch.setattr(captures, "photograph", lambda room, camera: calls.append(1) or np.zeros((6, 8, 3), np.uint8))
        capture = room_capture(DEFAULT_DEMO_SEED, 500, 8, 6)
        assert not calls
        load = capture.frames[499].load_image
        assert load is not None and load().shape == (6, 8, 3) and len(calls) == 1

    def test_same_seed_same_pixels(self) -> None:
        first, second = (room_capture(DEFAULT_DEMO_SEED, 3, 40, 30).frames[2] for _ in range(2))
        assert first.load_image is not None and second.load_image is not None
        assert np.array_equal(first.load_image(), second.load_image())
        other = room_capture(DEFAULT_DEMO_SEED + 1, 3, 40, 30).frames[2].load_image
        assert other is not None and not np.array_equal(first.load_image(), other())

    @pytest.mark.errors
    def test_no_frames(self) -> None:
        with pytest.raises(ConventionError, match="frames: expected at least 1, got 0"):
            room_capture(DEFAULT_DEMO_SEED, 0, 32, 24)
