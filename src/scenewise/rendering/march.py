"""Ray marching in domain words: volumes of features in metres, rays of pixels, where they are sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels import march as march_kernel
from scenewise.kernels.march import Backend, MarchInput, MarchOutput, interval_lengths
from scenewise.kernels.sparse_conv import VoxelGrid
from scenewise.scenes.cameras import Cameras

_FARTHEST_GUIDED = 3.0  # standard deviations; the quantile of a first or last sample has no bound


@dataclass(frozen=True)
class FeatureVolume:
    """Features and densities of the occupied voxels of one or several scenes.

    Attributes:
        grid: the voxels, of any stride; a batch item is a scene.
        features: of the voxels.
        densities: absorption per world unit, at least 0; see :mod:`scenewise.rendering.densities`.
        voxel: edge of a voxel of stride 1, world units.
        shifts: of each scene, in voxels: a point lies at ``point_in_world / voxel + shift`` in the grid.

    Raises:
        ShapeError: rows do not fit the grid, or shifts its scenes.
        ConventionError: an edge that is not above 0.
    """

    grid: VoxelGrid
    features: Float[Tensor, "v c"]
    densities: Float[Tensor, "v"]
    voxel: float
    shifts: Float[Tensor, "scenes 3"]

    def __post_init__(self) -> None:
        for name, rows in (("features", len(self.grid)), ("densities", len(self.grid)), ("shifts", self.grid.batch_size)):
            if len(getattr(self, name)) != rows:
                raise ShapeError(name, expected=f"{rows} rows", got=len(getattr(self, name)))
        if not 0.0 < self.voxel < float("inf"):
            raise ConventionError("voxel", expected="a length above 0", got=self.voxel)

    @property
    def edge(self) -> float:
        """Edge of a voxel of the grid's stride, world units."""
        return self.voxel * self.grid.stride

    def positions_in_grid(self, points_in_world: Float[Tensor, "n 3"], scenes: Int64[Tensor, "n"]) -> Float64[Tensor, "n 3"]:
        """In voxels of stride 1."""
        return points_in_world.double() / self.voxel + self.shifts.double()[scenes]

    def centers_in_world(self) -> Float64[Tensor, "v 3"]:
        """Centres of the voxels."""
        batch, cells = self.grid.coords[:, 0].long(), self.grid.coords[:, 1:].double()
        return ((cells + 0.5) * self.grid.stride - self.shifts.double()[batch]) * self.voxel


@dataclass(frozen=True)
class PixelRays:
    """Rays through pixel centres, parametrised by depth: a point of depth z is origin + z · direction.

    Attributes:
        origins_in_world: optical centres.
        directions_in_world: of length 1 along the camera's +Z.
        scenes: batch item of the volume that each ray belongs to.
    """

    origins_in_world: Float64[Tensor, "r 3"]
    directions_in_world: Float64[Tensor, "r 3"]
    scenes: Int64[Tensor, "r"]


def pixel_rays(camera: Cameras, pixels: Int64[Tensor, "m 2"], scene: int = 0) -> PixelRays:
    """Rays through the centres of some pixels of one camera.

    Args:
        camera: one, without batch axes.
        pixels: (row, column).
        scene: batch item of the volume that the camera sees.

    Raises:
        ShapeError: the camera has batch axes.
    """
    if camera.K.ndim != 2:
        raise ShapeError("camera", expected="one camera", got=f"batch {tuple(camera.K.shape[:-2])}")
    rows, columns = pixels.to(camera.K).unbind(1)
    in_pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], dim=1)
    in_camera = torch.linalg.solve(camera.K, in_pixels.T).T
    directions = in_camera @ camera.camera_from_world[:3, :3]  # row vectors times R, the transpose of world_from_camera's
    origins = camera.centers_in_world.expand_as(directions)
    return PixelRays(origins, directions, torch.full((len(pixels),), scene, device=pixels.device))


def joined_rays(parts: Sequence[PixelRays]) -> PixelRays:
    """Rays of several views, one after the other; at least one view."""
    return PixelRays(
        torch.cat([part.origins_in_world for part in parts]),
        torch.cat([part.directions_in_world for part in parts]),
        torch.cat([part.scenes for part in parts]),
    )


