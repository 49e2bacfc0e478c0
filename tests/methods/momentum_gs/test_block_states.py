"""Blocks that wait on the disk are bit for bit what was in memory; what nobody needs goes; damage is told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture
from tests.support.small_anchors import random_anchors, same_bits, small_decoder

from scenewise.engine.checkpoints import Checkpoint
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.methods.momentum_gs.block_states import BlockStates, BlockVersion
from scenewise.parts.splats.anchors.field import AnchorField, AnchorRates
from scenewise.parts.splats.anchors.growing import AnchorGrowth, GrowthSettings
from scenewise.parts.splats.schedules import ShSchedule
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews

CAPTURE = fabricated_capture(views=4, width=48, height=32)
BLANK = Checkpoint(0, {}, {}, {}, {"block": 2}, "data", {})


def _trainer(decoder_seed: int = 0, *, n: int = 60) -> SplatTrainer:
    growth = GrowthSettings(smallest_interval=5, refine_until=30_000, grow_gradient=1e-4, least_seen=0.1)
    return SplatTrainer(
        AnchorField(random_anchors(n), small_decoder(decoder_seed), AnchorRates(), is_lent=True),
        TrainingViews(CAPTURE.train_frames),
        [AnchorGrowth(growth, 0.05)],
        settings=TrainerSettings(steps=30, sh=ShSchedule(highest=0)),
        scene_extent=2.0,
        identity=RunIdentity(5, {"block": 2}, "data", {"note": 0.1 + 0.2}),
    )


def _checkpoint() -> Checkpoint:
    """Every type and shape that may occur, and some numbers that are hard to write."""
    return Checkpoint(
        step=7,
        parameters={"rows.offsets": torch.randn(5, 3, 3), "rows.none": torch.zeros(0, 4)},
        optimizer={"rows.offsets.steps": torch.tensor(3), "rate": torch.tensor(1 / 3, dtype=torch.float64)},
        state={"random.views": torch.randint(0, 256, (5056,), dtype=torch.uint8), "records.born": torch.tensor(9)},
        config={"block": 2},
        data_hash="data",
        details={"seconds": 1 / 3, "failures": ["a “b”"], "turn": [1, 2], "none": None},
    )


def test_a_block_comes_back_bit_for_bit(tmp_path: Path) -> None:
    states, version, saved = BlockStates(tmp_path / "blocks", "run"), BlockVersion(2, 11), _checkpoint()
    path = states.save(version, saved)
    assert path == states.path(version) and path.parent == tmp_path / "blocks" and path.name.startswith("block_002-")
    found = states.load(version, BLANK)
    for part in ("parameters", "optimizer", "state"):
        assert same_bits(getattr(found, part), getattr(saved, part)), part
    assert (found.step, found.details) == (7, saved.details)
    other = replace(BLANK, config={"block": 3}, data_hash="other")  # these are who asks, not the file
    assert (states.load(version, other).config, states.load(version, other).data_hash) == ({"block": 3}, "other")


def test_training_goes_on_from_the_disk_as_it_would_have_in_memory(tmp_path: Path) -> None:
    states, version = BlockStates(tmp_path, "run"), BlockVersion(2, 1)
    unbroken, first = _trainer(), _trainer()
    unbroken.run(until=26)
    first.run(until=13)
    states.save(version, first.checkpoint())
    assert isinstance(first.field, AnchorField)
    # The decoder is somebody else's: it is handed on, with its gradients of now.
    again = _trainer(n=1)
    again.restore(states.load(version, again.checkpoint()))
    again.start()
    assert len(again.field.store) == len(first.field.store) != 60
    again.run(until=26)
    one, other = unbroken.checkpoint(), again.checkpoint()
    for part in ("parameters", "optimizer", "state"):
        assert same_bits(getattr(one, part), getattr(other, part)), part
    assert other.details["note"] == 0.1 + 0.2 and other.step == 26


class TestForgetting:
    def test_only_needed_versions_stay(self, tmp_path: Path) -> None:
        states = BlockStates(tmp_path, "run")
        versions = [BlockVersion(block, slot) for block in range(3) for slot in (4, 5, 6)]
        for version in versions:
            states.save(version, _checkpoint())
        (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
        needed = {BlockVersion(0, 6), BlockVersion(1, 4), BlockVersion(2, 5)}
        assert len(states.files()) == 9
        states.forget(needed, range(3))
        for version in versions:
            assert states.path(version).exists() == (version in needed)
        assert len(states.files()) == 3 and (tmp_path / "notes.txt").exists()
        states.forget(needed, range(3))
        assert len(states.files()) == 3
        states.forget(set(), [0, 2])  # block 1 is another process's
        assert [product.path for product in states.files()] == [states.path(BlockVersion(1, 4))]
        states.forget(set(), range(3))
        assert states.files() == []

    def test_of_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        states = BlockStates(tmp_path / "blocks", "run")
        states.forget(set(), range(3))
        assert states.files() == []

    def test_runs_blocks_and_slots_have_files_of_their_own(self, tmp_path: Path) -> None:
        paths = [
            BlockStates(tmp_path, run).path(BlockVersion(block, slot)) for run in "ab" for block in (1, 12) for slot in (1, 2)
        ]
        assert len(set(paths)) == 8


@pytest.mark.errors
class TestDamage:
    def test_a_file_that_is_missing_or_cut_short(self, tmp_path: Path) -> None:
        states, version = BlockStates(tmp_path, "run"), BlockVersion(1, 2)
        with pytest.raises(DataFormatError, match=r"block_001-.*expected a file, got nothing"):
            states.load(version, BLANK)
        path = states.save(version, _checkpoint())
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataFormatError, match=r"block_001-.*expected a block file"):
            states.load(version, BLANK)

    @pytest.mark.parametrize("lost", ["step", "details", "block", "slot"])
    def test_a_file_without_an_entry(self, tmp_path: Path, lost: str) -> None:
        states, version = BlockStates(tmp_path, "run"), BlockVersion(1, 2)
        tensors, about = read_tensors(states.save(version, _checkpoint()), "block")
        write_tensors(states.path(version), tensors, "block", {name: value for name, value in about.items() if name != lost})
        with pytest.raises(DataFormatError, match=r"block_001-.*expected block 1 after slot 2"):
            states.load(version, BLANK)

    @pytest.mark.parametrize("change", [{"step": "many"}, {"details": 3}, {"block": 2}, {"slot": 1}])
    def test_a_file_of_something_else(self, tmp_path: Path, change: dict[str, object]) -> None:
        states, version = BlockStates(tmp_path, "run"), BlockVersion(1, 2)
        tensors, about = read_tensors(states.save(version, _checkpoint()), "block")
        write_tensors(states.path(version), tensors, "block", about | change)
        with pytest.raises(DataFormatError, match=r"block_001-.*expected block 1 after slot 2"):
            states.load(version, BLANK)

    def test_tensors_that_belong_nowhere(self, tmp_path: Path) -> None:
        states, version = BlockStates(tmp_path, "run"), BlockVersion(1, 2)
        tensors, about = read_tensors(states.save(version, _checkpoint()), "block")
        write_tensors(states.path(version), tensors | {"elsewhere/x": torch.zeros(1)}, "block", about)
        with pytest.raises(DataFormatError, match=r"block_001-.*expected block 1 after slot 2"):
            states.load(version, BLANK)

    def test_what_cannot_be_written_leaves_what_is_there(self, tmp_path: Path) -> None:
        states, version = BlockStates(tmp_path, "run"), BlockVersion(1, 2)
        before = states.save(version, _checkpoint()).read_bytes()
        with pytest.raises(ConventionError, match="finite number"):
            states.save(version, replace(_checkpoint(), details={"seconds": float("nan")}))
        assert states.path(version).read_bytes() == before and len(list(tmp_path.iterdir())) == 1
