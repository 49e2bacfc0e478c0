"""The splat kernel in plain torch: readable, differentiable by autograd, any dtype and device.

Exact where the fast backends are exact: the same cut-offs, the same order, the same early stop.  Slow on purpose where speed
would cost clarity; pictures of a few hundred pixels on a side are what it is for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.geometry.rotations import rotation_from_quat
from scenewise.geometry.spherical_harmonics import sh_basis
from scenewise.kernels.splats.constants import (
    ALPHA_MAX,
    ALPHA_MIN,
    DILATION,
    FRUSTUM_MARGIN,
    MEAN_MAX,
    SCALE_MAX_LOG,
    TRANSMITTANCE_MIN,
)
from scenewise.kernels.splats.interface import Contribution, SplatInput, SplatOutput

_TILE = 32  # pixels on a side handled together


@dataclass(frozen=True)
class Projected:
    """Gaussians on the image plane.

    Attributes:
        means2d: centres in pixels.
        conics: inverse 2×2 covariances, px⁻².
        depths: along +Z.
        opacities: activated.
        colors: from spherical harmonics, clamped at 0.
        half_extents: half width and height of the region where α ≥ 1/255, pixels.
        visible: drawn at all.
    """

    means2d: Float[Tensor, "n 2"]
    conics: Float[Tensor, "n 2 2"]
    depths: Float[Tensor, "n"]
    opacities: Float[Tensor, "n"]
    colors: Float[Tensor, "n 3"]
    half_extents: Float[Tensor, "n 2"]
    visible: Bool[Tensor, "n"]


def project(splats: SplatInput) -> Projected:
    """Perspective projection of Gaussians.

    Σ′ = J W Σ Wᵀ Jᵀ + 0.3·I.  Source: Zwicker et al. 2001 (EWA splatting) as used by Kerbl et al. 2023, arXiv 2308.04079, Eq. 5.
    Gaussians with non-finite or degenerate parameters are not visible and receive no gradient.
    """
    usable = _usable(splats)
    # Rows that cannot be drawn are replaced by harmless constants *before* any arithmetic, so their gradient is zero, not NaN.
    means = torch.where(usable[:, None], splats.means, torch.zeros_like(splats.means))
    quats = torch.where(usable[:, None], splats.quats, torch.ones_like(splats.quats))
    scales = torch.where(usable[:, None], splats.scales, torch.zeros_like(splats.scales))
    opacities = torch.where(usable, splats.opacities, torch.zeros_like(splats.opacities))
    if splats.stored:
        scales, opacities = scales.exp(), opacities.sigmoid()

    rotation, translation = splats.camera_from_world[:3, :3], splats.camera_from_world[:3, 3]
    means_in_camera = means @ rotation.T + translation
    depths = means_in_camera[:, 2]
    in_front = depths > splats.near
    z = torch.where(in_front, depths, torch.ones_like(depths))
    fx, fy, cx, cy = splats.K[0, 0], splats.K[1, 1], splats.K[0, 2], splats.K[1, 2]
    slope_x, slope_y = means_in_camera[:, 0] / z, means_in_camera[:, 1] / z
    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * splats.width / fx, FRUSTUM_MARGIN * 0.5 * splats.height / fy
    clamped_x = slope_x.clamp(-cx / fx - margin_x, (splats.width - cx) / fx + margin_x)
    clamped_y = slope_y.clamp(-cy / fy - margin_y, (splats.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * clamped_x / z, zero, fy / z, -fy * clamped_y / z], dim=-1).view(-1, 2, 3)

    half = rotation_from_quat(quats) * scales[:, None, :]  # Σ = half · halfᵀ
    on_screen = jacobian @ rotation @ half
    covariance = on_screen @ on_screen.mT + DILATION * torch.eye(2, dtype=z.dtype, device=z.device)
    determinant = covariance[:, 0, 0] * covariance[:, 1, 1] - covariance[:, 0, 1] ** 2
    positive = determinant > 1e-10
    safe = torch.where(positive, determinant, torch.ones_like(determinant))
    conics = torch.stack([covariance[:, 1, 1], -covariance[:, 0, 1], -covariance[:, 0, 1], covariance[:, 0, 0]], dim=-1)
    conics = conics.view(-1, 2, 2) / safe[:, None, None]

    means2d = torch.stack([fx * slope_x + cx, fy * slope_y + cy], dim=-1)
    cutoff = 2 * torch.log(opacities.detach() / ALPHA_MIN)  # dᵀΣ′⁻¹d ≤ cutoff where α ≥ 1/255
    extents = (cutoff.clamp_min(0)[:, None] * torch.diagonal(covariance.detach(), dim1=-2, dim2=-1)).sqrt()
    size = means2d.new_tensor([splats.width, splats.height])
    inside = ((means2d.detach() + extents > 0) & (means2d.detach() - extents < size)).all(-1)
    visible = usable & in_front & positive & (cutoff > 0) & inside & torch.isfinite(extents).all(-1)

    center = -rotation.T @ translation
    directions = torch.nn.functional.normalize(means - center, dim=-1)
    coefficients = torch.cat([splats.sh0, splats.shN[:, : (splats.sh_degree + 1) ** 2 - 1]], dim=1)
    coefficients = torch.where(usable[:, None, None], coefficients, torch.zeros_like(coefficients))
    colors = (sh_basis(directions, splats.sh_degree)[..., None] * coefficients).sum(1) + 0.5
    return Projected(means2d, conics, depths, opacities, colors.clamp_min(0), extents * visible[:, None], visible)


def _usable(splats: SplatInput) -> Bool[Tensor, "n"]:
    coefficients = splats.shN[:, : (splats.sh_degree + 1) ** 2 - 1]
    finite = (
        (splats.means.abs() <= MEAN_MAX).all(-1)  # false for NaN as well
        & torch.isfinite(splats.quats).all(-1)
        & torch.isfinite(splats.scales).all(-1)
        & torch.isfinite(splats.opacities)
        & torch.isfinite(splats.sh0).all(-1).all(-1)
        & torch.isfinite(coefficients).all(-1).all(-1)
    )
    turned = (splats.quats**2).sum(-1) > 1e-30
    bounded = (splats.scales.abs() <= SCALE_MAX_LOG).all(-1) if splats.stored else (splats.scales < 1e13).all(-1)
    return (finite & turned & bounded).detach()


def rasterize(splats: SplatInput) -> SplatOutput:
    """See :func:`scenewise.kernels.splats.rasterize`."""
    projected = project(splats)
    n, dtype, device = len(splats.means), splats.means.dtype, splats.means.device
    channels = [projected.colors, projected.depths[:, None]]
    if splats.extra is not None:
        channels.append(splats.extra)
    values = torch.cat(channels, dim=-1)
    order = torch.argsort(projected.depths.detach(), stable=True)
    order = order[projected.visible[order]]

    weight_sum = torch.zeros(n, dtype=dtype, device=device)
    pixel_count = torch.zeros(n, dtype=torch.int64, device=device)
    argmax_count = torch.zeros(n, dtype=torch.int64, device=device)
    rows_of_tiles = []
    for top in range(0, splats.height, _TILE):
        row = []
        for left in range(0, splats.width, _TILE):
            bottom, right = min(top + _TILE, splats.height), min(left + _TILE, splats.width)
            low, high = projected.means2d.detach() - projected.half_extents, projected.means2d.detach() + projected.half_extents
            overlaps = (high[:, 0] > left) & (low[:, 0] < right) & (high[:, 1] > top) & (low[:, 1] < bottom)
            chosen = order[overlaps[order]]
            y, x = torch.meshgrid(
                torch.arange(top, bottom, dtype=dtype, device=device) + 0.5,
                torch.arange(left, right, dtype=dtype, device=device) + 0.5,
                indexing="ij",
            )
            pixels = torch.stack([x, y], dim=-1).view(-1, 2)
            weights, transmittance = _blend(projected, chosen, pixels, splats.screen_gradients)
            row.append(torch.cat([weights @ values[chosen], transmittance[:, None]], dim=-1).view(bottom - top, right - left, -1))
            if splats.contribution and len(chosen):
                fixed = weights.detach()
                weight_sum[chosen] += fixed.sum(0)
                pixel_count[chosen] += (fixed > 0).sum(0)
                best, winner = fixed.max(dim=1)
                argmax_count += torch.bincount(chosen[winner[best > 0]], minlength=n)
        rows_of_tiles.append(torch.cat(row, dim=1))
    picture = torch.cat(rows_of_tiles, dim=0)
    color, depth, extra, remaining = picture[..., :3], picture[..., 3], picture[..., 4:-1], picture[..., -1]
    return SplatOutput(
        color=color + remaining[..., None] * splats.background,
        depth=depth,
        alpha=1 - remaining,
        extra=extra if splats.extra is not None else None,
        radii=projected.half_extents.detach().amax(-1),
        contribution=Contribution(weight_sum, pixel_count, argmax_count) if splats.contribution else None,
    )


def _blend(
    projected: Projected,
    chosen: Tensor,
    pixels: Float[Tensor, "pixels 2"],
    screen_gradients: Float[Tensor, "n columns"] | None,
) -> tuple[Float[Tensor, "pixels chosen"], Float[Tensor, "pixels"]]:
    """Weights α·T of the chosen Gaussians (front to back) and the transmittance left behind them."""
    means2d = projected.means2d[chosen][None].expand(len(pixels), -1, -1)
    if screen_gradients is not None:
        means2d = _ScreenGradients.apply(means2d, screen_gradients, chosen)
    offsets = pixels[:, None] - means2d
    exponent = -0.5 * torch.einsum("pni,nij,pnj->pn", offsets, projected.conics[chosen], offsets)
    alphas = (projected.opacities[chosen] * exponent.exp()).clamp_max(ALPHA_MAX)
    alphas = torch.where(alphas >= ALPHA_MIN, alphas, torch.zeros_like(alphas))
    after = torch.cumprod(1 - alphas, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1) if len(chosen) else after
    alive = (after > TRANSMITTANCE_MIN).detach()  # decreasing, so this is a prefix of each row
    weights = alphas * before * alive
    return weights, torch.where(alive, 1 - alphas, torch.ones_like(alphas)).prod(dim=1)


class _ScreenGradients(torch.autograd.Function):
    """Identity on the centres; its backward adds (Σ du, Σ dv, Σ|du|, Σ|dv|) to ``screen_gradients``."""

    @staticmethod
    def forward(ctx, means2d, screen_gradients, chosen):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(chosen)
        ctx.shape = screen_gradients.shape
        return means2d.view_as(means2d)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (chosen,) = ctx.saved_tensors
        collected = upstream.new_zeros(ctx.shape)
        collected[chosen] = torch.cat([upstream.sum(0), upstream.abs().sum(0)], dim=-1)[:, : ctx.shape[1]]
        return upstream, collected, None
