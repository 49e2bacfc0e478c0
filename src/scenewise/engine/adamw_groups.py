"""AdamW whose groups of parameters have rates of their own, all of which fall along half a cosine."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn


def grouped_adamw(
    parameters: Iterable[tuple[str, nn.Parameter]],
    group_of: Callable[[str], str],
    rates: Mapping[str, float],
    weight_decay: float,
) -> tuple[torch.optim.AdamW, list[str]]:
    """An optimiser of all that moves, and the names of its parameters in its order.

    Args:
        parameters: with their names; those that need no gradient are left out.
        group_of: name of the group that a parameter belongs to.
        rates: highest learning rate of each group; groups without parameters are left out.
        weight_decay: of all.
    """
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {name: [] for name in rates}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups[group_of(name)].append((name, parameter))
    settings = [
        {"params": [parameter for _, parameter in members], "lr": rates[kind], "rate": rates[kind], "name": kind}
        for kind, members in groups.items()
        if members
    ]
    optimizer = torch.optim.AdamW(settings, weight_decay=weight_decay, fused=True)
    return optimizer, [name for members in groups.values() for name, _ in members]


def cosine_share(step: int, steps: int) -> float:
    """Of the highest rate, in a step from 0 on of so many: ½ (1 + cos π step / steps)."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Every group of :func:`grouped_adamw` learns at this share of its rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share


def rates_of(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """At which every group of :func:`grouped_adamw` learns now."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
