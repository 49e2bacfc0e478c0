"""Torch's threads in a dense stretch between sparse kernels."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from scenewise.engine.threads import compute_threads, torch_threads, with_threads_of_torch
from scenewise.kernels.native import library

pytestmark = pytest.mark.skipif(library.load() is None, reason="without the compiled library torch has the threads anyway")


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(library, "default_threads", lambda: 3)
    with compute_threads(3):
        yield


class _Watched(torch.autograd.Function):
    """The square; notes torch's threads on both ways."""

    @staticmethod
    def forward(ctx, values: Tensor, seen: list[int]) -> Tensor:
        ctx.save_for_backward(values)
        ctx.seen = seen
        seen.append(torch.get_num_threads())
        return values * values

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.seen.append(torch.get_num_threads())
        (values,) = ctx.saved_tensors
        return 2 * values * gradient, None


def test_threads_are_torchs_inside_and_ours_before_and_after_on_both_ways():
    before, inside, after = [], [], []
    values = torch.arange(3.0, requires_grad=True)
    inner = with_threads_of_torch(lambda rows: _Watched.apply(rows, inside), _Watched.apply(values, before))
    made = _Watched.apply(inner, after)
    assert torch.get_num_threads() == 1
    made.sum().backward()
    assert (before, inside, after) == ([1, 1], [3, 3], [1, 1])
    assert torch.get_num_threads() == 1
    assert values.grad.tolist() == [0.0, 8.0, 8.0 * 2**7]


def test_the_way_back_leaves_the_stretch_where_its_input_does_not_learn():
    layer, seen = nn.Linear(3, 2), []
    made = with_threads_of_torch(lambda rows: _Watched.apply(layer(rows), seen), torch.ones(4, 3))
    made.sum().backward()
    assert seen == [3, 3] and torch.get_num_threads() == 1 and layer.weight.grad is not None


def test_an_error_inside_gives_the_threads_back():
    def fails(rows: Tensor) -> Tensor:
        raise ValueError(f"{torch.get_num_threads()} threads")

    with pytest.raises(ValueError, match="3 threads"):
        with_threads_of_torch(fails, torch.ones(1))
    assert torch.get_num_threads() == 1


def test_nothing_is_handed_over_where_there_is_one_thread():
    values = torch.ones(2, requires_grad=True)
    with compute_threads(1):
        assert with_threads_of_torch(lambda rows: rows, values) is values


@pytest.mark.parametrize("limited", [compute_threads, torch_threads])
def test_there_are_no_more_threads_than_processors_and_a_word_about_it(limited):
    said = r"--threads 3000: this process may use 3 processors, so it runs 3 threads"
    with pytest.warns(UserWarning, match=said), limited(3000) as threads:
        assert threads == 3
    with limited(3) as threads:
        assert threads == 3
