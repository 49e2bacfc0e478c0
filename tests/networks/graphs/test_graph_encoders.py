"""First features of things and pairs, against loops."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from tests.support.graph_batches import inputs_of, stirred
from torch import nn

from scenewise.networks.graphs.blocks import PointNet
from scenewise.networks.graphs.encoders import Dgcnn, NodeEncoder, PairEncoder, UnionEncoder
from scenewise.networks.graphs.inputs import GraphInputs


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class Recorder(nn.Module):
    """Keeps what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.seen = width, torch.zeros(0)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        self.seen = points
        return points.new_zeros(len(points), self.width)


def test_edge_convolutions_take_the_largest_over_neighbours_before_the_norm() -> None:
    torch.manual_seed(0)
    network, points = stirred(Dgcnn(24, neighbours=3)), inputs_of((2,), points=7).centered
    found = network(points)
    for thing, cloud in enumerate(points):
        features, layers = cloud, []
        for own, other, norm in zip(network.own, network.other, network.norms, strict=True):
            rows = []
            for x in features:
                near = sorted(range(7), key=lambda j, x=x, features=features: float((features[j] - x).norm()))[:3]
                told = torch.stack([own(x) + other(features[j] - x) for j in near])
                rows.append(told.max(0).values)
            features = F.leaky_relu(norm(torch.stack(rows)), 0.2)
            layers.append(features)
        wanted = F.leaky_relu(network.last(torch.cat(layers, 1)), 0.2).max(0).values
        assert torch.allclose(found[thing], wanted)
    assert [layer.out_features for layer in network.own] == [3, 3, 6, 12]


def test_fewer_points_than_neighbours_and_points_on_one_spot_are_no_trouble() -> None:
    torch.manual_seed(0)
    network = stirred(Dgcnn(24, neighbours=8))
    few = inputs_of((2,), points=3).points
    assert network(few).isfinite().all()
    spot = few[:, :1].expand(-1, 9, -1)
    assert torch.allclose(network(spot), network(few[:, :1])), "a thing that is one point, however often it is told"


def test_things_are_pooled_narrowed_and_joined_with_their_boxes() -> None:
    torch.manual_seed(0)
    encoder, inputs = stirred(NodeEncoder(PointNet(3, 8, 12), 12, 16)), inputs_of((4,))
    assert isinstance(encoder, NodeEncoder)
    pooled, nodes = encoder(inputs)

    def normed(norm: nn.BatchNorm1d, row: torch.Tensor) -> torch.Tensor:
        return (row - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias

    for thing in range(4):
        found = normed(encoder.pool_norm, encoder.backbone(inputs.centered[thing : thing + 1])[0])
        assert torch.allclose(pooled[thing], found)
        narrow = torch.relu(normed(encoder.norm, encoder.narrow(found)))
        assert narrow.shape == (8,) and torch.allclose(nodes[thing], encoder.last(torch.cat([narrow, inputs.geometry[thing]])))


def test_pairs_are_layers_of_their_eleven_numbers() -> None:
    torch.manual_seed(0)
    encoder, inputs = stirred(PairEncoder(16)), inputs_of((3,))
    found = encoder(inputs)
    for row in range(6):
        assert torch.allclose(found[row], encoder.norm(encoder.layers(inputs.pair_descriptors[row])))


def cluster(middle: tuple[float, float, float], count: int = 9, spread: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(100 * sum(middle)))
    return torch.tensor(middle) + spread * (2 * torch.rand(count, 3, generator=generator) - 1)


def test_marks_of_a_pair_and_what_else_is_in_its_box() -> None:
    """Things 0 and 1 span a box; 2 lies in it, 3 beside it, 4 in it but in another scan, 5 is that scan's second thing."""
    places = [(0.0, 0.0, 0.0), (3.0, 2.0, 1.0), (1.5, 1.0, 0.5), (1.5, 6.0, 0.5), (1.5, 1.0, 0.6), (9.0, 9.0, 9.0)]
    points = torch.stack([cluster(place) for place in places]).double()
    edges = torch.tensor([[0, 1, 0, 4], [1, 0, 2, 5]])
    inputs = GraphInputs(points, edges, torch.tensor([0, 0, 0, 0, 1, 1]))
    encoder = UnionEncoder(16, points=24).double().eval()
    encoder.backbone = recorder = Recorder(16)
    encoder(inputs)
    for row, (first, second) in enumerate(edges.T.tolist()):
        both = torch.cat([points[first], points[second]])
        low, high = both.min(0).values, both.max(0).values
        cloud, marks = recorder.seen[row, :, :3] + (low + high) / 2, recorder.seen[row, :, 3]
        assert torch.allclose(cloud[:8], points[first, :8]) and (marks[:8] == 1).all(), "the subject"
        assert torch.allclose(cloud[8:16], points[second, :8]) and (marks[8:16] == 2).all(), "the object"
        third = cloud[marks == 0]
        if row < 2:
            assert torch.allclose(third, points[2, :2]), "a quarter of a share of each other thing, within the box alone"
        else:
            assert not len(third), "nothing else within the box"
        rest = cloud[16:][marks[16:] == 1]
        assert len(rest) == 8 - len(third) and torch.allclose(rest, points[first, len(third) : 8])
        assert set(marks.tolist()) <= {0.0, 1.0, 2.0}


def test_what_is_in_the_box_tells() -> None:
    torch.manual_seed(0)
    encoder = stirred(UnionEncoder(16, points=24))
    points = torch.stack([cluster((0.0, 0.0, 0.0)), cluster((3.0, 2.0, 1.0)), cluster((1.5, 1.0, 0.5))]).double()
    away = torch.cat([points[:2], points[2:] + 20.0])
    edges, scans = torch.tensor([[0], [1]]), torch.zeros(3, dtype=torch.int64)
    inside, outside = (encoder(GraphInputs(each, edges, scans)) for each in (points, away))
    alone = encoder(GraphInputs(points[:2], edges, scans[:2]))
    other = encoder(GraphInputs(points, edges, torch.tensor([0, 0, 1])))
    assert (inside - outside).abs().max() > 1e-3
    assert torch.allclose(alone, outside) and torch.allclose(alone, other)
    assert encoder(GraphInputs(points, edges[:, :0], scans)).shape == (0, 16)


def test_of_many_things_in_the_box_those_nearest_its_middle_are_told_however_they_are_numbered() -> None:
    torch.manual_seed(0)
    encoder, edges, scans = stirred(UnionEncoder(16, points=24)), torch.tensor([[0], [1]]), torch.zeros(12, dtype=torch.int64)
    between = [(0.25 * n, 0.2 * n, 0.1 * n) for n in range(1, 11)]
    points = torch.stack([cluster(place) for place in ((0.0, 0.0, 0.0), (3.0, 2.0, 1.0), *between)]).double()
    found = encoder(GraphInputs(points, edges, scans))
    others = torch.cat([points[:2], points[2:].flip(0)])
    assert torch.allclose(found, encoder(GraphInputs(others, edges, scans)))
    encoder.backbone = recorder = Recorder(16)
    encoder(GraphInputs(points, edges, scans))
    told = recorder.seen[0, recorder.seen[0, :, 3] == 0, :3]
    both = torch.cat([points[0], points[1]])
    middle = (both.min(0).values + both.max(0).values) / 2
    away = (points[2:, :2].flatten(0, 1) - middle).norm(dim=1).sort().values
    assert torch.allclose(told.norm(dim=1).sort().values, away[:8])