@dataclass(frozen=True)
class DepthSampling:
    """Where rays are sampled; every ray gets ``guided + uniform`` samples.

    Attributes:
        guided: samples around a known depth.
        uniform: samples between near and far beside them; where no depth is known all samples are.
        spread: standard deviation of the guided ones, world units.
        near: of the uniform samples, along +Z, world units.
        far: likewise.

    Raises:
        ConventionError: fewer than two samples, no room between near and far, or a negative spread.
    """

    guided: int = 16
    uniform: int = 16
    spread: float = 0.03
    near: float = 0.1
    far: float = 8.0

    def __post_init__(self) -> None:
        if self.guided < 0 or self.uniform < 0 or self.guided + self.uniform < 2:
            raise ConventionError("guided, uniform", expected="at least 2 samples", got=f"{self.guided} and {self.uniform}")
        if not 0.0 <= self.near < self.far < float("inf"):
            raise ConventionError("near, far", expected="0 ≤ near < far", got=f"{self.near} and {self.far}")
        if not 0.0 <= self.spread < float("inf"):
            raise ConventionError("spread", expected="at least 0", got=self.spread)


def sample_depths(
    known: Float[Tensor, "m"], sampling: DepthSampling, generator: torch.Generator | None = None
) -> Float[Tensor, "m s"]:
    """Ascending depths at which rays are sampled, stratified: one sample in each of equally likely parts.

    Guided samples are d + spread · Φ⁻¹((i + u) / guided) for i = 0, 1, …, cut off at three spreads; Φ is the normal distribution.

    Args:
        known: depth along +Z, world units; 0 = none.
        sampling: how many and how far.
        generator: of u, uniform in [0, 1); None takes the middle of every part.
    """
    m, s = len(known), sampling.guided + sampling.uniform

    def parts(count: int) -> Tensor:
        """Ascending numbers in [0, 1), one in each of ``count`` equal parts."""
        inside = torch.full((m, count), 0.5, dtype=known.dtype, device=known.device)
        if generator is not None:
            inside = torch.rand(m, count, dtype=known.dtype, device=generator.device, generator=generator).to(known.device)
        return (torch.arange(count, dtype=known.dtype, device=known.device) + inside) / max(count, 1)

    everywhere = sampling.near + (sampling.far - sampling.near) * parts(s)
    if sampling.guided == 0:
        return everywhere
    quantiles = torch.special.ndtri(parts(sampling.guided)).clamp(-_FARTHEST_GUIDED, _FARTHEST_GUIDED)
    around = (known[:, None] + sampling.spread * quantiles).clamp_min(0.0)
    beside = sampling.near + (sampling.far - sampling.near) * parts(sampling.uniform)
    guided = torch.cat([around, beside], dim=1).sort(dim=1).values
    return torch.where((known > 0)[:, None], guided, everywhere)


def march(
    volume: FeatureVolume,
    rays: PixelRays,
    depths: Float[Tensor, "r s"],
    *,
    density_gradient: bool = False,
    backend: Backend = "auto",
) -> MarchOutput:
    """What rays gather of a volume; see :func:`scenewise.kernels.march.march`.

    Args:
        volume: receives gradients in its features.
        rays: of pixels, of any cameras and scenes.
        depths: ascending, of at least two samples of each ray; a sample stands for the stretch to the next one.
        density_gradient: whether densities receive gradients too.
        backend: "auto" picks the fastest that can run.

    Returns:
        Sums of weighted features, alpha, Σ w·depth and the weights of the samples.

    Raises:
        ShapeError: not as many rows of depths as rays, or a single sample.
        ConventionError: depths that do not ascend, or negative densities.
    """
    return march_kernel.march(
        MarchInput(
            grid=volume.grid,
            features=volume.features,
            densities=volume.densities * volume.voxel,
            origins=volume.positions_in_grid(rays.origins_in_world, rays.scenes),
            directions=rays.directions_in_world / volume.voxel,
            batch=rays.scenes,
            distances=depths,
            lengths=interval_lengths(depths),
            density_gradient=density_gradient,
        ),
        backend,
    )
