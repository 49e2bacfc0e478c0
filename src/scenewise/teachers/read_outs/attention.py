"""Attention of the last block with other operands than query and key, and the rest of that block with parts left out."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scenewise.teachers.towers import LastBlock, TokenPass


def split_heads(tokens: Float[Tensor, "batch tokens width"], heads: int) -> Float[Tensor, "batch heads tokens head_width"]:
    """Head h owns channels h·width/heads … (h + 1)·width/heads."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(tokens: Float[Tensor, "batch heads tokens head_width"]) -> Float[Tensor, "batch tokens width"]:
    """Undoes :func:`split_heads`."""
    return tokens.transpose(1, 2).flatten(2)


def attention_weights(
    left: Float[Tensor, "batch tokens width"],
    right: Float[Tensor, "batch tokens width"],
    heads: int,
    bonus: Float[Tensor, "tokens tokens"] | None = None,
) -> Float[Tensor, "batch heads tokens tokens"]:
    """softmax_j(l_i · r_j / √d_h + bonus_ij) per head; rows add to 1."""
    left, right = split_heads(left, heads), split_heads(right, heads)
    scores = left @ right.transpose(-1, -2) / left.shape[-1] ** 0.5
    return (scores if bonus is None else scores + bonus).softmax(-1)


def attend(
    left: Float[Tensor, "batch tokens width"],
    right: Float[Tensor, "batch tokens width"],
    values: Float[Tensor, "batch tokens width"],
    heads: int,
    bonus: Float[Tensor, "tokens tokens"] | None = None,
) -> Float[Tensor, "batch tokens width"]:
    """Values mixed by :func:`attention_weights` without forming them, before the output projection."""
    query, key, value = (split_heads(part, heads) for part in (left, right, values))
    return merge_heads(functional.scaled_dot_product_attention(query, key, value, attn_mask=bonus))


def finish_block(
    block: LastBlock,
    attended: Float[Tensor, "batch tokens width"],
    *,
    residual: Float[Tensor, "batch tokens width"] | None,
    class_term: Float[Tensor, "batch 1 width"] | None,
    keep_ffn: bool,
) -> Float[Tensor, "batch tokens width"]:
    """What follows the attention: u + residual + class term, then + MLP(LN2(·)).

    Args:
        block: the last block.
        attended: output of the attention, projected.
        residual: tokens that entered the block, or None to leave the residual out.
        class_term: weighted class token, added to every patch, or None.
        keep_ffn: whether the MLP is applied.
    """
    out = attended
    if residual is not None:
        out = out + residual
    if class_term is not None:
        out = out + class_term
    return out + block.feed_forward(out) if keep_ffn else out


def patch_tokens(tokens: Float[Tensor, "batch tokens width"], tower_pass: TokenPass) -> Float[Tensor, "batch patches width"]:
    """Without the class token, where there is one."""
    return tokens[:, tokens.shape[1] - tower_pass.rows * tower_pass.columns :]


def class_token(tokens: Float[Tensor, "batch tokens width"], tower_pass: TokenPass) -> Float[Tensor, "batch 1 width"] | None:
    """The class token alone; None for a tower without one."""
    return tokens[:, :1] if tokens.shape[1] > tower_pass.rows * tower_pass.columns else None


def weighted_class_token(
    tokens: Float[Tensor, "batch tokens width"], tower_pass: TokenPass, weight: float
) -> Float[Tensor, "batch 1 width"] | None:
    """weight · class token; None where the weight is 0 or the tower has no class token."""
    token = class_token(tokens, tower_pass)
    return None if token is None or weight == 0 else weight * token


def attention_received(
    block: LastBlock, tokens: Float[Tensor, "batch tokens width"], tower_pass: TokenPass
) -> Float[Tensor, "batch patches"]:
    """Ordinary query-key attention each patch receives from all patches, as a multiple of an equal share.

    a_j = n · mean over heads h and patches i of A_h[i, j], with n the number of tokens, the class token included.
    """
    normed = block.norm1(tokens)
    weights = attention_weights(block.query(normed), block.key(normed), block.num_heads)
    first = tokens.shape[1] - tower_pass.rows * tower_pass.columns
    return weights[:, :, first:, first:].mean(dim=(1, 2)) * tokens.shape[1]


def projected_keys(
    block: LastBlock, tokens: Float[Tensor, "batch tokens width"], tower_pass: TokenPass
) -> Float[Tensor, "batch patches width"]:
    """Keys of the patches pushed through the output projection, as MaskCLIP's key smoothing uses them."""
    return patch_tokens(block.out(block.key(block.norm1(tokens))), tower_pass)


def as_computed(tokens: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """At least float32: squared norms of anomalous tokens overflow float16."""
    return tokens if tokens.dtype == torch.float64 else tokens.float()
