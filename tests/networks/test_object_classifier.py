"""The classifier of objects: pooling against loops, no object sees another, and a pre-trained backbone fits."""

import math

import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.networks.consistent.point_branch import PointBranch
from scenewise.networks.consistent.shape import ConsistentShape
from scenewise.networks.object_classifier import ClassifierShape, ObjectClassifier, pooled_by_item, smoothed_cross_entropy
from scenewise.networks.sparse_inputs import VoxelisedPoints

SIZES = (40, 7, 90)


def points_of(item: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours and positions of an object."""
    draw = torch.Generator().manual_seed(item)
    count = SIZES[item]
    return 2 * torch.rand(count, 3, generator=draw) - 1, 20 * torch.rand(count, 3, generator=draw)


def cloud_of(items: tuple[int, ...]) -> VoxelisedPoints:
    found = [points_of(item) for item in items]
    batch = torch.arange(len(items)).repeat_interleave(torch.tensor([SIZES[item] for item in items]))
    return VoxelisedPoints.from_points(torch.cat([each[0] for each in found]), torch.cat([each[1] for each in found]), batch)


def network_of(**shape: object) -> ObjectClassifier:
    torch.manual_seed(1)
    network = ObjectClassifier(ClassifierShape(5, backbone_width=0.125, **shape))  # type: ignore[arg-type]
    network.train()
    network(cloud_of((0, 2)))  # statistics of batch norm other than those of a new network
    return network.eval()


def test_pooling_is_that_of_loops_over_objects():
    draw = torch.Generator().manual_seed(2)
    features, item = torch.randn(9, 4, generator=draw), torch.tensor([2, 0, 0, 1, 2, 2, 0, 2, 1])
    found = pooled_by_item(features, item, 3)
    for row in range(3):
        mine = [each.tolist() for each, of in zip(features, item.tolist()) if of == row]
        channels = list(zip(*mine))
        wanted = [sum(values) / len(values) for values in channels] + [max(values) for values in channels]
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-6)
    negative = pooled_by_item(-torch.ones(2, 1), torch.tensor([0, 1]), 2)
    assert negative.tolist() == [[-1.0, -1.0], [-1.0, -1.0]]


@pytest.mark.parametrize("hidden", [0, 12])
def test_no_object_sees_another(hidden: int):
    network = network_of(hidden=hidden)
    with torch.no_grad():
        together, turned_round = network(cloud_of((0, 1, 2))), network(cloud_of((2, 0)))
        assert together.shape == (3, 5)
        for item in range(3):
            torch.testing.assert_close(together[item], network(cloud_of((item,)))[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(turned_round, together[[2, 0]], atol=1e-5, rtol=1e-4)
    assert (together[0] - together[2]).abs().max() > 1e-3, "objects differ"


def test_a_branch_of_a_pair_brings_its_backbone():
    branch = PointBranch(ConsistentShape(dim=8, backbone="minkunet18a", backbone_width=0.125))
    network = ObjectClassifier(ClassifierShape(3, "minkunet18a", 0.125))
    network.backbone.load_state_dict(branch.backbone.state_dict())  # strict: every name and size
    branch.eval(), network.eval()
    with torch.no_grad():
        cloud = cloud_of((0,))
        held = branch.backbone.voxel_features(cloud)
        torch.testing.assert_close(network.pooled(cloud)[0], torch.cat([held.mean(0), held.max(0).values]))


def test_all_of_it_learns():
    network = network_of(hidden=6).train()
    smoothed_cross_entropy(network(cloud_of((0, 1, 2))), torch.tensor([4, 0, 1]), 0.1).backward()
    assert all(each.grad is not None and bool(each.grad.any()) for each in network.head.parameters())
    assert bool(network.backbone.stem.conv.weight.grad.any())


def test_the_loss_is_that_of_smoothed_labels():
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, -2.0]])
    truth, total = (0, 2), 0.0
    for row, wanted in zip(logits.tolist(), truth):
        norm = sum(map(math.exp, row))
        total -= sum((0.7 * (place == wanted) + 0.3 / 4) * math.log(math.exp(value) / norm) for place, value in enumerate(row))
    assert float(smoothed_cross_entropy(logits, torch.tensor(truth), 0.3)) == pytest.approx(total / 2, rel=1e-5)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"classes": 0}, "classes: expected 1 to 65536, got 0"),
        ({"backbone_width": 0.0}, "backbone_width: expected above 0"),
        ({"hidden": -1}, "hidden: expected 0 to 16384"),
    ],
)
def test_sizes_that_no_network_has(shape: dict, message: str):
    with pytest.raises(ConventionError, match=message):
        ClassifierShape(**{"classes": 3, **shape})
