"""Ray marching in plain torch, in any precision and on any device; autograd takes its gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewise.kernels.march.interface import MarchInput, MarchOutput
from scenewise.kernels.sparse_conv.interpolation import corners, renormalised


def march(rays: MarchInput) -> MarchOutput:
    """See :func:`scenewise.kernels.march.march`."""
    r, s = rays.distances.shape
    features, densities = rays.features, rays.densities if rays.density_gradient else rays.densities.detach()
    if len(features) == 0 or r * s == 0:
        nothing = densities.sum() * 0.0 + features.sum() * 0.0  # with a way back for gradients
        weights = nothing.expand(r, s)
        return MarchOutput(nothing.expand(r, features.shape[1]), weights.sum(1), weights.sum(1), weights)
    origins, directions = rays.origins.double(), rays.directions.double()
    positions = origins[:, None] + rays.distances.double()[:, :, None] * directions[:, None]
    rows, around = corners(rays.grid, positions.reshape(-1, 3), rays.batch.repeat_interleave(s), features.dtype)
    at_corners = densities.index_select(0, rows.flatten()).reshape(rows.shape)  # unlike [], its gradient has a fixed order
    extinction = (around * at_corners).sum(1).reshape(r, s)
    weights = _weights(extinction * (rays.lengths * directions.norm(dim=1, keepdim=True).to(rays.lengths.dtype)))
    # Σ_i w_i Σ_k u_ik f_k: one sum of 8·s rows for each ray.
    shares = (weights.reshape(-1, 1) * renormalised(around)).reshape(r, 8 * s)
    gathered: Tensor = F.embedding_bag(rows.reshape(r, 8 * s), features, mode="sum", per_sample_weights=shares)
    return MarchOutput(gathered, weights.sum(1), (weights * rays.distances).sum(1), weights)


def _weights(depths: Tensor) -> Tensor:
    """w_i = T_i α_i with α_i = 1 − e^{−x_i} and T_i = Π_{j<i} (1 − α_j) = e^{−Σ_{j<i} x_j} of optical depths x."""
    before = torch.cat([torch.zeros_like(depths[:, :1]), depths[:, :-1]], dim=1).cumsum(1)
    return torch.exp(-before) * -torch.expm1(-depths)
