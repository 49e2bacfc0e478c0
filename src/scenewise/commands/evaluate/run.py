"""``scenewise eval``: what a scene is worth on photographs it has not seen."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from scenewise.commands.evaluate.labels import evaluate_labels
from scenewise.commands.evaluate.names import NamesSummary, evaluate_names
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.captures import open_capture
from scenewise.io.images import image_u8_from_color, png_bytes
from scenewise.io.run_folder import is_run_folder
from scenewise.io.scene_folder import read_scene, write_scene_description
from scenewise.metrics.color_correction import color_corrected
from scenewise.metrics.depth import depth_error
from scenewise.metrics.lpips import Lpips, load_lpips
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim
from scenewise.rendering import RenderOutput, render
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.scenes import EvaluationCard, Scene
from scenewise.show.pictures import file_stem

_SOLID = 0.5  # a pixel at least this opaque has a depth worth comparing


@dataclass(frozen=True)
class EvalSummary:
    """What ``scenewise eval`` measured; the same figures are in the scene's evaluation card.

    Attributes:
        scene: the scene folder.
        split: which views were measured.
        num_views: how many.
        psnr: mean of the views' PSNR, dB.
        ssim: mean SSIM.
        lpips: mean LPIPS, None without a backbone file.
        num_gaussians: size of the scene.
        seconds: training time, None when unknown.
        peak_memory_bytes: of the training process, None when unknown.
        miou: agreement of the scene's labels with the capture's class maps, a share of 1; None where either is missing.
        more: colour-corrected figures, depth errors, time per view, figures per image.
    """

    scene: Path
    split: Literal["train", "test"]
    num_views: int
    psnr: float | None
    ssim: float | None
    lpips: float | None
    num_gaussians: int
    seconds: float | None
    peak_memory_bytes: int | None
    miou: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """A few lines for people."""
        views = "held-out" if self.split == "test" else "training"
        lines = [f"{self.num_views} {views} views, {self.num_gaussians:,} Gaussians"]
        lines.append(f"PSNR {_shown(self.psnr, '.2f')} dB, SSIM {_shown(self.ssim, '.4f')}, LPIPS {_shown(self.lpips, '.4f')}")
        corrected = self.more.get("color_corrected", {})
        if corrected:
            lines.append(f"after colour correction: PSNR {corrected['psnr']:.2f} dB, SSIM {corrected['ssim']:.4f}")
        depth = self.more.get("depth")
        if depth:
            lines.append("depth: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in depth.items()))
        if self.miou is not None:
            found = self.more["labels"]
            lines.append(f"labels: mIoU {100 * self.miou:.1f} %, accuracy {100 * found['accuracy']:.1f} % against the class maps")
        return "\n".join(lines)


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def evaluate_command(options: EvalOptions, progress: Progress | None = None) -> EvalSummary | NamesSummary:
    """Measures a scene folder and writes the figures into its evaluation card; with ``--data``, names against a truth.

    Raises:
        DataFormatError: the scene, the capture or the backbone file cannot be read.
        ConventionError: the scene has no views of the wanted split, or the capture is another one.
    """
    if options.data is not None or is_run_folder(options.scene):
        return evaluate_names(options, progress)
    assert options.split != "val", "the options refuse it"
    device = compute_device(options.device)
    with compute_threads(options.threads):
        card = evaluate_scene(
            options.scene,
            capture=None if options.capture is None else capture_of_scene(read_scene(options.scene), options.capture),
            split=options.split,
            lpips_weights=options.lpips_weights,
            device=device,
            save_images=options.save_images,
            progress=progress,
        )
    return EvalSummary(scene=options.scene, **vars(card))


def evaluate_scene(
    folder: Path,
    *,
    scene: Scene | None = None,
    capture: Capture | None = None,
    split: Literal["train", "test"] = "test",
    lpips_weights: Path | None = None,
    device: torch.device | None = None,
    save_images: bool = False,
    seconds: float | None = None,
    peak_memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> EvaluationCard:
    """Renders a split's views, compares them with the photographs, and writes the evaluation card into ``scene.json``.

    Protocol: PSNR, SSIM (11×11, σ = 1.5, zero-padded) and LPIPS per image on values in [0, 1], then the mean over images; each
    also after colour correction (:func:`scenewise.metrics.color_correction.color_corrected`).  Pixels that a mask leaves out do
    not count.

    Args:
        folder: scene folder.
        scene: what the folder holds; read when None.
        capture: the photographs; read from where the scene says they were when None.
        split: which views.
        lpips_weights: backbone and heads; None leaves LPIPS null.
        device: where to render.
        save_images: also write the rendered views to ``renders/<split>``.
        seconds: training time to enter; None keeps what an earlier card says.
        peak_memory_bytes: likewise.
        progress: told about every view.
    """
    progress = NullProgress() if progress is None else progress
    device = torch.device("cpu") if device is None else device
    scene = read_scene(folder) if scene is None else scene
    capture = capture_of_scene(scene, Path(scene.provenance.capture)) if capture is None else capture
    frames = _frames_of(scene, capture, split)
    older = scene.evaluation
    gaussians = scene.gaussians.to(device)
    background = torch.tensor(scene.background or (0.0, 0.0, 0.0), device=device)
    rows: list[dict[str, Any]] = []
    lpips = None if lpips_weights is None else load_lpips(lpips_weights).to(device)
    render_seconds = 0.0
    with progress.stage("evaluate", len(frames)) as stage, torch.no_grad():
        for name, frame in frames:
            began = time.monotonic()
            output = render(gaussians, frame.camera, background=background)
            render_seconds += time.monotonic() - began
            row = _measure(frame, output, lpips)
            rows.append({"image": name} | {key: value if math.isfinite(value) else None for key, value in row.items()})
            if save_images:
                picture_u8 = image_u8_from_color(output.color.cpu().numpy())
                atomic_write_bytes(folder / "renders" / split / f"{file_stem(name)}.png", png_bytes(picture_u8))
            stage.advance(psnr=row["psnr"])
    more: dict[str, Any] = {"images": rows, "render_ms": 1000.0 * render_seconds / len(rows)}
    corrected = {name.removesuffix("_corrected"): _mean(rows, name) for name in rows[0] if name.endswith("_corrected")}
    if corrected:
        more["color_corrected"] = corrected
    depth = {
        name.removeprefix("depth_"): _mean(rows, name)
        for name in sorted({key for row in rows for key in row})
        if name.startswith("depth_")
    }
    if depth:
        more["depth"] = depth
    labels = evaluate_labels(folder, capture, frames, gaussians, progress)
    if labels is not None:
        per_class = {name: iou for name, iou in zip(labels.names, labels.iou.tolist()) if not math.isnan(iou)}
        more["labels"] = {"accuracy": labels.all_accuracy, "coverage": labels.coverage, "iou": per_class}
    card = EvaluationCard(
        split=split,
        num_views=len(rows),
        psnr=_mean(rows, "psnr"),
        ssim=_mean(rows, "ssim"),
        lpips=_mean(rows, "lpips") if "lpips" in rows[0] else None,
        num_gaussians=len(gaussians),
        seconds=seconds if seconds is not None or older is None else older.seconds,
        peak_memory_bytes=peak_memory_bytes if peak_memory_bytes is not None or older is None else older.peak_memory_bytes,
        miou=None if labels is None else labels.miou,
        more=more,
    )
    write_scene_description(folder, replace(scene, evaluation=card))
    return card


def capture_of_scene(scene: Scene, path: Path) -> Capture:
    """The photographs in ``path`` at the size and with the background that the scene was made from."""
    factor = scene.provenance.config.get("downscale")
    return open_capture(
        path,
        preset=scene.provenance.preset,
        factor=factor if isinstance(factor, int) else None,
        background=scene.background,
    )


def _frames_of(scene: Scene, capture: Capture, split: Literal["train", "test"]) -> list[tuple[str, Frame]]:
    """The split's frames with the cameras of the scene (training poses may have been refined)."""
    frames = {frame.name: frame for frame in capture.frames_with_image}
    found = []
    for entry in scene.cameras_of(split):
        if entry.name not in frames:
            raise ConventionError(
                f"photograph {entry.name}",
                expected=f"an image in {capture.root}",
                got="none",
                fix="name the capture with --capture",
            )
        frame = frames[entry.name].resized(entry.camera.width, entry.camera.height)
        found.append((entry.name, replace(frame, camera=entry.camera)))
    if not found:
        raise ConventionError(
            f"{split} views of the scene",
            expected="at least one",
            got="none",
            fix=f"try --split {'train' if split == 'test' else 'test'}",
        )
    return found


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None and math.isfinite(row[name])]
    return float(np.mean(values)) if values else None


