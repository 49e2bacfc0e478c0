"""Numbers of a file become a network, or an error that names what is wrong."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scenewise.errors import DataFormatError
from scenewise.teachers.network_files import network_of_tensors

PATH = Path("some.safetensors")


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def state() -> dict[str, Tensor]:
    return {name: value.half() if value.is_floating_point() else value + 5 for name, value in small().state_dict().items()}


def test_half_precision_comes_back_in_full_and_others_are_passed_over() -> None:
    tensors = state()
    found = network_of_tensors(PATH, {**tensors, "more": torch.zeros(9)}, small, "fix it")
    for name, value in found.state_dict().items():
        assert torch.equal(value, tensors[name].to(value.dtype)) and value.device.type == "cpu"
    assert found[0].weight.dtype == torch.float32 and int(found[1].num_batches_tracked) == 5


@pytest.mark.errors
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0.weight", None, r"0\.weight: expected 2×3, got nothing"),
        ("0.weight", torch.zeros(3, 2), r"0\.weight: expected 2×3, got 3×2"),
        ("0.bias", torch.tensor([1.0, float("nan")]), r"0\.bias: expected finite numbers, got NaN or infinity. Fix: mend it"),
        ("1.running_var", torch.ones(2, dtype=torch.int64), r"1\.running_var: expected fractions, got torch\.int64"),
        ("1.num_batches_tracked", torch.tensor(1.0), r"1\.num_batches_tracked: expected whole numbers, got torch\.float32"),
    ],
)
def test_damage_is_named(name: str, value: Tensor | None, message: str) -> None:
    tensors = {**state(), name: value} if value is not None else {key: each for key, each in state().items() if key != name}
    with pytest.raises(DataFormatError, match=message):
        network_of_tensors(PATH, tensors, small, "mend it")
