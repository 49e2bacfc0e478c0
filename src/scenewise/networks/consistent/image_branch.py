"""The 2D branch: what a frozen tower's patches hold, sharpened by the pixels themselves, as unit features and a key-point score.

The tower is not moved: a small network beside it learns (as in side-tuning, Zhang et al. 2020, arXiv 1912.13503), so that a step
needs no gradient through the tower and any tower serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.networks.consistent.shape import ConsistentShape

_RARE = -3.0  # logit of a score before training: few points are key points


@dataclass(frozen=True)
class ImageFeatures:
    """What the 2D branch says about pictures, on cells of four by four pixels.

    Attributes:
        features: unit length along the channels.
        score_logits: of being a key point.
    """

    features: Float[Tensor, "views dim rows columns"]
    score_logits: Float[Tensor, "views rows columns"]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell: no statistics of other cells, pictures or batches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, maps: Float[Tensor, "views channels rows columns"]) -> Float[Tensor, "views channels rows columns"]:
        return self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualCells(nn.Module):
    """x + conv(ReLU(conv(norm x))); starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)
        nn.init.zeros_(self.second.weight)

    def forward(self, maps: Float[Tensor, "views channels rows columns"]) -> Float[Tensor, "views channels rows columns"]:
        return maps + self.second(F.relu(self.first(self.norm(maps))))


class ImageBranch(nn.Module):
    """Adapter, projection and score head."""

    def __init__(self, shape: ConsistentShape) -> None:
        super().__init__()
        width = shape.image_width
        self.levels = nn.ModuleList(
            nn.Sequential(ChannelNorm(shape.tower_width), _conv(shape.tower_width, width, 1)) for _ in shape.read_levels
        )
        self.coarse = ResidualCells(width)
        self.pixels: nn.Sequential | None = None
        if shape.reads_pixels:
            half = max(16, width // 2)
            self.pixels = nn.Sequential(
                _conv(3, half, 3, 2), nn.ReLU(), _conv(half, width, 3, 2), nn.ReLU(), ChannelNorm(width), ResidualCells(width)
            )
        self.fuse = nn.Sequential(
            _conv(2 * width if shape.reads_pixels else width, width, 1),
            ResidualCells(width),
            ResidualCells(width),
            ChannelNorm(width),
        )
        self.project = _conv(width, shape.dim, 1)
        self.score = _conv(width, 1, 1)
        nn.init.constant_(self.score.bias, _RARE)  # type: ignore[arg-type]

    def forward(
        self, pictures: Float[Tensor, "views 3 height width"], maps: Sequence[Float[Tensor, "views tower_width _rows _columns"]]
    ) -> ImageFeatures:
        """Features of pictures.

        Args:
            pictures: colours in [0, 1]; height and width are multiples of four.
            maps: the tower's tokens at the levels that the shape names, on the grid of its patches.
        """
        coarse = self.coarse(torch.stack([level(held) for level, held in zip(self.levels, maps, strict=True)]).sum(0))
        cells = (pictures.shape[2] // 4, pictures.shape[3] // 4)
        fine = F.interpolate(coarse, cells, mode="bilinear", align_corners=False)
        if self.pixels is not None:
            fine = torch.cat([fine, self.pixels(4.0 * pictures - 2.0)], dim=1)
        fused = self.fuse(fine)
        return ImageFeatures(F.normalize(self.project(fused), dim=1), self.score(fused)[:, 0])


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
