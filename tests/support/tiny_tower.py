"""A small random vision transformer that offers what the read-outs need: `from teachers.tiny_tower import TinyTower`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scenewise.teachers.towers import TokenPass


class TinyBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return self.mlp(self.norm2(tokens))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        normed = self.norm1(tokens)
        parts = [p(normed).view(batch, count, self.num_heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value)]
        mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.out(mixed)
        return tokens + self.feed_forward(tokens)


class TinyTower(nn.Module):
    """Random weights from a seed; float64 by default, so that identities can be checked to 1e-9."""

    mean, std = (0.5, 0.4, 0.3), (0.3, 0.25, 0.2)

    def __init__(
        self, *, depth=6, width=32, heads=4, dim=16, patch_size=4, grid=6, has_class_token=True, seed=0, dtype=torch.float64
    ) -> None:
        super().__init__()
        self.depth, self.width, self.dim, self.patch_size = depth, width, dim, patch_size
        self.grid, self.native_size, self.has_class_token = grid, grid * patch_size, has_class_token
        self.patches = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, grid * grid + 1, width))
        self.norm_pre, self.norm_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TinyBlock(width, heads) for _ in range(depth))
        self.projection = nn.Linear(width, dim, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():  # not nn.init: it would draw from the global generator
                spread = 0.3 if parameter.ndim == 1 or "token" in name or "positions" in name else parameter[0].numel() ** -0.5
                parameter.copy_(
                    torch.randn(parameter.shape, generator=generator) * spread + float("norm" in name and name.endswith("weight"))
                )
        self.to(dtype).requires_grad_(False).eval()

    @property
    def last_block(self) -> nn.Module:
        return self.blocks[-1]

    def tokens(self, images: Tensor) -> TokenPass:
        x = self.patches(images)
        rows, columns = x.shape[-2:]
        table = self.positions[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        if (rows, columns) != (self.grid, self.grid):
            table = F.interpolate(table, size=(rows, columns), mode="bicubic", align_corners=False)
        x = (x + table).flatten(2).transpose(1, 2)
        if self.has_class_token:
            x = torch.cat([(self.class_token + self.positions[:, :1]).expand(len(x), 1, -1), x], dim=1)
        hidden = [self.norm_pre(x)]
        for block in self.blocks[:-1]:
            hidden.append(block(hidden[-1]))
        return TokenPass(tuple(hidden), rows, columns)

    def head(self, tokens: Tensor) -> Tensor:
        return self.projection(self.norm_post(tokens))

    def embed_images(self, images: Tensor) -> Tensor:
        x = self.last_block(self.tokens(images).hidden[-1])
        return F.normalize(self.head(x)[:, 0] if self.has_class_token else self.head(x).mean(1), dim=-1)
