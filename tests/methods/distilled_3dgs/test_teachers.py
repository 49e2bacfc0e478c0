"""What tells teachers apart: when and how they are disturbed, and that others are not."""

import math
from dataclasses import replace

import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture

from scenewise.geometry.rotations import quat_from_rotation, rotation_from_quat
from scenewise.methods.distilled_3dgs.config import FAST_DISTILLED, DistilledConfig, TeacherSpec
from scenewise.methods.distilled_3dgs.teachers import Dropout, Perturbation, rotation_from_six, six_from_rotation
from scenewise.methods.distilled_3dgs.training import build_teacher, teacher_seed
from scenewise.parts.splats.recipes import with_cap
from scenewise.parts.splats.schedules import PAPER_STEPS, Schedule, ShSchedule
from scenewise.parts.splats.strategies import StepContext
from scenewise.parts.splats.trainer import SplatTrainer

FULL = Schedule(PAPER_STEPS)
CONFIG: DistilledConfig = replace(
    FAST_DISTILLED,
    teacher=with_cap(replace(FAST_DISTILLED.teacher, steps=60, depth=None, sh=ShSchedule(highest=0)), 200),
)


def _teacher(spec: TeacherSpec, config: DistilledConfig = CONFIG) -> SplatTrainer:
    capture = fabricated_capture()
    return build_teacher(capture, capture.points, config, spec)


def test_six_numbers_of_a_quarter_turn() -> None:
    # A quarter turn about z takes x to y and y to −x: the columns are (0, 1, 0) and (−1, 0, 0).
    rotation = rotation_from_quat(torch.tensor([math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]).double())
    six = six_from_rotation(rotation)
    torch.testing.assert_close(six, torch.tensor([0.0, 1.0, 0.0, -1.0, 0.0, 0.0]).double())
    torch.testing.assert_close(rotation_from_six(six), rotation)


