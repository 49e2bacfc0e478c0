"""The 2D student: a dilated ResNet with atrous spatial pyramid pooling.

Chen et al. 2017, "Rethinking atrous convolution for semantic image segmentation", arXiv 1706.05587; ResNet: He et al. 2015,
arXiv 1512.03385, with the stride of a bottleneck on its 3×3 convolution as in the widely used weights.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.networks.batch_norm import BatchNorm

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, in [0, 1], as ResNets are usually trained with."""


class ConvNorm(nn.Module):
    """Convolution without a bias that keeps the map's size over its stride, batch norm, and (unless told otherwise) ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norm = BatchNorm(outputs, momentum=momentum)
        self.relu = relu

    def forward(
        self,
        maps: Float[Tensor, "batch inputs height width"],
        residual: Float[Tensor, "batch outputs rows columns"] | None = None,
    ) -> Float[Tensor, "batch outputs rows columns"]:
        return self.norm(self.conv(maps), residual, self.relu)


class BasicBlock2D(nn.Module):
    """Two 3×3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, *, stride: int, dilation: int, momentum: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, width, 3, stride=stride, dilation=dilation, momentum=momentum)
        self.conv2 = ConvNorm(width, width, 3, dilation=dilation, momentum=momentum)
        self.shortcut = _shortcut(inputs, width, stride, momentum)

    def forward(self, maps: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs rows columns"]:
        return self.conv2(self.conv1(maps), maps if self.shortcut is None else self.shortcut(maps))


class Bottleneck2D(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut; four times as many channels leave as are inside."""

    expansion = 4

    def __init__(self, inputs: int, width: int, *, stride: int, dilation: int, momentum: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, width, 1, momentum=momentum)
        self.conv2 = ConvNorm(width, width, 3, stride=stride, dilation=dilation, momentum=momentum)
        self.conv3 = ConvNorm(width, 4 * width, 1, momentum=momentum)
        self.shortcut = _shortcut(inputs, 4 * width, stride, momentum)

    def forward(self, maps: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs rows columns"]:
        return self.conv3(self.conv2(self.conv1(maps)), maps if self.shortcut is None else self.shortcut(maps))


def _shortcut(inputs: int, outputs: int, stride: int, momentum: float) -> ConvNorm | None:
    if stride == 1 and inputs == outputs:
        return None
    return ConvNorm(inputs, outputs, 1, stride=stride, relu=False, momentum=momentum)


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling: a 1×1 convolution, one 3×3 per rate, the picture's mean; joined by a 1×1 convolution."""

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...], momentum: float) -> None:
        super().__init__()
        branches = [ConvNorm(inputs, outputs, 1, momentum=momentum)]
        branches += [ConvNorm(inputs, outputs, 3, dilation=rate, momentum=momentum) for rate in rates]
        self.branches = nn.ModuleList(branches)
        self.pooled = ConvNorm(inputs, outputs, 1, momentum=momentum)
        self.join = ConvNorm((2 + len(rates)) * outputs, outputs, 1, momentum=momentum)

    def forward(self, maps: Float[Tensor, "batch inputs rows columns"]) -> Float[Tensor, "batch outputs rows columns"]:
        pooled = self.pooled(maps.mean((2, 3), keepdim=True)).expand(-1, -1, *maps.shape[-2:])
        return self.join(torch.cat([*(branch(maps) for branch in self.branches), pooled], dim=1))


class DeepLab(nn.Module):
    """Images to a latent map; the head, a 1×1 convolution to the text space, is not part of it.

    Args:
        block: "bottleneck" or "basic".
        blocks: per stage.
        width: channels inside the blocks of the first stage; every later stage doubles them.
        out_channels: of the latent map.
        rates: dilations of the pyramid, in cells of the last map.
        output_stride: pixels per cell of the latent map, 4, 8 or 16; later stages dilate instead of shrinking.
        dropout: of the latent map.
        momentum: share of the newest batch in the running statistics.

    Raises:
        ConventionError: ``output_stride`` is none of the three.
    """

    def __init__(
        self,
        *,
        block: Literal["bottleneck", "basic"] = "bottleneck",
        blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
        width: int = 64,
        out_channels: int = 256,
        rates: tuple[int, ...] = (12, 24, 36),
        output_stride: int = 8,
        dropout: float = 0.0,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if output_stride not in (4, 8, 16):
            raise ConventionError("output_stride", expected="4, 8 or 16", got=output_stride)
        kind = Bottleneck2D if block == "bottleneck" else BasicBlock2D
        self.out_channels, self.output_stride, self.dropout = out_channels, output_stride, dropout
        self.stem = ConvNorm(3, width, 7, stride=2, momentum=momentum)
        channels, reached, dilation = width, 4, 1
        stages = []
        for stage, count in enumerate(blocks):
            inner = width * 2**stage
            stride, before = 1, dilation
            # A stage that would shrink the map too far keeps its size; its first block still sees the map at the old spacing.
            if stage > 0 and reached < output_stride:
                stride, reached = 2, 2 * reached
            elif stage > 0:
                dilation *= 2
            layers = []
            for index in range(count):
                step, spacing = (stride, before) if index == 0 else (1, dilation)
                layers.append(kind(channels, inner, stride=step, dilation=spacing, momentum=momentum))
                channels = kind.expansion * inner
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.pyramid = PyramidPooling(channels, out_channels, rates, momentum)
        self.last = ConvNorm(out_channels, out_channels, 3, momentum=momentum)
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN)[:, None, None], persistent=False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD)[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels rows columns"]:
        """Latent maps with one cell per ``output_stride`` pixels, sides rounded up.

        Args:
            images: RGB in [0, 1]; normalised here.
        """
        maps = ((images - self.image_mean) / self.image_std).contiguous(memory_format=torch.channels_last)
        maps = F.max_pool2d(self.stem(maps), 3, 2, 1)
        maps = self.last(self.pyramid(self.stages(maps)))
        return F.dropout(maps, self.dropout, self.training)


def deeplab_resnet50(*, dropout: float = 0.0) -> DeepLab:
    """The network of the CNS paper's 2D student: DeepLabV3 with a ResNet-50, one cell per 8 pixels, 256 channels."""
    return DeepLab(dropout=dropout)


def deeplab_narrow(*, width: int = 16, out_channels: int = 64, output_stride: int = 4) -> DeepLab:
    """A student that trains on a CPU at 160×120: two basic blocks per stage, few channels.

    The pyramid's rates cover the same share of a 160-pixel picture as 12, 24, 36 do of the 513 pixels they were chosen for.
    """
    scale = 8 / output_stride
    rates = tuple(max(1, round(rate * scale * 160 / 513)) for rate in (12, 24, 36))
    return DeepLab(
        block="basic", blocks=(2, 2, 2, 2), width=width, out_channels=out_channels, rates=rates, output_stride=output_stride
    )
