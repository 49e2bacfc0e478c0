"""Networks that are deployed: they see points and nothing else.

All have one interface, so that an oracle can be trained beside any of them: encode, then per layer attend and update, then two
heads.  ``attend`` is empty where a network has no attention of its own.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.networks.graphs.blocks import (
    CosineClassifier,
    DistanceBias,
    GraphState,
    GroupAttention,
    PointNet,
    PredicateHead,
    start,
)
from scenewise.networks.graphs.encoders import Dgcnn, NodeEncoder, PairEncoder, UnionEncoder
from scenewise.networks.graphs.inputs import GraphInputs
from scenewise.networks.graphs.layers import EdgeGcn, FeatureWiseAttention, TripletLayer

StudentKind = Literal["vl_sat", "sgfn", "sggpoint", "sgpn"]
POOLED_SHARE = 1.5
"""Channels of the backbone over the width: 768 over 512 in VL-SAT."""


@dataclass(frozen=True)
class GraphShape:
    """Sizes of a network.

    Attributes:
        kind: "vl_sat": SGFN's layers after attention between things; "sgfn": these alone; "sggpoint": DGCNN and EdgeGCN, once;
            "sgpn": points of pairs and triplet layers.
        classes: of things.
        predicates: of pairs.
        width: channels of things and pairs.
        heads: of attention and of gates.
        depth: layers; SGGpoint has one whatever is said here.
        points: of each thing, at most.
        dropout: between layers.
    """

    kind: StudentKind = "vl_sat"
    classes: int = 15
    predicates: int = 23
    width: int = 128
    heads: int = 8
    depth: int = 2
    points: int = 128
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("classes", "predicates", "width", "heads", "depth", "points"):
            if getattr(self, name) < 1:
                raise ConventionError(name, expected="at least 1", got=getattr(self, name))
        if not 0.0 <= self.dropout < 1.0:
            raise ConventionError("dropout", expected="a number from 0, below 1", got=self.dropout)
        if self.width % (2 * self.heads) or self.width < 16:
            raise ConventionError("width", expected=f"16 or more, a multiple of {2 * self.heads}", got=self.width)

    @property
    def pooled(self) -> int:
        """Channels of the backbone."""
        return int(POOLED_SHARE * self.width)

    @property
    def layers(self) -> int:
        """How often messages are passed."""
        return 1 if self.kind == "sggpoint" else self.depth


@dataclass(frozen=True)
class GraphLogits:
    """What a network says.

    Attributes:
        classes: logits of every thing.
        predicates: logits of every pair, each its own yes or no.
    """

    classes: Float[Tensor, "nodes classes"]
    predicates: Float[Tensor, "edges predicates"]


def graph_layer(shape: GraphShape) -> nn.Module:
    """One layer of a kind of network."""
    if shape.kind == "sggpoint":
        return EdgeGcn(shape.width, shape.dropout)
    if shape.kind == "sgpn":
        return TripletLayer(shape.width)
    return FeatureWiseAttention(shape.width, shape.heads, shape.dropout)


@final
class Layers(nn.Module):
    """The graph layers of one branch, with ReLU and dropout between them and nothing after the last."""

    def __init__(self, shape: GraphShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(graph_layer(shape) for _ in range(shape.layers))
        self.dropout = nn.Dropout(shape.dropout if shape.kind != "sgpn" else 0.0)

    def __len__(self) -> int:
        return len(self.layers)

    def forward(self, index: int, state: GraphState, inputs: GraphInputs) -> GraphState:
        nodes, edges = self.layers[index](state.nodes, state.edges, inputs.edges)
        if index + 1 < len(self.layers):
            nodes, edges = self.dropout(F.relu(nodes)), self.dropout(F.relu(edges))
        return GraphState(state.pooled, nodes, edges)


@final
class GraphStudent(nn.Module):
    """A network from points to names and relations."""

    def __init__(self, shape: GraphShape) -> None:
        super().__init__()
        self.shape = shape
        backbone = Dgcnn(shape.pooled) if shape.kind == "sggpoint" else PointNet(3, 64, 128, shape.pooled)
        self.nodes = NodeEncoder(backbone, shape.pooled, shape.width)
        self.pairs = UnionEncoder(shape.width) if shape.kind == "sgpn" else PairEncoder(shape.width)
        self.layers = Layers(shape)
        self.bias: DistanceBias | None = None
        self.attention = nn.ModuleList()
        if shape.kind == "vl_sat":
            self.bias = DistanceBias(shape.heads)
            self.attention.extend(GroupAttention(shape.width, shape.heads) for _ in range(shape.layers))
        self.classifier = CosineClassifier(shape.width, shape.classes)
        self.predicates = PredicateHead(shape.width, shape.predicates)
        start(self)

    def encode(self, inputs: GraphInputs) -> GraphState:
        """First features."""
        pooled, nodes = self.nodes(inputs)
        return GraphState(pooled, nodes, self.pairs(inputs))

    def attend(self, index: int, state: GraphState, inputs: GraphInputs) -> GraphState:
        """Attention between the things of a scan before layer ``index``, where the network has it."""
        if self.bias is None:
            return state
        groups = inputs.things_of_scans
        nodes = self.attention[index](state.nodes, state.nodes, groups, self.bias(inputs.descriptors[:, :3], groups))
        return GraphState(state.pooled, nodes, state.edges)

    def update(self, index: int, state: GraphState, inputs: GraphInputs) -> GraphState:
        """Layer ``index``."""
        return self.layers(index, state, inputs)

    def heads(self, state: GraphState) -> GraphLogits:
        """Names and relations."""
        return GraphLogits(self.classifier(state.nodes), self.predicates(state.edges))

    def forward(self, inputs: GraphInputs) -> GraphLogits:
        state = self.encode(inputs)
        for index in range(len(self.layers)):
            state = self.update(index, self.attend(index, state, inputs), inputs)
        return self.heads(state)


def build_student(shape: GraphShape, seed: int) -> GraphStudent:
    """A freshly initialised network; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GraphStudent(shape)
