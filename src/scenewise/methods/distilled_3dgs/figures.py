"""What teachers and students are measured by, and the table of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from scenewise.io.ply.gaussians import gaussians_ply_bytes
from scenewise.methods.distilled_3dgs.distillation import mean_picture
from scenewise.methods.distilled_3dgs.size import file_bytes
from scenewise.metrics.photographs import likeness
from scenewise.rendering import render
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians


@dataclass(frozen=True)
class SplatFigures:
    """One set of Gaussians in the table.

    Attributes:
        name: "vanilla", "mean of the teachers", "student", "student, 30 %".
        num_gaussians: how many; None for a mean of pictures.
        ply_bytes: size of its .ply file.
        spz_bytes: size of its .spz file.
        psnr: on held-out views, dB; None where none are held out.
        ssim: likewise.
        render_ms: mean time to render a held-out view.
        steps: optimisation steps.
        seconds: training time.
        views_rendered: pictures that were rendered for its training.
    """

    name: str
    num_gaussians: int | None = None
    ply_bytes: int | None = None
    spz_bytes: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    render_ms: float | None = None
    steps: int | None = None
    seconds: float | None = None
    views_rendered: int | None = None


@dataclass(frozen=True)
class DistillationSummary:
    """What distillation brought, and what it cost in all.

    Attributes:
        table: teachers, their mean, the student.
        curve: students of several sizes, the chosen one included; and the vanilla teacher.
        seconds: training of all teachers and of the student.
        views_rendered: pictures rendered for all of that.
        kept: Gaussians of the student as a part of the vanilla teacher's.
        teachers: folders of the teachers.
    """

    table: tuple[SplatFigures, ...]
    curve: tuple[SplatFigures, ...]
    seconds: float
    views_rendered: int
    kept: float
    teachers: tuple[str, ...] = ()


def measured(name: str, gaussians: Gaussians, capture: Capture, device: torch.device) -> SplatFigures:
    """Size, and quality and time on the held-out views."""
    plain = SplatFigures(
        name,
        num_gaussians=len(gaussians),
        ply_bytes=gaussians_ply_bytes(len(gaussians), gaussians.sh_degree),
        spz_bytes=file_bytes(gaussians, "spz"),
    )
    on_device = gaussians.to(device)
    background = torch.tensor(capture.background or (0.0, 0.0, 0.0), device=device)
    seconds, pictures = 0.0, []
    with torch.no_grad():
        for frame in capture.test_frames:
            began = time.perf_counter()
            color = render(on_device, frame.camera, background=background).color
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds += time.perf_counter() - began
            pictures.append(color.clamp(0.0, 1.0).cpu())
    if not pictures:
        return plain
    return _with_quality(replace(plain, render_ms=1000.0 * seconds / len(pictures)), pictures, capture.test_frames)


def measured_mean(teachers: Sequence[Gaussians], capture: Capture, device: torch.device) -> SplatFigures:
    """Quality of the teachers' mean picture on the held-out views."""
    loaded = [teacher.to(device) for teacher in teachers]
    pictures = [mean_picture(loaded, frame.camera, capture.background).cpu() for frame in capture.test_frames]
    figures = SplatFigures("mean of the teachers", num_gaussians=sum(map(len, teachers)))
    return _with_quality(figures, pictures, capture.test_frames) if pictures else figures


def _with_quality(figures: SplatFigures, pictures: Sequence[torch.Tensor], frames: Sequence[Frame]) -> SplatFigures:
    ratios, similarities = zip(*(likeness(picture, frame) for picture, frame in zip(pictures, frames)))
    return replace(figures, psnr=sum(ratios) / len(ratios), ssim=sum(similarities) / len(similarities))
