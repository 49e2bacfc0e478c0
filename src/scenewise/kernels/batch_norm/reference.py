"""Batch normalisation in plain torch."""

import torch.nn.functional as F
from torch import Tensor


def batch_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batch_statistics: bool,
    momentum: float,
    eps: float,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    """See :func:`scenewise.kernels.batch_norm.batch_norm_relu`."""
    normed = F.batch_norm(x, running_mean, running_var, weight, bias, batch_statistics, momentum, eps)
    if residual is not None:
        normed = normed + residual
    return normed.relu() if relu else normed
