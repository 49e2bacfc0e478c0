"""A CLIP small enough to be trained on a CPU: a vision transformer and a text transformer that share a space.

Pre-norm residual blocks as in CLIP (Radford et al. 2021, arXiv 2103.00020); three strided convolutions instead of one patch
projection, and SiLU instead of QuickGELU, which is the same function up to scales that the neighbouring linear layers absorb.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

PADDING, START, END = 0, 1, 2
FIRST_WORD = 3
IMAGE_MEAN, IMAGE_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class SmallClipShape:
    """Sizes of the two towers.

    Attributes:
        image_size: height and width in pixels, a multiple of the patch size.
        vision_width: channels of the vision tower.
        vision_depth: its blocks.
        vision_heads: its attention heads.
        text_width: channels of the text tower.
        text_depth: its blocks.
        text_heads: its attention heads.
        context: most tokens of a text, start and end included.
        words: size of the word list.
        dim: of the shared space.
    """

    image_size: int = 96
    vision_width: int = 128
    vision_depth: int = 6
    vision_heads: int = 4
    text_width: int = 128
    text_depth: int = 2
    text_heads: int = 4
    context: int = 32
    words: int = 0
    dim: int = 128


PATCH_SIZE = 8


def _mixed(
    q: Float[Tensor, "batch heads queries head_width"],
    k: Float[Tensor, "batch heads tokens head_width"],
    v: Float[Tensor, "batch heads tokens head_width"],
    is_causal: bool,
) -> Float[Tensor, "batch heads queries head_width"]:
    """softmax(q kᵀ / √d) v; written out in bfloat16, where with few tokens on a CPU it took 1/6 of the fused kernel's time."""
    if q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if is_causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    # Without autocast's detour through float32: eight bits of weight are enough here and the copies cost more than the sums.
    with torch.autocast(logits.device.type, enabled=False):
        return torch.softmax(logits, dim=-1).to(v.dtype) @ v


