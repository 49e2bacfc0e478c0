"""Similarity of tokens within an image, and tokens averaged over those similar to them.

Similarities form a matrix of patches × patches.  It is never kept: every use computes it again a few rows at a time, which is
faster from a few thousand patches on, since the rows stay in the cache, and lets whole photographs through.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_CPU_ELEMENTS = 1 << 20
_GPU_ELEMENTS = 1 << 26


def row_blocks(tokens: Float[Tensor, "batch patches width"]) -> Iterator[slice]:
    """Rows of a patches × patches matrix in blocks of bounded size; all of them at once for ordinary windows."""
    batch, patches = tokens.shape[:2]
    elements = _CPU_ELEMENTS if tokens.device.type == "cpu" else _GPU_ELEMENTS
    step = max(1, elements // max(1, batch * patches))
    return (slice(first, min(first + step, patches)) for first in range(0, patches, step))


def unit_tokens(tokens: Float[Tensor, "batch patches width"], *, centred: bool = False) -> Float[Tensor, "batch patches width"]:
    """Tokens of length 1, whose inner products are cosines.

    Args:
        tokens: patches.
        centred: subtract the image's mean token first, which spreads the cosines of models whose tokens share a direction.
    """
    if centred:
        tokens = tokens - tokens.mean(dim=1, keepdim=True)
    return functional.normalize(tokens, dim=-1)


def similarity_map(
    tokens: Float[Tensor, "batch patches width"], *, centred: bool = False
) -> Float[Tensor, "batch patches patches"]:
    """All cosines S_ij between the patches of an image, to look at."""
    unit = unit_tokens(tokens, centred=centred)
    return unit @ unit.transpose(1, 2)


def aggregation_weights(similarity: Float[Tensor, "batch rows patches"], beta: float) -> Float[Tensor, "batch rows patches"]:
    """rownorm(S · [S ≥ β]) with rownorm dividing by the row sum + 1e-6; a patch is similar to itself, so no row is empty.

    Source: SC-CLIP, arXiv 2411.15869, feature-level self-adjustment; β = 0.4 and 1e-6 as in the released code.
    """
    cut = similarity.masked_fill(similarity < beta, 0.0)
    return cut / (cut.sum(-1, keepdim=True) + 1e-6)


def similarity_attention(
    similarity: Float[Tensor, "batch rows patches"], mean: Float[Tensor, "batch"], gain: float
) -> Float[Tensor, "batch rows patches"]:
    """softmax_j(gain · (S_ij − mean S)) over the j where S_ij is at least the mean over the image's whole matrix.

    A row keeps its largest entry in any case: rounding could empty the rows of an image whose patches are all alike.
    """
    scores = gain * (similarity - mean[:, None, None])
    lowest = scores.amax(-1, keepdim=True).clamp(max=0.0)
    return scores.masked_fill(scores < lowest, -torch.inf).softmax(-1)


def mean_similarity(unit: Float[Tensor, "batch patches width"]) -> Float[Tensor, "batch"]:
    """Mean of all S_ij = ‖mean of the unit tokens‖², without the matrix."""
    return unit.mean(dim=1).square().sum(-1)


def aggregate(
    unit: Float[Tensor, "batch patches width"], beta: float, values: Float[Tensor, "batch patches channels"]
) -> Float[Tensor, "batch patches channels"]:
    """Values averaged over similar patches, :func:`aggregation_weights` of S = unit · unitᵀ."""
    transposed = unit.transpose(1, 2)
    blocks = [aggregation_weights(unit[:, rows] @ transposed, beta) @ values for rows in row_blocks(unit)]
    return torch.cat(blocks, dim=1)


def attend_by_similarity(
    unit: Float[Tensor, "batch patches width"], gain: float, values: Float[Tensor, "batch patches channels"]
) -> Float[Tensor, "batch patches channels"]:
    """Values mixed by :func:`similarity_attention` of S = unit · unitᵀ; one matrix for all heads."""
    transposed, mean = unit.transpose(1, 2), mean_similarity(unit)
    blocks = [similarity_attention(unit[:, rows] @ transposed, mean, gain) @ values for rows in row_blocks(unit)]
    return torch.cat(blocks, dim=1)
