"""Rendering in domain words: Gaussians and a camera in, pictures out."""

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels import splats as splat_kernel
from scenewise.kernels.splats import Backend, Contribution, SplatInput, SplatOutput, rasterize
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians

__all__ = ["Backend", "Contribution", "RenderOutput", "gather", "render"]

RenderOutput = SplatOutput


def render(
    gaussians: Gaussians,
    camera: Cameras,
    *,
    sh_degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    extra: Float[Tensor, "n channels"] | None = None,
    camera_from_world: Float[Tensor, "4 4"] | None = None,
    screen_gradients: Float[Tensor, "n 2"] | Float[Tensor, "n 4"] | None = None,
    contribution: bool = False,
    backend: Backend = "auto",
) -> RenderOutput:
    """One picture of Gaussians.

    Args:
        gaussians: stored parameters; all receive gradients.
        camera: one camera without batch axes.
        sh_degree: degrees of colour to evaluate; None means all that are stored.
        background: colour behind everything in [0, 1]; None is black.
        extra: further channels per Gaussian, blended like colour.
        camera_from_world: replaces the camera's pose and receives a gradient (pose refinement).
        screen_gradients: zeros [n, 2] or [n, 4] requiring gradient; see :func:`scenewise.kernels.splats.rasterize`.
        contribution: also return Σα·T, pixel counts and argmax counts per Gaussian.
        backend: "auto" picks the fastest that can run.

    Returns:
        Colour, depth (Σ w·z), alpha, extra, radii and, when asked, contributions.

    Raises:
        ShapeError: the camera has batch axes.
    """
    if camera.camera_from_world.ndim != 2:
        raise ShapeError("camera", expected="one camera", got=f"batch {tuple(camera.camera_from_world.shape[:-2])}")
    means = gaussians.means
    pose = camera.camera_from_world if camera_from_world is None else camera_from_world
    return rasterize(
        SplatInput(
            means=means,
            quats=gaussians.quats,
            scales=gaussians.log_scales,
            opacities=gaussians.logit_opacities,
            sh0=gaussians.sh0,
            shN=gaussians.shN,
            sh_degree=gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree),
            extra=extra,
            camera_from_world=pose.to(device=means.device, dtype=means.dtype),
            K=camera.K.to(device=means.device, dtype=means.dtype),
            near=camera.near,
            width=camera.width,
            height=camera.height,
            background=torch.zeros(3, dtype=means.dtype, device=means.device) if background is None else background,
            stored=True,
            screen_gradients=screen_gradients,
            contribution=contribution,
        ),
        backend,
    )


def gather(
    gaussians: Gaussians,
    camera: Cameras,
    field: Float[Tensor, "height width channels"],
    *,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "n channels"], Float[Tensor, "n"]]:
    """What each Gaussian sees of a picture: Σ over pixels of α·T·field, and Σ α·T; the transpose of rendering ``extra``.

    Args:
        gaussians: stored parameters; no gradients.
        camera: one camera without batch axes.
        field: values at the pixels, of the camera's size.
        backend: "auto" picks the fastest that can run.

    Raises:
        ShapeError: the camera has batch axes, or the field another size.
    """
    if camera.camera_from_world.ndim != 2:
        raise ShapeError("camera", expected="one camera", got=f"batch {tuple(camera.camera_from_world.shape[:-2])}")
    means = gaussians.means
    return splat_kernel.gather(
        SplatInput(
            means=means,
            quats=gaussians.quats,
            scales=gaussians.log_scales,
            opacities=gaussians.logit_opacities,
            sh0=gaussians.sh0,
            shN=gaussians.shN,
            sh_degree=0,  # colour is not asked for
            extra=None,
            camera_from_world=camera.camera_from_world.to(device=means.device, dtype=means.dtype),
            K=camera.K.to(device=means.device, dtype=means.dtype),
            near=camera.near,
            width=camera.width,
            height=camera.height,
            background=torch.zeros(3, dtype=means.dtype, device=means.device),
            stored=True,
            screen_gradients=None,
            contribution=False,
        ),
        field,
        backend,
    )
