"""Adam in plain torch."""

import torch
from torch import Tensor


@torch.no_grad()
def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """See :func:`scenewise.kernels.adam.adam_step`."""
    first_moment.mul_(beta1).add_(gradient, alpha=1 - beta1)
    second_moment.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    corrected_first = first_moment / (1 - beta1**step)
    corrected_second = second_moment / (1 - beta2**step)
    parameter.sub_(learning_rate * corrected_first / (corrected_second.sqrt() + epsilon))
