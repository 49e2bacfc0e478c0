"""Gaussians as weights, means and covariances: two of them become one that looks nearly the same.

A Gaussian weighs what it covers: opacity times area.  Its area is the mean (root mean square over directions) of what its
ellipsoid projects to, A = √((a²b² + b²c² + c²a²) / 3) with standard deviations a, b, c, up to a factor that all have in common.
That orders a cloud of flat Gaussians by what is seen of them; their volume would not.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.geometry.rotations import quat_from_rotation, rotation_from_quat
from scenewise.geometry.spherical_harmonics import Y00
from scenewise.scenes.gaussians import Gaussians

_FAINTEST, _MOST_OPAQUE = 1e-6, 1.0 - 1e-4  # opacities; both have finite logits
_OVERLAP_REACH = 8.0  # of the exponent below; overlap is for duplicates, neighbours on a surface hardly have any
_ROUNDING = 1e-4  # share of the mean variance added to each: covariances are kept in float32
_COLOUR_WEIGHT = 32.0  # against the change of shape
_MOST_LOG_SIZE = 30.0  # beyond it sizes are as good as infinite, and their squares leave float32
_FARTHEST = 1e15  # in typical sizes, as above
_THINNEST = 1e-8  # smallest over largest variance of what was merged


@dataclass(frozen=True)
class Moments:
    """Gaussians and mixtures of them; row i of every field is one.

    Attributes:
        means: centres, world units.
        covariances: xx xy xz yy yz zz, in units of a typical variance.
        areas: A of the module's text, in the same units.
        opacities: in (0, 1).
        sh0: degree-0 coefficient of colour.
        shN: further coefficients.
        members: how many Gaussians it was made of.
        source_rows: row of the heaviest of them.
        source_masses: what that one weighed.
    """

    means: Float[Tensor, "n 3"]
    covariances: Float[Tensor, "n 6"]
    areas: Float[Tensor, "n"]
    opacities: Float[Tensor, "n"]
    sh0: Float[Tensor, "n 1 3"]
    shN: Float[Tensor, "n rest 3"]
    members: Float[Tensor, "n"]
    source_rows: Int64[Tensor, "n"]
    source_masses: Float[Tensor, "n"]

    def __len__(self) -> int:
        return self.means.shape[0]

    def select(self, index: Tensor) -> "Moments":
        """Rows by mask or index, floating-point fields in float64."""
        chosen = {field.name: getattr(self, field.name)[index] for field in fields(self)}
        return Moments(**{name: values.double() if values.is_floating_point() else values for name, values in chosen.items()})


def typical_size(gaussians: Gaussians) -> float:
    """Median of the largest standard deviation of each Gaussian, world units."""
    log_size = float(gaussians.log_scales.amax(dim=1).median())
    return math.exp(min(max(log_size, -_MOST_LOG_SIZE), _MOST_LOG_SIZE))


def moments_of(gaussians: Gaussians, rows: Int64[Tensor, "n"], size: float) -> Moments:
    """The moments of some rows, in float64.

    Args:
        gaussians: all of them.
        rows: which ones.
        size: standard deviation that is 1 in the covariances (see :func:`typical_size`).
    """
    chosen = gaussians.select(rows)
    logs = (chosen.log_scales.double() - math.log(size)).clamp(-_MOST_LOG_SIZE, _MOST_LOG_SIZE)
    axes = rotation_from_quat(chosen.quats.double()) * logs.exp()[:, None, :]
    covariance = axes @ axes.transpose(1, 2)
    a, b, c = (2 * logs).exp().unbind(1)
    areas = ((a * b + b * c + c * a) / 3).sqrt()
    opacities = chosen.opacities.double().clamp(_FAINTEST, 1.0)
    return Moments(
        means=chosen.means.double(),
        covariances=covariance.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]],
        areas=areas,
        opacities=opacities,
        sh0=chosen.sh0.double(),
        shN=chosen.shN.double(),
        members=torch.ones_like(areas),
        source_rows=rows,
        source_masses=opacities * areas,
    )


def merged_moments(first: Moments, second: Moments, size: float) -> tuple[Moments, Float[Tensor, "n"]]:
    """One mixture for each pair, with the pair's mass, mean and covariance.

    With weights w = o A, p = w₁ / (w₁ + w₂), q = 1 − p and d = μ₁ − μ₂:
    μ = p μ₁ + q μ₂ and Σ = p Σ₁ + q Σ₂ + p q d dᵀ; harmonics are mixed like means.  What is covered stays,
    o A = w₁ + w₂ − κ o₁ o₂ min(A₁, A₂), where κ = exp(−8 · 3|d|² / tr(Σ₁ + Σ₂)) is 1 for duplicates, which together have the
    opacity 1 − (1 − o₁)(1 − o₂), and soon 0 for neighbours.

    Source: weights and opacity after Kerbl et al. 2024 (arXiv 2406.12080), section 4.1; κ is ours.

    Returns:
        The mixtures, and which share of their mass is lost because no opacity is above 1.
    """
    w1, w2 = first.opacities * first.areas, second.opacities * second.areas
    mass = w1 + w2
    p = w1 / mass
    q = 1 - p
    d = _apart(first, second, size)
    x, y, z = d.unbind(1)
    between = torch.stack([x * x, x * y, x * z, y * y, y * z, z * z], dim=1)
    covariances = p[:, None] * first.covariances + q[:, None] * second.covariances + (p * q)[:, None] * between
    areas = _areas(covariances)
    spread = _trace(first.covariances) + _trace(second.covariances)
    overlap = torch.exp(-_OVERLAP_REACH * 3 * (d * d).sum(dim=1) / spread)
    both = first.opacities * second.opacities * torch.minimum(first.areas, second.areas)
    opacities = (mass - overlap * both) / areas
    is_first = first.source_masses >= second.source_masses
    merged = Moments(
        means=p[:, None] * first.means + q[:, None] * second.means,
        covariances=covariances,
        areas=areas,
        opacities=opacities.clamp(_FAINTEST, _MOST_OPAQUE),
        sh0=p[:, None, None] * first.sh0 + q[:, None, None] * second.sh0,
        shN=p[:, None, None] * first.shN + q[:, None, None] * second.shN,
        members=first.members + second.members,
        source_rows=torch.where(is_first, first.source_rows, second.source_rows),
        source_masses=torch.maximum(first.source_masses, second.source_masses),
    )
    return merged, (opacities - _MOST_OPAQUE).clamp_min(0) * areas / mass


def merging_costs(first: Moments, second: Moments, size: float) -> Float[Tensor, "n"]:
    """How much a picture would change if each pair became one.

    cost = n √w (½ (log|Σ| − p log|Σ₁| − q log|Σ₂|) + 32 p q |c₁ − c₂|² + lost), with the pair's mass w, its number of members n,
    the colours c at degree 0 and the lost share of its mass.  The logarithms bound how far the mixture is from the pair (Runnalls
    2007, IEEE Trans. AES 43(3), equation 16).  The root is between what a near camera sees of large Gaussians, w, and what sizes
    far from all cameras must not decide, 1.  Without n, large mixtures would go on growing while others wait.
    """
    merged, lost = merged_moments(first, second, size)
    mass = first.opacities * first.areas + second.opacities * second.areas
    p = first.opacities * first.areas / mass
    shape = 0.5 * (
        _log_determinant(merged.covariances)
        - p * _log_determinant(first.covariances)
        - (1 - p) * _log_determinant(second.covariances)
    )
    colour = Y00 * (first.sh0 - second.sh0)[:, 0]
    change = shape.clamp_min(0) + _COLOUR_WEIGHT * p * (1 - p) * (colour * colour).sum(dim=1) + lost
    return merged.members * mass.sqrt() * change


def gaussians_of(moments: Moments, size: float) -> Gaussians:
    """Stored parameters, float32: axes and sizes by eigenvalues; quaternions of length 1."""
    covariance = moments.covariances.double()[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    variances, axes = torch.linalg.eigh(covariance)
    is_mirrored = torch.linalg.det(axes) < 0
    axes = torch.where(is_mirrored[:, None, None], -axes, axes)
    least = (_THINNEST * variances[:, 2:]).clamp_min(math.exp(-2 * _MOST_LOG_SIZE))
    return Gaussians(
        means=moments.means.float(),
        log_scales=(0.5 * torch.maximum(variances, least).log() + math.log(size)).float(),
        quats=quat_from_rotation(axes).float(),
        logit_opacities=torch.logit(moments.opacities.double()).float(),
        sh0=moments.sh0.float(),
        shN=moments.shN.float(),
    )


def _apart(first: Moments, second: Moments, size: float) -> Float[Tensor, "n 3"]:
    return ((first.means - second.means) / size).clamp(-_FARTHEST, _FARTHEST)


def _trace(covariances: Float[Tensor, "n 6"]) -> Float[Tensor, "n"]:
    return covariances[:, 0] + covariances[:, 3] + covariances[:, 5]


def _areas(covariances: Float[Tensor, "n 6"]) -> Float[Tensor, "n"]:
    xx, xy, xz, yy, yz, zz = covariances.unbind(1)
    minors = (xx * yy - xy * xy) + (yy * zz - yz * yz) + (zz * xx - xz * xz)  # a²b² + b²c² + c²a²
    rounding = (_THINNEST * _trace(covariances)).square()
    return (torch.maximum(minors, rounding) / 3).sqrt()


def _log_determinant(covariances: Float[Tensor, "n 6"]) -> Float[Tensor, "n"]:
    more = _ROUNDING * _trace(covariances) / 3
    xx, xy, xz, yy, yz, zz = covariances.unbind(1)
    xx, yy, zz = xx + more, yy + more, zz + more
    determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    return determinant.clamp_min(1e-300).log()
