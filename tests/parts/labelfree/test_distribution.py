"""Two processes train what one trains."""

import pytest
import torch
from safetensors.torch import load_file
from tests.support.processes import run_process
from tests.support.rank_of_training import launch, main

from scenewise.engine.distribution import ALONE, Ranks, joined_ranks
from scenewise.errors import ConventionError
from scenewise.parts.labelfree.epochs import EpochOrder

_STEPS = 5


@pytest.mark.slow
def test_two_processes_equal_one_at_the_same_global_batch(tmp_path):
    """Batch statistics, attention over scans of other ranks, clipping and both students take part.  Sums over rows are added in
    another order, so float32 results differ in the last digits: 1e-5 relative after five steps."""
    assert run_process(launch, 2, tmp_path / "two.safetensors", _STEPS) == 0
    main(tmp_path / "one.safetensors", _STEPS)
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one["losses"]) == _STEPS
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()), msg=lambda m, n=name: f"{n}: {m}"
        )


def test_alone_everything_is_the_identity():
    rows = torch.arange(6.0).reshape(3, 2).requires_grad_()
    assert ALONE.sum(rows) is rows and ALONE.gather(rows) == (rows, 0) and ALONE.total([1.5, 2.0]) == [1.5, 2.0]
    with joined_ranks(torch.device("cpu")) as ranks:
        assert ranks == ALONE and ranks.is_first


def test_shares_are_contiguous_and_cover_the_batch():
    batch = (7, 3, 9, 1, 4)
    assert [Ranks(rank, 2).share(batch) for rank in range(2)] == [(7, 3), (9, 1, 4)]


@pytest.mark.errors
def test_more_processes_than_scans_are_refused():
    with pytest.raises(ConventionError, match=r"processes: expected at most 2, .* got 3\. Fix: fewer, or a larger --batch"):
        EpochOrder(5, 3, seed=0).require_enough(3)


@pytest.mark.errors
def test_a_launcher_without_an_address_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(ConventionError, match=r"environment: expected RANK, WORLD_SIZE.*got no MASTER_ADDR.*torchrun"),
        joined_ranks(torch.device("cpu")),
    ):
        pass
