"""``scenewise eval``: what a scene is worth on photographs it has not seen."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewise.commands.evaluate.labels import evaluate_labels
from scenewise.commands.evaluate.names import NamesSummary, evaluate_names
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import ResourceError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.images import image_u8_from_color, png_bytes
from scenewise.io.run_folder import is_run_folder
from scenewise.io.scene_folder import read_scene, write_scene_description
from scenewise.metrics.color_correction import color_corrected
from scenewise.metrics.depth import depth_error
from scenewise.metrics.hidden import grey_where_hidden
from scenewise.metrics.lpips import Lpips, load_lpips
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim
from scenewise.parts.sources.scene_photographs import ScenePhotographs, reopen_photographs
from scenewise.rendering import RenderOutput, render
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import EvaluationCard, Scene, Split
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
    split: Split
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
        masks = self.more.get("masks")
        if masks:
            lines.append(f"over what masks leave: {masks['mean_used']:.0%} of the pixels of {masks['views']} views")
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
    split: Split = options.split or "test"
    device = compute_device(options.device)
    settings = EvaluationSettings(split, options.lpips_weights, device, options.save_images)
    with compute_threads(options.threads):
        evaluated = evaluate_scene(
            options.scene,
            settings,
            capture=None if options.capture is None else reopen_photographs(read_scene(options.scene), options.capture).opened,
            progress=progress,
        )
    return EvalSummary(scene=options.scene, **vars(evaluated.card))


@dataclass(frozen=True)
class EvaluationSettings:
    """How a scene is measured.

    Attributes:
        split: which views.
        lpips_weights: backbone and heads; None leaves LPIPS null.
        device: where to render.
        save_images: also write the rendered views to ``renders/<split>``.
        keep: frames whose rendered pictures are handed on.
    """

    split: Split = "test"
    lpips_weights: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    save_images: bool = False
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TrainingCost:
    """What a scene cost; None = unknown.

    Attributes:
        seconds: training time.
        peak_memory_bytes: of the training process.
    """

    seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Evaluated:
    """A scene with what was measured on it.

    Attributes:
        scene: its evaluation card included.
        card: the same card.
        renders: the views asked for as they were rendered, by frame.
    """

    scene: Scene
    card: EvaluationCard
    renders: Mapping[str, ImageU8]


def evaluate_scene(
    folder: Path,
    settings: EvaluationSettings | None = None,
    *,
    scene: Scene | None = None,
    capture: Capture | None = None,
    seen_by: SeenBy | None = None,
    cost: TrainingCost | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Renders a split's views, compares them with the photographs, and writes the evaluation card into ``scene.json``.

    Protocol: PSNR, SSIM (11×11, σ = 1.5, zero-padded) and LPIPS per image on values in [0, 1], then the mean over images; each
    also after colour correction (:func:`scenewise.metrics.color_correction.color_corrected`).  Pixels that a mask leaves out do
    not count.

    Args:
        folder: scene folder.
        settings: how to measure.
        scene: what the folder holds; read when None.
        capture: the photographs; read from where the scene says they were when None.
        seen_by: what cameras see of the scene's Gaussians, where these need not all be in memory; None loads them.
        cost: what to enter into the card; what is unknown stays as an earlier card has it.
        progress: told about every view.
    """
    progress = NullProgress() if progress is None else progress
    settings = EvaluationSettings() if settings is None else settings
    cost = TrainingCost() if cost is None else cost
    scene = read_scene(folder) if scene is None else scene
    if capture is None:
        photographs = reopen_photographs(scene, Path(scene.provenance.capture))
    else:
        photographs = ScenePhotographs(scene, capture)
    frames = photographs.frames_of(settings.split)
    loaded = cache(partial(_loaded, scene, settings.device))
    seen_by = (lambda camera: loaded()) if seen_by is None else seen_by
    rows, renders, seconds = _measured(folder, scene, seen_by, frames, settings, progress)
    more = {"images": rows, "render_ms": 1000.0 * seconds / len(rows)} | _further_means(rows)
    labels = evaluate_labels(folder, photographs.opened, frames, loaded, progress)
    if labels is not None:
        per_class = {name: iou for name, iou in zip(labels.names, labels.iou.tolist()) if not math.isnan(iou)}
        more["labels"] = {"accuracy": labels.all_accuracy, "coverage": labels.coverage, "iou": per_class}
    older = scene.evaluation
    peak = cost.peak_memory_bytes
    card = EvaluationCard(
        split=settings.split,
        num_views=len(rows),
        psnr=_mean(rows, "psnr"),
        ssim=_mean(rows, "ssim"),
        lpips=_mean(rows, "lpips") if "lpips" in rows[0] else None,
        num_gaussians=scene.num_gaussians,
        seconds=cost.seconds if cost.seconds is not None or older is None else older.seconds,
        peak_memory_bytes=peak if peak is not None or older is None else older.peak_memory_bytes,
        miou=None if labels is None else labels.miou,
        more=more,
    )
    scene = replace(scene, evaluation=card)
    try:
        write_scene_description(folder, scene)
    except ResourceError as error:  # a scene on a read-only disk: what was measured is worth more than the place to keep it
        warnings.warn(f"scene.json was not updated with these figures: {error}", stacklevel=2)
    return Evaluated(scene, card, renders)