def test_six_numbers_come_back_as_rotations_also_when_disturbed() -> None:
    generator = torch.Generator().manual_seed(0)
    rotations = rotation_from_quat(torch.randn(50, 4, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(rotation_from_six(six_from_rotation(rotations)), rotations)
    disturbed = rotation_from_six(
        six_from_rotation(rotations) + 0.3 * torch.randn(50, 6, generator=generator, dtype=torch.float64)
    )
    torch.testing.assert_close(disturbed @ disturbed.mT, torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(disturbed), torch.ones(50).double())


def test_rounds_of_noise_are_those_of_the_paper_and_of_the_released_code() -> None:
    # Rounds and their neighbours, and some steps between: all 30,000 would take the checked calls seconds.
    steps = sorted({base + shift for base in range(250, PAPER_STEPS + 1, 250) for shift in (-1, 0, 1)})
    paper = [step for step in steps if Perturbation().is_round(step, FULL)]
    assert paper == list(range(1_000, 15_001, 500))
    released = [step for step in steps if Perturbation(schedule="released").is_round(step, FULL)]
    assert released == list(range(16_000, 24_001, 1_000)) and len(released) == 9
    short = [step for step in range(10, 3_001, 10) if Perturbation().is_round(step, Schedule(3_000))]
    assert short == list(range(100, 1_501, 50))


def test_the_rate_of_dropout_rises_as_published() -> None:
    rates = {step: Dropout().rate_at(step, FULL) for step in (1, 500, 501, 7_750, 15_000, 15_001, 30_000)}
    assert rates[1] == rates[500] == rates[15_001] == rates[30_000] == 0.0
    assert (
        rates[501] == pytest.approx(0.2 / 14_500) and rates[7_750] == pytest.approx(0.1) and rates[15_000] == pytest.approx(0.2)
    )
    assert Dropout(after="hold").rate_at(30_000, FULL) == 0.2
    released = Dropout(schedule="released")
    assert released.rate_at(15_000, FULL) == 0.0 and released.rate_at(16_500, FULL) == 0.0
    assert released.rate_at(16_000, FULL) == pytest.approx(0.2 * 15_500 / 14_500)
    assert released.rate_at(24_000, FULL) == pytest.approx(0.2 * 23_500 / 14_500)


def _context(trainer: SplatTrainer, step: int) -> StepContext:
    return StepContext(step, FULL, trainer.field, trainer.scene_extent, trainer.random)


def test_dropout_hides_its_share_and_keeps_the_mean_opacity_while_training_only() -> None:
    trainer = _teacher(TeacherSpec("dropout"))
    plain = trainer.field.gaussians()
    shown = [Dropout().before_step(_context(trainer, 14_999), plain) for _ in range(200)]
    hidden = torch.stack([gaussians.opacities < 1e-6 for gaussians in shown]).double()
    assert float(hidden.mean()) == pytest.approx(0.2, abs=0.01)
    mean = torch.stack([gaussians.opacities.detach() for gaussians in shown]).mean(dim=0)
    torch.testing.assert_close(mean, plain.opacities.detach(), rtol=0.15, atol=0.0)
    assert Dropout().before_step(_context(trainer, 29_999), plain) is plain
    # The gradient reaches what is shown, 1 / (1 − r) times, and nothing that is hidden.
    shown[0].opacities.sum().backward()
    gradient = trainer.field.store["logit_opacities"].grad
    assert gradient is not None and bool((gradient[hidden[0] > 0] == 0).all()) and bool((gradient[hidden[0] == 0] > 0).all())


def test_noise_moves_unsettled_small_gaussians_only_and_rests_their_moments() -> None:
    trainer = _teacher(TeacherSpec("noise"))
    trainer.run(until=5)
    store = trainer.field.store
    strategy = next(each for each in trainer.strategies if isinstance(each, Perturbation))
    before = {name: store[name].detach().clone() for name in store}
    unsettled = torch.zeros(len(store), dtype=torch.bool)
    unsettled[[3, 7, 20]] = True
    store.record("perturbation.gradient_sum").copy_(torch.where(unsettled, 1.0, 0.0))
    store.record("perturbation.views").fill_(2.0)
    log_scales = store["log_scales"].detach().clone().fill_(math.log(0.005 * trainer.scene_extent))
    log_scales[7] = math.log(0.5 * trainer.scene_extent)  # too large to be disturbed
    store.replace_all("log_scales", log_scales, moments="keep")
    strategy.after_step(_context(trainer, 999))
    changed = (store["means"].detach() != before["means"]).any(dim=1)
    assert changed.nonzero()[:, 0].tolist() == [3, 20]
    assert bool((store["logit_opacities"].detach() != before["logit_opacities"]).nonzero()[:, 0].eq(torch.tensor([3, 20])).all())
    assert not bool(store.moments("means")[0][[3, 20]].any()) and bool(store.moments("means")[0][[4]].any())
    assert torch.equal(store["sh0"], before["sh0"])
    torch.testing.assert_close(store["quats"].detach()[[3, 20]].norm(dim=1), torch.ones(2))


def test_relative_noise_scales_with_the_gaussian_and_released_noise_with_the_world() -> None:
    trainer = _teacher(TeacherSpec("noise"))
    store = trainer.field.store
    index = torch.arange(len(store))
    quats = quat_from_rotation(rotation_from_quat(torch.tensor([[0.5, 0.1, -0.7, 0.2]]))).expand(len(store), 4)
    scales = torch.tensor([0.1, 0.01, 0.001])
    store.replace_all("quats", quats.contiguous(), moments="keep")
    store.replace_all("log_scales", scales.log().expand(len(store), 3).contiguous(), moments="keep")

    def spread_along_axes(strategy: Perturbation) -> torch.Tensor:
        offsets = []
        for _ in range(40):
            rows = strategy._disturbed(store, index, trainer.random["test"])
            offsets.append((rows["means"] - store["means"].detach()) @ rotation_from_quat(quats[0]))
        return torch.cat(offsets).std(dim=0)

    torch.testing.assert_close(spread_along_axes(Perturbation(strength=0.5)), 0.5 * scales, rtol=0.05, atol=0.0)
    torch.testing.assert_close(spread_along_axes(Perturbation(units="released")), torch.full((3,), 0.1), rtol=0.05, atol=0.0)


def test_the_vanilla_teacher_is_plain_splatting_and_others_differ_from_it() -> None:
    from scenewise.parts.splats.building import build_trainer

    capture = fabricated_capture()
    plain = build_trainer(capture, capture.points, CONFIG.teacher, seed=0)
    # Rounds of noise are 50 steps apart at least, so a run of 60 would have none.
    often = replace(CONFIG, perturbation=Perturbation(smallest_interval=5, grow_scale=None))
    teachers = {
        spec.name: _teacher(spec, often) for spec in (TeacherSpec("vanilla"), TeacherSpec("noise"), TeacherSpec("dropout"))
    }
    for trainer in (plain, *teachers.values()):
        trainer.run()
    assert all(torch.equal(plain.field.store[name], teachers["vanilla"].field.store[name]) for name in plain.field.store)
    for name in ("noise", "dropout"):
        other = teachers[name].field.store["means"]
        assert other.shape != plain.field.store["means"].shape or not torch.equal(other, plain.field.store["means"])
    seeds = {teacher_seed(3, spec) for spec in (TeacherSpec("vanilla"), TeacherSpec("vanilla", 2), TeacherSpec("noise"))}
    assert len(seeds) == 3 and teacher_seed(3, TeacherSpec("vanilla")) == 3
