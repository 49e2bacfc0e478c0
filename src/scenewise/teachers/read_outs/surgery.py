"""Read-outs that change the last block only: CLIP, MaskCLIP, ClearCLIP, SCLIP, NACLIP.

Each returns the tokens that go into the tower's head, class token included where the tower has one.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.teachers.read_outs.attention import attend, finish_block, weighted_class_token
from scenewise.teachers.read_outs.settings import ClearClipSettings, MaskClipSettings, NaclipSettings, SclipSettings
from scenewise.teachers.towers import TokenPass, VisionTower

_Tokens = Float[Tensor, "batch tokens width"]


def clip_tokens(tower: VisionTower, tower_pass: TokenPass) -> _Tokens:
    """The ordinary last block: x + O(softmax(Q Kᵀ / √d) V), then + MLP(LN2(·))."""
    block, x = tower.last_block, tower_pass.hidden[-1]
    normed = block.norm1(x)
    mixed = attend(block.query(normed), block.key(normed), block.value(normed), block.num_heads)
    return finish_block(block, block.out(mixed), residual=x, class_term=None, keep_ffn=True)


def _finish(
    tower: VisionTower,
    tower_pass: TokenPass,
    mixed: _Tokens,
    settings: MaskClipSettings | ClearClipSettings | SclipSettings | NaclipSettings,
) -> _Tokens:
    x = tower_pass.hidden[-1]
    return finish_block(
        tower.last_block,
        tower.last_block.out(mixed),
        residual=x if settings.keep_residual else None,
        class_term=weighted_class_token(x, tower_pass, settings.class_residual),
        keep_ffn=settings.keep_ffn,
    )


def maskclip_tokens(tower: VisionTower, tower_pass: TokenPass, settings: MaskClipSettings) -> _Tokens:
    """u = O(V): every token keeps its own value.  Source: arXiv 2112.01071 and its released ViT code."""
    block = tower.last_block
    return _finish(tower, tower_pass, block.value(block.norm1(tower_pass.hidden[-1])), settings)


def clearclip_tokens(tower: VisionTower, tower_pass: TokenPass, settings: ClearClipSettings) -> _Tokens:
    """u = O(softmax(Q Qᵀ / √d) V).  Source: arXiv 2407.12442."""
    block = tower.last_block
    normed = block.norm1(tower_pass.hidden[-1])
    query = block.query(normed)
    return _finish(tower, tower_pass, attend(query, query, block.value(normed), block.num_heads), settings)


def sclip_tokens(tower: VisionTower, tower_pass: TokenPass, settings: SclipSettings) -> _Tokens:
    """u = O((softmax(Q Qᵀ / √d) + softmax(K Kᵀ / √d)) V): correlative self-attention.  Source: arXiv 2312.01597."""
    block = tower.last_block
    normed = block.norm1(tower_pass.hidden[-1])
    query, key, value = block.query(normed), block.key(normed), block.value(normed)
    mixed = attend(query, query, value, block.num_heads) + attend(key, key, value, block.num_heads)
    return _finish(tower, tower_pass, mixed / 2 if settings.average else mixed, settings)


def neighbourhood_bonus(rows: int, columns: int, sigma: float) -> Float[Tensor, "patches patches"]:
    """exp(−((r_i − r_j)² + (c_i − c_j)²) / (2 σ²)), patches row by row: 1 on the diagonal.

    Source: NACLIP, arXiv 2404.08181; the window is added before the softmax, so near patches gain at most a factor e.

    Args:
        rows: of the patch grid.
        columns: of the patch grid.
        sigma: in patches.
    """

    def along(count: int) -> Float[Tensor, "count count"]:
        place = torch.arange(count, dtype=torch.float64)
        return torch.exp(-((place[:, None] - place[None, :]) ** 2) / (2.0 * sigma**2))

    return torch.kron(along(rows), along(columns))


def naclip_tokens(tower: VisionTower, tower_pass: TokenPass, settings: NaclipSettings) -> _Tokens:
    """u = O(softmax(K Kᵀ / √d + ω) V), ω the Gaussian window between patches and 0 for the class token."""
    block, x = tower.last_block, tower_pass.hidden[-1]
    normed = block.norm1(x)
    key = block.key(normed)
    first = x.shape[1] - tower_pass.rows * tower_pass.columns
    bonus = x.new_zeros(x.shape[1], x.shape[1])
    bonus[first:, first:] = neighbourhood_bonus(tower_pass.rows, tower_pass.columns, settings.sigma).to(x)
    return _finish(tower, tower_pass, attend(key, key, block.value(normed), block.num_heads, bonus), settings)
