"""Two older ways to train the same 3D network on the same scans without labels, which ConDense is compared with.

*Point contrast* (Xie et al. 2020, arXiv 2007.10985): two cuts of a cloud, each turned and lit on its own, must agree point by
point and disagree elsewhere.  No picture is looked at.

*Colour rendering* (after Ponder, Huang et al. 2023, arXiv 2301.00157, and PonderV2, Zhu et al. 2023, arXiv 2310.08586): the
colours of pictures are rendered from a cloud that has lost its own in most places.  There a surface is learned as well; here
where it lies is known, as for ConDense.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.engine.randomness import keyed_generator
from scenewise.methods.condense.batches import ConsistencyBatch, relit, turn_about_up
from scenewise.methods.condense.learning import Learner, StepLosses
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.rendered import rendered
from scenewise.networks.sparse_inputs import VoxelisedPoints

_COMPARED = 1024  # points of a scan that are told apart in a step
_STAYS = 0.6  # of the points in each of two cuts
_HIDDEN = 0.75  # share of blocks whose colours are hidden
_BLOCK = 8  # voxels along the edge of such a block


@dataclass(frozen=True)
class Cut:
    """Some points of a batch's clouds, laid and lit anew.

    Attributes:
        cloud: those points.
        voxel: row of the voxel of each compared point.
    """

    cloud: VoxelisedPoints
    voxel: Int64[Tensor, "compared"]


def point_contrast(batch: ConsistencyBatch, learner: Learner, step: int) -> StepLosses:
    """PointInfoNCE (eq. 3 there) of points that both cuts hold."""
    first, second = two_cuts(batch, learner.config, learner.seed, step)
    ours = learner.pair.points(first.cloud).features[first.voxel]
    others, begin = learner.ranks.gather(learner.pair.points(second.cloud).features[second.voxel])
    own = begin + torch.arange(len(ours), device=others.device)
    count = max(1.0, learner.ranks.total([float(len(ours))])[0])
    contrast = F.cross_entropy(ours @ others.T / learner.config.temperature, own, reduction="sum") / count
    cosine = float((ours * others[own]).sum(1).detach().sum()) / count
    return StepLosses(contrast, {"contrast": contrast.detach()}, {"cosine": cosine})


def two_cuts(batch: ConsistencyBatch, config: CondenseConfig, seed: int, step: int) -> tuple[Cut, Cut]:
    """Two draws of each scan's points with others turns, shifts and light, and points that are in both.

    Args:
        batch: whose points.
        config: how clouds are varied.
        seed: of the run.
        step: what is drawn depends on it.
    """
    cloud = batch.cloud
    generator = keyed_generator("two cuts", seed, step, *cloud.batch.bincount().tolist())
    stays = torch.rand(2, len(cloud.inputs), generator=generator) < _STAYS
    both = torch.nonzero(stays.all(0))[:, 0]
    drawn = torch.randperm(len(both), generator=generator)[: _COMPARED * batch.num_scans]
    compared = both[drawn.sort().values]
    cuts = []
    for kept in stays:
        rows = torch.nonzero(kept)[:, 0]
        place = torch.full((len(kept),), -1).index_copy(0, rows, torch.arange(len(rows)))
        positions, colors = cloud.positions[rows], (cloud.inputs[rows] + 1.0) / 2.0
        laid, lit = torch.empty_like(positions), torch.empty_like(colors)
        for item in range(batch.num_scans):
            own = cloud.batch[rows] == item
            angle, *shift = torch.rand(4, generator=generator).tolist()
            turn = turn_about_up(2.0 * torch.pi * angle).to(positions)
            laid[own] = positions[own] @ turn.T + config.variation.shift_voxels * positions.new_tensor(shift)
            lit[own] = relit(colors[own], config.variation, generator)
        points = VoxelisedPoints.from_points(2.0 * lit - 1.0, laid, cloud.batch[rows])
        cuts.append(Cut(points, points.voxels.voxel_of_point[place[compared].to(points.batch.device)]))
    return cuts[0], cuts[1]


def color_rendering(batch: ConsistencyBatch, learner: Learner, step: int) -> StepLosses:
    """Mean absolute error of the colours that rays see, in [0, 1]."""
    config = learner.config
    hidden = hidden_colors(batch, learner.seed, step)
    got = rendered(batch, learner.pair.points(hidden).features, config.rays, config.voxel)
    stopped = got.alpha.detach() >= config.rays.least_alpha
    told = torch.sigmoid(learner.color(got.features / got.alpha.detach().clamp_min(1e-6)[:, None]))
    count = max(1.0, learner.ranks.total([float(stopped.sum())])[0])
    error = (told - pixel_colors(batch)).abs().mean(1)[stopped].sum() / count
    return StepLosses(error, {"colour": error.detach()}, {})


def hidden_colors(batch: ConsistencyBatch, seed: int, step: int) -> VoxelisedPoints:
    """The batch's clouds with grey points in three of four blocks."""
    cloud = batch.cloud
    blocks = torch.cat([cloud.batch[:, None], (cloud.positions / _BLOCK).floor().long()], dim=1)
    names, block = torch.unique(blocks, dim=0, return_inverse=True)
    generator = keyed_generator("hidden colours", seed, step, *cloud.batch.bincount().tolist())
    is_hidden = (torch.rand(len(names), generator=generator) < _HIDDEN).to(block.device)[block]
    return replace(cloud, inputs=torch.where(is_hidden[:, None], 0.0, cloud.inputs))


def pixel_colors(batch: ConsistencyBatch) -> Float[Tensor, "rays 3"]:
    """Of the pixels that the rays go through, in [0, 1]."""
    found = torch.zeros(len(batch.rays), 3, device=batch.rays.pixel.device)
    first = 0
    for pictures in batch.pictures:
        own = (batch.rays.view >= first) & (batch.rays.view < first + len(pictures))
        column, row = batch.rays.pixel[own].floor().long().unbind(1)
        found[own] = pictures[batch.rays.view[own] - first, :, row, column]
        first += len(pictures)
    return found
