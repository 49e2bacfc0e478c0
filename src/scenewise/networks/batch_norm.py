"""Batch normalisation that survives a single row and can take its statistics over several processes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.kernels.batch_norm import batch_norm_relu

Reduce = Callable[[Tensor], Tensor]
"""Differentiable sum of a tensor over all processes."""


class BatchNorm(nn.Module):
    """y = (x − E x) / √(Var x + eps) · weight + bias over all axes but the second; optionally + residual, then ReLU.

    Source: Ioffe and Szegedy 2015, arXiv 1502.03167.  Unlike torch's layers it accepts one row (or none) while training: such a
    batch has no variance, so it is normalised with the running statistics, which it leaves alone.  The deepest level of a
    sparse U-Net and the image pooling of a single picture do have one row.

    Attributes:
        reduce: sums over processes; statistics are then those of all processes' batches together.  None = this process alone.
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.momentum, self.eps = channels, momentum, eps
        self.reduce: Reduce | None = None
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(
        self,
        values: Float[Tensor, "rows channels *place"],
        residual: Float[Tensor, "rows channels *place"] | None = None,
        relu: bool = False,
    ) -> Float[Tensor, "rows channels *place"]:
        """One call for what always comes together, so that a fused kernel can do all of it in one pass over memory.

        Args:
            values: rows of channels, or maps with the channels second.
            residual: added after normalising.
            relu: clamp below at 0 last.
        """
        if self.training and self.reduce is not None:
            normed = self._over_processes(values, self.reduce)
        elif values.ndim == 2:
            return batch_norm_relu(
                values,
                self.weight,
                self.bias,
                self.running_mean,
                self.running_var,
                training=self.training,
                momentum=self.momentum,
                eps=self.eps,
                residual=residual,
                relu=relu,
            )
        else:
            several = values.numel() > self.channels
            normed = F.batch_norm(
                values,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training and several,
                self.momentum,
                self.eps,
            )
        if residual is not None:
            normed = normed + residual
        return normed.relu_() if relu else normed

    def _over_processes(self, values: Tensor, reduce: Reduce) -> Tensor:
        others = [axis for axis in range(values.ndim) if axis != 1]
        wide = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
        # Two passes, as E x² − (E x)² cancels.  The few sums travel in float64, which also counts rows exactly.
        rows = values.numel() // self.channels
        sums = values.sum(others).double()
        sums = reduce(torch.cat([sums, sums.new_tensor([float(rows)])]))
        count = float(sums[-1].item())
        if count <= 1:
            mean, variance = self.running_mean, self.running_var
            centred = values - mean.view(wide)
        else:
            mean = (sums[:-1] / count).to(values.dtype)
            centred = values - mean.view(wide)
            variance = (reduce(centred.square().sum(others).double()) / count).to(values.dtype)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(wide) + self.bias.view(wide)

    def extra_repr(self) -> str:
        return f"{self.channels}, momentum={self.momentum}"


def reduce_statistics(network: nn.Module, reduce: Reduce | None) -> int:
    """Make every :class:`BatchNorm` of ``network`` use ``reduce`` (None: only its own process); returns how many there are."""
    layers = [module for module in network.modules() if isinstance(module, BatchNorm)]
    for layer in layers:
        layer.reduce = reduce
    return len(layers)
