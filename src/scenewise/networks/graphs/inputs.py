"""What a graph network reads, and the numbers that are taken from it without learning.

A thing is described by 11 numbers of its points: mean (3), standard deviation (3), extent along the axes (3), volume and longest
side of that box.  A pair (i, j) by 11 numbers of theirs: differences of means and deviations, and logarithms of the ratios of
extents, volumes and sides.  Source: SGFN (Wu et al. 2021), arXiv 2103.14898; both as in VL-SAT, arXiv 2303.14408.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.errors import ShapeError

DESCRIPTOR, GEOMETRY = 11, 8
_FLAT = 1e-3  # metres: extents below this count as this, so that flat things have logarithms


@dataclass(frozen=True)
class GraphInputs:
    """Things of one or several scans, and pairs of them.

    Attributes:
        points: surface points of each thing in the frame of its scan, metres, up = +Z.
        edges: rows of subject and object of each pair; both are of the same scan.
        scans: number of the scan that each thing is of.
    """

    points: Float[Tensor, "nodes k 3"]
    edges: Int64[Tensor, "2 edges"]
    scans: Int64[Tensor, "nodes"]

    def __post_init__(self) -> None:
        if len(self.scans) != len(self.points):
            raise ShapeError("scans", expected=f"{len(self.points)} numbers", got=len(self.scans))

    @cached_property
    def descriptors(self) -> Float[Tensor, "nodes 11"]:
        """Of every thing."""
        return descriptors_of(self.points)

    @cached_property
    def geometry(self) -> Float[Tensor, "nodes 8"]:
        """What joins the features of a thing: deviations, extents, log volume, log side; nothing that says where it is."""
        found = self.descriptors
        return torch.cat([found[:, 3:9], found[:, 9:].log()], dim=1)

    @cached_property
    def pair_descriptors(self) -> Float[Tensor, "edges 11"]:
        """Of every pair."""
        first, second = self.descriptors[self.edges[0]], self.descriptors[self.edges[1]]
        return torch.cat([first[:, :6] - second[:, :6], first[:, 6:].log() - second[:, 6:].log()], dim=1)

    @cached_property
    def things_of_scans(self) -> "Groups":
        """Things by scan."""
        return groups_of(self.scans)

    @cached_property
    def pairs_of_scans(self) -> "Groups":
        """Pairs by scan."""
        return groups_of(self.scans[self.edges[0]])

    @cached_property
    def all_pairs(self) -> "Groups":
        """All pairs as one group, whatever scan they are of."""
        return groups_of(torch.zeros_like(self.edges[0]))

    @property
    def centered(self) -> Float[Tensor, "nodes k 3"]:
        """Points about their thing's mean, in metres."""
        return self.points - self.points.mean(dim=1, keepdim=True)


@dataclass(frozen=True)
class Groups:
    """Rows that may see each other, group by group, padded to the largest group.

    Attributes:
        rows: of each group; padding repeats row 0.
        real: which of them are no padding.
        position: where each row stands in the flattened ``rows``.
    """

    rows: Int64[Tensor, "groups most"]
    real: Bool[Tensor, "groups most"]
    position: Int64[Tensor, "rows"]


def groups_of(numbers: Int64[Tensor, "rows"]) -> Groups:
    """Groups of rows with the same number, in ascending order of it."""
    _, group, sizes = torch.unique(numbers, return_inverse=True, return_counts=True)
    order = torch.argsort(group, stable=True)
    most = int(sizes.max()) if len(sizes) else 0
    starts = torch.cumsum(sizes, 0) - sizes
    within = torch.arange(len(numbers), device=numbers.device) - starts[group[order]]
    rows = numbers.new_zeros(len(sizes), most)
    real = torch.zeros(len(sizes), most, dtype=torch.bool, device=numbers.device)
    rows[group[order], within], real[group[order], within] = order, True
    position = torch.empty_like(order)
    position[order] = group[order] * most + within
    return Groups(rows, real, position)


def descriptors_of(points: Float[Tensor, "nodes k 3"]) -> Float[Tensor, "nodes 11"]:
    """Mean, standard deviation, extent, volume and longest side of each thing's points."""
    extent = (points.amax(1) - points.amin(1)).clamp_min(_FLAT)
    deviation = points.std(dim=1, unbiased=False)
    return torch.cat([points.mean(1), deviation, extent, extent.prod(1, keepdim=True), extent.amax(1, keepdim=True)], dim=1)
