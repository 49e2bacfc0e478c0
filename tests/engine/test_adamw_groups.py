"""Groups of parameters with rates of their own."""

import pytest
import torch
from torch import nn

from scenewise.engine.adamw_groups import cosine_share, grouped_adamw, rates_of, set_rates


def test_groups_have_rates_of_their_own_and_fall_together() -> None:
    layers = nn.ModuleDict({"head": nn.Linear(2, 1), "base": nn.Linear(3, 2), "still": nn.Linear(1, 1).requires_grad_(False)})
    kind = {"head": "fast", "base": "slow"}
    rates = {"slow": 0.25, "none": 9.0, "fast": 1.0}
    optimizer, names = grouped_adamw(layers.named_parameters(), lambda name: kind[name.split(".")[0]], rates, 0.5)
    assert names == ["base.weight", "base.bias", "head.weight", "head.bias"]
    own = dict(layers.named_parameters())
    moved = [value for group in optimizer.param_groups for value in group["params"]]
    assert all(value is own[name] for name, value in zip(names, moved, strict=True))
    assert rates_of(optimizer) == {"slow": 0.25, "fast": 1.0}
    set_rates(optimizer, 0.5)
    set_rates(optimizer, 0.1)  # of the highest rate, not of the last one
    assert rates_of(optimizer) == {"slow": 0.025, "fast": 0.1}
    weight = own["head.weight"].detach().clone()
    own["head.weight"].grad = torch.ones_like(weight)
    optimizer.step()
    torch.testing.assert_close(own["head.weight"].detach(), weight * (1 - 0.1 * 0.5) - 0.1)  # decay, then one step of Adam


def test_half_a_cosine() -> None:
    assert [cosine_share(step, 4) for step in (0, 2, 4)] == pytest.approx([1.0, 0.5, 0.0])
    assert cosine_share(1, 3) == pytest.approx(0.75)
