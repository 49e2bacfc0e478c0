"""Views between the photographs: where they stand, that they are seen late, and that only teachers show them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture, true_gaussians

from scenewise.engine.training import StepReport
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.kernels.ssim import l1_dssim
from scenewise.methods.distilled_3dgs.between import camera_between, views_between
from scenewise.methods.distilled_3dgs.config import FAST_DISTILLED
from scenewise.methods.distilled_3dgs.distillation import Distillation, mean_picture, write_pictures
from scenewise.methods.distilled_3dgs.training import build_student, pictured_frames
from scenewise.parts.splats.recipes import with_cap
from scenewise.parts.splats.schedules import ShSchedule
from scenewise.parts.splats.strategies import StepContext
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras


def _camera(angle: float, center: tuple[float, float, float]) -> Cameras:
    """Turned by an angle about the world's y axis."""
    world_from_camera = torch.eye(4, dtype=torch.float64)
    world_from_camera[:3, :3] = rotation_from_quat(torch.tensor([math.cos(angle / 2), 0, math.sin(angle / 2), 0]).double())
    world_from_camera[:3, 3] = torch.tensor(center, dtype=torch.float64)
    return Cameras(torch.linalg.inv(world_from_camera), torch.diag(torch.tensor([30.0, 30.0, 1.0])).double(), 20, 10)


def test_half_way_between_two_cameras_is_half_the_way_and_half_the_turn() -> None:
    found = camera_between(_camera(0.2, (0.0, 1.0, 2.0)), _camera(0.8, (4.0, 1.0, 0.0)), 0.5)
    expected = _camera(0.5, (2.0, 1.0, 1.0))
    torch.testing.assert_close(found.camera_from_world, expected.camera_from_world)
    assert (found.width, found.height) == (20, 10)
    start = camera_between(_camera(0.2, (0.0, 1.0, 2.0)), _camera(0.8, (4.0, 1.0, 0.0)), 0.0)
    torch.testing.assert_close(start.camera_from_world, _camera(0.2, (0.0, 1.0, 2.0)).camera_from_world)


def test_turns_go_the_short_way_round() -> None:
    # Half-way between 170° and −170° is 180°, not 0°.
    found = camera_between(_camera(math.radians(170), (0, 0, 0)), _camera(math.radians(-170), (0, 0, 0)), 0.5)
    torch.testing.assert_close(found.camera_from_world, _camera(math.pi, (0, 0, 0)).camera_from_world)


def test_neighbours_are_near_and_look_the_same_way() -> None:
    frames = [
        replace(fabricated_capture().frames[0], name=name, camera=camera)
        for name, camera in (
            ("a", _camera(0.0, (0, 0, 0))),
            ("b", _camera(0.1, (1, 0, 0))),
            ("back", _camera(math.pi, (0.1, 0, 0))),  # nearest to a, but looks the other way
        )
    ]
    views = views_between(frames, 6, seed=0)
    assert len(views) == 4  # the one that looks back has no neighbour
    for view in views:
        x = float(view.camera.centers_in_world[0])
        assert 0.25 <= x <= 0.75 and view.load_image is None
    assert len({view.name for view in views}) == 4
    again = views_between(frames, 6, seed=0)
    assert all(torch.equal(one.camera.camera_from_world, other.camera.camera_from_world) for one, other in zip(views, again))


@pytest.mark.parametrize("kd_from", ["start", "simplification"])
def test_a_student_sees_them_when_it_distils_and_only_as_teachers_show_them(tmp_path: Path, kd_from: str) -> None:
    capture = fabricated_capture()
    student = with_cap(replace(FAST_DISTILLED.student, steps=60, depth=None, sh=ShSchedule(highest=0)), 200)
    config = replace(FAST_DISTILLED, student=student, between=1.0, structure=None, kd_from=kd_from)  # type: ignore[arg-type]
    frames = pictured_frames(capture, config, seed=0)
    train = len(capture.train_frames)
    assert len(frames) == 2 * train
    teacher = true_gaussians(seed=5)
    write_pictures(tmp_path, [lambda: teacher], frames, fingerprint="a")
    trainer = build_student(capture, capture.points, config, pictures=tmp_path)
    assert len(trainer.views) == 2 * train
    shown = trainer.views.load(train + 2).image
    torch.testing.assert_close(shown, mean_picture([teacher], frames[train + 2].camera), atol=0.5 / 255 + 1e-6, rtol=0.0)
    kd = next(each for each in trainer.objectives if isinstance(each, Distillation))
    assert len(kd.pictures) == train
    # The second half of what such a view weighs; the first is the comparison that every view has.
    view, context = trainer.views.load(train + 2), StepContext(59, trainer.schedule, trainer.field, 1.0, trainer.random)
    output = render(trainer.field.gaussians(), view.camera)
    torch.testing.assert_close(kd.value(context, view, output, output.color), l1_dssim(output.color, view.image, 0.2))
    seen: list[StepReport] = []
    late: list[int] = []

    def listen(report: StepReport) -> None:
        seen.append(report)
        if trainer.last_view.startswith("between/"):
            late.append(report.step)

    trainer.run(listener=listen, report_every=1)
    # They join with the first epoch that begins when it is time.
    assert late and (min(late) > 20 if kd_from == "simplification" else min(late) <= 2 * train)
    assert all(math.isfinite(report.loss) for report in seen)