class Block(nn.Module):
    """x + A(LN x), then x + MLP(LN x)."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        # Residual branches shrink with depth, so that the sum keeps its size (GPT-2's rule).
        for layer, scale in ((self.qkv, 1.0), (self.up, 1.0), (self.out, (2 * depth) ** -0.5), (self.down, (2 * depth) ** -0.5)):
            nn.init.normal_(layer.weight, std=0.03 * scale)
            nn.init.zeros_(layer.bias)

    def split_heads(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch heads tokens head_width"]:
        """Channels of each head apart."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, normed: Float[Tensor, "batch tokens width"], is_causal: bool = False) -> Float[Tensor, "batch tokens width"]:
        """Multi-head attention of every token to every (or, causally, to every earlier) token."""
        q, k, v = (self.split_heads(part) for part in self.qkv(normed).chunk(3, dim=-1))
        return self.out(_mixed(q, k, v, is_causal).transpose(1, 2).flatten(-2))

    def feed_forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """MLP(LN x) without the residual."""
        return self.down(F.silu(self.up(self.norm2(tokens))))

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], is_causal: bool = False
    ) -> Float[Tensor, "batch tokens width"]:
        tokens = tokens + self.attend(self.norm1(tokens), is_causal)
        return tokens + self.feed_forward(tokens)

    def value_path(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """What each token would contribute if it were attended to alone: O(V) and the MLP after it, no token mixed with another.

        Source: the value path of MaskCLIP, arXiv 2112.01071, without the residual.
        """
        width = tokens.shape[-1]
        value = F.linear(self.norm1(tokens), self.qkv.weight[2 * width :], self.qkv.bias[2 * width :])
        mixed = self.out(value)
        return mixed + self.feed_forward(mixed)

    def first_token(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch 1 width"]:
        """Row 0 of ``forward``, without computing the others."""
        normed = self.norm1(tokens)
        q, k, v = self.qkv(normed).chunk(3, dim=-1)
        mixed = _mixed(self.split_heads(q[:, :1]), self.split_heads(k), self.split_heads(v), is_causal=False)
        first = tokens[:, :1] + self.out(mixed.transpose(1, 2).flatten(-2))
        return first + self.feed_forward(first)


class VisionTransformer(nn.Module):
    """Images to one embedding each."""

    def __init__(self, shape: SmallClipShape) -> None:
        super().__init__()
        width = shape.vision_width
        self.grid = shape.image_size // PATCH_SIZE
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.GELU(), nn.Conv2d(24, 48, 3, 2, 1), nn.GELU(), nn.Conv2d(48, 96, 3, 2, 1), nn.GELU(),
            nn.Conv2d(96, width, 1),
        )  # fmt: skip
        self.class_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positions = nn.Parameter(torch.randn(1 + self.grid**2, width) * 0.02)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, shape.vision_heads, shape.vision_depth) for _ in range(shape.vision_depth))
        self.norm_out = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, shape.dim) * width**-0.5)

    def embed_patches(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch patches dim"], int, int]:
        """Patch tokens with their positions, row by row, and the grid's rows and columns."""
        patches = self.stem(images.contiguous(memory_format=torch.channels_last))
        rows, columns = patches.shape[-2:]
        grid = self.positions[1:]
        if (rows, columns) != (self.grid, self.grid):
            square = grid.T.unflatten(-1, (self.grid, self.grid))[None]
            grid = F.interpolate(square, (rows, columns), mode="bicubic", align_corners=False)[0].flatten(1).T
        return patches.flatten(2).transpose(1, 2) + grid, rows, columns

    def with_class_token(self, patches: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch tokens dim"]:
        """The input of the first block."""
        first = (self.class_token + self.positions[0]).expand(len(patches), 1, -1)
        return self.norm_in(torch.cat([first.to(patches.dtype), patches], dim=1))

    def head(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch dim"]:
        """Last norm and projection."""
        return self.norm_out(tokens) @ self.projection

    @property
    def last_block(self) -> Block:
        """The block that is read out."""
        block = self.blocks[-1]
        assert isinstance(block, Block)
        return block

    def before_last_block(
        self, images: Float[Tensor, "batch 3 height width"], kept: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens channels"]:
        """Tokens that enter the last block, the class token first.

        Args:
            images: normalised RGB; sides are multiples of the patch size.
            kept: patches that are looked at; the others are dropped (FLIP, Li et al. 2022, arXiv 2212.00794).
        """
        tokens, _, _ = self.embed_patches(images)
        if kept is not None:
            tokens = torch.gather(tokens, 1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
        tokens = self.with_class_token(tokens)
        if torch.is_autocast_enabled(images.device.type):
            tokens = tokens.to(torch.get_autocast_dtype(images.device.type))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return tokens

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], kept: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch dim"]:
        """Image-level embeddings, not normalised; arguments as in :meth:`before_last_block`."""
        return self.head(self.last_block.first_token(self.before_last_block(images, kept))[:, 0])

    def with_patches(
        self, images: Float[Tensor, "batch 3 height width"], kept: Int[Tensor, "batch kept"] | None = None
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch kept dim"]]:
        """Image-level embeddings and, along the value path of the last block, one of every patch; neither normalised."""
        tokens = self.before_last_block(images, kept)
        last = self.last_block
        return self.head(last.first_token(tokens)[:, 0]), self.head(last.value_path(tokens[:, 1:]))


class TextTransformer(nn.Module):
    """Word ids to one embedding each: causal blocks, read at the end token."""

    def __init__(self, shape: SmallClipShape) -> None:
        super().__init__()
        width = shape.text_width
        self.words = nn.Embedding(FIRST_WORD + shape.words, width)
        nn.init.normal_(self.words.weight, std=0.05)
        self.positions = nn.Parameter(torch.randn(shape.context, width) * 0.01)
        self.blocks = nn.ModuleList(Block(width, shape.text_heads, shape.text_depth) for _ in range(shape.text_depth))
        self.norm_out = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, shape.dim) * width**-0.5)

    def forward(self, ids: Int[Tensor, "batch context"]) -> Float[Tensor, "batch dim"]:
        """Embeddings, not normalised; each row ends with the end token and padding."""
        used = int((ids != PADDING).sum(1).max())
        tokens = self.words(ids[:, :used]) + self.positions[:used]
        for block in self.blocks:
            tokens = block(tokens, is_causal=True)
        last = (ids == END).int().argmax(1)
        return self.norm_out(tokens[torch.arange(len(ids), device=ids.device), last]) @ self.projection


class SmallClip(nn.Module):
    """Two towers and the temperature between them."""

    def __init__(self, shape: SmallClipShape) -> None:
        super().__init__()
        self.shape = shape
        self.vision = VisionTransformer(shape)
        self.text = TextTransformer(shape)
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))


def normalised(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """RGB in [0, 1] as the vision tower wants it."""
    mean = torch.tensor(IMAGE_MEAN, dtype=images.dtype, device=images.device)
    std = torch.tensor(IMAGE_STD, dtype=images.dtype, device=images.device)
    return (images - mean[:, None, None]) / std[:, None, None]


def token_ids(words: list[int], context: int) -> list[int]:
    """Start, words (cut to fit), end, padding."""
    body = words[: context - 2]
    return [START, *body, END, *[PADDING] * (context - 2 - len(body))]
