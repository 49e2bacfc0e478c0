"""MinkUNet: a residual U-Net on occupied voxels, of stride 16.

Choy et al. 2019, arXiv 1904.08755 (there built on another library): a stem, four times down with residual blocks, four times up
with residual blocks on what the same level of the way down had.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Backend, Precision, VoxelGrid, mean_in_voxels
from scenewise.networks.sparse_blocks import ConvNormRelu, Level, SparseSettings
from scenewise.networks.sparse_inputs import VoxelisedPoints

HeadsOn = Literal["last", "concat"]
"""Which levels a head reads."""

LANES = 16
"""Channels are multiples of this: the float32 numbers of one wide register."""

STEM_PLANES = 32


@dataclass(frozen=True)
class MinkUNetShape:
    """Channels and residual blocks of the four levels down, then of the four levels up."""

    planes: tuple[int, int, int, int, int, int, int, int]
    blocks: tuple[int, int, int, int, int, int, int, int]


_ONCE = (1, 1, 1, 1, 1, 1, 1, 1)
_34 = (2, 3, 4, 6, 2, 2, 2, 2)

MINKUNETS: Mapping[str, MinkUNetShape] = {
    "14A": MinkUNetShape((32, 64, 128, 256, 128, 128, 96, 96), _ONCE),
    "14B": MinkUNetShape((32, 64, 128, 256, 128, 128, 128, 128), _ONCE),
    "14C": MinkUNetShape((32, 64, 128, 256, 192, 192, 128, 128), _ONCE),
    "14D": MinkUNetShape((32, 64, 128, 256, 384, 384, 384, 384), _ONCE),
    "18A": MinkUNetShape((32, 64, 128, 256, 128, 128, 96, 96), (2, 2, 2, 2, 2, 2, 2, 2)),
    "34A": MinkUNetShape((32, 64, 128, 256, 256, 128, 64, 64), _34),
    "34B": MinkUNetShape((32, 64, 128, 256, 256, 128, 64, 32), _34),
    "34C": MinkUNetShape((32, 64, 128, 256, 256, 128, 96, 96), _34),
}
"""The published members of the family."""


def scaled_planes(planes: int, width: float) -> int:
    """``width`` times as many channels, rounded up to a multiple of :data:`LANES`.

    Rounded up because a narrower layer costs as much: width ¼ of 14A is 16 16 32 64 32 32 32 32 with a stem of 16.
    """
    return max(1, math.ceil(planes * width / LANES)) * LANES


class MinkUNet(nn.Module):
    """Voxelised points to a feature per point; a :class:`~scenewise.networks.backbones.Backbone3D`.

    Args:
        in_channels: of a point's input.
        planes: channels of the four levels down and the four up.
        blocks: residual blocks of each.
        stem_kernel: edge of the stem's convolution; 3 (the published 5 costs as many kernel maps as all other layers together).
        stem_planes: its channels.
        heads_on: "last": features of the last level up; "concat": of all four, those of the coarser voxels that hold each.
        bn_momentum: as in :class:`SparseSettings`.
        precision: as in :class:`SparseSettings`.
        backend: as in :class:`SparseSettings`.

    Raises:
        ConventionError: another ``stem_kernel``.
    """

    def __init__(
        self,
        in_channels: int,
        planes: tuple[int, ...] = MINKUNETS["14A"].planes,
        blocks: tuple[int, ...] = MINKUNETS["14A"].blocks,
        *,
        stem_kernel: int = 3,
        stem_planes: int = STEM_PLANES,
        heads_on: HeadsOn = "last",
        bn_momentum: float = 0.05,
        precision: Precision = "float32",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if stem_kernel != 3:
            raise ConventionError(
                "stem_kernel", expected="3", got=stem_kernel, fix="convolutions of 27 offsets are what there is"
            )
        if len(planes) != 8 or len(blocks) != 8:
            raise ConventionError("planes, blocks", expected="8 numbers each", got=f"{len(planes)}, {len(blocks)}")
        settings = SparseSettings(bn_momentum, precision, backend)
        self.heads_on = heads_on
        self.out_channels = planes[-1] if heads_on == "last" else sum(planes[4:])
        self.stem = ConvNormRelu("submanifold", in_channels, stem_planes, settings)
        channels = stem_planes
        skipped = [channels]
        downs, encoders, ups, decoders = [], [], [], []
        for level in range(4):
            downs.append(ConvNormRelu("down", channels, channels, settings))
            encoders.append(Level(channels, planes[level], blocks[level], settings))
            channels = planes[level]
            skipped.append(channels)
        skipped.pop()
        for level in range(4, 8):
            ups.append(ConvNormRelu("up", channels, planes[level], settings))
            decoders.append(Level(planes[level] + skipped.pop(), planes[level], blocks[level], settings))
            channels = planes[level]
        self.downs, self.encoders = nn.ModuleList(downs), nn.ModuleList(encoders)
        self.ups, self.decoders = nn.ModuleList(ups), nn.ModuleList(decoders)

    def forward(self, cloud: VoxelisedPoints, rows: Int64[Tensor, "m"] | None = None) -> Float[Tensor, "m out"]:
        """The feature of the voxel each asked point lies in; of all points where ``rows`` is None."""
        voxel = cloud.voxels.voxel_of_point
        return self.voxel_features(cloud).index_select(0, voxel if rows is None else voxel[rows])

    def voxel_features(self, cloud: VoxelisedPoints) -> Float[Tensor, "v out"]:
        """A feature per voxel.  A voxel's input is the mean of its points' inputs."""
        levels = self.level_features(cloud)
        if self.heads_on == "last":
            return levels[-1][0]
        gathered: list[Tensor] = []
        for features, grid in levels:
            gathered = [*(coarser.index_select(0, grid.parent) for coarser in gathered), features]
        return torch.cat(gathered, dim=1)

    def level_features(self, cloud: VoxelisedPoints) -> list[tuple[Float[Tensor, "_ channels"], VoxelGrid]]:
        """Features of the levels up with their voxels, the finest last."""
        grid = cloud.voxels.grid
        features = self.stem(mean_in_voxels(cloud.inputs.to(self.stem.conv.weight.dtype), cloud.voxels), grid)
        passed: list[tuple[Tensor, VoxelGrid]] = []
        for down, encoder in zip(self.downs, self.encoders, strict=True):
            passed.append((features, grid))
            features = down(features, grid)
            grid = grid.down()
            features = encoder(features, grid)
        levels: list[tuple[Tensor, VoxelGrid]] = []
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            skipped, grid = passed.pop()
            features = decoder(torch.cat([up(features, grid), skipped], dim=1), grid)
            levels.append((features, grid))
        return levels


def minkunet(
    name: str,
    in_channels: int,
    width: float = 1.0,
    *,
    heads_on: HeadsOn = "last",
    bn_momentum: float = 0.05,
    precision: Precision = "float32",
    backend: Backend = "auto",
) -> MinkUNet:
    """A published member of the family, ``width`` times as wide (see :func:`scaled_planes`).

    Raises:
        ConventionError: there is no such member.
    """
    if name not in MINKUNETS:
        raise ConventionError("name", expected=f"one of {', '.join(MINKUNETS)}", got=name)
    shape = MINKUNETS[name]
    return MinkUNet(
        in_channels,
        tuple(scaled_planes(planes, width) for planes in shape.planes),
        shape.blocks,
        stem_planes=scaled_planes(STEM_PLANES, width),
        heads_on=heads_on,
        bn_momentum=bn_momentum,
        precision=precision,
        backend=backend,
    )


minkunet14a = partial(minkunet, "14A")
"""One residual block per level: the network of CLIP2Scene and HICL on indoor scans."""

minkunet18a = partial(minkunet, "18A")
"""Two residual blocks per level: OpenScene's network."""

minkunet34c = partial(minkunet, "34C")
"""2 3 4 6 blocks down, 2 each up: the usual network of supervised training, CNS's 3D student."""
