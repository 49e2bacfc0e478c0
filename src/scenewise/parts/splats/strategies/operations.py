"""Edits of explicit Gaussians that strategies are made of.  All go through the parameter store."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenewise.geometry.rotations import rotation_from_quat
from scenewise.parts.splats.store import ParameterStore

MOST_COPIES = 51
"""Copies per target beyond which the relocation formula changes nothing visible; the limit of the published implementation."""

_SPLIT_SHRINKAGE = 1.6  # Kerbl et al. 2023, section 5.2: φ = 1.6, found by experiment
_OPACITY_MARGIN = 1e-6  # keeps logits finite in float32


def _rows(store: ParameterStore, index: Int[Tensor, "chosen"]) -> dict[str, Tensor]:
    return {name: store[name].detach()[index] for name in store}


def logit(opacities: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Inverse of the logistic function, finite for 0 and 1."""
    return torch.logit(opacities, eps=_OPACITY_MARGIN)


def clone(store: ParameterStore, index: Int[Tensor, "chosen"], *, revised_opacity: bool = False) -> None:
    """Add a copy of each chosen Gaussian in its place, with moments at rest.

    Source: Kerbl et al. 2023, section 5.2 (small Gaussians with a large gradient).

    Args:
        store: explicit Gaussians.
        index: rows to copy.
        revised_opacity: give original and copy the opacity 1 − √(1 − o), so that the pair covers as much as the original did
            (Rota Bulò et al. 2024, arXiv 2404.06109, Eq. 6).  Off in the original method.
    """
    if not index.numel():
        return
    rows = _rows(store, index)
    if revised_opacity:
        rows["logit_opacities"] = logit(1.0 - (1.0 - rows["logit_opacities"].sigmoid()).sqrt())
        store.replace(index, {"logit_opacities": rows["logit_opacities"]}, moments="keep")
    store.append(rows)


def split(
    store: ParameterStore, index: Int[Tensor, "chosen"], generator: torch.Generator, *, revised_opacity: bool = False
) -> None:
    """Replace each chosen Gaussian by two smaller ones drawn from it: one takes its row, the other is added.  Both start at rest.

    Source: Kerbl et al. 2023, section 5.2: centres sampled from the parent's own distribution, scales divided by 1.6.
    """
    if not index.numel():
        return
    rows = _rows(store, index)
    scales = rows["log_scales"].exp()
    rotations = rotation_from_quat(rows["quats"])
    noise = torch.randn(2, len(index), 3, generator=generator).to(scales.device)
    offsets = torch.einsum("nij,cnj->cni", rotations, noise * scales)
    rows["log_scales"] = rows["log_scales"] - math.log(_SPLIT_SHRINKAGE)
    if revised_opacity:
        rows["logit_opacities"] = logit(1.0 - (1.0 - rows["logit_opacities"].sigmoid()).sqrt())
    parent_means = rows["means"]
    store.replace(index, rows | {"means": parent_means + offsets[0]})
    store.append(rows | {"means": parent_means + offsets[1]})


def prune(store: ParameterStore, mask: Bool[Tensor, "n"]) -> int:
    """Remove the marked Gaussians and return how many went.  Never removes the last ones: an empty scene cannot recover."""
    removed = int(mask.sum())
    if removed in (0, len(store)):
        return 0
    store.select(~mask)
    return removed


def lower_opacities(store: ParameterStore, ceiling: float) -> None:
    """Opacity ← min(opacity, ceiling) for all, with the moments of opacity at rest (Kerbl et al. 2023, section 5.2)."""
    ceiling_logit = math.log(ceiling / (1.0 - ceiling))
    store.replace_all("logit_opacities", store["logit_opacities"].detach().clamp_max(ceiling_logit), moments="zero")


