"""What each Gaussian contributes to a set of views, and rankings made from it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scenewise.parts.splats.fields import DecodedGaussians, GaussianField
from scenewise.parts.splats.rows import add_to_rows
from scenewise.rendering import Backend, render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians

ImportanceKind = Literal["indoor", "outdoor"]


@dataclass(frozen=True)
class ViewContributions:
    """Contributions summed over views; w = α·T is a Gaussian's weight in a pixel.

    Attributes:
        weight_sum: Σ over views and pixels of w.
        mean_weight_sum: Σ over views of (Σ over pixels of w) / (pixels with w > 0); views that do not see it add nothing.
        argmax_count: pixels of all views where this Gaussian has the largest w.
        views: how many views.
    """

    weight_sum: Float[Tensor, "n"]
    mean_weight_sum: Float[Tensor, "n"]
    argmax_count: Int[Tensor, "n"]
    views: int


def view_contributions(gaussians: Gaussians, cameras: Iterable[Cameras], *, backend: Backend = "auto") -> ViewContributions:
    """Renders each view once and sums what the Gaussians contribute to it.

    Args:
        gaussians: stored parameters; no gradients.
        cameras: records without batch axes.
        backend: splat kernel.
    """
    decoded = DecodedGaussians(gaussians.with_sh_degree(0))  # weights do not depend on colour
    return _contributions(lambda camera: decoded, gaussians.means.new_zeros(len(gaussians)), cameras, backend)


def row_contributions(field: GaussianField, cameras: Iterable[Cameras], *, backend: Backend = "auto") -> ViewContributions:
    """As :func:`view_contributions`, for each row of a field's store: what its Gaussians contribute to a view is added up."""

    def decode(camera: Cameras) -> DecodedGaussians:
        decoded = field.decoded(camera)
        return replace(decoded, gaussians=decoded.gaussians.with_sh_degree(0))

    return _contributions(decode, torch.zeros(len(field.store), device=field.store.device), cameras, backend)


@torch.no_grad()
def _contributions(
    decode: Callable[[Cameras], DecodedGaussians], zeros: Float[Tensor, "rows"], cameras: Iterable[Cameras], backend: Backend
) -> ViewContributions:
    weight_sum = zeros.double()
    mean_weight_sum = torch.zeros_like(weight_sum)
    argmax_count = torch.zeros_like(zeros, dtype=torch.int64)
    views = 0
    for camera in cameras:
        decoded = decode(camera)
        found = render(decoded.gaussians, camera, contribution=True, backend=backend).contribution
        assert found is not None
        add_to_rows(weight_sum, found.weight_sum, decoded.row_of)
        add_to_rows(mean_weight_sum, found.weight_sum / found.pixel_count.clamp_min(1), decoded.row_of)
        add_to_rows(argmax_count, found.argmax_count, decoded.row_of)
        views += 1
    return ViewContributions(weight_sum.to(zeros.dtype), mean_weight_sum.to(zeros.dtype), argmax_count, views)


def importance(contributions: ViewContributions, kind: ImportanceKind) -> Float[Tensor, "n"]:
    """How much would be missed without each Gaussian; 0 where it is never the largest contributor of any pixel.

    Source: Fang & Wang 2024 (Mini-Splatting, arXiv 2403.14166), section 4.2 and released code: "indoor" sums weights over all
    pixels, "outdoor" sums each view's mean weight, so that what is near and covers many pixels does not take everything.
    """
    match kind:
        case "indoor":
            values = contributions.weight_sum
        case "outdoor":
            values = contributions.mean_weight_sum
        case _:
            assert_never(kind)
    return torch.where(contributions.argmax_count > 0, values, torch.zeros_like(values))


def least_important_first(importances: Float[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Rows from the least to the most important; equal ones in their order."""
    return torch.argsort(importances, stable=True)


def sample_by_importance(importances: Float[Tensor, "n"], count: int, generator: torch.Generator) -> Int[Tensor, "chosen"]:
    """Up to ``count`` different rows, in order, each drawn in proportion to its importance; those of importance 0 never.

    Adds Gumbel noise to the logarithms and keeps the largest, which draws without replacement (Vieira 2014; Kool et al. 2019,
    arXiv 1903.06059, section 2.3) and has no limit on the number of rows, unlike ``torch.multinomial``.
    """
    possible = (importances > 0).nonzero()[:, 0]
    if possible.numel() <= count:
        return possible
    uniform = torch.rand(possible.numel(), generator=generator, dtype=torch.float64).clamp(1e-300, 1.0 - 1e-16)
    keys = importances[possible].double().log() - (-uniform.log()).log().to(importances.device)
    return possible[torch.topk(keys, count).indices.sort().values]
