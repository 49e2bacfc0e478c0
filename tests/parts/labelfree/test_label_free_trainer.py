"""The training loop: same seed, same bits; resumed = unbroken; phases leave optimisers alone."""

import math
import signal

import pytest
import torch
from tests.support.tiny_training import tiny_recipe, tiny_scans, tiny_text

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.step_back import TrainingDivergedError
from scenewise.engine.training import resume
from scenewise.errors import ConventionError
from scenewise.networks.minkunet import MinkUNet
from scenewise.networks.sparse_blocks import SparseConv
from scenewise.parts.labelfree.epochs import EpochOrder
from scenewise.parts.labelfree.schedules import LossPhase
from scenewise.parts.labelfree.settings import OptimizerSettings
from scenewise.parts.labelfree.trainer import LabelFreeTrainer

_PHASES = (LossPhase(1, {"points": 1.0}), LossPhase(3, {"points": 1.0, "spread": 1.0}))


def _trainer(seed=0, **changes):
    return LabelFreeTrainer(tiny_recipe(**changes), tiny_scans(), tiny_text(), seed=seed)


def _state(trainer):
    found = trainer.checkpoint()
    return {**found.parameters, **{f"moments {name}": value for name, value in found.optimizer.items()}}


def _same(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    one, two, other = (_trainer(seed, pixels=True, spread=True, dropout=0.3) for seed in (4, 4, 5))
    for trainer in (one, two, other):
        torch.rand(3)  # whatever else the process draws
        trainer.run()
    assert _same(_state(one), _state(two)) == []
    assert _same(_state(one), _state(other))


@pytest.mark.parametrize("at", [1, 5])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(tmp_path, at):
    changes = {"pixels": True, "spread": True, "dropout": 0.3}
    unbroken = _trainer(**changes)
    unbroken.run()
    first = _trainer(**changes)
    first.run(until=at, save=Checkpointer(tmp_path).save, save_every=1)
    resumed = _trainer(**changes)
    found = Checkpointer(tmp_path).latest()
    assert found is not None and found.step == at
    resumed.restore(found)
    resumed.run()
    assert resumed.steps_done == unbroken.steps_done == 8
    assert _same(_state(unbroken), _state(resumed)) == []


def test_an_interrupted_run_leaves_a_checkpoint_of_a_whole_step_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    changes = {"pixels": True, "spread": True, "dropout": 0.3}
    unbroken, interrupted, resumed = (_trainer(**changes) for _ in range(3))
    unbroken.run()
    batch_at = interrupted.batch_at

    def interrupting(step):
        if step == 4:
            signal.raise_signal(signal.SIGINT)
        return batch_at(step)

    monkeypatch.setattr(interrupted, "batch_at", interrupting)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(save=Checkpointer(tmp_path).save, save_every=100)
    assert resume(resumed, Checkpointer(tmp_path)) and resumed.steps_done == 5
    resumed.run()
    assert _same(_state(unbroken), _state(resumed)) == []


def test_a_phase_starts_modules_but_resets_no_optimizer():
    trainer = _trainer(spread=True, phases=_PHASES)
    start = {name: value.clone() for name, value in trainer.checkpoint().parameters.items()}
    trainer.run(until=4)  # two epochs of two steps
    before = trainer.checkpoint()
    assert not any(name.startswith("extra") for name in before.optimizer)
    rested = [name for name in before.parameters if name.startswith("extra")]
    assert rested and all(torch.equal(before.parameters[name], start[name]) for name in rested)
    optimizers = [id(group.optimizer) for group in trainer._groups.values()]
    momenta = {name: value.clone() for name, value in before.optimizer.items()}
    trainer.run(until=5)
    after = trainer.checkpoint()
    assert [id(group.optimizer) for group in trainer._groups.values()] == optimizers
    assert {float(value) for name, value in after.optimizer.items() if name.startswith("extra.step.")} == {1.0}
    # v ← 0.9 v + 0.9 g: the momentum of the first phase is still in it.
    name = "points.momentum_buffer.student.head.weight"
    gradient = trainer.points.head.weight.grad + 1e-4 * before_weight(before, trainer, after)
    torch.testing.assert_close(after.optimizer[name], 0.9 * momenta[name] + 0.9 * gradient, rtol=1e-3, atol=1e-5)


def before_weight(before, trainer, after):
    """The head's weight before the last step: w' = w − lr·v'."""
    rate = 0.2 * 0.5 * (1 + math.cos(math.pi * 4 / trainer.total_steps))
    return after.parameters["points.student.head.weight"] + rate * after.optimizer["points.momentum_buffer.student.head.weight"]


def test_rates_fall_by_half_a_cosine_and_losses_are_averaged():
    reports = []
    trainer = _trainer(spread=True)
    trainer.run(listener=reports.append)
    rates = [report.rates["points"] for report in reports]
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])
    first = reports[0]
    assert first.loss == pytest.approx((1.0 * first.terms["points"] + 0.5 * first.terms["spread"]) / 1.5)
    assert first.figures["share/clip/points"] == 1.0 and 1 / 3 <= first.figures["largest_class/labels/points"] <= 1
    assert first.figures["spread/gathered"] in (4.0, 6.0)
    assert 0 < reports[-1].line["seconds_preparing"] < reports[-1].seconds


