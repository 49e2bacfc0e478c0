"""What an optimiser remembers, by the names of the parameters it moves."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """Moments and counters as "kind.parameter"; not copies.

    Args:
        optimizer: after any number of steps.
        names: of its parameters, group by group.
    """
    found = {}
    for name, parameter in zip(names, _parameters(optimizer)):
        for kind, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            if isinstance(value, Tensor):
                found[f"{kind}.{name}"] = value
    return found


def restore_optimizer(optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Becomes what :func:`optimizer_tensors` was taken from."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        kind, _, name = full.partition(".")
        by_name.setdefault(name, {})[kind] = value
    optimizer.state.clear()
    for name, parameter in zip(names, _parameters(optimizer)):
        if name in by_name:
            optimizer.state[parameter] = {kind: value.to(parameter.device, copy=True) for kind, value in by_name[name].items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
