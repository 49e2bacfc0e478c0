"""Training a classifier: the same bits resumed or not, what a start changes, what frozen means, and that it learns."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tiny_objects import STILL, TINY, tiny_objects
from tests.support.tiny_pair import write_tiny_pair

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.measuring import Measurable
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import Trainable, resume, run_steps
from scenewise.errors import ConventionError
from scenewise.methods.condense.classification.objects import ObjectData
from scenewise.methods.condense.classification.options import PRESETS, ClassifierConfig
from scenewise.methods.condense.classification.predicting import accuracies, class_probabilities
from scenewise.methods.condense.classification.trainer import ClassifierTrainer, config_of_start
from scenewise.teachers.consistent import open_pair
from scenewise.teachers.consistent_file import PairFile


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with compute_threads(1):
        yield


@pytest.fixture(scope="module")
def data() -> ObjectData:
    return tiny_objects()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> PairFile:
    return open_pair(f"condense:{write_tiny_pair(tmp_path_factory.mktemp('pair'))}")


def state_of(trainer: ClassifierTrainer) -> dict[str, torch.Tensor]:
    found = trainer.checkpoint().copied()
    return {**found.parameters, **{f"optimizer {name}": each for name, each in found.optimizer.items()}}


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def told(trainer: ClassifierTrainer, data: ObjectData) -> np.ndarray:
    config = trainer.config
    return class_probabilities(trainer.network, data.clouds, scale=config.scale, voxel=config.voxel, points=config.points)


@pytest.mark.parametrize("frozen", [False, True])
def test_two_runs_and_one_resumed_from_the_disk_give_the_same_bits(
    data: ObjectData, pair: PairFile, tmp_path: Path, frozen: bool
) -> None:
    config, start = replace(TINY, frozen=frozen), pair if frozen else None
    first, second = ClassifierTrainer(config, data, 1, start=start), ClassifierTrainer(config, data, 1, start=start)
    assert isinstance(first, Trainable) and isinstance(first, Measurable)
    torch.manual_seed(5)
    run_steps(first)
    torch.manual_seed(6)  # whatever else is random in the process
    halfway = Checkpointer(tmp_path)
    run_steps(second, until=2, save=halfway.save)
    run_steps(second)
    assert same(state_of(first), state_of(second))
    resumed = ClassifierTrainer(config, data, 1, start=start)
    assert resume(resumed, halfway) and resumed.steps_done == 2
    run_steps(resumed)
    assert same(state_of(first), state_of(resumed)) and resumed.describe().loss == first.describe().loss
    other = ClassifierTrainer(config, data, 2, start=start)
    run_steps(other)
    assert not same(state_of(first), state_of(other))


def test_a_start_is_taken_over_and_gives_another_result(data: ObjectData, pair: PairFile) -> None:
    scratch, started = ClassifierTrainer(TINY, data, 3), ClassifierTrainer(TINY, data, 3, start=pair)
    wanted = pair.pair.points.backbone.state_dict()
    own = started.network.backbone.state_dict()
    assert same(own, wanted) and not same(scratch.network.backbone.state_dict(), wanted)
    assert same(started.network.head.state_dict(), scratch.network.head.state_dict()), "heads begin with the same numbers"
    run_steps(scratch)
    run_steps(started)
    assert np.abs(told(scratch, data) - told(started, data)).max() > 1e-3
    assert same(pair.pair.points.backbone.state_dict(), wanted), "the pair itself is left alone"
    moved = started.network.backbone.state_dict()
    assert not any(torch.equal(moved[name], wanted[name]) for name in moved), "all of it is tuned"


def test_a_frozen_backbone_keeps_weights_and_statistics(data: ObjectData, pair: PairFile) -> None:
    trainer = ClassifierTrainer(replace(TINY, frozen=True), data, 3, start=pair)
    head = {name: value.clone() for name, value in trainer.network.head.state_dict().items()}
    run_steps(trainer)
    assert same(trainer.network.backbone.state_dict(), pair.pair.points.backbone.state_dict())
    assert not any(torch.equal(value, head[name]) for name, value in trainer.network.head.state_dict().items())
    probe = 2 * trainer.network.backbone.out_channels
    assert trainer.parameters_trained == 2 * probe + (probe + 1) * 3 < trainer.parameters_deployed
    assert not any(name.startswith("backbone") for name in trainer.checkpoint().optimizer)
    # Every number that moves the head comes from the backbone as it is used, not as it is trained.
    assert not trainer.network.backbone.training and trainer.network.norm.training


def test_it_learns_to_tell_objects_it_has_not_seen(data: ObjectData) -> None:
    trainer = ClassifierTrainer(replace(TINY, steps=40, batch_objects=6), tiny_objects(8), 0)
    losses, rates = [], []
    trainer.start()
    while trainer.steps_done < trainer.total_steps:
        trainer.step()
        report = trainer.describe()
        losses.append(report.loss)
        rates.append(report.rates["head"])
        assert report.step == trainer.steps_done and 0 <= report.figures["right"] <= 1
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert rates == sorted(rates, reverse=True) and rates[20] == pytest.approx(0.5 * rates[0]) and rates[-1] < 0.01 * rates[0]
    others = tiny_objects(6, first=100)
    probabilities = told(trainer, others)
    assert probabilities.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert accuracies(probabilities, others)["accuracy"] >= 0.8


def test_a_backbone_may_move_more_slowly(data: ObjectData) -> None:
    moved = []
    for backbone_rate in (1.0, 0.01):
        trainer = ClassifierTrainer(replace(TINY, backbone_rate=backbone_rate, weight_decay=0.0), data, 0)
        before = trainer.network.backbone.stem.conv.weight.detach().clone()
        trainer.start()
        trainer.step()
        rates = trainer.describe().rates
        assert rates["head"] == TINY.rate and rates["backbone"] == pytest.approx(backbone_rate * TINY.rate)
        moved.append(float((trainer.network.backbone.stem.conv.weight.detach() - before).abs().max()))
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=0.05)  # a first step of Adam is as long as the rate


def test_an_answer_does_not_depend_on_company(data: ObjectData, pair: PairFile) -> None:
    trainer = ClassifierTrainer(TINY, data, 0, start=pair)
    run_steps(trainer)
    together = told(trainer, data)
    alone = np.concatenate([told(trainer, ObjectData(data.class_names, (cloud,))) for cloud in data.clouds])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    many = told(trainer, ObjectData(data.class_names, data.clouds * 5))  # more than are looked at together
    np.testing.assert_allclose(many, np.tile(alone, (5, 1)), atol=1e-5)


def test_accuracies_are_those_of_loops(data: ObjectData) -> None:
    rows = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], np.float32)
    four = ObjectData((*data.class_names[:2], "ball"), (*data.clouds[:3], data.clouds[3]))  # slab, post, ball, slab
    assert accuracies(rows, four) == pytest.approx({"accuracy": 0.75, "class_mean": 2 / 3, "top3": 1.0})
    wide = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    assert accuracies(wide, ObjectData(tuple("abcd"), (data.clouds[0],)))["top3"] == 0.0
    assert accuracies(wide, ObjectData(tuple("abcd"), (data.clouds[1],)))["top3"] == 1.0


def test_a_run_can_be_fitted_to_the_time_there_is(data: ObjectData) -> None:
    trainer = ClassifierTrainer(TINY, data, 0)
    trainer.set_total_steps(9)
    assert trainer.total_steps == 9 and trainer.checkpoint().config["steps"] == 9
    trainer.step()
    with pytest.raises(ConventionError, match="steps: expected a run that has not begun, got 1 steps done"):
        trainer.set_total_steps(3)


@pytest.mark.errors
def test_what_does_not_fit_is_told(data: ObjectData, pair: PairFile, tmp_path: Path) -> None:
    wide = replace(TINY, width=0.5)
    with pytest.raises(ConventionError, match=r"backbone: expected minkunet14a, width 0.125, as the start, got minkunet14a, 0.5"):
        ClassifierTrainer(wide, data, 0, start=pair)
    assert config_of_start(wide, pair) == TINY and config_of_start(wide, None) == wide
    kept = Checkpointer(tmp_path)
    trainer = ClassifierTrainer(TINY, data, 0)
    trainer.step()
    kept.save(trainer.checkpoint())
    with pytest.raises(ConventionError, match="resume: option start: expected None as in the checkpoint"):
        resume(ClassifierTrainer(TINY, data, 0, start=pair), kept)
    with pytest.raises(ConventionError, match="resume: the capture"):
        resume(ClassifierTrainer(TINY, tiny_objects(2), 0), kept)
    with pytest.raises(ConventionError, match=r"probabilities: expected 9 rows of 3, got \(1, 3\)"):
        accuracies(np.zeros((1, 3), np.float32), data)


def test_presets_are_recipes() -> None:
    assert PRESETS["objects"].scale == "metres" and PRESETS["modelnet"].scale == "extent"
    assert all(isinstance(preset, ClassifierConfig) and math.isfinite(preset.rate) for preset in PRESETS.values())
    assert STILL.grey == 0.0
