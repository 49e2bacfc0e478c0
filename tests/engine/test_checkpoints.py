"""Checkpoints are whole or absent, the last two stay, and a resumed run must be the same run."""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scenewise.engine.checkpoints import Checkpoint, Checkpointer, latest_of_all, load_checkpoint, require_same_run
from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError, DataFormatError, ResourceError


def _checkpoint(step: int = 3) -> Checkpoint:
    return Checkpoint(
        step=step,
        parameters={"rows.means": torch.arange(6.0).view(2, 3), "rows.shN": torch.zeros(2, 0, 3)},
        optimizer={"rows.means.steps": torch.tensor(step)},
        state={"random.views": RandomStreams(0)["views"].get_state()},
        config={"steps": 10, "strategy": {"max_gaussians": None, "factors": (2, 4)}},
        data_hash="abc",
        details={"seconds": 0.1 + 0.2},
    )


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = Checkpointer(tmp_path / "checkpoints").save(_checkpoint())
    assert path.name == "step_000003"
    found, written = load_checkpoint(path), _checkpoint()
    for part in ("parameters", "optimizer", "state"):
        first, second = getattr(found, part), getattr(written, part)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)
    assert found.details == written.details and found.step == 3 and found.data_hash == "abc"
    require_same_run(found, config=written.config, data_hash="abc")


def test_the_last_two_are_kept_and_half_written_ones_are_ignored(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.latest() is None
    for step in (1, 2, 10, 9):
        checkpointer.save(_checkpoint(step))
    assert [path.name for path in checkpointer.paths()] == ["step_000009", "step_000010"]
    half = tmp_path / ".scenewise-tmp-00000000-1-0-step_000020"
    half.mkdir()
    (half / "params.safetensors").write_bytes(b"half")
    (tmp_path / "step_000030.bak").mkdir()
    found = checkpointer.latest()
    assert found is not None and found.step == 10


class _Ranks:
    """Two ranks in two threads."""

    size = 2

    def __init__(self, rank: int, numbers: dict[int, Sequence[float]], meet: threading.Barrier) -> None:
        self.rank, self._numbers, self._meet = rank, numbers, meet

    def total(self, numbers: Sequence[float]) -> list[float]:
        self._numbers[self.rank] = numbers
        self._meet.wait(30)
        found = [sum(each) for each in zip(*self._numbers.values())]
        self._meet.wait(30)
        return found


@pytest.mark.errors  # without the shape hook, as these are no real ranks
@pytest.mark.parametrize(
    ("own", "other", "common"),
    [((5, 10), (5, 10), 10), ((5, 10), (10, 13), 10), ((10, 13), (10, 14), 10), ((5, 9), (7, 8), None), ((5, 9), (), None)],
)
def test_ranks_go_on_from_what_all_of_them_have(
    tmp_path: Path, own: tuple[int, ...], other: tuple[int, ...], common: int | None
) -> None:
    numbers: dict[int, Sequence[float]] = {}
    meet = threading.Barrier(2)

    def agreed(rank: int, steps: tuple[int, ...]) -> int | None:
        checkpointer = Checkpointer(tmp_path / str(rank))
        for step in steps:
            checkpointer.save(_checkpoint(step))
        ranks: Any = _Ranks(rank, numbers, meet)
        found = latest_of_all(checkpointer, checkpointer.latest(), ranks)
        return None if found is None else found.step

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(agreed, (0, 1), (own, other))) == [common, common]


@pytest.mark.parametrize("file", ["params.safetensors", "optimizer.safetensors", "state.safetensors", "state.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, file: str) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(_checkpoint(1))
    newest = checkpointer.save(_checkpoint(2)) / file
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.warns(UserWarning, match=rf"passed over: .*{file}.*from step 1"):
        found = checkpointer.latest()
    assert found is not None and found.step == 1
    (tmp_path / "step_000001" / file).unlink()
    with pytest.raises(DataFormatError, match=file):
        checkpointer.latest()


def test_non_finite_values_are_never_written(tmp_path: Path) -> None:
    bad = replace(_checkpoint(), parameters={"rows.means": torch.tensor([0.0, float("nan")])})
    with pytest.raises(ConventionError, match=r"rows\.means at step 3"):
        Checkpointer(tmp_path / "checkpoints").save(bad)
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").iterdir())


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((ResourceError, DataFormatError), match="file"):
        Checkpointer(tmp_path / "file" / "checkpoints").save(_checkpoint())


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(_checkpoint(5))
    checkpointer.save(replace(_checkpoint(5), data_hash="def"))
    found = checkpointer.latest()
    assert found is not None and found.data_hash == "def"
    assert [path.name for path in checkpointer.paths()] == ["step_000005"]


def test_other_options_or_other_data_are_refused_by_name(tmp_path: Path) -> None:
    found = load_checkpoint(Checkpointer(tmp_path).save(_checkpoint()))
    with pytest.raises(ConventionError, match=r"strategy\.max_gaussians.*None as in the checkpoint.*got 5"):
        require_same_run(found, config={"steps": 10, "strategy": {"max_gaussians": 5, "factors": [2, 4]}}, data_hash="abc")
    with pytest.raises(ConventionError, match="capture"):
        require_same_run(found, config=_checkpoint().config, data_hash="other")


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = Checkpointer(tmp_path).save(_checkpoint())
    description = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(description | {"format": 2}))
    with pytest.raises(DataFormatError, match="format"):
        load_checkpoint(path)


def test_random_streams_are_independent_and_resumable() -> None:
    alone, together = RandomStreams(7), RandomStreams(7)
    torch.rand(5, generator=together["other"])
    assert torch.equal(torch.rand(3, generator=alone["views"]), torch.rand(3, generator=together["views"]))
    state = together.state_tensors()
    expected = torch.rand(4, generator=together["views"])
    resumed = RandomStreams(7)
    resumed.load(state)
    assert torch.equal(torch.rand(4, generator=resumed["views"]), expected)
    assert not torch.equal(torch.rand(4, generator=RandomStreams(8)["views"]), torch.rand(4, generator=RandomStreams(7)["views"]))
    with pytest.raises(ConventionError, match="random stream views"):
        resumed.load({"views": torch.zeros(3, dtype=torch.uint8)})


@pytest.mark.errors
def test_a_full_disk_is_told_although_safetensors_wraps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(_checkpoint(2))

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(ResourceError, match=r"disk space for .*step_000003: expected room for the whole file, got No space left"):
        checkpointer.save(_checkpoint(3))
    assert [path.name for path in tmp_path.iterdir()] == ["step_000002"]