def _measure(frame: Frame, output: RenderOutput, lpips: Lpips | None) -> dict[str, float]:
    """Figures of one view."""
    assert frame.load_image is not None
    device = output.color.device
    truth = torch.from_numpy(np.multiply(frame.load_image(), np.float32(1.0 / 255.0), dtype=np.float32)).to(device)
    mask = None if frame.load_mask is None else torch.from_numpy(frame.load_mask().copy()).to(device)
    image = output.color.clamp(0.0, 1.0)
    corrected = color_corrected(image if mask is None else torch.where(mask[..., None], image, truth), truth)
    figures = {
        "psnr": psnr(image, truth, mask),
        "ssim": ssim(image, truth, mask),
        "psnr_corrected": psnr(corrected, truth, mask),
        "ssim_corrected": ssim(corrected, truth, mask),
    }
    if lpips is not None:
        shown, shown_corrected = (
            picture if mask is None else torch.where(mask[..., None], picture, truth) for picture in (image, corrected)
        )
        figures |= {"lpips": float(lpips(shown, truth)), "lpips_corrected": float(lpips(shown_corrected, truth))}
    if frame.load_depth is not None:
        expected = torch.where(output.alpha > _SOLID, output.depth / output.alpha.clamp_min(_SOLID), 0.0)
        measured = torch.from_numpy(np.nan_to_num(frame.load_depth())).to(device)
        figures |= {f"depth_{name}": value for name, value in vars(depth_error(expected, measured, mask)).items()}
    return figures
