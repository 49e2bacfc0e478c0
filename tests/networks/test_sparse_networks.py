"""MinkUNet and SPVCNN: counts, equality with dense convolution, and what a sparse network must not depend on."""

import pytest
import torch
import torch.nn.functional as F
from tests.support.clouds import full_block, parameter_count, randomised_statistics, wavy_cloud
from torch import nn

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Pointwise, mean_in_voxels, trilinear, voxelise
from scenewise.networks.backbones import Backbone3D
from scenewise.networks.minkunet import MINKUNETS, MinkUNet, minkunet, minkunet14a, minkunet18a, minkunet34c, scaled_planes
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.networks.spvcnn import SPVCNN, coarser

TINY = (4, 6, 8, 6, 8, 6, 4, 5)


def tiny_minkunet(seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MinkUNet(3, TINY, (1,) * 8, stem_planes=4, **settings)


def tiny_spvcnn(seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SPVCNN(3, width=0.125, **{"dropout": 0.0, **settings})


BOTH = pytest.mark.parametrize("build", [tiny_minkunet, tiny_spvcnn])


# Counts


@pytest.mark.parametrize(
    ("name", "classes20", "text512"),
    [
        ("14A", 8_015_092, 8_062_816),  # published 8.02 and 8.06 million
        ("14B", 8_952_180, 9_015_648),
        ("14C", 11_910_516, 11_973_984),
        ("14D", 43_306_356, 43_495_776),
        ("18A", 15_483_764, 15_531_488),
        ("34A", 36_598_004, 36_629_984),
        ("34B", 36_217_076, 36_233_312),
        ("34C", 37_846_644, 37_894_368),
    ],
)
def test_parameters_of_the_family(name, classes20, text512):
    with torch.device("meta"):
        network = minkunet(name, 3)
        heads = [nn.Linear(network.out_channels, outputs) for outputs in (20, 512)]
    counts = [parameter_count(network) + parameter_count(head) for head in heads]
    assert counts == [classes20, text512]
    published = {"14A": 8.02, "14B": 8.95, "14C": 11.9, "14D": 43.3, "18A": 15.5, "34A": 36.6, "34B": 36.2, "34C": 37.9}
    assert counts[0] / 1e6 == pytest.approx(published[name], abs=0.06)


def test_parameters_of_34_blocks_on_14a_planes():
    with torch.device("meta"):
        network = MinkUNet(3, MINKUNETS["14A"].planes, MINKUNETS["34A"].blocks)
    assert parameter_count(network) + 97 * 20 == 31_635_572  # 31.6 million


def test_named_builders_and_width():
    with torch.device("meta"):
        assert [parameter_count(build(3)) for build in (minkunet14a, minkunet18a, minkunet34c)] == [
            8_013_152,
            15_481_824,
            37_844_704,
        ]
        quarter = minkunet14a(3, 0.25)
    # The prototype's quarter network had 0.61 million with a 512-d head and a 5³ stem.
    assert parameter_count(quarter) + 33 * 512 + (125 - 27) * 3 * 16 == 614_640
    assert [scaled_planes(p, 0.25) for p in (32, *MINKUNETS["14A"].planes)] == [16, 16, 16, 32, 64, 32, 32, 32, 32]
    assert [scaled_planes(96, 0.5), scaled_planes(96, 0.35), scaled_planes(32, 0.01)] == [48, 48, 16]


@pytest.mark.parametrize(("width", "millions"), [(1.0, 21.8), (0.64, 8.8), (0.5, 5.5)])
def test_parameters_of_spvcnn(width, millions):
    """Published for SemanticKITTI: four inputs, a head of 19 classes on the last point layer."""
    with torch.device("meta"):
        network = SPVCNN(4, width=width)
    count = parameter_count(network) + 19 * (network.out_channels + 1)
    assert count == {1.0: 21_778_003, 0.64: 8_793_617, 0.5: 5_449_267}[width]
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_parameters_of_clip2scenes_spvcnn():
    """One input, two heads of 512 on the three point layers together."""
    with torch.device("meta"):
        network = SPVCNN(1, heads_on="concat", dropout=0.0)
    assert network.out_channels == 480
    assert parameter_count(network) + 2 * 512 * 481 == 22_266_112  # published 22.3 million


# Equality with a dense network


def dense_minkunet(network, maps):
    """The same network in torch's dense convolutions, on a full box; written from the figure, not from the class."""

    def norm(x, layer, relu=True, residual=None):
        x = F.batch_norm(x, layer.running_mean.clone(), layer.running_var.clone(), layer.weight, layer.bias, network.training)
        x = x if residual is None else x + residual
        return x.relu() if relu else x

    def conv(x, layer):
        return F.conv3d(x, layer.weight.unflatten(0, (3, 3, 3)).permute(4, 3, 0, 1, 2), padding=1)

    def block(x, layers):
        inner = norm(conv(x, layers.conv1), layers.norm1)
        direct = x
        if layers.shortcut is not None:
            direct = norm(torch.einsum("bixyz,oi->boxyz", x, layers.shortcut.weight), layers.shortcut_norm, relu=False)
        return norm(conv(inner, layers.conv2), layers.norm2, residual=direct)

    x = norm(conv(maps, network.stem.conv), network.stem.norm)
    kept = [x]
    for down, level in zip(network.downs, network.encoders, strict=True):
        x = norm(F.conv3d(x, down.conv.weight.unflatten(0, (2, 2, 2)).permute(4, 3, 0, 1, 2), stride=2), down.norm)
        for layers in level.blocks:
            x = block(x, layers)
        kept.append(x)
    kept.pop()
    for up, level in zip(network.ups, network.decoders, strict=True):
        x = norm(F.conv_transpose3d(x, up.conv.weight.unflatten(0, (2, 2, 2)).permute(3, 4, 0, 1, 2), stride=2), up.norm)
        x = torch.cat([x, kept.pop()], dim=1)
        for layers in level.blocks:
            x = block(x, layers)
    return x


@pytest.mark.parametrize("training", [False, True])
def test_minkunet_equals_a_dense_network_on_a_full_box(training):
    cloud, maps = full_block((32, 16, 16), channels=3)
    network = randomised_statistics(tiny_minkunet()).double().train(training)
    sparse = network(cloud)
    dense = dense_minkunet(network, maps.double())
    torch.testing.assert_close(sparse, dense[0].flatten(1).T, rtol=1e-9, atol=1e-9)
    if not training:
        single = randomised_statistics(tiny_minkunet()).eval()(cloud)
        assert (single - sparse).abs().max() < 2e-5 * sparse.abs().max()  # float32 through 22 layers


# What it must not depend on


@BOTH
def test_permutation_of_points_permutes_features(build):
    cloud = wavy_cloud()
    network = build().double()
    # Any order inside a scan; scans stay ascending.
    order = torch.cat([torch.randperm(350, generator=torch.Generator().manual_seed(1)) + first for first in (0, 350)])
    turned = VoxelisedPoints.from_points(cloud.inputs[order], cloud.positions[order], cloud.batch[order])
    torch.testing.assert_close(network(turned), network(cloud)[order], rtol=1e-9, atol=1e-9)


@BOTH
def test_translation_by_sixteen_voxels_changes_nothing(build):
    cloud = wavy_cloud()
    quantised = (cloud.positions * 64).round() / 64  # so that shifting is exact
    network = build().double().eval()
    randomised_statistics(network)

    def features(shift):
        return network(VoxelisedPoints.from_points(cloud.inputs, quantised + torch.tensor(shift), cloud.batch))

    torch.testing.assert_close(features([16.0, -32.0, 48.0]), features([0.0, 0.0, 0.0]), rtol=1e-9, atol=1e-9)
    assert (features([1.0, 0.0, 0.0]) - features([0.0, 0.0, 0.0])).abs().max() > 1e-3  # one voxel does change the coarse levels


@BOTH
def test_scans_of_a_batch_do_not_touch(build):
    network = randomised_statistics(build()).double().eval()
    cloud = wavy_cloud()
    first = cloud.batch == 0
    alone = VoxelisedPoints.from_points(cloud.inputs[first], cloud.positions[first], cloud.batch[first])
    torch.testing.assert_close(network(cloud)[first], network(alone), rtol=1e-9, atol=1e-9)


@BOTH
def test_rows_are_rows_of_all(build):
    cloud, network = wavy_cloud(), build()
    assert isinstance(network, Backbone3D)
    rows = torch.tensor([5, 690, 5, 17])
    network.eval()
    whole = network(cloud)
    assert whole.shape == (700, network.out_channels)
    assert torch.equal(network(cloud, rows), whole[rows])
    assert network(cloud, rows[:0]).shape == (0, network.out_channels)


@BOTH
def test_repeated_training_step_is_bit_identical_and_reaches_every_parameter(build):
    cloud = wavy_cloud()

    def step():
        network = build()
        features = network(cloud)
        (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        return features, gradients, dict(network.named_buffers())

    features, gradients, buffers = step()
    assert features.isfinite().all()
    silent = [name for name, gradient in gradients.items() if gradient is None or not (gradient != 0).any()]
    # A bias in front of a batch norm has no effect.
    assert [name for name in silent if not name.endswith("linear.bias")] == []
    again, same_gradients, same_buffers = step()
    assert torch.equal(features, again)
    assert all(torch.equal(gradients[name], same_gradients[name]) for name in gradients)
    assert all(torch.equal(buffers[name], same_buffers[name]) for name in buffers)


@BOTH
@pytest.mark.parametrize("points", [1, 3])
def test_one_voxel_trains(build, points):
    cloud = VoxelisedPoints.from_points(
        torch.ones(points, 3), torch.full((points, 3), -7.25), torch.zeros(points, dtype=torch.int64)
    )
    network = build()
    features = network(cloud)
    features.sum().backward()
    assert features.shape == (points, network.out_channels) and features.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("kind", "steps"), [(MinkUNet, 20), (SPVCNN, 8)])
def test_steepness_is_learned(kind, steps):
    """A few steps tell points on slopes of a sheet from those on flat parts, which takes seeing the shape."""
    cloud = wavy_cloud(points=600)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MinkUNet(3, (16,) * 8, stem_planes=16) if kind is MinkUNet else SPVCNN(3, width=0.25, dropout=0.0)
        head = torch.nn.Linear(network.out_channels, 2)
    steep = ((torch.cos(cloud.positions[:, 0] / 5) * 0.8).abs() > 0.55).long()
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for _ in range(steps):
        loss = F.cross_entropy(head(network(cloud)), steep)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(network(cloud)).argmax(1) == steep).float().mean() > 0.85


def test_no_points_at_all():
    cloud = VoxelisedPoints.from_points(torch.ones(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    for build in (tiny_minkunet, tiny_spvcnn):
        network = build()
        assert network(cloud).shape == (0, network.out_channels)


def test_a_voxels_input_is_the_mean_of_its_points():
    cloud = wavy_cloud(points=2000, extent=12.0)
    network = randomised_statistics(tiny_minkunet()).eval()
    voxel = cloud.voxels.voxel_of_point
    sums = torch.zeros(len(cloud.voxels.grid), 3).index_add_(0, voxel, cloud.inputs)
    means = (sums / torch.bincount(voxel)[:, None])[voxel]
    pooled = VoxelisedPoints(means, cloud.positions, cloud.batch, cloud.voxels)
    torch.testing.assert_close(network(cloud), network(pooled), rtol=1e-4, atol=1e-5)
    halved = VoxelisedPoints(means / 2, cloud.positions, cloud.batch, cloud.voxels)
    assert (network(cloud) - network(halved)).abs().max() > 1e-2


def test_precision_bfloat16_stays_close():
    cloud = wavy_cloud()
    exact, rounded = (randomised_statistics(tiny_minkunet(precision=p)).eval()(cloud) for p in ("float32", "bfloat16"))
    assert (exact - rounded).norm() < 0.05 * exact.norm()


# SPVCNN


def test_constant_fields_survive_voxels_and_points():
    """Identity 13: devoxelising what was voxelised from a constant is the constant, on every level."""
    cloud = wavy_cloud()
    voxels = cloud.voxels
    constant = torch.tensor([[2.5, -1.0]]).expand(len(cloud.inputs), -1)
    for _ in range(5):
        there = mean_in_voxels(constant, voxels)
        torch.testing.assert_close(there, torch.tensor([[2.5, -1.0]]).expand(len(voxels.grid), -1))
        torch.testing.assert_close(trilinear(there, voxels.grid, cloud.positions, cloud.batch), constant)
        voxels = coarser(voxels)


def test_coarser_voxels_are_those_of_halved_coordinates():
    cells = torch.tensor([[0, -1, 0, 5], [0, 2, 3, 4], [0, -2, 1, 4], [0, 3, 3, 5]], dtype=torch.int32)
    found = coarser(voxelise(cells))
    wanted = torch.tensor([[0, -1, 0, 2], [0, 1, 1, 2], [0, -1, 0, 2], [0, 1, 1, 2]], dtype=torch.int32)
    assert torch.equal(found.grid.coords[found.voxel_of_point], wanted)
    assert found.counts.tolist() == [2, 2]


def test_spvcnn_tells_points_of_one_voxel_apart():
    """What the point branch is for: trilinear features differ inside a voxel."""
    cloud = wavy_cloud(points=2000, extent=12.0)
    network = randomised_statistics(tiny_spvcnn()).eval()
    features = network(cloud)
    voxel = cloud.voxels.voxel_of_point
    first = torch.zeros(len(cloud.voxels.grid), dtype=torch.int64).index_copy_(0, voxel.flip(0), torch.arange(len(voxel)).flip(0))
    differs = (features != features[first[voxel]]).any(1)
    assert differs.sum() == len(voxel) - len(cloud.voxels.grid)


def test_dropout_acts_while_training_only():
    cloud, network = wavy_cloud(), tiny_spvcnn(dropout=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(network(cloud), network(cloud))
    network.eval()
    assert torch.equal(network(cloud), network(cloud))


def test_concatenated_features_end_with_the_last():
    cloud = wavy_cloud()
    last, concat = (randomised_statistics(tiny_spvcnn(heads_on=where)).eval() for where in ("last", "concat"))
    assert torch.equal(concat(cloud)[:, -last.out_channels :], last(cloud))
    assert concat.out_channels == 32 + 16 + 12


# Errors


@pytest.mark.errors
def test_promised_errors():
    with pytest.raises(ConventionError, match="stem_kernel: expected 3, got 5"):
        MinkUNet(3, stem_kernel=5)
    with pytest.raises(ConventionError, match="8 numbers each, got 3, 8"):
        MinkUNet(3, (1, 2, 3))
    with pytest.raises(ConventionError, match=r"one of 14A, .*, got 50"):
        minkunet("50", 3)
    with pytest.raises(ConventionError, match="width"):
        SPVCNN(3, width=0.01)


def test_the_reference_network_has_no_layer_of_the_compiled_library():
    assert not any(isinstance(module, Pointwise) for module in minkunet14a(3, backend="reference").modules())
    assert any(isinstance(module, Pointwise) for module in minkunet14a(3).modules())
