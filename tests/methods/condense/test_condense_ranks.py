"""Two processes pre-train what one does, and what a process says of a step is of all of them."""

import pytest
import torch
from safetensors.torch import load_file
from tests.support.processes import run_process
from tests.support.rank_of_pretraining import main
from tests.support.rank_of_training import launch
from tests.support.tiny_posed import tiny_trainer

_STEPS = 3
_MOMENT_TOLERANCE = 1e-4
"""Of the largest of a tensor: sums over rows are added in another order (2e-5 was seen)."""
_PARAMETER_TOLERANCE = 1e-5
"""AdamW takes a step of its rate also where a gradient is nothing but rounding: the rate, which is small here, bounds that."""


@pytest.mark.slow
def test_two_processes_pretrain_what_one_does(tmp_path):
    """Batch statistics, matches among rays of both processes and the memory of earlier ones take part."""
    assert run_process(launch, 2, tmp_path / "two.safetensors", _STEPS, main) == 0
    main(tmp_path / "one.safetensors", _STEPS)
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one["told loss"]) == _STEPS
    assert {"told cosine", "told prior", "memory.image", "memory.volume"} <= one.keys()
    assert max(float(value.abs().max()) for name, value in one.items() if name.startswith("moments exp_avg.")) > 1e-3
    for name, value in one.items():
        is_state = name.startswith(("pair.", "color.", "average."))
        largest = float(value.abs().max())
        within = _PARAMETER_TOLERANCE if is_state else _MOMENT_TOLERANCE * largest
        torch.testing.assert_close(two[name], value, rtol=0.0, atol=within, msg=lambda m, n=name: f"{n}: {m}")
    moved = tiny_trainer(steps=_STEPS).checkpoint().parameters
    ways = [(one[name] - before).abs().max() for name, before in moved.items() if name.startswith("pair.image.")]
    assert max(map(float, ways)) > 9 * _PARAMETER_TOLERANCE, "a tolerance that is larger than the way says nothing"
