"""From many to few: exact counts, sampling in proportion, the tail, rebirth, blur split."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture

from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.methods.distilled_3dgs.config import FAST_DISTILLED, DistilledConfig
from scenewise.methods.distilled_3dgs.simplification import (
    BlurSplit,
    Simplification,
    SimplificationSettings,
    sample_step,
    tail_step,
)
from scenewise.methods.distilled_3dgs.training import build_student
from scenewise.parts.splats.importance import importance, view_contributions
from scenewise.parts.splats.recipes import with_cap
from scenewise.parts.splats.schedules import PAPER_STEPS, Schedule, ShSchedule
from scenewise.parts.splats.strategies import DefaultStrategy, StepContext
from scenewise.parts.splats.trainer import SplatTrainer

STEPS = 60


def _config(**changes: object) -> DistilledConfig:
    student = with_cap(replace(FAST_DISTILLED.student, steps=STEPS, depth=None, sh=ShSchedule(highest=1)), 220)
    settings = replace(SimplificationSettings(), **changes)  # type: ignore[arg-type]
    return replace(FAST_DISTILLED, teachers=(), structure=None, student=student, simplification=settings)


def _student(config: DistilledConfig) -> SplatTrainer:
    capture = fabricated_capture()
    return build_student(capture, capture.points, config, pictures=None)


def test_the_two_steps_are_those_of_the_paper() -> None:
    settings = SimplificationSettings()
    assert (sample_step(settings, Schedule(PAPER_STEPS)), tail_step(settings, Schedule(PAPER_STEPS))) == (15_000, 20_000)
    assert (sample_step(settings, Schedule(STEPS)), tail_step(settings, Schedule(STEPS))) == (30, 40)


def test_a_student_ends_with_exactly_what_it_may_keep_and_goes_there_in_two_steps() -> None:
    trainer = _student(_config(keep=40))
    counts: list[int] = []
    trainer.run(listener=lambda report: counts.append(len(trainer.field.store)), report_every=1)
    assert len(counts) == STEPS and counts[28] > 100
    assert set(counts[29:39]) == {50} and set(counts[39:]) == {40}  # 50 = 1.25 · 40


def test_more_may_be_kept_than_there_are() -> None:
    trainer = _student(_config(keep=10_000))
    trainer.run()
    assert 100 < len(trainer.field.store) <= 220


def test_without_a_size_the_paper_s_factor_and_tail_decide() -> None:
    trainer = _student(_config(keep=None, factor=0.5, tail=0.1))
    reports: list[StepReport] = []
    trainer.run(until=29)
    gaussians = trainer.field.gaussians()
    cameras = [frame.camera for frame in fabricated_capture().train_frames]
    trainer.run(until=30, listener=reports.append)
    useful = float((importance(view_contributions(gaussians, cameras), "indoor") > 0).float().mean())
    assert reports[-1].line["num_gaussians"] == pytest.approx(len(gaussians) * 0.5 * useful, abs=12)  # a step lies between
    trainer.run(until=39)
    before = len(trainer.field.store)
    trainer.run(until=40)
    assert 0.6 * before < len(trainer.field.store) < before

    unsampled = _student(_config(keep=None, factor=None))
    unsampled.run(until=39)
    assert len(unsampled.field.store) > 100


def test_the_tail_is_the_least_important_part_of_the_importance() -> None:
    trainer = _student(_config(keep=None, factor=None, tail=0.3))
    trainer.run(until=39)
    strategy = next(each for each in trainer.strategies if isinstance(each, Simplification))
    context = StepContext(39, trainer.schedule, trainer.field, trainer.scene_extent, trainer.random)
    values = importance(view_contributions(trainer.field.gaussians(), strategy.cameras), "indoor").double()
    order = values.sort().values
    expected = int((order.cumsum(0) / order.sum() > 0.3).sum())
    strategy.after_step(context)
    assert len(trainer.field.store) == expected
    kept = importance(view_contributions(trainer.field.gaussians(), strategy.cameras), "indoor")
    assert len(kept) < len(values)


def test_reborn_gaussians_keep_position_and_base_colour_only() -> None:
    trainer = _student(_config(keep=40, reborn=True))
    trainer.run(until=29)
    strategy = next(each for each in trainer.strategies if isinstance(each, Simplification))
    before = {tuple(row) for row in trainer.field.store["means"].tolist()}
    strategy.after_step(StepContext(29, trainer.schedule, trainer.field, trainer.scene_extent, trainer.random))
    store = trainer.field.store
    assert len(store) == 50 and all(tuple(row) in before for row in store["means"].tolist())
    torch.testing.assert_close(store["logit_opacities"].sigmoid(), torch.full((50,), 0.1))
    assert bool((store["log_scales"] == store["log_scales"][:, :1]).all()) and not bool(store["shN"].any())
    assert torch.equal(store["quats"], torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(50, 4))
    assert not bool(store.moments("means")[0].any())


def test_blur_split_splits_what_covers_too_many_pixels_largest_first_up_to_the_cap() -> None:
    capture = fabricated_capture()
    control = DefaultStrategy(max_gaussians=None, smallest_interval=10, grow_gradient=math.inf)
    config = replace(_config(), blur_split=True)
    config = replace(config, student=replace(config.student, strategy=control))
    trainer = build_student(capture, capture.points, config, pictures=None)
    strategy = next(each for each in trainer.strategies if isinstance(each, BlurSplit))
    trainer.run(until=9)
    shares = trainer.field.store.record("blur_split.share").clone()
    # Largest number of pixels that each Gaussian leads in, by rendering all views anew: the record saw earlier states as well.
    assert float(shares.max()) > 1 / 5_000 and bool((shares >= 0).all())
    assert strategy.contribution(StepContext(9, trainer.schedule, trainer.field, 1.0, trainer.random))
    context = StepContext(9, trainer.schedule, trainer.field, trainer.scene_extent, trainer.random)
    before = len(trainer.field.store)
    over = int((shares > 1 / 5_000).sum())
    replace(strategy, most_gaussians=before + 3).after_step(context)
    assert over > 3 and len(trainer.field.store) == before + 3
    assert not bool(trainer.field.store.record("blur_split.share").any())


def test_a_restarted_learning_rate_is_that_of_mini_splatting() -> None:
    rates = replace(_config().student.learning_rates, restart=(0.5, 1 / 6))
    plain = _config().student.learning_rates
    assert rates.means_at(0.49, 1.0) == plain.means_at(0.49, 1.0)
    assert rates.means_at(0.5, 1.0) == pytest.approx(plain.means_at(1 / 6, 1.0))
    assert rates.means_at(1.0, 1.0) == pytest.approx(plain.means_at(1.0, 1.0))
    assert np.all(np.diff([rates.means_at(p, 1.0) for p in np.linspace(0.5, 1.0, 20)]) < 0)


@pytest.mark.errors
def test_settings_that_make_no_sense_are_refused() -> None:
    for name, value in (("keep", 0), ("factor", 0.0), ("margin", 0.5), ("tail", 1.0)):
        with pytest.raises(ConventionError, match=name):
            SimplificationSettings(**{name: value})  # type: ignore[arg-type]
