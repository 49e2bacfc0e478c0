"""The Gaussian splat kernel: projection, binning and rasterisation, forward and backward."""

from dataclasses import replace
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import MissingDependencyError, ResourceError, ShapeError
from scenewise.kernels.splats import gsplat_backend, native, reference
from scenewise.kernels.splats.interface import Contribution, SplatInput, SplatOutput

__all__ = ["Backend", "Contribution", "SplatInput", "SplatOutput", "backend_for", "gather", "rasterize"]

Backend = Literal["auto", "reference", "native", "gsplat"]


def backend_for(splats: SplatInput, wanted: Backend = "auto") -> tuple[Backend, str]:
    """The backend that will run, and why.

    Raises:
        MissingDependencyError: gsplat was asked for and is not installed.
        ResourceError: the wanted backend cannot run this input here.
    """
    on_cuda = splats.means.device.type == "cuda"
    if wanted == "auto":
        if on_cuda and gsplat_backend.is_installed():
            return "gsplat", "tensors are on CUDA and gsplat is installed"
        if native.can_run(splats):
            return "native", "float32 tensors on the CPU and the compiled library is loaded"
        return "reference", "no fast backend takes this device and dtype here"
    if wanted == "gsplat":
        if not gsplat_backend.is_installed():
            raise MissingDependencyError("gsplat", needed_for="the CUDA splat backend", extra="cuda")
        if not on_cuda:
            raise ResourceError("splat backend gsplat", expected="CUDA tensors", got=f"{splats.means.device}", fix="use native")
    if wanted == "native" and not native.can_run(splats):
        raise ResourceError(
            "splat backend native",
            expected="float32 tensors on the CPU and the compiled library",
            got=f"{splats.means.dtype} on {splats.means.device}",
            fix="run `scenewise doctor`",
        )
    return wanted, "asked for"


def rasterize(splats: SplatInput, backend: Backend = "auto") -> SplatOutput:
    """One view of Gaussians, differentiable in all of them, in the camera pose and in the extra channels.

    α = min(0.99, o·exp(−½ dᵀΣ′⁻¹d)), skipped below 1/255; front to back by depth of the centre, w = α·T, until T would fall to
    1e-4.  Source: Kerbl et al. 2023, arXiv 2308.04079, Eq. 2–3; constants: :mod:`scenewise.kernels.splats.constants`.

    ``splats.screen_gradients`` is never read; after ``backward`` its ``.grad`` holds, per Gaussian, the gradient of the loss with
    respect to the projected centre in pixels, (∂u, ∂v), and with four columns also the sums over pixels of their absolute
    values (Ye et al. 2024, AbsGS, arXiv 2404.10484), which cost a tenth more; densification uses one or the other.  With more
    than 16 extra channels the absolute sums are taken per group of 16.

    Raises:
        ShapeError: batch lengths differ or the coefficients do not cover ``sh_degree``.
    """
    n = len(splats.means)
    for name in ("quats", "scales", "opacities", "sh0", "shN"):
        if len(getattr(splats, name)) != n:
            raise ShapeError(name, expected=f"{n} rows", got=len(getattr(splats, name)))
    if splats.shN.shape[1] < (splats.sh_degree + 1) ** 2 - 1:
        raise ShapeError("shN", expected=f"≥ {(splats.sh_degree + 1) ** 2 - 1} coefficients", got=splats.shN.shape[1])
    if splats.extra is not None and len(splats.extra) != n:
        raise ShapeError("extra", expected=f"{n} rows", got=len(splats.extra))
    chosen, _ = backend_for(splats, backend)
    match chosen:
        case "native":
            return native.rasterize(splats)
        case "gsplat":
            return gsplat_backend.rasterize(splats)
        case "reference" | "auto":
            return reference.rasterize(splats)
        case _:
            assert_never(chosen)


def gather(
    splats: SplatInput, field: Float[Tensor, "height width channels"], backend: Backend = "auto"
) -> tuple[Float[Tensor, "n channels"], Float[Tensor, "n"]]:
    """What each Gaussian sees of a picture: Σ over pixels of w·field, and Σ w, with w = α·T as in :func:`rasterize`.

    The transpose of blending extra channels, E(p) = Σᵢ wᵢ(p)·eᵢ: the gradient of Σ E·F with respect to eᵢ is Σₚ wᵢ(p)·F(p).
    The compiled backend sums it directly; the others ask autograd for that gradient.  Nothing here is differentiable.

    Args:
        splats: Gaussians and camera; ``extra`` is not used.
        field: values at the pixels, of the camera's size.
        backend: "auto" picks the fastest that can run.

    Returns:
        Sums of weighted values and sums of weights; zeros for Gaussians that are not drawn.

    Raises:
        ShapeError: the field has another size than the picture.
    """
    if tuple(field.shape[:2]) != (splats.height, splats.width):
        raise ShapeError("field", expected=f"{splats.height}×{splats.width} pixels", got=f"{tuple(field.shape[:2])}")
    plain = replace(splats, extra=None, screen_gradients=None, contribution=False)
    chosen, _ = backend_for(plain, backend)
    if chosen == "native":
        return native.gather(plain, field)
    with torch.enable_grad():
        # Zeros are what is blended: only how much of each arrives matters.  The last channel sums the weights.
        extra = plain.means.new_zeros(len(plain.means), field.shape[2] + 1).requires_grad_()
        fixed = {
            name: getattr(plain, name).detach()
            for name in ("means", "quats", "scales", "opacities", "sh0", "shN", "camera_from_world")
        }
        blended = rasterize(replace(plain, **fixed, extra=extra), chosen).extra
        assert blended is not None
        upstream = torch.cat([field.to(blended.dtype), torch.ones_like(blended[..., :1])], dim=-1)
        (sums,) = torch.autograd.grad(blended, extra, upstream)
    return sums[:, :-1].contiguous(), sums[:, -1].contiguous()


def default_device() -> torch.device:
    """CUDA when gsplat can use it, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and gsplat_backend.is_installed() else "cpu")
