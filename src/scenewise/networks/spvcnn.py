"""SPVCNN: a sparse U-Net beside a branch of points that never loses their positions.

Tang et al. 2020, arXiv 2007.16100, section 3.1.  With the notation below: x voxels on the way down, y on the way up, z points.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Backend, Precision, Voxelisation, mean_in_voxels, trilinear
from scenewise.networks.batch_norm import BatchNorm
from scenewise.networks.sparse_blocks import ConvNormRelu, Level, SparseSettings, kaiming_
from scenewise.networks.sparse_inputs import VoxelisedPoints

PLANES = (32, 32, 64, 128, 256, 256, 128, 96, 96)
"""Channels of the stem, the four levels down and the four levels up."""


class PointLayer(nn.Module):
    """Linear, batch norm, ReLU on points."""

    def __init__(self, inputs: int, outputs: int, momentum: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        kaiming_(self.linear.weight, float(outputs))
        nn.init.zeros_(self.linear.bias)
        self.norm = BatchNorm(outputs, momentum=momentum)

    def forward(self, points: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        return self.norm(self.linear(points), relu=True)


def coarser(voxels: Voxelisation) -> Voxelisation:
    """The same points in the voxels of twice the edge."""
    grid = voxels.grid.down()
    voxel_of_point = voxels.grid.parent[voxels.voxel_of_point]
    return Voxelisation(grid, voxel_of_point, torch.bincount(voxel_of_point, minlength=len(grid)))


class SPVCNN(nn.Module):
    """Voxelised points to a feature per point; a :class:`~scenewise.networks.backbones.Backbone3D`.

    Points are carried to voxels by the mean of each voxel, voxels to points by trilinear interpolation.

    Args:
        in_channels: of a point's input.
        width: of the network: ⌊width · channels⌋ on every level, as published (1, 0.64 and 0.5 are).
        heads_on: "last": features of the last point layer (96 at width 1), as published; "concat": of all three (480), as
            CLIP2Scene has it.
        dropout: of the channels carried from points back to voxels while training; 0.3 as published, 0 in CLIP2Scene.
        bn_momentum: as in :class:`SparseSettings`.
        precision: as in :class:`SparseSettings`.
        backend: as in :class:`SparseSettings`.

    Raises:
        ConventionError: a ``width`` that leaves no channel.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: float = 1.0,
        heads_on: Literal["last", "concat"] = "last",
        dropout: float = 0.3,
        bn_momentum: float = 0.1,
        precision: Precision = "float32",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        planes = [int(width * channels) for channels in PLANES]
        if planes[0] < 1:
            raise ConventionError("width", expected=f"at least 1/{PLANES[0]}", got=width)
        settings = SparseSettings(bn_momentum, precision, backend)
        stem, down, up = planes[0], planes[:5], planes[4:]
        self.heads_on, self.dropout = heads_on, dropout
        self.out_channels = planes[8] if heads_on == "last" else planes[4] + planes[6] + planes[8]
        self.stem = nn.ModuleList(
            [ConvNormRelu("submanifold", in_channels, stem, settings), ConvNormRelu("submanifold", stem, stem, settings)]
        )
        self.downs = nn.ModuleList(ConvNormRelu("down", down[i], down[i], settings) for i in range(4))
        self.encoders = nn.ModuleList(Level(down[i], down[i + 1], 2, settings) for i in range(4))
        self.ups = nn.ModuleList(ConvNormRelu("up", up[i], up[i + 1], settings) for i in range(4))
        self.decoders = nn.ModuleList(Level(up[i + 1] + down[3 - i], up[i + 1], 2, settings) for i in range(4))
        self.point_layers = nn.ModuleList(
            PointLayer(inputs, outputs, bn_momentum)
            for inputs, outputs in ((stem, planes[4]), (planes[4], planes[6]), (planes[6], planes[8]))
        )

    def forward(self, cloud: VoxelisedPoints, rows: Int64[Tensor, "m"] | None = None) -> Float[Tensor, "m out"]:
        """Features of the asked points; of all points where ``rows`` is None."""
        levels = [cloud.voxels]
        while len(levels) < 5:
            levels.append(coarser(levels[-1]))

        def to_points(features: Tensor, level: int) -> Tensor:
            return trilinear(features, levels[level].grid, cloud.positions, cloud.batch)

        def to_voxels(points: Tensor, level: int) -> Tensor:
            return F.dropout(mean_in_voxels(points, levels[level]), self.dropout, self.training)

        def climb(features: Tensor, step: int) -> Tensor:
            grid = levels[3 - step].grid
            raised = self.ups[step](features, grid)
            return self.decoders[step](torch.cat([raised, down[3 - step]], dim=1), grid)

        x = mean_in_voxels(cloud.inputs.to(next(self.parameters()).dtype), levels[0])
        for layer in self.stem:
            x = layer(x, levels[0].grid)
        z0 = to_points(x, 0)
        down = [x]
        x = mean_in_voxels(z0, levels[0])
        for step in range(4):
            x = self.encoders[step](self.downs[step](x, levels[step].grid), levels[step + 1].grid)
            down.append(x)
        z1 = to_points(x, 4) + self.point_layers[0](z0)
        y = climb(climb(to_voxels(z1, 4), 0), 1)
        z2 = to_points(y, 2) + self.point_layers[1](z1)
        y = climb(climb(to_voxels(z2, 2), 2), 3)
        z3 = to_points(y, 0) + self.point_layers[2](z2)
        features = z3 if self.heads_on == "last" else torch.cat([z1, z2, z3], dim=1)
        return features if rows is None else features.index_select(0, rows)
