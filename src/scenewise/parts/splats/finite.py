"""Whether what a splat trainer learns is still made of numbers, and which Gaussian it is if not."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.store import ParameterStore

_CHEAP_COLUMNS = 4  # gradients of parameters this narrow are checked every step; wider ones show in the next picture


def bad_gradient(store: ParameterStore) -> str | None:
    """The first gradient that is not finite, "means of Gaussian 3", among those of narrow parameters; None if there is none."""
    for name in store:
        gradient = store[name].grad
        if gradient is None or gradient.numel() > _CHEAP_COLUMNS * len(store):
            continue
        row = _first_bad_row(gradient)
        if row is not None:
            return f"{name} of Gaussian {row}"
    return None


def bad_parameter(store: ParameterStore, free: Mapping[str, FreeParameters]) -> str | None:
    """The first parameter or moment that is not finite; None if there is none.

    Args:
        store: Gaussians or anchors.
        free: other parameters by whom they belong to.
    """
    for name in store:
        for what, values in zip((name, f"moments of {name}", f"moments of {name}"), (store[name].detach(), *store.moments(name))):
            row = _first_bad_row(values)
            if row is not None:
                return f"{what} of Gaussian {row}"
    for owner, group in free.items():
        for name in group:
            if not bool(torch.isfinite(group[name]).all()):
                return f"{owner} {name}"
    return None


def _first_bad_row(values: Tensor) -> int | None:
    # A sum is not finite as soon as one element is not; it costs a fraction of looking at each.
    if math.isfinite(float(values.sum())):
        return None
    bad = ~torch.isfinite(values.reshape(values.shape[0], -1)).all(dim=1)
    return int(bad.nonzero()[0, 0]) if bool(bad.any()) else None
