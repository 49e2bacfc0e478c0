"""VL-SAT's oracle: a branch that also sees pictures and is held to sentences, and reads the student on its way.

Information flows from the student to the oracle alone; what the oracle learns comes back through the gradients of keys and
values.  Nothing of it is deployed.  Source: Wang et al. 2023, "VL-SAT", arXiv 2303.14408, Sec. 3.2–3.4.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.networks.graphs.blocks import (
    CosineClassifier,
    DistanceBias,
    GraphState,
    GroupAttention,
    PointNet,
    PredicateHead,
    mlp,
    start,
)
from scenewise.networks.graphs.encoders import NodeEncoder, PairEncoder
from scenewise.networks.graphs.inputs import GraphInputs
from scenewise.networks.graphs.students import GraphLogits, GraphShape, GraphStudent, Layers


@dataclass(frozen=True)
class OracleShape:
    """What the oracle is made of.

    Attributes:
        image_dim: of the picture features; None where the oracle sees none and begins with the points of things.
        text_dim: of the sentence features.
        reads_nodes: its things query the student's.
        reads_edges: its pairs query the student's.
        mask_edges: pairs see only pairs of their own scan; the released code forgets it.
        projects: what mimics the pictures is a linear layer of the features that enter the graph; else the first pooled channels
            as they are.
    """

    image_dim: int | None = 128
    text_dim: int = 128
    reads_nodes: bool = True
    reads_edges: bool = True
    mask_edges: bool = True
    projects: bool = True


@final
class ImageAdapter(nn.Module):
    """Half the picture's feature, half what an MLP makes of it; trained before the rest, then frozen.

    y = ½ MLP(x) + ½ x.  Source: VL-SAT, Sec. 3.2, after CLIP-Adapter, arXiv 2110.04544.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = mlp(dim, max(1, dim // 2), dim)

    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        return 0.5 * self.layers(features) + 0.5 * features


@final
class GraphOracle(nn.Module):
    """The branch beside a student of some kind.

    Args:
        student: shape of the student; the oracle has the same layers.
        shape: of the oracle.
    """

    def __init__(self, student: GraphShape, shape: OracleShape) -> None:
        super().__init__()
        self.shape = shape
        width = student.width
        self.points: NodeEncoder | None = None
        self.nodes: nn.Module = nn.LayerNorm(width)
        if shape.image_dim is None:
            self.points = NodeEncoder(PointNet(3, 64, 128, student.pooled), student.pooled, width)
        elif shape.image_dim != width:
            self.nodes = nn.Sequential(nn.Linear(shape.image_dim, width), nn.LayerNorm(width))
        self.pairs = PairEncoder(width)
        self.layers = Layers(student)
        self.bias = DistanceBias(student.heads)
        self.node_attention = nn.ModuleList(GroupAttention(width, student.heads) for _ in range(student.layers))
        self.edge_attention = nn.ModuleList(GroupAttention(width, student.heads) for _ in range(student.layers))
        self.classifier = CosineClassifier(width, student.classes)
        self.predicates = PredicateHead(width, student.predicates)
        self.sentence = nn.Sequential(
            nn.Linear(3 * width, 2 * width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2 * width, shape.text_dim)
        )
        self.projection = nn.Linear(width, shape.image_dim) if shape.image_dim is not None and shape.projects else None
        start(self)

    def encode(self, inputs: GraphInputs, pictures: Float[Tensor, "nodes dim"] | None) -> GraphState:
        """First features: of things their adapted pictures', of pairs those of their boxes."""
        if self.points is not None:
            pooled, nodes = self.points(inputs)
            return GraphState(pooled, nodes, self.pairs(inputs))
        assert pictures is not None, "an oracle that sees pictures"
        return GraphState(pictures, self.nodes(pictures), self.pairs(inputs))

    def attend(self, index: int, own: GraphState, student: GraphState, inputs: GraphInputs) -> GraphState:
        """Things query the student's things of the same scan."""
        if not self.shape.reads_nodes:
            return own
        groups = inputs.things_of_scans
        bias = self.bias(inputs.descriptors[:, :3], groups)
        return replace(own, nodes=self.node_attention[index](own.nodes, student.nodes, groups, bias))

    def update(self, index: int, own: GraphState, inputs: GraphInputs) -> GraphState:
        """Layer ``index``."""
        return self.layers(index, own, inputs)

    def attend_pairs(self, index: int, own: GraphState, student: GraphState, inputs: GraphInputs) -> GraphState:
        """Pairs query the student's pairs."""
        if not self.shape.reads_edges or inputs.edges.shape[1] == 0:
            return own
        groups = inputs.pairs_of_scans if self.shape.mask_edges else inputs.all_pairs
        return replace(own, edges=self.edge_attention[index](own.edges, student.edges, groups))

    def heads(self, state: GraphState) -> GraphLogits:
        """Names and relations."""
        return GraphLogits(self.classifier(state.nodes), self.predicates(state.edges))

    def mimicked(self, student: GraphState) -> Float[Tensor, "nodes dim"] | None:
        """What of the student's first features is held to the pictures; None without pictures."""
        if self.shape.image_dim is None:
            return None
        return student.pooled[:, : self.shape.image_dim] if self.projection is None else self.projection(student.nodes)

    def sentences(self, state: GraphState, pairs: Int64[Tensor, "2 edges"]) -> Float[Tensor, "edges text"]:
        """What each triplet would be as a sentence, unit length."""
        triplets = torch.cat([state.nodes[pairs[0]], state.nodes[pairs[1]], state.edges], dim=-1)
        return F.normalize(self.sentence(triplets), dim=-1)


@dataclass(frozen=True)
class BothBranches:
    """What student and oracle make of a batch.

    Attributes:
        student: its names and relations.
        oracle: the oracle's.
        mimicked: what of the student is held to the pictures, in their space; None without pictures.
        sentences: the oracle's triplets in the space of sentences.
    """

    student: GraphLogits
    oracle: GraphLogits
    mimicked: Float[Tensor, "nodes dim"] | None
    sentences: Float[Tensor, "edges text"]


def run_both(
    student: GraphStudent, oracle: GraphOracle, inputs: GraphInputs, pictures: Float[Tensor, "nodes dim"] | None
) -> BothBranches:
    """Both branches, layer by layer.

    Args:
        student: sees points.
        oracle: sees pictures and the student.
        inputs: things and pairs.
        pictures: adapted picture feature of each thing, where the oracle sees any.
    """
    own, other = student.encode(inputs), oracle.encode(inputs, pictures)
    mimicked = oracle.mimicked(own)
    for index in range(len(student.layers)):
        own = student.attend(index, own, inputs)
        other = oracle.attend(index, other, own, inputs)
        own = student.update(index, own, inputs)
        other = oracle.update(index, other, inputs)
        other = oracle.attend_pairs(index, other, own, inputs)
    return BothBranches(student.heads(own), oracle.heads(other), mimicked, oracle.sentences(other, inputs.edges))