def share_among_copies(
    opacities: Float[Tensor, "n"], scales: Float[Tensor, "n 3"], copies: Int[Tensor, "n"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """Opacity and size that each of ``copies`` coinciding Gaussians needs so that together they look like the one they replace.

    o′ = 1 − (1 − o)^{1/n} and s′ = s · o / Σ_{k=1…n} C(n, k) (−1)^{k−1} o′^k / √k.  Source: Kheradmand et al. 2024, arXiv
    2404.09591, Eq. 9; its double sum over i ≤ n and k < i is taken over i first: Σ_i C(i − 1, k) = C(n, k + 1).

    Args:
        opacities: in (0, 1).
        scales: standard deviations.
        copies: how many there will be in all, ≥ 1; more than ``MOST_COPIES`` count as that many.
    """
    n = copies.clamp(1, MOST_COPIES).to(torch.float64)
    o = opacities.to(torch.float64).clamp(_OPACITY_MARGIN, 1.0 - _OPACITY_MARGIN)
    shared = -torch.expm1(torch.log1p(-o) / n)
    k = torch.arange(1, MOST_COPIES + 1, dtype=torch.float64, device=o.device)
    top, bottom = n[:, None] + 1.0, k[None, :] + 1.0
    log_choose = torch.lgamma(top) - torch.lgamma(bottom) - torch.lgamma((top - bottom + 1.0).clamp_min(1.0))
    terms = torch.exp(log_choose + k * shared[:, None].log()) / k.sqrt()
    signs = torch.where(k % 2 == 1, 1.0, -1.0)
    total = torch.where(k <= n[:, None], signs * terms, torch.zeros_like(terms)).sum(dim=1)
    return shared.to(opacities.dtype), (scales.to(torch.float64) * (o / total)[:, None]).to(scales.dtype)


def _draw(weights: Float[Tensor, "n"], count: int, generator: torch.Generator) -> Int[Tensor, "drawn"]:
    return torch.multinomial(weights.cpu(), count, replacement=True, generator=generator).to(weights.device)


def _copies_of(
    store: ParameterStore, drawn: Int[Tensor, "drawn"], min_opacity: float
) -> tuple[Int[Tensor, "targets"], dict[str, Tensor], dict[str, Tensor]]:
    """The distinct targets, their values after sharing, and the values of one copy per draw."""
    targets, inverse, times = torch.unique(drawn, return_inverse=True, return_counts=True)
    rows = _rows(store, targets)
    opacities, scales = share_among_copies(rows["logit_opacities"].sigmoid(), rows["log_scales"].exp(), times + 1)
    rows["logit_opacities"] = logit(opacities.clamp(min_opacity, 1.0 - _OPACITY_MARGIN))
    rows["log_scales"] = scales.log()
    return targets, rows, {name: value[inverse] for name, value in rows.items()}


def relocate(store: ParameterStore, dead: Bool[Tensor, "n"], min_opacity: float, generator: torch.Generator) -> int:
    """Move dead Gaussians onto live ones drawn in proportion to opacity; target and copies share its opacity.  All restart at
    rest.

    Source: Kheradmand et al. 2024, section 4.2.  Returns how many moved.
    """
    dead_index, alive_index = dead.nonzero()[:, 0], (~dead).nonzero()[:, 0]
    if not dead_index.numel() or not alive_index.numel():
        return 0
    drawn = alive_index[_draw(store["logit_opacities"].detach()[alive_index].sigmoid(), dead_index.numel(), generator)]
    targets, shared, copies = _copies_of(store, drawn, min_opacity)
    store.replace(targets, shared)
    store.replace(dead_index, copies)
    return dead_index.numel()


def add_copies(store: ParameterStore, count: int, min_opacity: float, generator: torch.Generator) -> None:
    """Add ``count`` copies of Gaussians drawn in proportion to opacity, sharing as in :func:`relocate`."""
    if count <= 0:
        return
    drawn = _draw(store["logit_opacities"].detach().sigmoid(), count, generator)
    targets, shared, copies = _copies_of(store, drawn, min_opacity)
    store.replace(targets, shared)
    store.append(copies)
