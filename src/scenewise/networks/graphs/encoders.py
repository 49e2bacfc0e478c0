"""First features of things and pairs."""

import itertools
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.networks.graphs.blocks import PointNet, mlp
from scenewise.networks.graphs.inputs import DESCRIPTOR, GEOMETRY, GraphInputs

Pooled = Float[Tensor, "nodes channels"]


@final
class NodeEncoder(nn.Module):
    """A thing's points → pooled channels → a narrower layer, beside eight numbers of its box; all of one size (LayerNorm).

    The backbone is a PointNet or a DGCNN; what is pooled is kept, because VL-SAT's student mimics there.  Norms after pooling
    and at the end, and that of pairs, are not in the released code (it computes the first and throws it away): largest values
    have a mean far from zero, which no cosine sees past, and metres beside activations let the larger drown the other.

    Args:
        backbone: points → channels.
        pooled: channels of the backbone.
        width: of the result.
    """

    def __init__(self, backbone: nn.Module, pooled: int, width: int) -> None:
        super().__init__()
        self.backbone, self.pool_norm = backbone, nn.BatchNorm1d(pooled)
        self.narrow, self.norm = nn.Linear(pooled, width - GEOMETRY), nn.BatchNorm1d(width - GEOMETRY)
        self.dropout, self.last = nn.Dropout(0.1), nn.LayerNorm(width)

    def forward(self, inputs: GraphInputs) -> tuple[Pooled, Float[Tensor, "nodes width"]]:
        pooled = self.pool_norm(self.backbone(inputs.centered))
        narrow = self.dropout(F.relu(self.norm(self.narrow(pooled))))
        return pooled, self.last(torch.cat([narrow, inputs.geometry], dim=-1))


@final
class PairEncoder(nn.Module):
    """The eleven numbers of a pair through an MLP, as SGFN's "PointNet of a single point"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers, self.norm = mlp(DESCRIPTOR, 64, 128, width, last=True), nn.LayerNorm(width)

    def forward(self, inputs: GraphInputs) -> Float[Tensor, "edges width"]:
        return self.norm(self.layers(inputs.pair_descriptors))


@final
class Dgcnn(nn.Module):
    """Points and their nearest neighbours in feature space, four times.  Source: Wang et al. 2019, arXiv 1801.07829.

    An EdgeConv layer of x_i ⊕ (x_j − x_i) splits into two linear layers of points, so neighbours cost a gather and no product;
    norm and LeakyReLU come after the maximum over neighbours, not before it.

    Args:
        width: channels of the result; the four layers have an eighth to a half of it.
        neighbours: of each point.
    """

    def __init__(self, width: int, neighbours: int = 8) -> None:
        super().__init__()
        self.neighbours = neighbours
        widths = (3, width // 8, width // 8, width // 4, width // 2)
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.other = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[1:])
        self.last = nn.Linear(sum(widths[1:]), width)

    def forward(self, points: Float[Tensor, "things k 3"]) -> Float[Tensor, "things width"]:
        things, count, _ = points.shape
        k = min(self.neighbours, count)
        base = torch.arange(things, device=points.device)[:, None, None] * count
        features, found = points, []
        for own, other, norm in zip(self.own, self.other, self.norms):
            with torch.no_grad():
                nearest = torch.cdist(features, features).topk(k, dim=-1, largest=False).indices + base
            # own(x_i) + other(x_j − x_i): the largest over j of what is linear in x_j is taken before the rest is added.
            told = other(features).flatten(0, 1)
            largest = told[nearest.flatten()].unflatten(0, (things * count, k)).amax(dim=1).unflatten(0, (things, count))
            summed = own(features) - told.unflatten(0, (things, count)) + largest
            features = F.leaky_relu(norm(summed.flatten(0, 1)), 0.2).unflatten(0, (things, count))
            found.append(features)
        return F.leaky_relu(self.last(torch.cat(found, dim=-1)), 0.2).amax(dim=1)


@final
class UnionEncoder(nn.Module):
    """SGPN's pairs: points of the box around both things, marked 1 of the subject, 2 of the object, 0 of anything else.

    Args:
        width: of the result.
        points: of a pair, a third from each of the three.
    """

    def __init__(self, width: int, points: int = 48) -> None:
        super().__init__()
        self.share, self.width = points // 3, width
        self.backbone, self.norm = PointNet(4, 64, 128, width), nn.LayerNorm(width)

    def forward(self, inputs: GraphInputs) -> Float[Tensor, "edges width"]:
        if inputs.edges.shape[1] == 0:
            return inputs.points.new_zeros(0, self.width)
        first, second = inputs.edges
        share = min(self.share, inputs.points.shape[1])
        own = inputs.points[:, :share]
        subject, thing = own[first], own[second]
        both = torch.cat([inputs.points[first], inputs.points[second]], dim=1)
        low, high = both.amin(1, keepdim=True), both.amax(1, keepdim=True)
        others = self._others(inputs, low, high, share)
        marked = torch.cat([_marked(subject, 1.0), _marked(thing, 2.0), others], dim=1)
        return self.norm(self.backbone(torch.cat([marked[..., :3] - (low + high) / 2, marked[..., 3:]], dim=-1)))

    def _others(
        self, inputs: GraphInputs, low: Float[Tensor, "edges 1 3"], high: Float[Tensor, "edges 1 3"], share: int
    ) -> Float[Tensor, "edges share 4"]:
        """The points of third things nearest to the middle of the box, within it; the subject's again where there are none.

        Not the first ones: answers would depend on how things are numbered.
        """
        first, second = inputs.edges
        few = inputs.points[:, : max(1, share // 4)]
        owner = torch.arange(len(few), device=few.device).repeat_interleave(few.shape[1])
        flat = few.flatten(0, 1)
        inside = ((flat[None] >= low) & (flat[None] <= high)).all(-1)
        inside &= (owner[None] != first[:, None]) & (owner[None] != second[:, None])
        inside &= inputs.scans[owner][None] == inputs.scans[first][:, None]
        away = (flat[None] - (low + high) / 2).square().sum(-1)
        order = torch.argsort(away.masked_fill(~inside, torch.inf), dim=1, stable=True)[:, :share]
        taken = torch.gather(inside, 1, order)
        found = _marked(flat[order], 0.0)
        instead = _marked(inputs.points[first][:, : order.shape[1]], 1.0)
        return torch.where(taken[..., None], found, instead)


def _marked(points: Float[Tensor, "edges k 3"], mark: float) -> Float[Tensor, "edges k 4"]:
    return torch.cat([points, torch.full_like(points[..., :1], mark)], dim=-1)
