"""Layers that pass messages between the things of a scan: those of SGFN, SGGpoint and SGPN."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.networks.graphs.blocks import largest_of, mean_of, mlp

Nodes = Float[Tensor, "nodes width"]
Edges = Float[Tensor, "edges width"]


class FeatureWiseAttention(nn.Module):
    """SGFN's layer: gates over channels instead of neighbours.

        e' = MLP[x_i ⊕ e ⊕ x_j]
        p  = softmax over channels of MLP[(W_q x_i)_h ⊕ (W_k e)_h] for each head h
        x' = MLP[x_i ⊕ max over j of p ⊙ W_v x_j]

    Source: Wu et al. 2021, arXiv 2103.14898, Sec. 3.2, as in the branch cvpr21 of its code: no temperature, dropout within the
    gates.

    Args:
        width: of things and pairs.
        heads: of the gates.
        dropout: within the gates.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.heads = heads
        value, per_head = width // 2, width // heads
        self.edge = mlp(3 * width, 2 * width, width)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, value)
        self.gate_first, self.gate_last = nn.Linear(2 * per_head, 2 * per_head), nn.Linear(2 * per_head, value // heads)
        self.dropout = nn.Dropout(dropout)
        self.node = mlp(width + value, width + value, width)

    def forward(self, nodes: Nodes, edges: Edges, pairs: Int64[Tensor, "2 edges"]) -> tuple[Nodes, Edges]:
        first, second = pairs
        told = self.edge(torch.cat([nodes[first], edges, nodes[second]], dim=-1))
        # Queries and values once per thing, not once per pair.
        query, key = (rows.unflatten(-1, (self.heads, -1)) for rows in (self.query(nodes)[first], self.key(edges)))
        hidden = self.dropout(F.relu(self.gate_first(torch.cat([query, key], dim=-1))))
        gate = torch.softmax(self.gate_last(hidden), dim=-1).flatten(1)
        gathered = largest_of(gate * self.value(nodes)[second], first, len(nodes))
        return self.node(torch.cat([nodes, gathered], dim=-1)), told


class EdgeGcn(nn.Module):
    """SGGpoint's EdgeGCN: pairs decide how much of a thing passes, things how much of a pair.

        q  = σ(mean of W_a e over pairs that leave ⊙ mean of W_a e over pairs that enter)
        x' = ReLU(GCN(ReLU(GCN(x)) ⊙ q)),   r = σ(W_c[ReLU(W_b x'_i) ⊕ ReLU(W_b x'_j)]),   e' = ReLU(W₂(ReLU(W₁ e) ⊙ r))

    and both are joined with what came in.  Source: Zhang et al. 2021, "Exploiting Edge-Oriented Reasoning for 3D Point-based
    Scene Graph Analysis", CVPR, Sec. 3.3.

    Args:
        width: of things and pairs, even.
        dropout: between the layers.
    """

    def __init__(self, width: int, dropout: float = 0.5) -> None:
        super().__init__()
        half = width // 2
        self.node_gate, self.first, self.second = nn.Linear(width, half), nn.Linear(width, half), nn.Linear(half, width)
        self.seen, self.edge_gate = nn.Linear(width, half), nn.Linear(width, half)
        self.edge_first, self.edge_second = nn.Linear(width, half), nn.Linear(half, width)
        self.join_nodes, self.join_edges = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Nodes, edges: Edges, pairs: Int64[Tensor, "2 edges"]) -> tuple[Nodes, Edges]:
        first, second = pairs
        count, told = len(nodes), self.node_gate(edges)
        gate = torch.sigmoid(mean_of(told, first, count) * mean_of(told, second, count))
        hidden = self.dropout(F.relu(_convolved(self.first(nodes), pairs)) * gate)
        mixed = F.relu(_convolved(self.second(hidden), pairs))
        seen = F.relu(self.seen(mixed))
        passes = torch.sigmoid(self.edge_gate(torch.cat([seen[first], seen[second]], dim=-1)))
        updated = F.relu(self.edge_second(self.dropout(F.relu(self.edge_first(edges))) * passes))
        return self.join_nodes(torch.cat([nodes, mixed], dim=-1)), self.join_edges(torch.cat([edges, updated], dim=-1))


def _convolved(nodes: Float[Tensor, "nodes channels"], pairs: Int64[Tensor, "2 edges"]) -> Float[Tensor, "nodes channels"]:
    """D^(−½) (A + I) D^(−½) x, D counting the pairs that enter and the thing itself.  Source: Kipf and Welling 2017."""
    first, second = pairs
    degree = 1.0 + torch.bincount(second, minlength=len(nodes)).to(nodes.dtype)
    scaled = nodes * degree.rsqrt()[:, None]
    gathered = scaled.index_add(0, second, scaled[first])
    return gathered * degree.rsqrt()[:, None]


class TripletLayer(nn.Module):
    """SGPN's layer: every pair updates itself and both of its ends.

        (a, e', b) = MLP₁[x_i ⊕ e ⊕ x_j],   x' = x + MLP₂(mean over its pairs of a where it is subject and b where it is object)

    The released code gives a + b to one end only; this is the form of the paper.
    Source: Wald et al. 2020, arXiv 2004.03967, Sec. 3.2.

    Args:
        width: of things and pairs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.message = mlp(3 * width, width, 3 * width, last=True)
        self.update = mlp(width, width, width)

    def forward(self, nodes: Nodes, edges: Edges, pairs: Int64[Tensor, "2 edges"]) -> tuple[Nodes, Edges]:
        first, second = pairs
        to_subject, told, to_object = self.message(torch.cat([nodes[first], edges, nodes[second]], dim=-1)).chunk(3, dim=-1)
        gathered = mean_of(torch.cat([to_subject, to_object]), torch.cat([first, second]), len(nodes))
        return nodes + self.update(gathered), told
