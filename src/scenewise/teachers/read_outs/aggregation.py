"""Similarity of tokens within an image, and tokens averaged over those similar to them."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def similarity_map(tokens: Float[Tensor, "batch tokens width"], *, centred: bool = False) -> Float[Tensor, "batch tokens tokens"]:
    """Cosines S_ij between the tokens of an image.

    Args:
        tokens: patches.
        centred: subtract the image's mean token first, which spreads the cosines of models whose tokens share a direction.
    """
    if centred:
        tokens = tokens - tokens.mean(dim=1, keepdim=True)
    unit = functional.normalize(tokens, dim=-1)
    return unit @ unit.transpose(1, 2)


def aggregation_weights(similarity: Float[Tensor, "batch tokens tokens"], beta: float) -> Float[Tensor, "batch tokens tokens"]:
    """rownorm(S · [S ≥ β]) with rownorm dividing by the row sum + 1e-6; the diagonal is 1, so no row is empty.

    Source: SC-CLIP, arXiv 2411.15869, feature-level self-adjustment; β = 0.4 and 1e-6 as in the released code.
    """
    cut = similarity.where(similarity >= beta, similarity.new_zeros(()))
    return cut / (cut.sum(-1, keepdim=True) + 1e-6)
