"""Features of a volume as a camera sees them at some of its pixels: by ray marching, or by rasterising Gaussians."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.kernels.sparse_conv import trilinear
from scenewise.kernels.splats.constants import ALPHA_MAX
from scenewise.rendering import render
from scenewise.rendering.march import DepthSampling, FeatureVolume, march, pixel_rays, sample_depths
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians

_SPREAD = 0.4
"""Standard deviation of the Gaussian of a voxel, in edges: more, and things look larger than marched ones; less, and a layer of
voxels has gaps."""


@dataclass(frozen=True)
class PixelFeatures:
    """What is seen at some pixels.

    Attributes:
        features: Σ w·feature, not divided by alpha.
        alpha: Σ w.
        depth: Σ w·depth along +Z, world units; divide by alpha for the expected depth.
    """

    features: Float[Tensor, "m c"]
    alpha: Float[Tensor, "m"]
    depth: Float[Tensor, "m"]


class FeatureRenderer(Protocol):
    """Shows the features of a volume; differentiable in them."""

    def at_pixels(
        self, camera: Cameras, pixels: Int64[Tensor, "m 2"], known_depths: Float[Tensor, "m"] | None = None
    ) -> PixelFeatures:
        """What is seen at some pixels of one camera.

        Args:
            camera: without batch axes.
            pixels: (row, column).
            known_depths: along +Z where it is known, 0 elsewhere; a hint.
        """


@dataclass(frozen=True)
class MarchedFeatures:
    """Features by ray marching.

    Attributes:
        volume: what is seen.
        sampling: where rays are sampled; without known depths, two samples a voxel's edge or more see every surface.
        scene: batch item of the volume.
        generator: jitters the samples; None takes them in regular places.
        density_gradient: whether the densities receive gradients too.
    """

    volume: FeatureVolume
    sampling: DepthSampling
    scene: int = 0
    generator: torch.Generator | None = None
    density_gradient: bool = False

    def at_pixels(
        self, camera: Cameras, pixels: Int64[Tensor, "m 2"], known_depths: Float[Tensor, "m"] | None = None
    ) -> PixelFeatures:
        """See :class:`FeatureRenderer`; known depths say where the samples are to be."""
        known = torch.zeros(len(pixels), device=pixels.device) if known_depths is None else known_depths
        depths = sample_depths(known, self.sampling, self.generator)
        rays = pixel_rays(camera, pixels, self.scene)
        got = march(self.volume, rays, depths, density_gradient=self.density_gradient)
        return PixelFeatures(got.features, got.alpha, got.depth)


@dataclass(frozen=True)
class RasterisedFeatures:
    """Features by rasterising Gaussians: those of a scene, or one in every voxel.

    Attributes:
        volume: what is seen; only its features receive gradients.
        scene: batch item of the volume.
        splats: carry the features interpolated where their centres lie, as :func:`scenewise.kernels.sparse_conv.trilinear` does.
            None takes a ball in the middle of every voxel that is as opaque as the voxel, 1 − e^{−σ·edge}.
    """

    volume: FeatureVolume
    scene: int = 0
    splats: Gaussians | None = None

    def at_pixels(
        self, camera: Cameras, pixels: Int64[Tensor, "m 2"], known_depths: Float[Tensor, "m"] | None = None
    ) -> PixelFeatures:
        """See :class:`FeatureRenderer`; known depths are not needed."""
        picture = render(self._gaussians, camera, sh_degree=0, extra=self._features())
        assert picture.extra is not None
        rows, columns = pixels.unbind(1)
        return PixelFeatures(picture.extra[rows, columns], picture.alpha[rows, columns], picture.depth[rows, columns])

    @cached_property
    def _rows(self) -> Int64[Tensor, " rows"]:
        return (self.volume.grid.coords[:, 0] == self.scene).nonzero()[:, 0]

    @cached_property
    def _gaussians(self) -> Gaussians:
        if self.splats is not None:
            return self.splats
        volume, n = self.volume, len(self._rows)
        densities = volume.densities.detach()[self._rows].float()
        opacities = -torch.expm1(-densities * volume.edge)
        return Gaussians(
            means=volume.centers_in_world()[self._rows].float(),
            log_scales=torch.full((n, 3), _SPREAD * volume.edge, device=densities.device).log(),
            quats=torch.tensor([1.0, 0.0, 0.0, 0.0], device=densities.device).repeat(n, 1),
            logit_opacities=torch.logit(opacities.clamp_max(ALPHA_MAX), eps=1e-6),
            sh0=torch.zeros(n, 1, 3, device=densities.device),
            shN=torch.zeros(n, 0, 3, device=densities.device),
        )

    def _features(self) -> Float[Tensor, "n c"]:
        if self.splats is None:
            return self.volume.features[self._rows]
        scenes = torch.full((len(self.splats),), self.scene, device=self.splats.means.device)
        places = self.volume.positions_in_grid(self.splats.means.detach(), scenes)
        return trilinear(self.volume.features, self.volume.grid, places, scenes)
