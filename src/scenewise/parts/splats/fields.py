"""Where Gaussians come from: stored one by one, or decoded from something smaller."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.spatial import cKDTree
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.schedules import LearningRates
from scenewise.parts.splats.store import ParameterStore
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import SH_COEFFICIENTS, Gaussians
from scenewise.scenes.point_clouds import PointCloud

_SMALLEST_SPACING = math.sqrt(1e-7)  # Kerbl et al. clamp the squared distance to 1e-7 in scenes of about unit extent
_LARGEST_SPACING = 0.1  # of the scene extent: larger ones would be pruned as too large anyway


@dataclass(frozen=True)
class DecodedGaussians:
    """Gaussians as a camera sees them, and where they come from.

    Attributes:
        gaussians: with gradients to the parameters.
        row_of: row of the store that each Gaussian was made from; a row may have several, or none.  None: Gaussian i is row i.
    """

    gaussians: Gaussians
    row_of: Int64[Tensor, "n"] | None = None


@runtime_checkable
class GaussianField(Protocol):
    """Something that can be trained and rendered as Gaussians.

    ``store`` holds one row per Gaussian or per anchor and is what strategies edit; ``shared`` holds what all rows have in
    common (a decoder), or is None.
    """

    @property
    def store(self) -> ParameterStore: ...

    @property
    def shared(self) -> FreeParameters | None: ...

    def decoded(self, camera: Cameras | None = None) -> DecodedGaussians:
        """The Gaussians as seen by a camera (None: by nobody in particular), and the store's row of each."""

    def gaussians(self, camera: Cameras | None = None) -> Gaussians:
        """Those of :meth:`decoded`, for whom rows do not matter."""

    def set_sh_degree(self, degree: int) -> None:
        """Make view-dependent colour up to this degree trainable; lower degrees keep their values."""

    def set_learning_rates(self, progress: float) -> None:
        """Follow the schedule of the learning rates; ``progress`` is 0 … 1."""


@final
class ExplicitGaussians:
    """Gaussians stored one by one, as in Kerbl et al. 2023.

    Colour coefficients are stored only up to the degree in use: the rest would be zeros with zero gradients.

    Args:
        gaussians: initial values; copied.
        learning_rates: of each parameter; the position's is multiplied by the scene extent.
        scene_extent: size of the scene in world units (see :func:`scene_extent`).
        track_identity: number the rows in order of birth (for tests).
    """

    def __init__(
        self, gaussians: Gaussians, learning_rates: LearningRates, scene_extent: float, *, track_identity: bool = False
    ) -> None:
        if not (math.isfinite(scene_extent) and scene_extent > 0.0):
            raise ConventionError("scene_extent", expected="a finite size above 0", got=scene_extent)
        self._learning_rates = learning_rates
        self._scene_extent = scene_extent
        parameters = {
            "means": gaussians.means,
            "log_scales": gaussians.log_scales,
            "quats": gaussians.quats,
            "logit_opacities": gaussians.logit_opacities,
            "sh0": gaussians.sh0,
            "shN": gaussians.shN,
        }
        rates = {
            "means": learning_rates.means_at(0.0, scene_extent),
            "log_scales": learning_rates.scales,
            "quats": learning_rates.quats,
            "logit_opacities": learning_rates.opacities,
            "sh0": learning_rates.sh0,
            "shN": learning_rates.shN,
        }
        self._store = ParameterStore(parameters, rates, track_identity=track_identity)

    @property
    def store(self) -> ParameterStore:
        """One row per Gaussian."""
        return self._store

    @property
    def shared(self) -> FreeParameters | None:
        """Nothing is shared."""
        return None

    def decoded(self, camera: Cameras | None = None) -> DecodedGaussians:
        """Every row is a Gaussian."""
        return DecodedGaussians(self.gaussians(camera))

    def gaussians(self, camera: Cameras | None = None) -> Gaussians:
        """The stored parameters themselves: gradients reach them without any operation in between."""
        return Gaussians(**{name: self._store[name] for name in self._store})

    def set_sh_degree(self, degree: int) -> None:
        """Store colour coefficients up to ``degree``, the new ones zero and at rest."""
        wanted = SH_COEFFICIENTS[degree] - 1
        if self._store["shN"].shape[1] < wanted:
            self._store.widen("shN", wanted)

    def set_learning_rates(self, progress: float) -> None:
        """Only the positions' learning rate changes."""
        self._store.set_learning_rate("means", self._learning_rates.means_at(progress, self._scene_extent))


