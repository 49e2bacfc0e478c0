"""The CUDA backend: gsplat behind our signature, imported only when it runs."""

from importlib.util import find_spec

import torch

from scenewise.kernels.splats import reference
from scenewise.kernels.splats.constants import DILATION
from scenewise.kernels.splats.interface import Contribution, SplatInput, SplatOutput


def is_installed() -> bool:
    """Whether the package gsplat can be imported (its CUDA code is compiled at first use)."""
    return find_spec("gsplat") is not None


def rasterize(splats: SplatInput) -> SplatOutput:
    """See :func:`scenewise.kernels.splats.rasterize`."""
    import gsplat

    scales = splats.scales.exp() if splats.stored else splats.scales
    opacities = splats.opacities.sigmoid() if splats.stored else splats.opacities
    coefficients = torch.cat([splats.sh0, splats.shN[:, : (splats.sh_degree + 1) ** 2 - 1]], dim=1)
    shared = {
        "means": splats.means,
        "quats": splats.quats,
        "scales": scales,
        "opacities": opacities,
        "viewmats": splats.camera_from_world[None],
        "Ks": splats.K[None],
        "width": splats.width,
        "height": splats.height,
        "near_plane": splats.near,
        "eps2d": DILATION,
        "packed": False,
        "absgrad": splats.screen_gradients is not None,
    }
    picture, alphas, info = gsplat.rasterization(colors=coefficients, sh_degree=splats.sh_degree, render_mode="RGB+D", **shared)
    remaining = 1 - alphas[0, ..., 0]
    color = picture[0, ..., :3] + remaining[..., None] * splats.background
    if splats.screen_gradients is not None and splats.screen_gradients.requires_grad:
        color = _collect_screen_gradients(color, info["means2d"], splats.screen_gradients)
    extra = None
    if splats.extra is not None:
        blended, _, _ = gsplat.rasterization(colors=splats.extra, sh_degree=None, render_mode="RGB", **shared)
        extra = blended[0]
    return SplatOutput(
        color=color,
        depth=picture[0, ..., 3],
        alpha=alphas[0, ..., 0],
        extra=extra,
        radii=info["radii"][0].float().amax(-1) if info["radii"].ndim == 3 else info["radii"][0].float(),
        contribution=_contribution(splats) if splats.contribution else None,
    )


def _collect_screen_gradients(color: torch.Tensor, means2d: torch.Tensor, screen_gradients: torch.Tensor) -> torch.Tensor:
    """Copies gsplat's gradient of the projected centres (pixels) into ``screen_gradients.grad`` during backward."""
    means2d.retain_grad()

    def collect(_: torch.Tensor) -> None:
        gradient = means2d.grad[0] if means2d.grad is not None else torch.zeros_like(means2d[0])
        absolute = means2d.absgrad[0] if hasattr(means2d, "absgrad") else gradient.abs()
        both = torch.cat([gradient, absolute], dim=-1)[:, : screen_gradients.shape[1]]
        screen_gradients.grad = both if screen_gradients.grad is None else screen_gradients.grad + both

    return _AfterBackward.apply(color, collect)


class _AfterBackward(torch.autograd.Function):
    """Identity whose backward schedules a callback for the end of the whole backward pass."""

    @staticmethod
    def forward(ctx, color, callback):  # type: ignore[no-untyped-def]
        ctx.callback = callback
        return color.view_as(color)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        torch.autograd.Variable._execution_engine.queue_callback(lambda: ctx.callback(upstream))
        return upstream, None


def _contribution(splats: SplatInput) -> Contribution:
    """gsplat has no such output; the plain torch twin runs on the same device."""
    output = reference.rasterize(splats)
    assert output.contribution is not None
    return output.contribution
