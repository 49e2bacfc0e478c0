"""CLIP2Scene's spatial-temporal term: what the points of a cell look like agrees with their attended mean."""

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.parts.labelfree.label_sources import summable
from scenewise.parts.labelfree.sampling import scan_generators
from scenewise.parts.labelfree.steps import LossContext, LossTerm

MEMBERS = 8
"""Features of a cell that are fused, as in CLIP2Scene's released code."""


@final
class GridConsistency:
    """Features of a cell of space are pulled to a mean of them in which those that fit the cell's label count most.

    a = softmax over the cell of ⟨x_i, T̂_y⟩, g = Σ_i a_i x_i, L = Σ_i (1 − σ(⟨g, x_i⟩)).  Source: CLIP2Scene (Chen et al. 2023),
    semantic-guided spatial-temporal consistency, in the form its released code has for nuScenes: x_i is a second head's feature
    of the point of a (point, pixel) pair, at most 8 pairs are fused, and y is the label of the first.  Which of more pairs are
    taken, and which is first, is drawn here; the code takes them as stored.

    Rows are those of :attr:`TrainingBatch.points`, whatever labels are switched to.

    Args:
        channels: of the points' latent.
        dim: of the text space.
        cell_voxels: edge of a cell in voxels.
        cells_per_scan: of more cells, so many are drawn anew in each step; None = all.
        members: features of a cell that are fused.
        name: under which schedules know it.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        cell_voxels: float = 1.0,
        cells_per_scan: int | None = None,
        members: int = MEMBERS,
        name: str = "grid",
    ) -> None:
        self.name = name
        self.local = nn.Linear(channels, dim)
        self.modules: Mapping[str, nn.Module] = {"local": self.local}
        self.cell_voxels = cell_voxels
        self.cells_per_scan = cells_per_scan
        self.members = members

    def __call__(self, context: LossContext) -> LossTerm:
        """The term over this step's cells; a row is a pair."""
        row, cell = self._cells(context)
        points = context.batch.points
        features = summable(self.local(context.outputs["points"].latent[points.element[row]]))
        if not len(row):
            return LossTerm(features.sum(), 0)
        first = torch.cat([cell.new_ones(1, dtype=torch.bool), cell[1:] != cell[:-1]])
        label = points.class_ids[row[first]]
        agreement = fused_agreement(features, context.text[label], cell)
        return LossTerm((1.0 - agreement.sigmoid()).sum(), len(row))

    def _cells(self, context: LossContext) -> tuple[Tensor, Tensor]:
        """Rows that take part, cell after cell in a random order within it, and the cell of each, numbered from 0."""
        batch = context.batch
        where = torch.div(batch.cloud.positions[batch.points.element], self.cell_voxels).floor().long()
        scan = batch.cloud.batch[batch.points.element]
        rows, cells, used = [scan.new_zeros(0)], [scan.new_zeros(0)], 0
        for number, own in enumerate(scan_generators(context.generator, batch.scans)):
            mine = (scan == number).nonzero()[:, 0]
            shuffled = mine[torch.randperm(len(mine), generator=own).to(mine.device)]
            occupied, cell = _packed(where[shuffled]).unique(return_inverse=True)
            order = cell.argsort(stable=True)
            ordered = cell[order]
            begin = torch.searchsorted(ordered, torch.arange(len(occupied), device=ordered.device))
            keeps = torch.arange(len(ordered), device=ordered.device) - begin[ordered] < self.members
            number_of = torch.arange(len(occupied), device=ordered.device)
            if self.cells_per_scan is not None and len(occupied) > self.cells_per_scan:
                chosen = torch.randperm(len(occupied), generator=own)[: self.cells_per_scan].sort().values.to(ordered.device)
                number_of = torch.full_like(number_of, -1)
                number_of[chosen] = torch.arange(len(chosen), device=ordered.device)
                keeps &= number_of[ordered] >= 0
            rows.append(shuffled[order][keeps])
            cells.append(number_of[ordered][keeps] + used)
            used += int((number_of >= 0).sum())
        return torch.cat(rows), torch.cat(cells)


def _packed(cells: Tensor) -> Tensor:
    """One number per cell: sorting those is far quicker than sorting rows of three."""
    if not len(cells):
        return cells.new_zeros(0)
    cells = cells - cells.amin(dim=0)
    extent = cells.amax(dim=0) + 1
    return (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]


def fused_agreement(
    features: Float[Tensor, "rows dim"], label_text: Float[Tensor, "cells dim"], cell: Tensor
) -> Float[Tensor, "rows"]:
    """⟨g, x_i⟩ with g = Σ_j a_j x_j and a = softmax over the cell of ⟨x_j, T̂_y⟩.

    Args:
        features: x.
        label_text: T̂_y of each cell.
        cell: of each row, 0 … cells − 1, each with a row.
    """
    score = (features * label_text[cell]).sum(dim=1)
    highest = score.detach().new_full((len(label_text),), -torch.inf).scatter_reduce(0, cell, score.detach(), "amax")
    weight = (score - highest[cell]).exp()
    total = weight.new_zeros(len(label_text)).index_add(0, cell, weight)
    share = weight / total[cell]
    fused = features.new_zeros(len(label_text), features.shape[1]).index_add(0, cell, share[:, None] * features)
    return (fused[cell] * features).sum(dim=1)
