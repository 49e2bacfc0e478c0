"""From a scan of any source to points with posed pictures: cameras, depths, masks and what a teacher says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.posed_rooms import GridTeacher

from scenewise.errors import ConventionError
from scenewise.parts.scans.bare_scans import scan_axes
from scenewise.parts.scans.posing import PosingSettings, posed_scan, posed_scan_fingerprint, prior_on_grid
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

WIDTH, HEIGHT = 32, 24
SETTINGS = PosingSettings(picture_width=WIDTH, most_views=8)


def rotation(seed: int) -> np.ndarray:
    found, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return found * np.sign(np.linalg.det(found))


def pose_towards(turn: np.ndarray, middle: np.ndarray, distance: float) -> np.ndarray:
    """camera_from_world of a camera that looks at ``middle`` from a distance, turned in any way."""
    pose = np.eye(4)
    pose[:3, :3] = turn
    pose[:3, 3] = [0.0, 0.0, distance] - turn @ middle
    return pose


def frame(name: str, pose: np.ndarray, **more: object) -> Frame:
    K = np.array([[30.0, 0.0, WIDTH / 2], [0.0, 30.0, HEIGHT / 2], [0.0, 0.0, 1.0]])
    pixels = np.random.default_rng(len(name)).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    camera = Cameras(torch.from_numpy(pose), torch.from_numpy(K), WIDTH, HEIGHT)
    return Frame(name, camera, lambda: pixels, **more)  # type: ignore[arg-type]


def raw_scan(points: np.ndarray, frames: tuple[Frame, ...], **of_capture: object) -> RawScan:
    colors = np.random.default_rng(1).integers(0, 256, points.shape, dtype=np.uint8)
    colors.setflags(write=False)
    capture = Capture(Path("nowhere"), "world", frames, **{"scale": "metric", **of_capture})  # type: ignore[arg-type]
    return RawScan("scan", PointCloud(points, colors), "by hand", capture)


def ball(middle: np.ndarray, radius: float) -> np.ndarray:
    draw = np.random.default_rng(3).standard_normal((400, 3))
    return middle + radius * draw / np.linalg.norm(draw, axis=1, keepdims=True)


def level(points: np.ndarray) -> RawScan:
    return raw_scan(points, (frame("a", np.eye(4)),))


@pytest.mark.parametrize("scale", ["metric", "arbitrary"])
def test_cameras_see_the_points_where_they_did_before_and_depth_is_in_metres(scale: str) -> None:
    """A capture with another up axis, far from the origin, in units of its own."""
    middle = np.array([40.0, -7.0, 12.0])
    frames = tuple(frame(name, pose_towards(rotation(seed), middle, 9.0 + seed)) for seed, name in enumerate(("a", "b", "c")))
    raw = raw_scan(ball(middle, 2.0), frames, scale=scale, up_in_world=rotation(7)[2])
    posed, unit = posed_scan(raw, GridTeacher(), SETTINGS), scan_axes(raw).world_units_per_metre
    assert (unit == 1.0) == (scale == "metric")
    for view, each in enumerate(frames):
        before = (
            raw.cloud.points_in_world @ each.camera.camera_from_world.numpy()[:3, :3].T
            + each.camera.camera_from_world.numpy()[:3, 3]
        )
        pose = posed.camera_from_scan[view]
        after = posed.points_in_scan.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        np.testing.assert_allclose(after * unit, before, atol=1e-4)
        np.testing.assert_allclose(
            after @ posed.K[view].T / after[:, 2:], before @ each.camera.K.numpy().T / before[:, 2:], atol=1e-3
        )
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        shown = posed.depths[view][posed.depths[view] > 0]
        assert shown.size > 20 and (before[:, 2].min() / unit - 1e-4 <= shown.min()) and shown.max() <= before[:, 2].max() / unit
    up = scan_axes(raw).rotation @ rotation(7)[2]
    np.testing.assert_allclose(up, [0.0, 0.0, 1.0], atol=1e-12)


def test_depth_is_that_of_the_nearest_point_where_none_is_measured() -> None:
    # Pixel (row 12, column 16) looks along (0.5/30, 0.5/30, 1): two points of it; one point of (row 3, column 20); else nothing.
    ray, other = np.array([0.5 / 30, 0.5 / 30, 1.0]), np.array([4.5 / 30, -8.5 / 30, 1.0])
    posed = posed_scan(level(np.array([2.03 * ray, 2.0 * ray, 3.0 * other])), GridTeacher(), SETTINGS)
    expected = np.zeros((HEIGHT, WIDTH))
    expected[12, 16], expected[3, 20] = 2.0, 3.0
    np.testing.assert_allclose(posed.depths[0], expected, atol=1e-6)


def test_measured_depth_and_masks_are_kept() -> None:
    depth = np.full((HEIGHT, WIDTH), 1.5, dtype=np.float32)
    depth[0, 0], depth[0, 1], depth[0, 2] = np.nan, -1.0, 0.0
    mask = np.ones((HEIGHT, WIDTH), dtype=bool)
    mask[5] = False
    ray = np.array([0.5 / 30, (5.5 - 12) / 30, 1.0])  # of the row that is masked
    points = np.array([2.0 * ray, [0.0, 0.0, 2.0]])
    frames = (
        frame("measured", np.eye(4), load_depth=lambda: depth, load_mask=lambda: mask),
        frame("points", np.eye(4), load_mask=lambda: mask),
    )
    posed = posed_scan(raw_scan(points, frames), GridTeacher(), SETTINGS)
    expected = np.full((HEIGHT, WIDTH), 1.5)
    expected[0, :3] = expected[5] = 0.0
    np.testing.assert_array_equal(posed.depths[0], expected)
    assert np.count_nonzero(posed.depths[1]) == 1 and posed.depths[1, 12, 16] == pytest.approx(2.0)


def test_pictures_have_one_size_and_views_are_spread_evenly() -> None:
    frames = tuple(frame(f"{index:02d}", np.eye(4)) for index in range(9))
    raw = raw_scan(np.array([[0.0, 0.0, 2.0]]), frames)
    posed = posed_scan(raw, teacher := GridTeacher(), PosingSettings(picture_width=16, most_views=3))
    assert posed.pictures_u8.shape == (3, 12, 16, 3) and posed.depths.shape == (3, 12, 16) and posed.prior.shape[:3] == (3, 3, 4)
    np.testing.assert_allclose(posed.K[0], [[15.0, 0.0, 8.0], [0.0, 15.0, 6.0], [0.0, 0.0, 1.0]])
    numbers = [int(name.removeprefix("scan/")) for name in teacher.asked]
    assert len(numbers) == 3 and np.ptp(np.diff(numbers)) <= 1 and np.ptp(numbers) >= 5, numbers
    assert posed_scan(raw, GridTeacher(), PosingSettings(picture_width=640)).pictures_u8.shape[1:3] == (HEIGHT, WIDTH)


def test_pictures_that_the_teacher_does_not_know_are_left_out() -> None:
    raw = raw_scan(np.array([[0.0, 0.0, 2.0]]), (frame("a", np.eye(4)), frame("bb", pose_towards(rotation(2), np.zeros(3), 3.0))))
    posed = posed_scan(raw, teacher := GridTeacher(missing=("scan/a", "a")), SETTINGS)
    assert len(posed.pictures_u8) == 1 and teacher.asked == ["scan/a", "a", "scan/bb"]
    image = raw.capture.frames[1].load_image()  # type: ignore[union-attr,misc]
    np.testing.assert_array_equal(posed.pictures_u8[0], image)
    assert len(posed_scan(raw, GridTeacher(missing=("scan/a",)), SETTINGS).pictures_u8) == 2, "known by its own name"
    together = GridTeacher(missing=("scan/a",))
    assert len(posed_scan(raw, together, SETTINGS, is_alone=False).pictures_u8) == 1 and "a" not in together.asked


def test_the_prior_is_a_mean_over_cells_or_in_between() -> None:
    values = np.random.default_rng(1).standard_normal((6, 8, 3)).astype(np.float32)
    values.setflags(write=False)
    found = prior_on_grid(values, 12, 16)
    assert found.dtype == np.float16 and found.shape == (3, 4, 3)
    for row in range(3):
        for column in range(4):
            mean = values[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(axis=(0, 1))
            np.testing.assert_allclose(found[row, column], mean, atol=2e-3)
    np.testing.assert_array_equal(prior_on_grid(values, 24, 32), values.astype(np.float16))
    ramp = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    np.testing.assert_allclose(prior_on_grid(ramp, 4, 32)[0, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-3)


def test_the_fingerprint_changes_with_all_that_shapes_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"one")
    pose = np.eye(4)
    raw = raw_scan(np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 3.0]]), (frame("a", pose, image_path=path), frame("b", pose)))
    capture, teacher = raw.capture, GridTeacher()
    assert capture is not None
    other_teacher = GridTeacher()
    other_teacher.fingerprint = "grid-2"  # type: ignore[misc]
    moved = pose.copy()
    moved[0, 3] = 0.1

    def of(scan: RawScan, settings: PosingSettings = SETTINGS) -> str:
        return posed_scan_fingerprint(scan, teacher, settings)

    def of_capture(**changes: object) -> str:
        return of(replace(raw, capture=replace(capture, **changes)))  # type: ignore[arg-type]

    prints = [
        of(raw),
        of(replace(raw, name="other")),
        of(replace(raw, cloud=PointCloud(raw.cloud.points_in_world + 0.5, raw.cloud.colors_u8))),
        of(replace(raw, cloud=PointCloud(raw.cloud.points_in_world, 255 - np.asarray(raw.cloud.colors_u8)))),
        of(raw, replace(SETTINGS, picture_width=24)),
        of(raw, replace(SETTINGS, most_views=1)),
        posed_scan_fingerprint(raw, other_teacher, SETTINGS),
        of_capture(scale="arbitrary"),
        of_capture(up_in_world=np.array([0.0, 1.0, 0.0])),
        of_capture(frames=(capture.frames[0], frame("b", moved))),
    ]
    assert of(raw) == prints[0] and of_capture(test_names=frozenset({"a"})) == prints[0], "all pictures are learned from"
    path.write_bytes(b"two")
    prints.append(of(raw))
    depth = tmp_path / "depth"
    for content in (b"near", b"far", b"fur"):  # another size, and another content
        depth.write_bytes(content)
        prints.append(of_capture(frames=(replace(capture.frames[0], depth_path=depth), capture.frames[1])))
    prints.append(of_capture(frames=(capture.frames[0], replace(capture.frames[1], depth_path=depth))))
    assert len(set(prints)) == len(prints)


class Probabilities(GridTeacher):
    def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
        return DenseField(np.full((2, 2, 3), 1 / 3, dtype=np.float32), *image.shape[:2], kind="probabilities")


@pytest.mark.errors
def test_what_is_missing_is_named() -> None:
    raw = level(np.array([[0.0, 0.0, 2.0]]))
    with pytest.raises(ConventionError, match="teacher: expected one that gives features, got grid: probabilities of classes"):
        posed_scan(raw, Probabilities(), SETTINGS)
    with pytest.raises(ConventionError, match="features of grid for scan: expected some picture's, got none"):
        posed_scan(raw, GridTeacher(missing=("scan/a", "a")), SETTINGS)
    with pytest.raises(ConventionError, match="scan scan: expected pictures with poses to learn from, got points alone"):
        posed_scan(replace(raw, capture=None), GridTeacher(), SETTINGS)
    with pytest.raises(ConventionError, match="points of scan: expected colours, got none"):
        posed_scan(replace(raw, cloud=PointCloud(raw.cloud.points_in_world)), GridTeacher(), SETTINGS)
    with pytest.raises(ConventionError, match="picture_width: expected at least 16"):
        PosingSettings(picture_width=15)
    with pytest.raises(ConventionError, match="most_views: expected at least 1"):
        PosingSettings(most_views=0)