def test_it_learns_from_the_labels():
    reports = []
    trainer = _trainer(epochs=15)
    trainer.run(listener=reports.append)
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].figures["points/accuracy"] > 0.8  # a fifth of the pixels lie


def test_every_epoch_sees_every_scan_in_batches_of_nearly_one_size():
    order = EpochOrder(10, 8, seed=1)
    assert order.steps_per_epoch == 2
    epochs = [[order.batch(2 * epoch + part) for part in range(2)] for epoch in range(3)]
    for number, parts in enumerate(epochs, start=1):
        assert [epoch for epoch, _ in parts] == [number, number]
        assert [len(rows) for _, rows in parts] == [5, 5] and sorted(parts[0][1] + parts[1][1]) == list(range(10))
    assert len({parts[0][1] for parts in epochs}) == 3


def test_a_loss_that_explodes_names_its_step():
    trainer = _trainer(points_optimizer=OptimizerSettings("sgd", 1e30, clip_norm=None))
    with pytest.raises(TrainingDivergedError, match=r"NaN or infinite in step [2-8] of 8 \(epoch \d, scans scan\d"):
        trainer.run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": (LossPhase(1, {"pixels": 1.0}),)}, "loss 'pixels' of epoch 1: expected one of points, got pixels"),
        ({"spread": True, "extra_optimizer": None}, "extra_optimizer of tiny: expected settings, got none"),
        ({"batch_scans": 0}, "training: expected scans, and at least one per step"),
    ],
)
def test_recipes_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ConventionError, match=message):
        _trainer(**changes)


def test_bfloat16_is_for_convolutions_and_half_precision_for_cuda():
    network = MinkUNet(3, (4,) * 8, (1,) * 8, stem_planes=4)
    recipe = tiny_recipe(build_points=lambda channels: network)
    trainer = LabelFreeTrainer(recipe, tiny_scans(), tiny_text(), precision="bfloat16")
    precisions = {module.settings.precision for module in trainer.points.modules() if isinstance(module, SparseConv)}
    assert precisions == {"bfloat16"}
    trainer.run(until=1)
    assert all(parameter.dtype == torch.float32 for parameter in trainer.points.parameters())
    with pytest.raises(ConventionError, match="precision: expected float32 or bfloat16 on a CPU, got float16"):
        LabelFreeTrainer(recipe, tiny_scans(), tiny_text(), precision="float16")


def test_a_checkpoint_of_another_length_is_refused():
    first = _trainer()
    first.run(until=1)
    with pytest.raises(ConventionError, match="resume: steps: expected 8 as in the checkpoint, got 12"):
        _trainer(epochs=6).restore(first.checkpoint())
