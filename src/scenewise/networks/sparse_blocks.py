"""What sparse U-Nets are built from: convolution layers on voxels and residual blocks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.kernels.sparse_conv import Backend, Pointwise, Precision, VoxelGrid, down_conv, subm_conv, up_conv
from scenewise.kernels.sparse_conv.grid import RuleKind
from scenewise.networks.batch_norm import BatchNorm

_OPERATORS = {"submanifold": subm_conv, "down": down_conv, "up": up_conv}
_OFFSETS = {"submanifold": 27, "down": 8, "up": 8}


@dataclass(frozen=True)
class SparseSettings:
    """What all layers of a sparse network share.

    Attributes:
        bn_momentum: share of the newest batch in the running statistics of batch norm.
        precision: of the operands of convolutions; sums and everything else stay float32.
        backend: of the convolutions.
    """

    bn_momentum: float = 0.05
    precision: Precision = "float32"
    backend: Backend = "auto"


def kaiming_(weight: Tensor, fan_out: float) -> None:
    """Fill with N(0, 2 / fan_out): gradients keep their size through a ReLU (He et al. 2015, arXiv 1502.01852, eq. 14)."""
    nn.init.normal_(weight, std=(2 / fan_out) ** 0.5)


class SparseConv(nn.Module):
    """One convolution without a bias.

    Initialised Kaiming normal with the whole kernel volume as fan, 27 or 8 offsets, though only about 11 or 1 to 4 of them are
    occupied on surfaces.  Batch norm follows every convolution, so that smaller weights only act like larger steps, and the
    published learning rates belong to this rule: with the fan that exists, students fitted their labels markedly more slowly.
    """

    def __init__(self, kind: RuleKind, inputs: int, outputs: int, settings: SparseSettings) -> None:
        super().__init__()
        self.kind, self.settings = kind, settings
        self.weight = nn.Parameter(torch.empty(_OFFSETS[kind], inputs, outputs))
        kaiming_(self.weight, float(_OFFSETS[kind] * outputs))

    def forward(self, features: Float[Tensor, "v_in c_in"], grid: VoxelGrid) -> Float[Tensor, "v_out c_out"]:
        """``grid`` is the finer of the two where input and output differ."""
        settings = self.settings
        return _OPERATORS[self.kind](features, self.weight, grid, backend=settings.backend, precision=settings.precision)

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.weight.shape[1]} → {self.weight.shape[2]}"


class ConvNormRelu(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, kind: RuleKind, inputs: int, outputs: int, settings: SparseSettings) -> None:
        super().__init__()
        self.conv = SparseConv(kind, inputs, outputs, settings)
        self.norm = BatchNorm(outputs, momentum=settings.bn_momentum)

    def forward(self, features: Float[Tensor, "v_in c_in"], grid: VoxelGrid) -> Float[Tensor, "v_out c_out"]:
        """``grid`` as in :meth:`SparseConv.forward`."""
        return self.norm(self.conv(features, grid), relu=True)


class ResidualBlock(nn.Module):
    """Two submanifold 3³ convolutions with a shortcut, which is a 1×1 convolution with batch norm where the width changes."""

    def __init__(self, inputs: int, outputs: int, settings: SparseSettings) -> None:
        super().__init__()
        self.conv1 = SparseConv("submanifold", inputs, outputs, settings)
        self.norm1 = BatchNorm(outputs, momentum=settings.bn_momentum)
        self.conv2 = SparseConv("submanifold", outputs, outputs, settings)
        self.norm2 = BatchNorm(outputs, momentum=settings.bn_momentum)
        self.shortcut: nn.Linear | None = None
        if inputs != outputs:
            linear = nn.Linear if settings.backend == "reference" else Pointwise
            self.shortcut = linear(inputs, outputs, bias=False)
            kaiming_(self.shortcut.weight, float(outputs))
            self.shortcut_norm = BatchNorm(outputs, momentum=settings.bn_momentum)

    def forward(self, features: Float[Tensor, "v inputs"], grid: VoxelGrid) -> Float[Tensor, "v outputs"]:
        inner = self.norm1(self.conv1(features, grid), relu=True)
        direct = features if self.shortcut is None else self.shortcut_norm(self.shortcut(features))
        return self.norm2(self.conv2(inner, grid), direct, relu=True)


class Level(nn.Module):
    """Residual blocks on one grid."""

    def __init__(self, inputs: int, outputs: int, count: int, settings: SparseSettings) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(outputs if index else inputs, outputs, settings) for index in range(count))

    def forward(self, features: Float[Tensor, "v inputs"], grid: VoxelGrid) -> Float[Tensor, "v outputs"]:
        for block in self.blocks:
            features = block(features, grid)
        return features
