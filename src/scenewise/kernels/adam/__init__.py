"""Adam: one fused update of a parameter and its moments, in place."""

from torch import Tensor

from scenewise.kernels.adam import native, reference

__all__ = ["adam_step"]


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-15,
    step: int,
) -> None:
    """One Adam update in place.

    Source: Kingma & Ba 2015, arXiv 1412.6980, Algorithm 1.  ε = 1e-15 is the value of 3D Gaussian Splatting.

    Args:
        parameter: changed in place.
        gradient: same shape.
        first_moment: running mean of gradients, changed in place.
        second_moment: running mean of squared gradients, changed in place.
        learning_rate: step length.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the root.
        step: 1 for the first update (bias correction).
    """
    run = native.adam_step if native.can_run(parameter, gradient) else reference.adam_step
    run(parameter, gradient, first_moment, second_moment, learning_rate, beta1, beta2, epsilon, step)
