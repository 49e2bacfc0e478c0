"""The teachers' pictures as files, and the loss on them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture, true_gaussians

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.images import read_image
from scenewise.io.resizing import downscaled
from scenewise.kernels.ssim import l1_dssim
from scenewise.methods.distilled_3dgs.config import FAST_DISTILLED, StructureSettings, TeacherSpec
from scenewise.methods.distilled_3dgs.distillation import (
    Distillation,
    mean_picture,
    picture_frames,
    picture_path,
    write_pictures,
)
from scenewise.methods.distilled_3dgs.simplification import SimplificationSettings
from scenewise.methods.distilled_3dgs.structure import StructureSimilarity
from scenewise.methods.distilled_3dgs.training import build_student
from scenewise.parts.splats.recipes import with_cap
from scenewise.parts.splats.schedules import PAPER_STEPS, Schedule
from scenewise.parts.splats.strategies import StepContext
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.rendering import render
from scenewise.scenes.gaussians import Gaussians

TEACHERS = (true_gaussians(seed=0), true_gaussians(seed=1), true_gaussians(seed=2))


def _loaders(count: list[int], teachers: tuple[Gaussians, ...] = TEACHERS) -> list[Callable[[], Gaussians]]:
    def loader(teacher: Gaussians) -> Callable[[], Gaussians]:
        def load() -> Gaussians:
            count.append(1)
            return teacher

        return load

    return [loader(teacher) for teacher in teachers]


def test_the_picture_is_the_mean_of_the_clamped_pictures() -> None:
    camera = fabricated_capture().train_frames[0].camera
    grey = (0.2, 0.4, 0.6)
    with torch.no_grad():
        single = [render(each, camera, background=torch.tensor(grey)).color.clamp(0, 1) for each in TEACHERS]
    torch.testing.assert_close(mean_picture(TEACHERS, camera, grey), (single[0] + single[1] + single[2]) / 3)


def test_pictures_are_made_once_and_again_for_other_teachers(tmp_path: Path) -> None:
    frames = fabricated_capture().train_frames
    loads: list[int] = []
    folder = tmp_path / "pictures"
    assert write_pictures(folder, _loaders(loads), frames, fingerprint="a") == len(frames) and len(loads) == 3
    stored = [picture_path(folder, index).read_bytes() for index in range(len(frames))]
    picture_path(folder, 2).unlink()  # as after a kill
    assert write_pictures(folder, _loaders(loads), frames, fingerprint="a") == 1
    assert write_pictures(folder, _loaders(loads), frames, fingerprint="a") == 0 and len(loads) == 6
    assert [picture_path(folder, index).read_bytes() for index in range(len(frames))] == stored
    error = np.abs(read_image(picture_path(folder, 0)) / 255.0 - mean_picture(TEACHERS, frames[0].camera).numpy()).max()
    assert error <= 0.5 / 255 + 1e-6
    for change in ({"fingerprint": "b"}, {"fingerprint": "b", "background": (1.0, 1.0, 1.0)}):
        assert write_pictures(folder, _loaders(loads), frames, **change) == len(frames)  # type: ignore[arg-type]
    assert write_pictures(folder, _loaders(loads), frames[:3], fingerprint="b") == 3
    assert len(list(folder.glob("*.png"))) == 3


@pytest.mark.errors
def test_a_picture_of_another_size_and_no_teachers_are_refused(tmp_path: Path) -> None:
    frames = fabricated_capture().train_frames
    small = tuple(downscaled(frame, 2) for frame in frames)
    write_pictures(tmp_path, _loaders([]), small, fingerprint="a")
    with pytest.raises(DataFormatError, match=r"000000\.png.*40×30.*20×15.*delete the folder"):
        TrainingViews(picture_frames(tmp_path, frames)).load(0)
    with pytest.raises(ConventionError, match=r"teachers.*at least one"):
        mean_picture((), frames[0].camera)


def _student(tmp_path: Path, **changes: object) -> SplatTrainer:
    capture = fabricated_capture()
    write_pictures(tmp_path, _loaders([]), capture.train_frames, fingerprint="a")
    student = with_cap(replace(FAST_DISTILLED.student, steps=40, depth=None), 200)
    simplification = SimplificationSettings(keep=40)
    plain = {"kd_weight": 0.4, "structure": StructureSettings()}
    config = replace(FAST_DISTILLED, student=student, simplification=simplification, **plain | changes)  # type: ignore[arg-type]
    return build_student(capture, capture.points, config, pictures=tmp_path, vanilla=TEACHERS[0])


def _terms(trainer: SplatTrainer) -> tuple[Distillation, StructureSimilarity]:
    kd = next(each for each in trainer.objectives if isinstance(each, Distillation))
    structure = next(each for each in trainer.objectives if isinstance(each, StructureSimilarity))
    return kd, structure


def _context(trainer: SplatTrainer, step: int) -> StepContext:
    return StepContext(step, trainer.schedule, trainer.field, trainer.scene_extent, trainer.random)


@pytest.mark.parametrize("downscale", [1, 2])
def test_both_targets_of_the_loss_are_what_they_say(tmp_path: Path, downscale: int) -> None:
    trainer = _student(tmp_path)
    kd, _ = _terms(trainer)
    assert kd.strength == 0.4 and kd.l1_target == "teacher"
    view = trainer.views.load(3, downscale)
    output = render(trainer.field.gaussians(), view.camera)
    target = kd.pictures.load(3, downscale).image
    assert target.shape == view.image.shape
    found = kd.value(_context(trainer, 0), view, output, output.color)
    torch.testing.assert_close(found, l1_dssim(output.color, target, 0.2))
    released = replace(kd, l1_target="gt").value(_context(trainer, 0), view, output, output.color)
    l1, ssim_part = (output.color - view.image).abs().mean(), l1_dssim(output.color, target, 1.0)
    torch.testing.assert_close(released, 0.8 * l1 + 0.2 * ssim_part)
    assert abs(float(found.detach() - released.detach())) > 1e-3


def test_masked_pixels_do_not_count(tmp_path: Path) -> None:
    trainer = _student(tmp_path)
    kd, _ = _terms(trainer)
    view = trainer.views.load(0)
    mask = torch.zeros(30, 40, dtype=torch.bool)
    output = render(trainer.field.gaussians(), view.camera)
    nothing = kd.value(_context(trainer, 0), replace(view, mask=mask), output, output.color)
    assert float(nothing.detach()) == pytest.approx(0.0, abs=1e-6)


def test_terms_act_when_they_should(tmp_path: Path) -> None:
    trainer = _student(tmp_path / "a", structure=StructureSettings(hist_every=1_000, first=20_000))
    kd, structure = _terms(trainer)
    assert kd.weight(_context(trainer, 0)) == 0.4
    later, _ = _terms(_student(tmp_path / "b", kd_from="simplification"))
    assert later.weight(_context(trainer, 19)) == 0.0 and later.weight(_context(trainer, 20)) == 0.4
    # In the paper's length: every 1,000 steps from 20,000 on.
    assert structure.every == Schedule(40).interval(1_000) and structure.first_step == Schedule(40).step(20_000)
    full = replace(structure, every=1_000, first_step=20_000)
    near = sorted({base + shift for base in range(500, PAPER_STEPS, 500) for shift in (-2, -1, 0)} | {PAPER_STEPS - 1})
    active = [step + 1 for step in near if full.weight(_context(trainer, step))]
    assert active == list(range(21_000, 30_001, 1_000))


def test_a_student_pulled_to_its_teachers_comes_nearer_to_their_pictures(tmp_path: Path) -> None:
    """The teachers' pictures here are not of this scene at all, so nearness to them can only come from the loss on them."""
    distances = {}
    for weight in (0.0, 20.0):
        trainer = _student(tmp_path, kd_weight=weight, structure=None)
        trainer.run()
        kd = next(each for each in trainer.objectives if isinstance(each, Distillation))
        with torch.no_grad():
            error = [
                (render(trainer.field.gaussians(), trainer.views.camera(i)).color - kd.pictures.load(i).image).abs().mean()
                for i in range(len(trainer.views))
            ]
        distances[weight] = float(torch.stack(error).mean())
    assert distances[20.0] < 0.97 * distances[0.0]


def test_no_teachers_no_terms(tmp_path: Path) -> None:
    capture = fabricated_capture()
    config = replace(FAST_DISTILLED, teachers=(), student=replace(FAST_DISTILLED.student, steps=10))
    trainer = build_student(capture, capture.points, config, pictures=None)
    assert [objective.name for objective in trainer.objectives] == ["photometric"]
    assert TeacherSpec("noise", 2).name == "noise_2"
