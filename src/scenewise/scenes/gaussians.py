"""A set of 3D Gaussians: stored parameters and their activated views."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ShapeError

SH_COEFFICIENTS = {0: 1, 1: 4, 2: 9, 3: 16}


def gaussian_numbers(sh_degree: int) -> int:
    """How many numbers a Gaussian of this degree is: mean, scales, rotation, opacity, colour."""
    return 3 + 3 + 4 + 1 + 3 * SH_COEFFICIENTS[sh_degree]


@runtime_checkable
class GaussianRows(Protocol):
    """Gaussians that can be gone through block by block, as often as needed: in memory or on the disk."""

    def __len__(self) -> int: ...

    @property
    def sh_degree(self) -> int: ...

    def blocks(self, rows: int) -> Iterator["Gaussians"]:
        """``rows`` consecutive rows at a time, in order; the last block may have fewer."""

    def in_memory(self) -> "Gaussians":
        """All of them at once."""


@dataclass(frozen=True)
class Gaussians:
    """Gaussians as they are stored and optimised; row i of every field is one Gaussian.

    Attributes:
        means: centres in the world frame, world units.
        log_scales: natural logarithm of the standard deviations along the Gaussian's own axes.
        quats: world_from_gaussian rotation, wxyz, any non-zero length.
        logit_opacities: opacity before the logistic function.
        sh0: degree-0 spherical-harmonic coefficient of colour (colour = 0.5 + Y₀₀·sh0 + …).
        shN: coefficients of degrees 1 … L in the order (l, m) = (1,−1), (1,0), (1,1), (2,−2) …; 0, 3, 8 or 15 of them.
    """

    means: Float[Tensor, "n 3"]
    log_scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    logit_opacities: Float[Tensor, "n"]
    sh0: Float[Tensor, "n 1 3"]
    shN: Float[Tensor, "n rest 3"]

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        expected = {"means": (n, 3), "log_scales": (n, 3), "quats": (n, 4), "logit_opacities": (n,), "sh0": (n, 1, 3)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ShapeError(name, expected=f"{shape}", got=f"{tuple(getattr(self, name).shape)}")
        if self.shN.shape[0] != n or self.shN.shape[2:] != (3,) or self.shN.shape[1] + 1 not in SH_COEFFICIENTS.values():
            raise ShapeError("shN", expected=f"({n}, 0 | 3 | 8 | 15, 3)", got=f"{tuple(self.shN.shape)}")

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def scales(self) -> Float[Tensor, "n 3"]:
        """Standard deviations in world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, "n"]:
        """Opacity in (0, 1)."""
        return self.logit_opacities.sigmoid()

    @property
    def sh_degree(self) -> int:
        """Highest spherical-harmonic degree stored."""
        return {count: degree for degree, count in SH_COEFFICIENTS.items()}[self.shN.shape[1] + 1]

    def select(self, index: Tensor) -> "Gaussians":
        """Rows by boolean mask or integer index, in order."""
        return Gaussians(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def blocks(self, rows: int) -> Iterator["Gaussians"]:
        """Views of ``rows`` consecutive rows each, in order; the last may have fewer."""
        for start in range(0, len(self), rows):
            yield Gaussians(**{f.name: getattr(self, f.name)[start : start + rows] for f in fields(self)})

    def in_memory(self) -> "Gaussians":
        """These."""
        return self

    def to(self, device: torch.device | str) -> "Gaussians":
        """The same Gaussians on another device."""
        return Gaussians(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def with_sh_degree(self, degree: int) -> "Gaussians":
        """Higher coefficients dropped, or zeros added, so that ``sh_degree == degree``."""
        wanted = SH_COEFFICIENTS[degree] - 1
        kept = self.shN[:, :wanted]
        zeros = kept.new_zeros(len(self), wanted - kept.shape[1], 3)
        return replace(self, shN=torch.cat([kept, zeros], dim=1))


def joined_gaussians(parts: Sequence[Gaussians]) -> Gaussians:
    """All rows of several sets of one degree, one after the other; at least one set."""
    return Gaussians(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Gaussians)})
