"""The 2D student: counts, sizes and what it must survive."""

import pytest
import torch
from tests.support.clouds import parameter_count
from torch import nn

from scenewise.errors import ConventionError
from scenewise.networks.deeplab import DeepLab, deeplab_narrow, deeplab_resnet50


def tiny(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Eight channels at least: on AVX2 processors oneDNN of torch 2.13 writes past its buffers in the backward pass of a
        # strided 1×1 convolution of four (docs/known-issues.md).
        return DeepLab(
            **{"block": "basic", "blocks": (1, 1, 1, 1), "width": 8, "out_channels": 8, "rates": (1, 2, 3), **settings}
        )


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_parameters_of_deeplab_resnet50():
    with torch.device("meta"):
        network = deeplab_resnet50()
    count = parameter_count(network) + 21 * (network.out_channels + 1)
    # Published for 21 classes with an auxiliary head: 42 004 074.  That head: 3×3 1024 → 256 and its norm, 1×1 → 21.
    assert count == 39_638_869 == 42_004_074 - (9 * 1024 * 256 + 2 * 256) - 21 * 257
    assert network.out_channels == 256 and network.output_stride == 8


def test_narrow_network_is_narrow():
    with torch.device("meta"):
        network = deeplab_narrow()
    assert parameter_count(network) == 997_904


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("output_stride", [4, 8, 16])
def test_sides_are_rounded_up(output_stride, block):
    network = tiny(output_stride=output_stride, block=block).eval()
    for height, width in ((48, 64), (50, 33)):
        latent = network(pictures(2, 3, height, width))
        assert latent.shape == (2, network.out_channels, -(-height // output_stride), -(-width // output_stride))


def test_stages_that_keep_their_size_dilate():
    def dilations(output_stride):
        stages = tiny(output_stride=output_stride, blocks=(2, 2, 2, 2)).stages
        return [[block.conv1.conv.dilation[0] for block in stage] for stage in stages]

    assert dilations(16) == [[1, 1], [1, 1], [1, 1], [1, 2]]
    assert dilations(8) == [[1, 1], [1, 1], [1, 2], [2, 4]]
    assert dilations(4) == [[1, 1], [1, 2], [2, 4], [4, 8]]


def test_upper_right_cell_sees_the_upper_right_pixels():
    """Rows are rows: what changes at the upper right corner of a picture changes there in the map."""
    network = tiny(rates=(), blocks=(1, 1, 1, 1)).eval()
    images = pictures(1, 3, 64, 160)
    changed = images.clone()
    changed[..., :4, -4:] = 0
    with torch.no_grad():
        difference = (network(images) - network(changed)).abs().sum(1)[0]
    assert difference.shape == (8, 20)
    quarters = difference.unflatten(0, (2, 4)).unflatten(2, (2, 10)).mean((1, 3))
    assert quarters[0, 1] > 1.5 * quarters.flatten()[[0, 2, 3]].max()  # those hear of it by the picture's mean


def test_pictures_of_a_batch_do_not_touch():
    network, images = tiny().eval(), pictures(3, 3, 32, 48)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 3, 24, 40)])
def test_a_single_picture_trains(shape):
    """Image pooling leaves one row; the smallest picture leaves one cell."""
    network = tiny()
    network(pictures(*shape)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_repeated_step_is_bit_identical_and_reaches_every_parameter():
    def step():
        network = tiny(block="bottleneck")
        latent = network(pictures(3, 3, 33, 48))
        (latent * torch.linspace(-1, 1, latent.numel()).view_as(latent)).sum().backward()
        return [latent, *(parameter.grad for parameter in network.parameters())]

    first, second = step(), step()
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert all((gradient != 0).any() for gradient in first[1:])


def test_half_a_picture_brighter_is_learned():
    """Twenty steps tell bright from dark cells."""
    network, head = tiny(), nn.Conv2d(8, 2, 1)
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    images = 0.2 * torch.rand(4, 3, 32, 48, generator=generator)
    images[..., 24:] += 0.6
    labels = torch.zeros(4, 4, 6, dtype=torch.int64)
    labels[..., 3:] = 1
    for _ in range(20):
        loss = nn.functional.cross_entropy(head(network(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(network(images)).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.errors
def test_promised_errors():
    with pytest.raises(ConventionError, match="output_stride: expected 4, 8 or 16, got 32"):
        DeepLab(output_stride=32)