def _loaded(scene: Scene, device: torch.device) -> Gaussians:
    return scene.gaussians.to(device)


def _measured(
    folder: Path,
    scene: Scene,
    seen_by: SeenBy,
    frames: Sequence[Frame],
    settings: EvaluationSettings,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[str, ImageU8], float]:
    """Figures of every view, the pictures to keep, and the seconds that rendering took."""
    background = torch.tensor(scene.background or (0.0, 0.0, 0.0), device=settings.device)
    lpips = None if settings.lpips_weights is None else load_lpips(settings.lpips_weights).to(settings.device)
    rows: list[dict[str, Any]] = []
    renders: dict[str, ImageU8] = {}
    render_seconds = 0.0
    with progress.stage("evaluate", len(frames)) as stage, torch.no_grad():
        for frame in frames:
            began = time.monotonic()
            output = render(seen_by(frame.camera), frame.camera, background=background)
            render_seconds += time.monotonic() - began
            row = _measure(frame, output, lpips)
            rows.append({"image": frame.name} | {key: value if math.isfinite(value) else None for key, value in row.items()})
            if settings.save_images or frame.name in settings.keep:
                picture_u8 = image_u8_from_color(output.color.cpu().numpy())
                if settings.save_images:
                    place = folder / "renders" / settings.split / f"{file_stem(frame.name)}.png"
                    atomic_write_bytes(place, png_bytes(picture_u8))
                if frame.name in settings.keep:
                    renders[frame.name] = picture_u8
            stage.advance(psnr=row["psnr"])
    return rows, renders, render_seconds


def _further_means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means after colour correction, and of depth where it was measured; how much masks leave."""
    more: dict[str, Any] = {}
    used = [row["used"] for row in rows if "used" in row]
    if used:
        more["masks"] = {"views": len(used), "mean_used": float(np.mean(used))}
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
    return more


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
    corrected = color_corrected(image, truth, mask)
    image, corrected, truth = (grey_where_hidden(picture, mask) for picture in (image, corrected, truth))
    figures = {
        "psnr": psnr(image, truth, mask),
        "ssim": ssim(image, truth, mask),
        "psnr_corrected": psnr(corrected, truth, mask),
        "ssim_corrected": ssim(corrected, truth, mask),
    }
    if mask is not None:
        figures["used"] = float(mask.double().mean())
    if lpips is not None:
        figures |= {"lpips": float(lpips(image, truth)), "lpips_corrected": float(lpips(corrected, truth))}
    if frame.load_depth is not None:
        expected = torch.where(output.alpha > _SOLID, output.depth / output.alpha.clamp_min(_SOLID), 0.0)
        measured = torch.from_numpy(np.nan_to_num(frame.load_depth())).to(device)
        figures |= {f"depth_{name}": value for name, value in vars(depth_error(expected, measured, mask)).items()}
    return figures
