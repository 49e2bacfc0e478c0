"""Scores, cross entropy and divergence as label-free losses use them: inner products with texts, sums over rows."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def inner_products(features: Float[Tensor, "rows dim"], text: Float[Tensor, "classes dim"]) -> Float[Tensor, "rows classes"]:
    """ψ(f_m, T̂_c) of all rows and classes, no temperature."""
    return features @ text.T


def cross_entropy_of_scores(scores: Float[Tensor, "rows classes"], class_ids: Int64[Tensor, "rows"]) -> Float[Tensor, ""]:
    """−Σ_m log softmax_c(h_m)[l_m], the sum over rows; 0 without rows."""
    # Classes before rows: torch then takes many rows at once, which for a handful of classes is several times faster on a CPU.
    return torch.nn.functional.cross_entropy(scores.T[None], class_ids[None], reduction="sum")


def posterior_divergence(
    target_scores: Float[Tensor, "rows classes"], scores: Float[Tensor, "rows classes"]
) -> Float[Tensor, ""]:
    """Σ_m KL(p_m ‖ q_m) with p = softmax(target scores), q = softmax(scores).  HICL, Eq. 8, with the sum over tokens it prints.

    Its gradient by ``scores`` is q − p where the target is held.
    """
    target = target_scores.log_softmax(dim=1)
    return (target.exp() * (target - scores.log_softmax(dim=1))).sum()
