"""Networks on CUDA give what they give on the CPU."""

import copy

import pytest
import torch
from tests.support.clouds import randomised_statistics, wavy_cloud

from scenewise.networks.correlation import CorrelationTransformer
from scenewise.networks.deeplab import DeepLab
from scenewise.networks.minkunet import MinkUNet
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.networks.spvcnn import SPVCNN

pytestmark = pytest.mark.gpu


def same_on_cuda(network, call):
    """``call(network, device)`` → output, compared in float64 between devices, together with the parameters' gradients."""
    outputs = []
    for device in ("cpu", "cuda"):
        copied = copy.deepcopy(randomised_statistics(network)).double().to(device)
        output = call(copied, device)
        output.square().mean().backward()
        outputs.append([output.detach().cpu(), *(p.grad.cpu() for p in copied.parameters() if p.grad is not None)])
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "build", [lambda: MinkUNet(3, (8,) * 8, (1,) * 8, stem_planes=8), lambda: SPVCNN(3, width=0.125, dropout=0.0)]
)
def test_sparse_networks(build):
    def call(network, device):
        cloud = wavy_cloud()
        moved = (cloud.inputs.to(device), cloud.positions.to(device), cloud.batch.to(device))
        return network(VoxelisedPoints.from_points(*moved))

    same_on_cuda(build(), call)


def test_deeplab():
    network = DeepLab(block="basic", blocks=(1, 1, 1, 1), width=8, out_channels=8, rates=(1, 2))
    images = torch.rand(2, 3, 33, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    same_on_cuda(network, lambda network, device: network(images.to(device)))


@pytest.mark.parametrize("across", [True, False])
def test_correlation(across):
    tokens = torch.randn(20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scan = torch.tensor([0] * 8 + [1] * 12)
    same_on_cuda(
        CorrelationTransformer(16, heads=2),
        lambda network, device: network(tokens.to(device), scan.to(device), across=across),
    )
