"""What refined poses are worth: the training views from where they were said to be, and from where they are now."""

import math

import torch

from scenewise.errors import ConventionError
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.rendering import render


@torch.no_grad()
def pose_gain(trainer: SplatTrainer) -> dict[str, float]:
    """Mean PSNR of the training views from the given and from the refined poses (both without exposure compensation).

    Raises:
        ConventionError: poses are not refined.
    """
    refinement = trainer.pose_refinement
    if refinement is None:
        raise ConventionError("pose_gain", expected="a run with pose refinement", got="none")
    psnr: dict[str, float] = {"psnr_given": 0.0, "psnr_refined": 0.0}
    for index in range(len(trainer.views)):
        view = trainer.views.load(index)
        for name, camera in (
            ("psnr_given", view.camera),
            ("psnr_refined", refinement.refined_camera(view.camera, index)),
        ):
            gaussians = trainer.field.gaussians(camera)
            color = render(gaussians, camera, background=trainer.background, backend=trainer.settings.backend).color
            square = (color.clamp(0.0, 1.0) - view.image).square()
            square = square if view.mask is None else square[view.mask]
            error = (square.mean() if square.numel() else square.sum()).clamp_min(1e-10)
            psnr[name] -= 10.0 * math.log10(float(error)) / len(trainer.views)
    return psnr
