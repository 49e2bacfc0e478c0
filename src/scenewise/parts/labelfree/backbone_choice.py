"""Backbones by name: what a configuration says and what is built."""

from collections.abc import Callable
from typing import assert_never

from torch import nn

from scenewise.networks.backbones import Backbone3D
from scenewise.parts.labelfree.settings import BackboneName, PixelBackboneName


def point_backbone(name: BackboneName, width: float) -> Callable[[int], Backbone3D]:
    """A function from the number of input channels to a new 3D backbone.

    SPVCNN is CLIP2Scene's variant: features of three scales side by side, no dropout, and its momentum of batch norm.

    Args:
        name: which.
        width: multiple of its channels.
    """

    def build(in_channels: int) -> Backbone3D:
        from scenewise.networks.minkunet import minkunet
        from scenewise.networks.spvcnn import SPVCNN

        if name == "spvcnn":
            return SPVCNN(in_channels, width=width, heads_on="concat", dropout=0.0, bn_momentum=0.05)
        return minkunet(name.removeprefix("minkunet").upper(), in_channels, width=width)

    return build


def pixel_backbone(name: PixelBackboneName | None, width: float, stride: int = 8) -> Callable[[], nn.Module] | None:
    """A function that makes a new 2D backbone; None where there is to be none.

    Args:
        name: which.
        width: multiple of its channels.
        stride: pixels per cell of its grid.
    """
    if name is None:
        return None

    def build() -> nn.Module:
        from scenewise.networks.deeplab import DeepLab, deeplab_narrow

        inner, outer = round(64 * width), round(256 * width)
        match name:
            case "deeplabv3_resnet50":
                return DeepLab(width=inner, out_channels=outer, output_stride=stride)
            case "deeplab_narrow":
                return deeplab_narrow(width=inner, out_channels=outer, output_stride=stride)
            case _:
                assert_never(name)

    return build
