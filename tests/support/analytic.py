"""Small random matrices in float64, and gradients held against autograd and finite differences."""

import numpy as np
import torch
from torch import Tensor

EXACT = {"rtol": 0.0, "atol": 1e-8}
M, N, C, DIM = 4, 6, 5, 7


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 100 * len(shape)))


def finite_differences(loss, at: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar by every entry."""
    gradient = torch.zeros_like(at)
    for place in np.ndindex(*at.shape):
        moved = torch.zeros_like(at)
        moved[place] = step
        gradient[place] = (loss(at + moved) - loss(at - moved)) / (2 * step)
    return gradient


def check(analytic: Tensor, loss, at: Tensor) -> None:
    """Analytic = autograd to 1e-8, and = finite differences to what those can tell."""
    leaf = at.clone().requires_grad_()
    (automatic,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(analytic, automatic, **EXACT)
    torch.testing.assert_close(analytic, finite_differences(loss, at), rtol=0, atol=2e-8)
