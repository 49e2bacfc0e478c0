"""What ``check`` must notice, one defect at a time, on a ring of cameras around a textured ball; and on real captures."""

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.commands.check.images import brightness_quartiles, laplacian_variance, working_gray
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.check.report import CheckReport, render_check
from scenewise.commands.check.run import check_capture, check_command
from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.orbits import look_at
from scenewise.io.frame_loaders import DepthLoader
from scenewise.io.json_values import json_ready
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.point_clouds import PointCloud

UP = np.array([0.0, 0.0, 1.0])
K = torch.tensor([[70.0, 0, 40], [0, 70.0, 30], [0, 0, 1]], dtype=torch.float64)


def ring_frame(number: int, angle_deg: float, *, radius: float = 4.0, height: float = 1.0) -> Frame:
    angle = np.deg2rad(angle_deg)
    center = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
    pose = np.linalg.inv(look_at(center, np.zeros(3), UP))
    return Frame(f"images/{number:03d}.jpg", Cameras(torch.from_numpy(pose), K, 80, 60), lambda: noise(number))


def noise(seed: int, *, gain: float = 1.0, blur: int = 0) -> np.ndarray:
    """Coarse random cells, so that pictures of different seeds are equally bright and sharp."""
    image = np.kron(np.random.default_rng(seed).uniform(60, 160, (15, 20, 1)), np.ones((4, 4, 3))) * gain
    for _ in range(blur):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        image = sum(padded[i : i + 60, j : j + 80] for i in range(3) for j in range(3)) / 9
    return image.clip(0, 255).astype(np.uint8)


def ring(count: int = 24, **changes: object) -> Capture:
    frames = tuple(ring_frame(number, 360 * number / count) for number in range(count))
    capture = Capture(Path("/somewhere/ring"), "transforms", frames, test_names=frozenset({"images/000.jpg"}), up_in_world=UP)
    return replace(capture, **changes)  # type: ignore[arg-type]


def with_frame(capture: Capture, index: int, change: Callable[[Frame], Frame]) -> Capture:
    frames = list(capture.frames)
    frames[index] = change(frames[index])
    return replace(capture, frames=tuple(frames))


def messages(report: CheckReport, severity: str) -> list[str]:
    return [problem.message for problem in report.problems if problem.severity == severity]


def test_a_sound_ring_has_no_errors_or_warnings() -> None:
    report = check_capture(ring())
    assert messages(report, "error") == [] and messages(report, "warning") == []
    assert report.worst == "note" and (report.listed, report.images, report.train, report.test) == (24, 24, 23, 1)
    assert report.poses is not None and report.poses.layout == "inward" and len(report.poses.view_groups) == 1
    assert report.poses.median_spacing == pytest.approx(2 * 4 * np.sin(np.pi / 24))
    assert report.poses.direction_coherence == pytest.approx(1 / np.sqrt(17))
    assert report.coverage is not None and report.coverage.sectors_seen == 12
    assert report.coverage.largest_gap_deg == pytest.approx(15)
    assert report.coverage.elevations_deg == pytest.approx((np.rad2deg(np.arctan(1 / 4)),) * 2)
    assert report.prediction is not None and report.prediction.initial_points == "matches"
    assert report.prediction.memory_bytes > 1e8 and report.prediction.seconds > 1


def test_report_is_json_and_text() -> None:
    report = check_capture(ring())
    plain = json.loads(json.dumps(json_ready(report), allow_nan=False))
    assert plain["poses"]["layout"] == "inward" and plain["images_quality"]["measured"] == 24
    text = report.text()
    assert text == render_check(report).plain and "24 of 24 listed" in text and "1 connected group" in text


def test_every_missing_path_is_listed() -> None:
    capture = ring(count=30)
    frames = tuple(
        replace(frame, load_image=None, image_path=Path(f"/somewhere/ring/{frame.name}")) if number < 10 else frame
        for number, frame in enumerate(capture.frames)
    )
    report = check_capture(replace(capture, frames=frames))
    assert sum(report.missing.values(), ()) == tuple(f"/somewhere/ring/images/{number:03d}.jpg" for number in range(10))
    assert all(path in report.text() for path in report.missing["/somewhere/ring/images"])
    assert any("10 of 30 listed images are missing" in message for message in messages(report, "warning"))
    few = tuple(replace(frame, load_image=None) if number < 20 else frame for number, frame in enumerate(capture.frames))
    assert any("missing" in message for message in messages(check_capture(replace(capture, frames=few)), "error"))


