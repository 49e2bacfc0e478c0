"""What teachers tell a student: the mean of their pictures, made once per view and kept as PNG files, and the loss on it.

Views are fixed, so a teacher need not be there while the student learns: it is rendered, and forgotten.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.images import png_bytes, read_image
from scenewise.io.product_kinds import PICTURE, PICTURES
from scenewise.io.products import claim, keep, of_bytes
from scenewise.kernels.ssim import l1_dssim
from scenewise.parts.splats.strategies import StepContext
from scenewise.parts.splats.views import TrainingViews, ViewData
from scenewise.rendering import Backend, RenderOutput, render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians

L1Target = Literal["teacher", "gt"]
"""What the absolute difference of the distillation loss is to: the teachers' picture (paper), or the photograph (released)."""


@torch.no_grad()
def mean_picture(
    teachers: Sequence[Gaussians],
    camera: Cameras,
    background: tuple[float, float, float] | None = None,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "height width 3"]:
    """Plain mean of the teachers' pictures of one view, clamped to [0, 1].

    Source: Xiang et al. 2025, section 3: I_tea = (I_std + I_perb + I_drop) / 3.

    Raises:
        ConventionError: no teachers.
    """
    if not teachers:
        raise ConventionError("teachers", expected="at least one", got=0)
    behind = torch.tensor(background or (0.0, 0.0, 0.0), device=teachers[0].means.device)
    total: Tensor | None = None
    for teacher in teachers:
        color = render(teacher, camera, background=behind, backend=backend).color.clamp(0.0, 1.0)
        total = color if total is None else total + color
    assert total is not None
    return total / len(teachers)


def write_pictures(
    folder: Path,
    teachers: Sequence[Callable[[], Gaussians]],
    frames: Sequence[Frame],
    *,
    fingerprint: str,
    background: tuple[float, float, float] | None = None,
    progress: Progress | None = None,
) -> int:
    """Renders the teachers' mean picture of every frame into ``folder``, one PNG each, and returns how many were new.

    Pictures that are there for the same teachers and cameras stay, so an interrupted run goes on where it stopped.

    Args:
        folder: made if need be.
        teachers: how to load each; nothing is loaded when all pictures are there.
        frames: whose cameras are rendered.
        fingerprint: of the teachers; pictures of others are replaced.
        background: colour behind everything.
        progress: told about every view.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    key = picture_fingerprint(fingerprint, frames, background)
    claim(folder, PICTURES, key, {"names": [frame.name for frame in frames]})
    missing = [index for index in range(len(frames)) if not picture_path(folder, index).exists()]
    if not missing:
        return 0
    loaded = [load() for load in teachers]
    with progress.stage("pictures of the teachers", len(missing)) as stage:
        for index in missing:
            picture = png_bytes(_u8(mean_picture(loaded, frames[index].camera, background)))
            keep(picture_path(folder, index), PICTURE, key, of_bytes(picture))
            stage.advance()
    return len(missing)


def picture_fingerprint(teachers: str, frames: Sequence[Frame], background: tuple[float, float, float] | None) -> str:
    """Checksum of everything that decides the pictures."""
    digest = hashlib.sha256(f"{teachers}|{background}".encode())
    for frame in frames:
        digest.update(f"{frame.name}|{frame.camera.width}x{frame.camera.height}|".encode())
        digest.update(frame.camera.camera_from_world.cpu().contiguous().numpy().tobytes())
        digest.update(frame.camera.K.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def picture_path(folder: Path, index: int) -> Path:
    """Where the picture of a frame is."""
    return folder / f"{index:06d}.png"


def _u8(color: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return (color.cpu().numpy() * 255.0 + 0.5).astype(np.uint8)


def picture_frames(folder: Path, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames with the teachers' pictures in place of the photographs, masks and depth left out."""

    def loader(index: int) -> Callable[[], UInt8[np.ndarray, "height width 3"]]:
        path = picture_path(folder, index)
        camera = frames[index].camera

        def load() -> UInt8[np.ndarray, "height width 3"]:
            image = read_image(path)
            if image.shape[:2] != (camera.height, camera.width):
                raise DataFormatError(
                    path,
                    expected=f"{camera.width}×{camera.height} pixels",
                    got=f"{image.shape[1]}×{image.shape[0]}",
                    fix="delete the folder; the pictures are made again",
                )
            return image

        return load

    return tuple(
        replace(frame, load_image=loader(index), load_depth=None, load_mask=None, load_coverage=None)
        for index, frame in enumerate(frames)
    )


@final
@dataclass(frozen=True)
class Distillation:
    """L_color(I_s, I_tea) = (1 − λ)·L₁ + λ·(1 − SSIM) between the student's picture and the teachers' mean.

    Source: Xiang et al. 2025, section 3, L_kd = L_color(I_s, I_gt) + λ_kd · L_color(I_s, I_tea).  The released code takes the
    absolute difference to the photograph instead, so that only SSIM sees the teachers (``l1_target="gt"``).

    Attributes:
        pictures: the teachers' pictures, in the order of the training views.
        strength: λ_kd.
        l1_target: see above.
        dssim_weight: λ.
        first_step: not before this step of this run.
    """

    pictures: TrainingViews
    strength: float = 0.4
    l1_target: L1Target = "teacher"
    dssim_weight: float = 0.2
    first_step: int = 0

    @property
    def name(self) -> str:
        """Under which it is logged."""
        return "distillation"

    def weight(self, context: StepContext) -> float:
        """λ_kd from ``first_step`` on."""
        return self.strength if context.step >= self.first_step else 0.0

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor:
        """The loss of one view; pixels that a mask leaves out do not count.

        The image of a view between the photographs is the teachers' own.  With this term it weighs 1 + λ_kd, like others.
        """
        if view.index >= len(self.pictures):
            return l1_dssim(output.color, view.image, self.dssim_weight)
        target = self.pictures.load(view.index, view.downscale).image
        color = output.color if view.mask is None else torch.where(view.mask[..., None], output.color, target)
        if self.l1_target == "teacher":
            return l1_dssim(color, target, self.dssim_weight)
        l1 = l1_dssim(image, view.image, 0.0)
        return (1.0 - self.dssim_weight) * l1 + self.dssim_weight * l1_dssim(color, target, 1.0)
