"""Pieces that graph networks share, against loops."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from tests.support.graph_batches import inputs_of, stirred
from torch import nn

from scenewise.networks.graphs.blocks import (
    CosineClassifier,
    DistanceBias,
    GroupAttention,
    PointNet,
    PredicateHead,
    largest_of,
    mean_of,
    mlp,
    start,
)
from scenewise.networks.graphs.inputs import groups_of


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_attention_against_a_loop_over_groups() -> None:
    attention = stirred(GroupAttention(8, 2))
    numbers = torch.tensor([1, 0, 1, 1, 4, 0])
    queries, keys, groups = normal(6, 8), normal(6, 8, seed=1), groups_of(numbers)
    bias = normal(3, 2, 3, 3, seed=2)
    for shift in (None, bias):
        found = attention(queries, keys, groups, shift)
        for row in range(6):
            members = [other for other in range(6) if numbers[other] == numbers[row]]
            group, place = sorted({0, 1, 4}).index(int(numbers[row])), members.index(row)
            q, mixed = attention.query(queries[row]), []
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                logits = []
                for column, other in enumerate(members):
                    logit = float(q[part] @ attention.key(keys[other])[part]) / 2.0
                    logits.append(logit + (0.0 if shift is None else float(bias[group, head, place, column])))
                weights = [math.exp(each) / sum(map(math.exp, logits)) for each in logits]
                mixed.append(sum(w * attention.value(keys[other])[part] for w, other in zip(weights, members, strict=True)))
            assert torch.allclose(found[row], attention.norm(queries[row] + attention.out(torch.cat(mixed))))


def test_attention_adds_nothing_before_it_has_learned() -> None:
    torch.manual_seed(0)
    attention = GroupAttention(8, 2).double().eval()
    start(attention)
    queries = normal(4, 8)
    found = attention(queries, normal(4, 8, seed=1), groups_of(torch.tensor([0, 0, 1, 1])))
    assert torch.allclose(found, F.layer_norm(queries, (8,)))


def test_the_bias_of_attention_is_what_layers_make_of_the_offset_from_key_to_query() -> None:
    torch.manual_seed(0)
    bias, inputs = DistanceBias(3).double(), inputs_of((3, 2))
    centers, groups = normal(5, 3), inputs.things_of_scans
    found = bias(centers, groups)
    assert found.shape == (2, 3, 3, 3)
    for group, members in enumerate(([0, 1, 2], [3, 4])):
        for i, query in enumerate(members):
            for j, key in enumerate(members):
                offset = centers[query] - centers[key]
                wanted = bias.layers(torch.cat([offset, offset.norm()[None]]))
                assert torch.allclose(found[group, :, i, j], wanted)
    assert (found[0, :, 0, 1] - found[0, :, 1, 0]).abs().max() > 1e-3


def test_largest_and_mean_of_the_pairs_of_a_thing() -> None:
    values, nodes = normal(6, 3) - 2.0, torch.tensor([3, 0, 3, 1, 1, 3])
    largest, mean = largest_of(values, nodes, 5), mean_of(values, nodes, 5)
    for node in range(5):
        own = [values[row] for row in range(6) if nodes[row] == node]
        for channel in range(3):
            mine = [float(row[channel]) for row in own]
            assert float(largest[node, channel]) == (max(mine) if mine else 0.0)
            assert math.isclose(float(mean[node, channel]), sum(mine) / len(mine) if mine else 0.0, abs_tol=1e-12)
    assert (largest[[0, 1, 3]] < 0).any(), "zeros of things without pairs must not win against negative values"
    assert not largest_of(values[:0], nodes[:0], 2).any() and not mean_of(values[:0], nodes[:0], 2).any()


def test_the_predicate_head_layer_by_layer() -> None:
    torch.manual_seed(0)
    head, edges = PredicateHead(8, 3).double(), normal(4, 8)
    wanted = [head.last(torch.relu(head.second(torch.relu(head.first(edge))))) for edge in edges]
    assert torch.allclose(head.eval()(edges), torch.stack(wanted))
    assert head.first.out_features == 8 and head.second.out_features == 4
    # In training 0.3 of the second layer's four channels are left out and the others grow by 1 / 0.7.
    hidden = head.second(torch.relu(head.first(edges)))
    torch.manual_seed(3)
    kept = F.dropout(torch.ones_like(hidden), 0.3)
    torch.manual_seed(3)
    assert torch.allclose(head.train()(edges), head.last(torch.relu(hidden * kept))) and (kept == 0).any()


def test_points_in_any_order_and_twice_are_the_same_thing() -> None:
    torch.manual_seed(0)
    network, points = PointNet(3, 8, 5).double(), normal(2, 7, 3)
    found = network(points)
    assert torch.allclose(found, torch.stack([network.layers(each).max(dim=0).values for each in points]))
    assert torch.allclose(found, network(points.flip(1))) and torch.allclose(found, network(torch.cat([points, points], 1)))
    assert (network(points[:, :1]) < 0).any(), "no ReLU at the end"


def test_classes_are_scaled_cosines() -> None:
    classifier, features = CosineClassifier(6, 3).double(), normal(2, 6)
    for n, feature in enumerate(features):
        for c, direction in enumerate(classifier.directions):
            cosine = float(feature @ direction) / (math.sqrt(float(feature @ feature)) * math.sqrt(float(direction @ direction)))
            assert math.isclose(float(classifier(features)[n, c]), cosine / 0.07, rel_tol=1e-6)
    text = normal(3, 4)
    classifier.start_from(text)
    assert torch.equal(classifier.directions, torch.cat([text, torch.zeros(3, 2)], 1))
    longer = normal(3, 9)
    classifier.start_from(longer)
    assert torch.equal(classifier.directions, longer[:, :6])


def test_layers_end_in_a_relu_only_where_asked_for() -> None:
    assert [type(layer) for layer in mlp(2, 3, 4)] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in mlp(2, 3, 4, last=True)] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]


def test_signals_keep_their_size_through_many_layers() -> None:
    torch.manual_seed(0)
    deep = mlp(64, *[64] * 12, last=True).double()
    start(deep)
    values = normal(200, 64)
    assert 0.3 < float(deep(values).std() / values.std()) < 3.0
    assert all(not layer.bias.any() for layer in deep if isinstance(layer, nn.Linear))