def test_nothing_at_all_is_reported_not_crashed_on() -> None:
    frames = tuple(replace(frame, load_image=None) for frame in ring().frames)
    report = check_capture(replace(ring(), frames=frames))
    assert report.poses is None and report.prediction is None and report.worst == "error"
    assert report.text()


def test_one_image_is_an_error() -> None:
    report = check_capture(ring(count=1, test_names=frozenset()))
    assert any("1 training images" in message for message in messages(report, "error"))


def test_an_unreadable_image_is_named() -> None:
    def broken() -> np.ndarray:
        raise DataFormatError("/somewhere/ring/images/007.jpg", expected="a whole image", got="a truncated one")

    capture = with_frame(
        ring(), 7, lambda frame: replace(frame, load_image=broken, image_path=Path("/somewhere/ring/images/007.jpg"))
    )
    (message,) = messages(check_capture(capture), "error")
    assert message == "/somewhere/ring/images/007.jpg cannot be read: expected a whole image, got a truncated one"


@pytest.mark.parametrize(("shape", "stretched"), [((30, 40), 0), ((15, 20), 0), ((50, 80), 3)])
def test_depth_of_other_proportions_is_noticed(shape: tuple[int, int], stretched: int, tmp_path: Path) -> None:
    """Maps that were cut at the bottom: laid over whole photographs, every distance lies beside its thing."""
    lens = LensCamera("PINHOLE", (70.0, 70.0, 40.0, 30.0), 80, 60)
    capture = ring()
    for number in (3, 9, 15):
        np.save(tmp_path / f"{number}.npy", np.full(shape, 4.0, np.float32))
        loader = DepthLoader(tmp_path / f"{number}.npy", lens)
        capture = with_frame(capture, number, lambda frame: replace(frame, load_depth=loader))  # noqa: B023 - called at once
    found = [message for message in messages(check_capture(capture), "warning") if "proportions" in message]
    names = "images/003.jpg, images/009.jpg, images/015.jpg"
    said = f"3 of 3 depth maps looked at have other proportions than their photographs and are stretched over them: {names}"
    assert found == ([said] if stretched else [])


def test_blur_is_noticed_and_a_smooth_corner_is_not_blur() -> None:
    blurred = with_frame(ring(), 5, lambda frame: replace(frame, load_image=lambda: noise(5, blur=3)))
    (message,) = messages(check_capture(blurred), "warning")
    assert message.startswith("1 blurred images: images/005.jpg")
    smooth = ring()
    for number in range(10, 20):  # half of the ring faces something smooth: its views agree with each other
        smooth = with_frame(smooth, number, lambda frame: replace(frame, load_image=lambda: noise(5, blur=3)))
    quality = check_capture(smooth).images_quality
    assert quality is not None and {one.name for one in quality.blurred} <= {"images/010.jpg", "images/019.jpg"}


def test_an_exposure_jump_is_noticed_with_its_gain() -> None:
    darker = with_frame(ring(), 9, lambda frame: replace(frame, load_image=lambda: noise(9, gain=0.6)))
    quality = check_capture(darker).images_quality
    assert quality is not None
    (jump,) = quality.exposure_jumps
    assert jump.name == "images/009.jpg" and jump.gain == pytest.approx(0.6, abs=0.04)


def test_doubles_strays_and_islands() -> None:
    capture = ring()
    twin = replace(capture.frames[3], name="images/copy.jpg")
    report = check_capture(replace(capture, frames=(*capture.frames, twin)))
    assert report.poses is not None and report.poses.duplicates == (("images/003.jpg", "images/copy.jpg"),)
    far = replace(capture, frames=(*capture.frames, ring_frame(99, 10.0, radius=300.0)))
    stray = check_capture(far)
    assert stray.poses is not None and stray.poses.strays == ("images/099.jpg",)
    assert any("images/099.jpg stands far away" in message for message in messages(stray, "warning"))
    pose = np.linalg.inv(look_at(np.array([40.0, 0, 1]), np.array([80.0, 0, 1]), UP))
    away = Frame("images/away.jpg", Cameras(torch.from_numpy(pose), K, 80, 60), lambda: noise(1))
    island = check_capture(replace(capture, frames=(*capture.frames, away)))
    assert island.poses is not None and [len(group) for group in island.poses.view_groups] == [24, 1]
    assert any("outside the largest: images/away.jpg" in message for message in messages(island, "warning"))


