"""Structural similarity of two sets of Gaussians: the cosine between histograms of where their centres lie.

The histogram has G³ voxels, but only those near a centre are stored: memory and time grow with the number of Gaussians, not
with G³.
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.parts.splats.strategies import StepContext
from scenewise.parts.splats.views import ViewData
from scenewise.rendering import RenderOutput

HistogramKind = Literal["trilinear", "hard", "separable"]

_KERNEL_SIGMA = 0.5  # of a voxel; released code
_KERNEL_REACH = 3  # voxels on either side: six sigmas
_WIDENED = 0.1  # of the box's size, on either side


@dataclass(frozen=True)
class Box:
    """An axis-aligned box that both histograms divide.

    Attributes:
        low: smallest corner, world units.
        size: edge lengths, above 0.
    """

    low: Float[Tensor, "3"]
    size: Float[Tensor, "3"]


def robust_box(means: Float[Tensor, "n 3"], lower: float = 0.01, upper: float = 0.99) -> Box:
    """The box between two quantiles of every coordinate, widened by a tenth on either side.

    A few far outliers would otherwise put everything that matters into one voxel.
    """
    if not len(means):
        raise ConventionError("means", expected="at least one Gaussian", got=0)
    ordered = means.detach().sort(dim=0).values
    low = ordered[int(lower * (len(means) - 1))]
    high = ordered[math.ceil(upper * (len(means) - 1))]
    size = high - low
    size = size.clamp_min(float(size.max()) * 1e-3 or 1e-3)  # a plane has no thickness
    return Box(low - _WIDENED * size, size * (1.0 + 2.0 * _WIDENED))


@dataclass(frozen=True)
class SparseHistogram:
    """Occupied voxels of a G³ grid in ascending order, and how much each holds.

    Attributes:
        keys: (x·G + y)·G + z.
        values: ≥ 0, in Gaussians.
    """

    keys: Int[Tensor, "voxels"]
    values: Float[Tensor, "voxels"]


@dataclass(frozen=True)
class MarginalHistogram:
    """What the released code compares: one histogram per axis.

    Attributes:
        values: of each axis.
    """

    values: Float[Tensor, "3 grid"]


def _grid_positions(means: Float[Tensor, "n 3"], box: Box, grid: int) -> Float[Tensor, "n 3"]:
    return (means - box.low) / box.size * grid


def _summed(keys: Int[Tensor, "entries"], weights: Float[Tensor, "entries"]) -> SparseHistogram:
    distinct, inverse = torch.unique(keys, return_inverse=True)
    return SparseHistogram(distinct, weights.new_zeros(len(distinct)).index_add(0, inverse, weights))


def trilinear_histogram(means: Float[Tensor, "n 3"], box: Box, grid: int) -> SparseHistogram:
    """Each centre is shared among the eight voxels whose centres surround it, by trilinear weights.

    The share of voxels outside the box is dropped.  Differentiable in ``means`` almost everywhere.
    """
    positions = _grid_positions(means, box, grid) - 0.5
    base = positions.detach().floor()
    fraction = positions - base
    corner = base.long()
    keys, weights = [], []
    for offset in ((x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)):
        at = corner + torch.tensor(offset, device=means.device)
        inside = _inside(at, grid)
        upper = torch.tensor(offset, dtype=torch.bool, device=means.device)
        share = torch.where(upper, fraction, 1.0 - fraction).prod(dim=1)
        keys.append(_key(at, grid)[inside])
        weights.append(share[inside])
    return _summed(torch.cat(keys), torch.cat(weights))


def hard_histogram(means: Float[Tensor, "n 3"], box: Box, grid: int) -> SparseHistogram:
    """Each centre counts in the one voxel it lies in, as the paper writes it.  Has no gradient."""
    at = _grid_positions(means.detach(), box, grid).floor().long()
    inside = _inside(at, grid)
    keys = _key(at, grid)[inside]
    return _summed(keys, torch.ones(len(keys), dtype=means.dtype, device=means.device))


def separable_histogram(means: Float[Tensor, "n 3"], box: Box, grid: int) -> MarginalHistogram:
    """Gaussian-smoothed histograms of the three coordinates one by one, as the released code has them (σ = half a voxel).

    Their outer product cannot tell a plane from its mirror image; see the README.
    """
    positions = _grid_positions(means, box, grid) - 0.5
    base = positions.detach().round()
    marginals = means.new_zeros(3, grid)
    for shift in range(-_KERNEL_REACH, _KERNEL_REACH + 1):
        at = base + shift
        weight = torch.exp(-0.5 * ((positions - at) / _KERNEL_SIGMA) ** 2)
        inside = (at >= 0) & (at < grid)
        columns = at.long().clamp(0, grid - 1)
        share = torch.where(inside, weight, torch.zeros_like(weight))
        marginals = marginals.scatter_add(1, columns.T, share.T)
    return MarginalHistogram(marginals)


def _inside(at: Int[Tensor, "n 3"], grid: int) -> Bool[Tensor, "n"]:
    return ((at >= 0) & (at < grid)).all(dim=1)


def _key(at: Int[Tensor, "n 3"], grid: int) -> Int[Tensor, "n"]:
    return (at[:, 0] * grid + at[:, 1]) * grid + at[:, 2]


Histogram = SparseHistogram | MarginalHistogram


def occupancy_histogram(means: Float[Tensor, "n 3"], box: Box, grid: int, kind: HistogramKind) -> Histogram:
    """The histogram of a kind.

    Args:
        means: centres, world units.
        box: what the grid divides.
        grid: voxels along each edge, 1 … 2,000,000.
        kind: "trilinear", or "hard" as in the paper, or "separable" as in the released code.
    """
    if not 1 <= grid <= 2_000_000:  # keys are products of three
        raise ConventionError("grid", expected="1 to 2,000,000 voxels along an edge", got=grid)
    match kind:
        case "trilinear":
            return trilinear_histogram(means, box, grid)
        case "hard":
            return hard_histogram(means, box, grid)
        case "separable":
            return separable_histogram(means, box, grid)
        case _:
            assert_never(kind)


def histogram_cosine(first: Histogram, second: Histogram) -> Float[Tensor, ""]:
    """Cosine between two histograms, in [0, 1]; 0 where one of them is empty.

    The outer products of marginals need not be formed: ⟨a⊗b⊗c, a′⊗b′⊗c′⟩ = ⟨a, a′⟩⟨b, b′⟩⟨c, c′⟩.
    """
    if isinstance(first, MarginalHistogram) and isinstance(second, MarginalHistogram):
        dots = (first.values * second.values).sum(dim=1)
        norms = (first.values.square().sum(dim=1) * second.values.square().sum(dim=1)).sqrt()
        return (dots / norms.clamp_min(1e-30)).prod()
    if not (isinstance(first, SparseHistogram) and isinstance(second, SparseHistogram)):
        raise ConventionError(
            "histograms", expected="two of the same kind", got=f"{type(first).__name__}, {type(second).__name__}"
        )
    if not len(first.keys) or not len(second.keys):
        return first.values.sum() * 0.0 + second.values.sum() * 0.0
    place = torch.searchsorted(first.keys, second.keys).clamp_max(len(first.keys) - 1)
    common = first.keys[place] == second.keys
    dot = torch.where(common, first.values[place] * second.values, torch.zeros_like(second.values)).sum()
    norm = (first.values.square().sum() * second.values.square().sum()).sqrt()
    return dot / norm.clamp_min(1e-30)


def structure_loss(
    means: Float[Tensor, "n 3"], teacher: Float[Tensor, "m 3"], *, grid: int = 128, kind: HistogramKind = "trilinear"
) -> Float[Tensor, ""]:
    """1 − cosine of the two histograms in the robust box of the teacher; 0 for identical sets.

    Source: Xiang et al. 2025 (Distilled-3DGS), L_hist.

    Args:
        means: centres of the student, world units; receive the gradient.
        teacher: centres of the vanilla teacher.
        grid: voxels along each edge of the box.
        kind: see :func:`occupancy_histogram`.
    """
    box = robust_box(teacher)
    reference = occupancy_histogram(teacher.detach(), box, grid, kind)
    return 1.0 - histogram_cosine(reference, occupancy_histogram(means, box, grid, kind))


@final
@dataclass(frozen=True)
class StructureSimilarity:
    """The structural term as an objective of a trainer; the teacher's histogram is made once.

    Attributes:
        teacher: histogram of the vanilla teacher's centres.
        box: what the grid divides.
        grid: voxels along each edge.
        kind: of histogram.
        strength: its factor in the loss.
        every: steps of this run between two uses.
        first_step: not before this step of this run.
    """

    teacher: Histogram
    box: Box
    grid: int
    kind: HistogramKind
    strength: float
    every: int
    first_step: int = 0

    @property
    def name(self) -> str:
        """Under which it is logged."""
        return "structure"

    def weight(self, context: StepContext) -> float:
        """``strength`` in every ``every``-th step, else 0."""
        return self.strength if context.step >= self.first_step and context.steps_done % self.every == 0 else 0.0

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor:
        """1 − cosine, whatever the view."""
        means = context.field.gaussians(view.camera).means
        return 1.0 - histogram_cosine(self.teacher, occupancy_histogram(means, self.box, self.grid, self.kind))


def structure_objective(
    teacher_means: Float[Tensor, "n 3"],
    *,
    grid: int,
    kind: HistogramKind,
    strength: float,
    every: int,
    first_step: int = 0,
) -> StructureSimilarity:
    """The objective that compares with these centres; arguments as in :class:`StructureSimilarity`."""
    box = robust_box(teacher_means)
    reference = occupancy_histogram(teacher_means.detach(), box, grid, kind)
    return StructureSimilarity(reference, box, grid, kind, strength, every, first_step)
