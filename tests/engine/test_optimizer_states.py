"""An optimiser's memory by names: complete, of the right parameter, and enough to go on from."""

import torch
from torch import nn

from scenewise.engine.optimizer_states import optimizer_tensors, restore_optimizer


def made(seed: int = 0) -> tuple[nn.Module, torch.optim.AdamW, list[str]]:
    torch.manual_seed(seed)
    module = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 1, bias=False), "idle": nn.Linear(1, 1)})
    groups = [{"params": [module["b"].weight]}, {"params": [module["a"].bias, module["a"].weight, *module["idle"].parameters()]}]
    names = ["b.weight", "a.bias", "a.weight", "idle.weight", "idle.bias"]
    return module, torch.optim.AdamW(groups, lr=0.1), names


def step(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad(set_to_none=True)
    module["b"](module["a"](x)).square().mean().backward()
    optimizer.step()


def test_moments_are_named_after_their_parameters() -> None:
    module, optimizer, names = made()
    assert optimizer_tensors(optimizer, names) == {}
    step(module, optimizer, 0)
    found = optimizer_tensors(optimizer, names)
    moved = ("a.weight", "a.bias", "b.weight")
    assert set(found) == {f"{kind}.{name}" for kind in ("step", "exp_avg", "exp_avg_sq") for name in moved}
    for name in moved:
        parameter = module.get_parameter(name)
        assert torch.allclose(found[f"exp_avg.{name}"], 0.1 * parameter.grad) and float(found[f"step.{name}"]) == 1.0
        assert found[f"exp_avg.{name}"] is optimizer.state[parameter]["exp_avg"], "not a copy"


def test_a_restored_optimiser_goes_on_as_the_first_would_have() -> None:
    module, optimizer, names = made()
    for number in range(3):
        step(module, optimizer, number)
    weights = {name: each.clone() for name, each in module.state_dict().items()}
    memory = {name: each.clone() for name, each in optimizer_tensors(optimizer, names).items()}
    step(module, optimizer, 3)

    other, restored, _ = made(seed=1)
    step(other, restored, 9)  # it has a memory of its own, which must go
    other.load_state_dict(weights)
    restore_optimizer(restored, names, memory)
    step(other, restored, 3)
    assert all(torch.equal(each, other.state_dict()[name]) for name, each in module.state_dict().items())

    fresh, empty, _ = made(seed=1)
    step(fresh, empty, 9)
    restore_optimizer(empty, names, {})
    assert not empty.state
