"""What goes into and comes out of ray marching, the same for every backend."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.sparse_conv.grid import VoxelGrid


@dataclass(frozen=True)
class MarchInput:
    """A volume on occupied voxels, and rays through it.  Lengths are in voxels of stride 1, whatever the grid's stride.

    Attributes:
        grid: the voxels; voxel (i, j, k) of stride s has its centre at (i + ½, j + ½, k + ½)·s.
        features: of the voxels; receive a gradient.
        densities: absorption per unit of length, at least 0; empty voxels have 0.
        origins: where rays start.
        directions: of any length; a point of a ray is origin + distance · direction.
        batch: scene of each ray; one that the grid does not have is empty.
        distances: samples of each ray, in multiples of its direction, in the order in which the ray meets them.
        lengths: how much of the ray each sample stands for, in multiples of its direction, at least 0; see
            :func:`interval_lengths`.
        density_gradient: whether the weights let gradients through, and so the densities receive one.  Where and how long the
            samples are receives none.
    """

    grid: VoxelGrid
    features: Float[Tensor, "v c"]
    densities: Float[Tensor, "v"]
    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]
    batch: Int64[Tensor, "r"]
    distances: Float[Tensor, "r s"]
    lengths: Float[Tensor, "r s"]
    density_gradient: bool = False


@dataclass(frozen=True)
class MarchOutput:
    """What the rays have gathered.

    Attributes:
        features: Σ w·f, not divided by the sum of the weights.
        alpha: Σ w = 1 − T behind the last sample.
        depth: Σ w·distance; divide by ``alpha`` for the expected distance.
        weights: w of every sample.
    """

    features: Float[Tensor, "r c"]
    alpha: Float[Tensor, "r"]
    depth: Float[Tensor, "r"]
    weights: Float[Tensor, "r s"]


def interval_lengths(distances: Float[Tensor, "r s"]) -> Float[Tensor, "r s"]:
    """δ_i = t_{i+1} − t_i of ascending distances; the last one repeats the one before it.

    Source: Mildenhall et al. 2020, arXiv 2003.08934, Eq. 3, which leaves the last one open.

    Raises:
        ShapeError: a single sample, which has no length of its own.
    """
    if distances.shape[1] == 1:
        raise ShapeError("distances", expected="at least 2 samples of a ray", got=1, fix="give the length of the sample yourself")
    between = distances.diff(dim=1)
    return torch.cat([between, between[:, -1:]], dim=1)
