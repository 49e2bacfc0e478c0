"""The equations of HICL as printed, and as they have to read, one small function each.

Kang et al. 2024, *Hierarchical Intra-modal Correlation Learning for Label-free 3D Semantic Segmentation*, CVPR 2024; equation
numbers are that paper's.  ψ is the inner product, T̂ [classes, dim] the unit embeddings of class names.  The losses
that training uses are in :mod:`scenewise.parts.labelfree.equations`; here is what the paper derives from them, kept to be tested
against autograd.

Two statements of the paper do not hold as printed.  Equation 6 is one summand of the derivative
(:func:`gradient_by_attention`), and a weight w_mn does not grow where e_{n,l̂} > 0 but where token n speaks for m's label more
than m's present mixture does (:func:`attention_grows`).
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.parts.labelfree.equations import cross_entropy_of_scores, inner_products


def cross_entropy_of_inner_products(
    features: Float[Tensor, "rows dim"], text: Float[Tensor, "classes dim"], class_ids: Int64[Tensor, "rows"]
) -> Float[Tensor, ""]:
    """L_ce = −Σ_m log( exp ψ(f_m, T̂_{l_m}) / Σ_c exp ψ(f_m, T̂_c) ).  HICL, Eq. 1."""
    return cross_entropy_of_scores(inner_products(features, text), class_ids)


def gradient_by_scores(scores: Float[Tensor, "rows classes"], class_ids: Int64[Tensor, "rows"]) -> Float[Tensor, "rows classes"]:
    """∂L_m/∂h_{m,c} = y_{m,c} − 1[c = l_m] with y = softmax_c(h).  HICL, Eq. 2."""
    posterior = scores.softmax(dim=1)
    return posterior - torch.nn.functional.one_hot(class_ids, scores.shape[1]).to(scores.dtype)


def attention_layer(
    features: Float[Tensor, "m dim"],
    attention: Float[Tensor, "m n"],
    values: Float[Tensor, "n dim"],
    weight: Float[Tensor, "dim dim"],
    bias: Float[Tensor, "dim"],
) -> Float[Tensor, "m dim"]:
    """f̂_m = f̃_m + W f̃_m + b with f̃_m = f_m + Σ_n w_mn v_n: an attention and a linear layer, both residual.  HICL, Eq. 3, left."""
    mixed = features + attention @ values
    return mixed + (mixed @ weight.T + bias)


def factored_layer(
    features: Float[Tensor, "m dim"],
    attention: Float[Tensor, "m n"],
    values: Float[Tensor, "n dim"],
    weight: Float[Tensor, "dim dim"],
    bias: Float[Tensor, "dim"],
) -> Float[Tensor, "m dim"]:
    """f̂_m = f'_m + Σ_n w_mn v'_n + b with f' = (W + I) f and v' = (W + I) v: the same, split by tokens.  HICL, Eq. 3, right.

    The paper drops b from here on.  That changes the loss, since ψ(b, T̂_c) differs between classes, but not the form of the
    gradients.
    """
    own, others = features + features @ weight.T, values + values @ weight.T
    return own + attention @ others + bias


def correlated_scores(
    own: Float[Tensor, "m classes"], attention: Float[Tensor, "m n"], others: Float[Tensor, "n classes"]
) -> Float[Tensor, "m classes"]:
    """h_{m,c} + Σ_n w_mn e_{n,c} with h = ψ(f', T̂) and e = ψ(v', T̂), whose cross entropy is the loss L̂_ce.  HICL, Eq. 4."""
    return own + attention @ others


def gradient_by_token_scores(
    own: Float[Tensor, "m classes"],
    attention: Float[Tensor, "m n"],
    others: Float[Tensor, "n classes"],
    class_ids: Int64[Tensor, "m"],
) -> Float[Tensor, "m n classes"]:
    """∂L̂_m/∂e_{n,c} = w_mn (y_{m,c} − 1[c = l̂_m]).  HICL, Eq. 5.

    Token n is shared by all m, so the derivative of L̂ = Σ_m L̂_m is the sum over the first axis.
    """
    residual = gradient_by_scores(correlated_scores(own, attention, others), class_ids)
    return attention[:, :, None] * residual[:, None, :]


def gradient_by_attention(
    own: Float[Tensor, "m classes"],
    attention: Float[Tensor, "m n"],
    others: Float[Tensor, "n classes"],
    class_ids: Int64[Tensor, "m"],
) -> Float[Tensor, "m n"]:
    """∂L̂_m/∂w_mn = Σ_c e_{n,c} (y_{m,c} − 1[c = l̂_m]) = E_{y_m}[e_n] − e_{n,l̂_m}.  HICL, Eq. 6, corrected.

    Printed is the summand of one class, e_{n,c} (y_{m,c} − 1[c = l̂_m]).
    """
    return gradient_by_scores(correlated_scores(own, attention, others), class_ids) @ others.T


def printed_gradient_by_attention(
    own: Float[Tensor, "m classes"],
    attention: Float[Tensor, "m n"],
    others: Float[Tensor, "n classes"],
    class_ids: Int64[Tensor, "m"],
) -> Float[Tensor, "m n classes"]:
    """e_{n,c} (y_{m,c} − 1[c = l̂_m]), Eq. 6 of HICL as printed; its sum over classes is the derivative."""
    residual = gradient_by_scores(correlated_scores(own, attention, others), class_ids)
    return residual[:, None, :] * others[None, :, :]


def gradient_by_attention_scores(attention: Float[Tensor, "m n"], by_attention: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """∂L/∂s_mn = w_mn (a_mn − Σ_k w_mk a_mk) where w = softmax_n(s) and a = ∂L/∂w.  Continues Eq. 6 of HICL.

    Args:
        attention: w, rows sum to 1.
        by_attention: a, :func:`gradient_by_attention`.
    """
    return attention * (by_attention - (attention * by_attention).sum(dim=1, keepdim=True))


def attention_grows(
    posterior: Float[Tensor, "m classes"], others: Float[Tensor, "n classes"], class_ids: Int64[Tensor, "m"]
) -> Bool[Tensor, "m n"]:
    """Whether a gradient step raises w_mn: e_{n,l̂_m} > E_{y_m}[e_n], the sign of the corrected Eq. 6 of HICL."""
    return others.T[class_ids] > posterior @ others.T


def printed_attention_grows(others: Float[Tensor, "n classes"], class_ids: Int64[Tensor, "m"]) -> Bool[Tensor, "m n"]:
    """The rule stated below Eq. 6 of HICL, e_{n,l̂_m} > 0, which does not hold."""
    return others.T[class_ids] > 0
