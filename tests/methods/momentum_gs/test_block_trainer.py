"""Blocks in turn with one decoder: what is averaged, what waits, what goes on after a kill, and who is told what."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.tiny_city import blocks_of, tiny_city, tiny_trainer

from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.distribution import Ranks
from scenewise.engine.training import Trainable, run_steps
from scenewise.errors import ConventionError, DataFormatError
from scenewise.methods.momentum_gs.teaching import TeacherSettings
from scenewise.methods.momentum_gs.trainer import BlockTrainer
from scenewise.methods.momentum_gs.weighting import WeightingSettings, block_weights
from scenewise.parts.splats.anchors.decoder import HEADS
from scenewise.parts.splats.anchors.field import AnchorField
from scenewise.scenes.anchors import Anchors


def decoder_of(trainer: BlockTrainer) -> torch.Tensor:
    assert trainer.shared is not None
    heads = trainer.shared.decoder.heads()
    return torch.cat([getattr(heads, name).detach() for name in HEADS]).clone()


def same_anchors(a: dict[int, Anchors], b: dict[int, Anchors]) -> bool:
    return all(torch.equal(getattr(a[block], name), getattr(b[block], name)) for block in a for name in vars(a[block]))


def finished(folder: Path, **changes: object) -> BlockTrainer:
    trainer = tiny_trainer(folder, **changes)
    run_steps(trainer)
    return trainer


def test_it_is_a_trainable(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    assert isinstance(trainer, Trainable)
    assert (trainer.total_steps, trainer.plan.learning_steps, trainer.plan.block_steps) == (48, 32, 12)


def test_every_block_learns(tmp_path: Path) -> None:
    losses: dict[str, list[float]] = {}
    trainer = tiny_trainer(tmp_path)
    run_steps(trainer, listener=lambda report: losses.setdefault(str(report.shown["blocks"]), []).append(report.loss))
    assert sorted(losses) == ["0", "1", "2", "3"] and all(len(found) == 12 for found in losses.values())
    assert sum(found[-1] for found in losses.values()) < sum(found[0] for found in losses.values())
    assert all(each is not None and each[0] > 5.0 for each in trainer.quality)


def test_the_decoders_gradient_is_the_weighted_mean_over_the_blocks_in_hand(tmp_path: Path) -> None:
    """Four workers in this process against four blocks that are asked one by one."""
    city = tiny_city()
    quality = [(20.0, 0.6), (24.0, 0.7), (22.0, 0.5), (25.0, 0.9)]
    together = tiny_trainer(tmp_path / "a", city=city, workers=4)
    taken: list[torch.Tensor] = []
    assert together.shared is not None
    give = together.shared.decoder.set_flat_gradient
    together.shared.decoder.set_flat_gradient = lambda gradient: (taken.append(gradient.clone()), give(gradient))[1]  # type: ignore[method-assign]
    together.quality = [*quality]
    together.steps_done = 0
    settings = WeightingSettings(learned_from=0.0)
    together.shared = replace(together.shared, weighting=settings)
    together.step()
    alone = []
    for block in range(4):
        one = tiny_trainer(tmp_path / f"b{block}", city=city, workers=4)
        one._begin_slot(0)
        one.in_hand[block].backward()
        assert one.shared is not None
        alone.append(one.shared.decoder.flat_gradient())
    weights = torch.tensor(block_weights(quality, settings))
    expected = (weights[:, None] * torch.stack(alone)).sum(0) / weights.sum()
    assert len(set(weights.tolist())) > 2
    torch.testing.assert_close(taken[0], expected, rtol=1e-5, atol=1e-9)


def test_a_block_that_waited_is_bit_for_bit_what_it_was(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    for _ in range(3):
        trainer.step()
    kept: list[Checkpoint] = []
    save = trainer.states.save
    trainer.states.save = lambda version, checkpoint: (kept.append(checkpoint.copied()), save(version, checkpoint))[1]  # type: ignore[method-assign]
    trainer.step()
    again = trainer.finished(0).checkpoint()
    (before,) = kept
    assert before.step == again.step == 4 and before.details == again.details
    for part in ("parameters", "optimizer", "state"):
        one, other = getattr(before, part), getattr(again, part)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not any(name.startswith("shared") for name in before.parameters)  # the decoder is not the block's


@pytest.mark.parametrize(("workers", "at"), [(1, 2), (1, 4), (1, 19), (1, 32), (1, 41), (3, 4), (3, 7), (3, 19)])
def test_resuming_equals_an_unbroken_run(tmp_path: Path, workers: int, at: int) -> None:
    changes: dict[str, object] = {"workers": workers, "order": "random", "weighting": WeightingSettings(learned_from=0.1)}
    whole = finished(tmp_path / "whole", **changes)
    checkpoints = Checkpointer(tmp_path / "checkpoints")
    run_steps(tiny_trainer(tmp_path / "broken", **changes), until=at, save=checkpoints.save, save_every=4)
    found = checkpoints.latest()
    assert found is not None and found.step == at
    again = tiny_trainer(tmp_path / "broken", **changes)
    again.restore(found)
    run_steps(again)
    assert torch.equal(decoder_of(whole), decoder_of(again))
    assert same_anchors(blocks_of(whole), blocks_of(again)) and whole.quality == again.quality and whole.drift == again.drift


def test_a_kill_in_mid_slot_costs_no_more_than_the_slot(tmp_path: Path) -> None:
    """Files of blocks that the newest checkpoint asks for are there, whatever was written after it."""
    checkpoints = Checkpointer(tmp_path / "checkpoints")
    run_steps(tiny_trainer(tmp_path / "blocks"), until=20, save=checkpoints.save, save_every=4)
    killed = tiny_trainer(tmp_path / "blocks")
    found = checkpoints.latest()
    assert found is not None
    killed.restore(found)
    for _ in range(9):  # two slots and a step, never saved
        killed.step()
    again = tiny_trainer(tmp_path / "blocks")
    again.restore(found)
    run_steps(again)
    whole = finished(tmp_path / "whole")
    assert torch.equal(decoder_of(whole), decoder_of(again)) and same_anchors(blocks_of(whole), blocks_of(again))


def test_old_versions_of_blocks_go(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "blocks")
    run_steps(trainer, save=Checkpointer(tmp_path / "checkpoints").save, save_every=4)
    names = [product.path.name[:9] for product in trainer.states.files()]
    assert set(names) == {f"block_{block:03d}" for block in range(4)} and len(names) <= 4 + 3


def test_the_decoder_rests_in_the_last_round(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    run_steps(trainer, until=32)
    before = decoder_of(trainer)
    trainer.step()
    field = trainer.in_hand[0].field
    assert isinstance(field, AnchorField) and field.teacher is None and not trainer.learns
    run_steps(trainer)
    assert torch.equal(before, decoder_of(trainer)) and "consistency" in trainer.describe().terms
    moving = tiny_trainer(tmp_path / "moving", frozen_round=False)
    run_steps(moving, until=32)
    before = decoder_of(moving)
    run_steps(moving)
    assert not torch.equal(before, decoder_of(moving))


def test_blocks_listen_to_the_teacher_while_the_decoder_learns(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, teacher=TeacherSettings(momentum=0.5, passes_gradients=True))
    trainer.step()
    trainer.step()
    assert trainer.shared is not None and trainer.shared.teacher is not None
    field = trainer.in_hand[0].field
    assert isinstance(field, AnchorField) and field.teacher is trainer.shared.teacher.heads and field.teacher_passes_gradients
    assert trainer.describe().terms["consistency"] > 0.0
    without = tiny_trainer(tmp_path / "without", teacher=None)
    without.step()
    assert "consistency" not in without.describe().terms


def test_decoders_of_their_own(tmp_path: Path) -> None:
    trainer = finished(tmp_path, shares_decoder=False)
    assert trainer.shared is None
    fields = [trainer.finished(block).field for block in range(4)]
    heads = [field.decoder.heads().color for field in fields if isinstance(field, AnchorField)]
    assert len({float(each.detach().sum()) for each in heads}) == 4


def test_anchors_come_only_to_a_blocks_own_cells(tmp_path: Path) -> None:
    city = tiny_city()
    trainer = finished(tmp_path, city=city)
    for block in range(4):
        positions = trainer.finished(block).field.store["positions"].detach()
        started = {tuple(row) for row in city.model.anchors.positions.tolist()}
        new = [row for row in positions.tolist() if tuple(row) not in started]
        assert new, "some have come"
        assert (city.partition.block_of(torch.tensor(new).numpy()) == block).all()


def test_three_workers_for_four_blocks_sit_out_what_is_not_theirs(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, workers=3)
    seen = []
    run_steps(trainer, until=8, listener=lambda report: seen.append(report.shown["blocks"]))
    assert seen == ["0,1,2"] * 4 + ["3"] * 4 and trainer.total_steps == 24


def test_workers_that_processes_cannot_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match=r"workers: expected a multiple of the 2 processes, got 3"):
        tiny_trainer(tmp_path, ranks=Ranks(1, 2), workers=3)
    second = tiny_trainer(tmp_path, ranks=Ranks(1, 2), workers=2)
    assert second.own_blocks == (2, 3) and [second.owner(block) for block in range(4)] == [0, 0, 1, 1]


def test_a_missing_block_is_told(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    with pytest.raises(ConventionError, match=r"block 2: expected one that was trained"):
        trainer.finished(2)
    run_steps(trainer, until=4)
    trainer.waiting_file(0).unlink()
    with pytest.raises(DataFormatError, match=r"block_000.*expected a file, got nothing"):
        trainer.finished(0)
