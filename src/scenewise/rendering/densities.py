"""How much the voxels of a feature volume absorb: of surfaces that are known to be solid, and of Gaussians."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import VoxelGrid
from scenewise.kernels.sparse_conv.keys import LARGEST_COORDINATE, SMALLEST_COORDINATE, keys_from_coords, rows_of
from scenewise.kernels.splats.constants import ALPHA_MAX
from scenewise.scenes.gaussians import Gaussians


def surface_densities(grid: VoxelGrid, voxel: float, alpha: float = 0.95) -> Float[Tensor, "v"]:
    """One density for all voxels, with which a ray is stopped by the first surface it meets.

    σ = −ln(1 − α) / edge.  Density falls linearly from a voxel's centre to its neighbours', so a ray straight through a layer of
    voxels meets ∫ σ dl = σ · edge, and a slanting one more: a layer lets no more than 1 − α of it through.

    Args:
        grid: voxels that hold a surface, as those of fused points.
        voxel: edge of a voxel of stride 1, world units.
        alpha: what a layer of voxels keeps of a ray, in [0, 1).

    Raises:
        ConventionError: alpha beyond [0, 1).
    """
    if not 0.0 <= alpha < 1.0:
        raise ConventionError("alpha", expected="from 0 to below 1", got=alpha)
    return torch.full((len(grid),), -math.log1p(-alpha) / (voxel * grid.stride), device=grid.coords.device)


def gaussian_densities(
    gaussians: Gaussians, grid: VoxelGrid, voxel: float, shift: Float[Tensor, "3"], scene: int = 0
) -> Float[Tensor, "v"]:
    """Densities with which voxels absorb about as much as the Gaussians whose centres lie in them.

    σ = Σ −ln(1 − o) · min(1, 2π s₁ s₂ / edge²) / edge: seen from the front, a Gaussian of opacity o and two larger standard
    deviations s₁, s₂ absorbs −ln(1 − o) in its middle and ∫ = 2π s₁ s₂ times that in all, which is spread over the face of its
    voxel.  One that is larger than the face covers it.  Centres outside the voxels count nowhere.

    Args:
        gaussians: no gradients.
        grid: the voxels.
        voxel: edge of a voxel of stride 1, world units.
        shift: of the scene, in voxels; see :class:`scenewise.rendering.march.FeatureVolume`.
        scene: batch item of the grid that the Gaussians belong to.
    """
    edge = voxel * grid.stride
    places = ((gaussians.means.detach().double() / voxel + shift.double()) / grid.stride).floor()
    inside = ((places >= SMALLEST_COORDINATE) & (places <= LARGEST_COORDINATE)).all(1)
    cells = torch.where(inside[:, None], places, 0.0).long()
    rows = rows_of(keys_from_coords(torch.cat([torch.full_like(cells[:, :1], scene), cells], dim=1)), grid.keys)
    kept = inside & (rows < len(grid))
    depths = -torch.log1p(-gaussians.opacities.detach().clamp_max(ALPHA_MAX))
    two_largest = gaussians.scales.detach().sort(dim=1).values[:, 1:]
    covered = (2.0 * math.pi * two_largest.prod(1) / edge**2).clamp_max(1.0)
    out = torch.zeros(len(grid), dtype=depths.dtype, device=depths.device)
    return out.index_add(0, rows[kept], (depths * covered)[kept]) / edge
