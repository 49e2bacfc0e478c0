"""Batch normalisation of rows, with what follows it in a residual network."""

from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.batch_norm import native, reference

__all__ = ["batch_norm_relu"]


def batch_norm_relu(
    x: Float[Tensor, "n c"],
    weight: Float[Tensor, "c"],
    bias: Float[Tensor, "c"],
    running_mean: Float[Tensor, "c"],
    running_var: Float[Tensor, "c"],
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Float[Tensor, "n c"] | None = None,
    relu: bool = True,
) -> Float[Tensor, "n c"]:
    """max(0, (x − E x) / √(Var x + eps) · weight + bias + residual), in two passes over memory.

    Source: Ioffe and Szegedy 2015, arXiv 1502.03167, Algorithm 1.  A batch of one row or none has no variance: it is normalised
    with the running statistics, which it leaves alone (torch raises an error there).

    Args:
        x: rows of channels.
        weight: factor of each channel.
        bias: offset of each channel.
        running_mean: mean of batches so far; moved in place when training.
        running_var: unbiased variance of batches so far; moved in place when training.
        training: take the statistics of ``x`` rather than the running ones.
        momentum: share of this batch in the running statistics.
        eps: added to the variance.
        residual: added before the ReLU.
        relu: clamp below at 0.

    Returns:
        A new tensor, differentiable in ``x``, ``weight``, ``bias`` and ``residual``.  The compiled kernels' bits do not
        depend on the number of threads.

    Raises:
        ShapeError: channels or rows do not agree.
    """
    for name, value in (("weight", weight), ("bias", bias), ("running_mean", running_mean), ("running_var", running_var)):
        if value.shape != x.shape[1:]:
            raise ShapeError(name, expected=f"{tuple(x.shape[1:])}, the channels of x", got=tuple(value.shape))
    if residual is not None and residual.shape != x.shape:
        raise ShapeError("residual", expected=f"{tuple(x.shape)}, as x", got=tuple(residual.shape))
    run = (
        native.batch_norm_relu
        if native.can_run(x, weight, bias, running_mean, running_var, residual)
        else reference.batch_norm_relu
    )
    return run(x, weight, bias, running_mean, running_var, training and len(x) > 1, momentum, eps, residual, relu)
