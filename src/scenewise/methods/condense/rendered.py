"""Features of a batch's clouds as its rays see them, marched or rasterised."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.methods.condense.batches import ConsistencyBatch
from scenewise.methods.condense.options import RaySettings
from scenewise.rendering.densities import surface_densities
from scenewise.rendering.feature_renderers import RasterisedFeatures
from scenewise.rendering.march import DepthSampling, FeatureVolume, PixelRays, march, sample_depths


@dataclass(frozen=True)
class Rendered:
    """What the rays of a batch see.

    Attributes:
        features: sums, not divided by alpha.
        alpha: how much of a ray ends in the volume.
    """

    features: Float[Tensor, "rays channels"]
    alpha: Float[Tensor, "rays"]


def rendered(
    batch: ConsistencyBatch, features: Float[Tensor, "voxels channels"], settings: RaySettings, voxel: float
) -> Rendered:
    """Renders features of the occupied voxels; gradients go to the features alone.

    Args:
        batch: whose clouds and rays.
        features: in the order of the batch's voxels.
        settings: how.
        voxel: edge, metres.
    """
    grid = batch.cloud.voxels.grid
    volume = FeatureVolume(grid, features, surface_densities(grid, voxel), voxel, batch.shifts)
    rays = batch.rays
    if settings.renderer == "marched":
        sampling = DepthSampling(guided=settings.samples, uniform=0, spread=settings.depth_deviation)
        looking = PixelRays(rays.origin.double(), rays.direction.double(), rays.scan)
        got = march(volume, looking, sample_depths(rays.depth, sampling))
        return Rendered(got.features, got.alpha)
    seen = features.new_zeros(len(rays), features.shape[1])
    alpha = features.new_zeros(len(rays))
    for view, (camera, scan) in enumerate(zip(batch.cameras, batch.scan_of_view)):
        rows = torch.nonzero(rays.view == view)[:, 0]
        pixels = rays.pixel[rows].floor().long().flip(1)
        shown = RasterisedFeatures(volume, scan).at_pixels(camera, pixels)
        seen = seen.index_copy(0, rows, shown.features)
        alpha = alpha.index_copy(0, rows, shown.alpha)
    return Rendered(seen, alpha)
