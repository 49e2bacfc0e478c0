"""Small pieces that several graph networks share."""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.networks.graphs.inputs import Groups

_BIAS_WIDTH = 32


@dataclass(frozen=True)
class GraphState:
    """Features on their way through a network.

    Attributes:
        pooled: of every thing's points alone, as the encoder gave them.
        nodes: of every thing.
        edges: of every pair.
    """

    pooled: Float[Tensor, "nodes channels"]
    nodes: Float[Tensor, "nodes width"]
    edges: Float[Tensor, "edges width"]


def mlp(*widths: int, last: bool = False) -> nn.Sequential:
    """Linear layers with ReLU between them, and after the last one where asked for."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(inputs, outputs))
        if last or index + 2 < len(widths):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def start(module: nn.Module) -> None:
    """Weights that keep the size of signals through many layers of ReLU (He et al. 2015, arXiv 1502.01852), biases of zero.

    The networks here have ten such layers in a row without a norm between them.  With torch's usual start what tells things apart
    shrinks to a hundredth on the way, and a thousand steps go by before anything is learned.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if isinstance(layer, GroupAttention):
            nn.init.zeros_(layer.out.weight)  # adds nothing at first: what it would add is noise


class PointNet(nn.Module):
    """The same layers for every point, then the largest value of each channel.  Source: Qi et al. 2017, arXiv 1612.00593.

    No ReLU after the last layer, unlike in the code of SGFN and VL-SAT: channels that cannot be negative cannot mimic a picture
    feature, whose signs are even, beyond a cosine of about 0.7.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = mlp(*widths)

    def forward(self, points: Float[Tensor, "things k channels"]) -> Float[Tensor, "things features"]:
        return self.layers(points).amax(dim=1)


class DistanceBias(nn.Module):
    """What two things' offset adds to the logits of their attention: an MLP of (Δx, Δy, Δz, ‖Δ‖), one number per head.

    Source: VL-SAT, Sec. 3.3.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        width = _BIAS_WIDTH
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(),
            nn.Linear(width, heads),
        )  # fmt: skip

    def forward(self, centers: Float[Tensor, "nodes 3"], groups: Groups) -> Float[Tensor, "groups heads most most"]:
        padded = centers[groups.rows]
        offset = padded[:, :, None] - padded[:, None]
        return self.layers(torch.cat([offset, offset.norm(dim=-1, keepdim=True)], dim=-1)).permute(0, 3, 1, 2)


class GroupAttention(nn.Module):
    """LayerNorm(q + Attention(q, k)): multi-head attention within groups, such as the things of one scan.

    Args:
        width: channels of queries and keys.
        heads: of the attention.
        dropout: of what is added.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "rows width"],
        keys: Float[Tensor, "rows width"],
        groups: Groups,
        bias: Float[Tensor, "groups heads most most"] | None = None,
    ) -> Float[Tensor, "rows width"]:
        q, k, v = (
            layer(rows)[groups.rows].unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, rows in ((self.query, queries), (self.key, keys), (self.value, keys))
        )
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if bias is not None:
            logits = logits + bias
        logits = logits.masked_fill(~groups.real[:, None, None], -torch.inf)
        mixed = (torch.softmax(logits, dim=-1) @ v).transpose(1, 2).flatten(-2).flatten(0, 1)[groups.position]
        return self.norm(queries + self.dropout(self.out(mixed)))


class CosineClassifier(nn.Module):
    """Class logits: scaled cosines with one direction per class, which may be started from a text encoder's.

    Source: VL-SAT, Sec. 3.4; scale 1/0.07 at first and learned, as in CLIP.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(classes, width) * width**-0.5)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def start_from(self, text: Float[Tensor, "classes dim"]) -> None:
        """Starts the directions from text embeddings; further channels start at zero."""
        with torch.no_grad():
            self.directions.zero_()
            self.directions[:, : text.shape[1]] = text[:, : self.directions.shape[1]]

    def forward(self, features: Float[Tensor, "n width"]) -> Float[Tensor, "n classes"]:
        return self.log_scale.exp() * F.normalize(features, dim=-1) @ F.normalize(self.directions, dim=-1).T


class PredicateHead(nn.Module):
    """Logits of every predicate of a pair: three layers, dropout of 0.3 before the second ReLU."""

    def __init__(self, width: int, predicates: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width // 2)
        self.last, self.dropout = nn.Linear(width // 2, predicates), nn.Dropout(0.3)

    def forward(self, edges: Float[Tensor, "edges width"]) -> Float[Tensor, "edges predicates"]:
        return self.last(F.relu(self.dropout(self.second(F.relu(self.first(edges))))))


def largest_of(values: Float[Tensor, "edges width"], nodes: Int64[Tensor, "edges"], count: int) -> Float[Tensor, "count width"]:
    """Largest value of each channel over the pairs of a thing; 0 for things without pairs."""
    index = nodes[:, None].expand_as(values)
    return values.new_zeros(count, values.shape[1]).scatter_reduce(0, index, values, "amax", include_self=False)


def mean_of(values: Float[Tensor, "edges width"], nodes: Int64[Tensor, "edges"], count: int) -> Float[Tensor, "count width"]:
    """Mean over the pairs of a thing; 0 for things without pairs."""
    number = torch.bincount(nodes, minlength=count).clamp_min(1).to(values.dtype)
    return values.new_zeros(count, values.shape[1]).index_add(0, nodes, values) / number[:, None]
