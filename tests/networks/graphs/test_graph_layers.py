"""Layers of SGFN, SGGpoint and SGPN against loops over things and pairs."""

from collections.abc import Iterator

import pytest
import torch

from scenewise.networks.graphs.blocks import start
from scenewise.networks.graphs.layers import EdgeGcn, FeatureWiseAttention, TripletLayer

WIDTH = 8
# Thing 0 only tells, 4 has no pair at all, 1 and 2 tell each other, and most pairs have one direction only.
PAIRS = torch.tensor([[0, 1, 2, 0, 3], [1, 2, 1, 3, 1]])


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    nodes, edges = (torch.randn(count, WIDTH, generator=generator, dtype=torch.float64) for count in (5, 5))
    return nodes, edges


def test_gates_over_channels(features) -> None:
    nodes, edges = features
    torch.manual_seed(0)
    layer = FeatureWiseAttention(WIDTH, 2).double().eval()
    found_nodes, found_edges = layer(nodes, edges, PAIRS)
    told: dict[int, list[torch.Tensor]] = {node: [] for node in range(5)}
    for row, (i, j) in enumerate(PAIRS.T.tolist()):
        assert torch.allclose(found_edges[row], layer.edge(torch.cat([nodes[i], edges[row], nodes[j]])))
        query, key, value = layer.query(nodes[i]), layer.key(edges[row]), layer.value(nodes[j])
        gates = []
        for head in range(2):
            both = torch.cat([query[4 * head : 4 * head + 4], key[4 * head : 4 * head + 4]])
            gates.append(torch.softmax(layer.gate_last(torch.relu(layer.gate_first(both))), dim=0))
        assert [len(gate) for gate in gates] == [2, 2] and all(abs(float(gate.sum()) - 1) < 1e-12 for gate in gates)
        told[i].append(torch.cat(gates) * value)
    for node in range(5):
        gathered = torch.stack(told[node]).max(0).values if told[node] else torch.zeros(WIDTH // 2, dtype=torch.float64)
        assert torch.allclose(found_nodes[node], layer.node(torch.cat([nodes[node], gathered])))


def test_pairs_and_things_let_each_other_pass(features) -> None:
    nodes, edges = features
    torch.manual_seed(0)
    layer = EdgeGcn(WIDTH).double().eval()
    found_nodes, found_edges = layer(nodes, edges, PAIRS)

    adjacency = torch.eye(5, dtype=torch.float64)  # [to, from]
    for i, j in PAIRS.T.tolist():
        adjacency[j, i] += 1.0
    scale = torch.diag(adjacency.sum(1) ** -0.5)

    def convolved(rows: torch.Tensor) -> torch.Tensor:
        return scale @ adjacency @ scale @ rows

    gates = []
    for node in range(5):
        told = layer.node_gate(edges)
        leaving = [told[row] for row in range(5) if PAIRS[0, row] == node]
        entering = [told[row] for row in range(5) if PAIRS[1, row] == node]
        means = [sum(rows) / len(rows) if rows else torch.zeros(WIDTH // 2) for rows in (leaving, entering)]
        gates.append(torch.sigmoid(means[0] * means[1]))
    hidden = torch.relu(convolved(layer.first(nodes))) * torch.stack(gates)
    mixed = torch.relu(convolved(layer.second(hidden)))
    for node in range(5):
        assert torch.allclose(found_nodes[node], layer.join_nodes(torch.cat([nodes[node], mixed[node]])))
    for row, (i, j) in enumerate(PAIRS.T.tolist()):
        seen_i, seen_j = torch.relu(layer.seen(mixed[i])), torch.relu(layer.seen(mixed[j]))
        passes = torch.sigmoid(layer.edge_gate(torch.cat([seen_i, seen_j])))
        updated = torch.relu(layer.edge_second(torch.relu(layer.edge_first(edges[row])) * passes))
        assert torch.allclose(found_edges[row], layer.join_edges(torch.cat([edges[row], updated])))


def test_pairs_update_both_of_their_ends(features) -> None:
    nodes, edges = features
    torch.manual_seed(0)
    layer = TripletLayer(WIDTH).double().eval()
    found_nodes, found_edges = layer(nodes, edges, PAIRS)
    told: dict[int, list[torch.Tensor]] = {node: [] for node in range(5)}
    for row, (i, j) in enumerate(PAIRS.T.tolist()):
        message = layer.message(torch.cat([nodes[i], edges[row], nodes[j]]))
        assert torch.allclose(found_edges[row], message[WIDTH : 2 * WIDTH])
        told[i].append(message[:WIDTH])
        told[j].append(message[2 * WIDTH :])
    for node in range(5):
        mean = sum(told[node]) / len(told[node]) if told[node] else torch.zeros(WIDTH, dtype=torch.float64)
        assert torch.allclose(found_nodes[node], nodes[node] + layer.update(mean))


@pytest.mark.parametrize("make", [lambda: FeatureWiseAttention(WIDTH, 2), lambda: EdgeGcn(WIDTH), lambda: TripletLayer(WIDTH)])
def test_who_is_subject_matters_and_no_pair_is_no_trouble(features, make) -> None:
    nodes, edges = features
    torch.manual_seed(0)
    layer = make().double().eval()
    start(layer)
    there, back = layer(nodes, edges, PAIRS), layer(nodes, edges, PAIRS.flip(0))
    assert (there[0] - back[0]).abs().max() > 1e-3 and (there[1] - back[1]).abs().max() > 1e-3
    alone = layer(nodes[:1], edges[:0], PAIRS[:, :0])
    assert alone[0].shape == (1, WIDTH) and alone[0].isfinite().all() and alone[1].shape == (0, WIDTH)