def test_one_standpoint_is_an_error() -> None:
    frames = []
    for number in range(8):
        pose = np.linalg.inv(look_at(np.zeros(3), np.array([np.cos(number), np.sin(number), 0.0]), UP))
        frames.append(Frame(f"{number}.jpg", Cameras(torch.from_numpy(pose), K, 80, 60), lambda number=number: noise(number)))
    report = check_capture(Capture(Path("/pan"), "transforms", tuple(frames)))
    assert any("no parallax" in message for message in messages(report, "error"))


def test_flipped_axes_show_in_the_points() -> None:
    points = PointCloud(np.random.default_rng(0).uniform(-0.5, 0.5, (500, 3)))
    right = check_capture(ring(points=points))
    assert right.coverage is not None and right.coverage.points_in_front == 1.0 and right.coverage.thin_share == 0.0
    assert right.coverage.views_per_point == (24.0, 24.0, 24.0) and messages(right, "error") == []
    flip = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL axes taken for OpenCV
    frames = tuple(
        replace(frame, camera=replace(frame.camera, camera_from_world=torch.from_numpy(flip) @ frame.camera.camera_from_world))
        for frame in ring().frames
    )
    wrong = check_capture(ring(points=points, frames=frames))
    assert any("only 0% of the points lie in front" in message for message in messages(wrong, "error"))
    assert wrong.poses is not None and wrong.poses.layout == "outward"


def test_a_gap_in_the_ring_is_located() -> None:
    frames = tuple(ring_frame(number, angle) for number, angle in enumerate(np.linspace(0, 200, 21)))
    coverage = check_capture(ring(frames=frames)).coverage
    assert coverage is not None and coverage.largest_gap_deg == pytest.approx(160)
    assert coverage.gap_toward_deg == pytest.approx(280)  # halfway from 200° to 360°


def test_georeference_and_its_residual() -> None:
    place = Georeference(32615, 8.5, np.eye(3), np.array([5e5, 4e6, 200.0]), rms_error=14.0)
    report = check_capture(ring(georeference=place))
    assert report.georeference is not None and report.georeference.metres_per_unit == 8.5
    assert "EPSG:32615, 8.5 m per unit, residual 14.00 m" in report.text()
    assert any("differ by 14.0 m" in message for message in messages(report, "warning"))
    assert not any("arbitrary" in message for message in messages(report, "note"))


def test_sharpness_and_brightness_by_hand() -> None:
    gray = np.zeros((5, 5), np.float32)
    gray[2, 2] = 1.0  # Laplacian inside: −4 in the middle, 1 beside it, 0 in the corners
    values = np.array([0, 1, 0, 1, -4, 1, 0, 1, 0])
    assert laplacian_variance(gray) == pytest.approx(values.var())
    assert laplacian_variance(np.zeros((2, 9), np.float32)) == 0.0
    levels = np.repeat(np.linspace(0.1, 0.9, 5, dtype=np.float32), 200).reshape(20, 50)
    assert brightness_quartiles(levels) == pytest.approx([0.3, 0.5, 0.7], abs=1e-6)
    assert np.isnan(brightness_quartiles(np.ones((20, 50), np.float32))).all()
    red = np.zeros((1300, 20, 3), np.uint8)
    red[..., 0] = 255
    assert working_gray(red).shape == (650, 10) and working_gray(red)[0, 0] == pytest.approx(0.299)


def test_large_captures_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenewise.commands.check.images._PIXEL_BUDGET", 30 * 80 * 60)
    decoded = []

    def load() -> np.ndarray:
        decoded.append(1)
        return noise(0)

    frames = tuple(replace(frame, load_image=load) for frame in ring(count=60).frames)
    report = check_capture(ring(frames=frames))
    assert report.images_quality is not None and report.images_quality.measured == 30
    assert report.calibration is not None and len(decoded) == 30 + report.calibration.views <= 60


@pytest.mark.data
@pytest.mark.parametrize("name", ["fox", "lego_400", "redkitchen_rgbd", "brighton_beach"])
def test_real_captures(name: str, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (data_root / name).is_dir():
        pytest.skip(f"no {name} in {data_root}")
    began, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = check_command(CheckOptions(data_root / name), NullProgress())
    with capsys.disabled():
        print(f"\ncheck {name}: {time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} s of processor time")
    assert messages(report, "error") == []
    assert report.poses is not None and len(report.poses.view_groups) == 1
    if name == "fox":
        assert sum(map(len, report.missing.values())) == 17 and (report.train, report.test) == (43, 7)
        with pytest.raises((ConventionError, DataFormatError), match=r"0005\.jpg"):
            check_command(CheckOptions(data_root / name, strict=True), NullProgress())
    if name == "brighton_beach":
        assert report.georeference is not None and report.georeference.epsg == 32615