def scene_extent(cameras: Sequence[Cameras], points: PointCloud | None = None) -> float:
    """Size of a scene: 1.1 × the largest distance of a camera centre from the mean centre (Kerbl et al. 2023, released code).

    Cameras that turn on the spot span nothing; then the median distance of the points from them stands in.

    Args:
        cameras: records without batch axes.
        points: anything known of the scene's geometry.

    Raises:
        ConventionError: no cameras, or neither cameras nor points span anything.
    """
    if not cameras:
        raise ConventionError("cameras", expected="at least one", got=0)
    centers = torch.stack([camera.centers_in_world for camera in cameras]).numpy()
    middle = centers.mean(axis=0)
    extent = 1.1 * float(np.linalg.norm(centers - middle, axis=1).max())
    if points is not None and len(points):
        distance = float(np.median(np.linalg.norm(points.points_in_world - middle, axis=1)))
        if extent < 0.01 * distance:
            extent = distance
    if not (math.isfinite(extent) and extent > 0.0):
        raise ConventionError(
            "scene extent",
            expected="cameras or points that span a volume",
            got=f"{len(cameras)} camera(s) in one place and no points",
        )
    return extent


def neighbor_spacing(points: Float[np.ndarray, "n 3"], extent: float) -> Float[np.ndarray, "n"]:
    """Root of the mean squared distance to the three nearest neighbours: the initial size of each Gaussian.

    Source: Kerbl et al. 2023, section 4.  Clamped to a sensible range relative to the scene's extent, so that the unit of length
    does not matter; duplicates and lone points stay usable.
    """
    if len(points) < 2:
        return np.full(len(points), _LARGEST_SPACING * extent)
    neighbors = min(3, len(points) - 1)
    distances, _ = cKDTree(points).query(points, k=neighbors + 1, workers=-1)
    spacing = np.sqrt((distances[:, 1:] ** 2).mean(axis=1))
    return np.clip(spacing, _SMALLEST_SPACING * extent, _LARGEST_SPACING * extent)


def gaussians_from_points(
    points: PointCloud, extent: float, *, opacity: float = 0.1, scale_factor: float = 1.0, device: torch.device | str = "cpu"
) -> Gaussians:
    """One round Gaussian per point, as large as the gap to its neighbours.

    Source: Kerbl et al. 2023, section 4 and released code: opacity 0.1, identity rotation, colour of the point from every side.
    MCMC (Kheradmand et al. 2024) starts with opacity 0.5 and a tenth of the size.

    Args:
        points: positions in world units, at least one; grey where they have no colour.
        extent: size of the scene.
        opacity: initial opacity in (0, 1).
        scale_factor: initial size as a multiple of the spacing.
        device: where the result lives.
    """
    if not len(points):
        raise ConventionError("initial points", expected="at least one", got=0, fix="give the capture points or depth maps")
    spacing = neighbor_spacing(points.points_in_world, extent)
    colors_u8 = points.colors_u8
    rgb = np.full((len(points), 3), 0.5) if colors_u8 is None else colors_u8.astype(np.float64) / 255.0
    n = len(points)
    log_scales = torch.from_numpy(np.log(spacing * scale_factor)).float()[:, None].expand(n, 3).clone()
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1.0
    return Gaussians(
        means=torch.from_numpy(points.points_in_world.astype(np.float32)),
        log_scales=log_scales,
        quats=quats,
        logit_opacities=torch.full((n,), math.log(opacity / (1.0 - opacity))),
        sh0=sh0_from_rgb(torch.from_numpy(rgb).float())[:, None, :],
        shN=torch.zeros(n, 0, 3),
    ).to(device)
