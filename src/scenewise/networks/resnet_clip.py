"""The ResNet variant of CLIP (RN50 and its larger kin) and CLIP's text transformer.

Written from the description in Radford et al. 2021, arXiv 2103.00020, section 2.4: three convolutions as a stem, an average pool
before every strided convolution, and attention pooling at the end.  Names of parameters are those of the published weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

REDUCTION = 32
"""Pixels per cell of the last feature map."""


@dataclass(frozen=True)
class ResNetClipShape:
    """Sizes of both towers.

    Attributes:
        layers: blocks per stage, four numbers.
        width: channels after the stem; the last stage has 32 times as many.
        image_size: height and width in pixels it was trained on.
        dim: of the shared space.
        context: tokens of a text, start and end included.
        words: size of the word list.
        text_width: channels of the text tower.
        text_heads: its attention heads.
        text_layers: its blocks.
        quick_gelu: whether the text tower uses x·σ(1.702 x) instead of GELU; true for the original weights.
    """

    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    image_size: int = 224
    dim: int = 1024
    context: int = 77
    words: int = 49408
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    quick_gelu: bool = True

    @property
    def features(self) -> int:
        """Channels of the last feature map."""
        return 32 * self.width

    @property
    def heads(self) -> int:
        """Of the attention pool: 64 channels each, as in the published models."""
        return self.features // 64


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut; where the map shrinks, an average pool does it."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def _shrunk(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels rows columns"]:
        return F.avg_pool2d(maps, self.stride) if self.stride > 1 else maps

    def forward(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs rows columns"]:
        inner = F.relu(self.bn1(self.conv1(maps)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(self._shrunk(inner)))
        return F.relu(inner + (maps if self.downsample is None else self.downsample(self._shrunk(maps))))


class AttentionPool(nn.Module):
    """One attention layer whose query is the mean of all cells."""

    def __init__(self, grid: int, features: int, heads: int, dim: int) -> None:
        super().__init__()
        self.grid, self.heads = grid, heads
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, features) * features**-0.5)
        self.q_proj, self.k_proj = nn.Linear(features, features), nn.Linear(features, features)
        self.v_proj, self.c_proj = nn.Linear(features, features), nn.Linear(features, dim)

    def tokens(self, maps: Float[Tensor, "batch features rows columns"]) -> Float[Tensor, "batch tokens features"]:
        """Mean and cells, with positions (interpolated where the grid is not the trained one)."""
        cells = maps.flatten(2).transpose(1, 2)
        positions: Tensor = self.positional_embedding
        if maps.shape[-2:] != (self.grid, self.grid):
            square = positions[1:].T.unflatten(1, (self.grid, self.grid))[None]
            spread = F.interpolate(square, maps.shape[-2:], mode="bicubic", align_corners=False)[0].flatten(1).T
            positions = torch.cat([positions[:1], spread])
        return torch.cat([cells.mean(1, keepdim=True), cells], dim=1) + positions

    def attend(
        self, queries: Float[Tensor, "batch count features"], tokens: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch count dim"]:
        """Multi-head attention of ``queries`` to ``tokens``, then the projection into the shared space."""
        q, k, v = (
            projection(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, values in ((self.q_proj, queries), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, maps: Float[Tensor, "batch features rows columns"]) -> Float[Tensor, "batch dim"]:
        tokens = self.tokens(maps)
        return self.attend(tokens[:, :1], tokens)[:, 0]


class ResNetVision(nn.Module):
    """The image tower."""

    def __init__(self, shape: ResNetClipShape) -> None:
        super().__init__()
        width = shape.width
        self.conv1, self.bn1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width // 2)
        self.conv2, self.bn2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False), nn.BatchNorm2d(width // 2)
        self.conv3, self.bn3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(shape.layers):
            inner = width * 2**stage
            blocks = [Bottleneck(inputs, inner, stride=2 if stage else 1)]
            inputs = 4 * inner
            blocks += [Bottleneck(inputs, inner, stride=1) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(shape.image_size // REDUCTION, shape.features, shape.heads, shape.dim)

    def feature_map(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features rows columns"]:
        """Output of the last stage: one cell per 32×32 pixels."""
        maps = F.relu(self.bn1(self.conv1(images)))
        maps = F.relu(self.bn2(self.conv2(maps)))
        maps = F.avg_pool2d(F.relu(self.bn3(self.conv3(maps))), 2)
        for stage in range(1, 5):
            maps = self.get_submodule(f"layer{stage}")(maps)
        return maps

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        return self.attnpool(self.feature_map(images))


class _Attention(nn.Module):
    """Parameters named as those of ``nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        parts = F.linear(tokens, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, width: int, quick_gelu: bool) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.quick_gelu = quick_gelu

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        inner = self.c_fc(tokens)
        return self.c_proj(inner * torch.sigmoid(1.702 * inner) if self.quick_gelu else F.gelu(inner))


class _TextBlock(nn.Module):
    def __init__(self, width: int, heads: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), _Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), _FeedForward(width, quick_gelu)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        tokens = tokens + self.attn(self.ln_1(tokens))
        return tokens + self.mlp(self.ln_2(tokens))


class _TextBlocks(nn.Module):
    def __init__(self, shape: ResNetClipShape) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(
            *(_TextBlock(shape.text_width, shape.text_heads, shape.quick_gelu) for _ in range(shape.text_layers))
        )

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self.resblocks(tokens)


class ResNetClip(nn.Module):
    """Both towers; the state dictionary has the names of the open_clip layout."""

    def __init__(self, shape: ResNetClipShape) -> None:
        super().__init__()
        self.shape = shape
        self.visual = ResNetVision(shape)
        self.token_embedding = nn.Embedding(shape.words, shape.text_width)
        self.positional_embedding = nn.Parameter(torch.randn(shape.context, shape.text_width) * 0.01)
        self.transformer = _TextBlocks(shape)
        self.ln_final = nn.LayerNorm(shape.text_width)
        self.text_projection = nn.Parameter(torch.randn(shape.text_width, shape.dim) * shape.text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))  # ln(1/0.07)

    def encode_text(self, ids: Int64[Tensor, "batch tokens"], ends: Int64[Tensor, "batch"]) -> Float[Tensor, "batch dim"]:
        """Embeddings, not normalised.

        Args:
            ids: with start and end token; what follows the end is not seen.
            ends: position of the end token in each row.
        """
        tokens = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        tokens = self.ln_final(self.transformer(tokens))
        return tokens[torch.arange(len(ids), device=ids.device), ends] @ self.text_projection


def shape_of_state(shapes: dict[str, Sequence[int]]) -> ResNetClipShape:
    """Sizes read off the tensors of a checkpoint in the open_clip layout, published head widths (64) assumed.

    Raises:
        KeyError: a tensor is missing, so it is no CLIP with a ResNet.
    """

    def count(prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)})

    grid = round((shapes["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
    stages = tuple(count(f"visual.layer{stage}.") for stage in range(1, 5))
    text_width = shapes["ln_final.weight"][0]
    return ResNetClipShape(
        layers=(stages[0], stages[1], stages[2], stages[3]),
        width=shapes["visual.bn3.weight"][0],
        image_size=grid * REDUCTION,
        dim=shapes["text_projection"][1],
        context=shapes["positional_embedding"][0],
        words=shapes["token_embedding.weight"][0],
        text_width=text_width,
        text_heads=max(1, text_width // 64),
        text_layers=count("transformer.resblocks."),
    )
