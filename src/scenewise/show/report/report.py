"""``report.html``: what a run achieved, gathered from its scene folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewise.commands.evaluate.run import capture_of_scene
from scenewise.engine.journal import read_journal
from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.errors import ScenewiseError
from scenewise.io.atomic import atomic_write_text
from scenewise.io.images import image_u8_from_color
from scenewise.io.scene_folder import read_scene
from scenewise.metrics.psnr import psnr
from scenewise.rendering import render
from scenewise.scenes.captures import Capture
from scenewise.scenes.scenes import EvaluationCard, Scene, SceneCamera
from scenewise.show.curves import Curve
from scenewise.show.report.distillation import distillation_parts
from scenewise.show.report.labels import label_galleries, shown_cameras, spread_cameras
from scenewise.show.report.page import ReportContent, ViewComparison, report_html

REPORT_FILE = "report.html"
JOURNAL_FILE = "log.jsonl"
_Events = Sequence[Mapping[str, Any]]


def write_report(
    folder: Path,
    *,
    scene: Scene | None = None,
    capture: Capture | None = None,
    views: int = 3,
    progress: Progress | None = None,
) -> Path:
    """Writes ``report.html`` into a scene folder and returns its path.

    Args:
        folder: scene folder; what its ``scene.json`` and ``log.jsonl`` hold goes into the page.
        scene: what the folder holds, its evaluation included; read when None.
        capture: the photographs; read again from where the scene says they were when None.  Without them the page has no pictures
            and says why.
        views: how many held-out photographs to compare.
        progress: told about the pictures.

    Raises:
        DataFormatError: the scene cannot be read.
    """
    progress = NullProgress() if progress is None else progress
    scene = read_scene(folder) if scene is None else scene
    events = read_journal(folder / JOURNAL_FILE)
    warnings = [str(event.get("message", "")) for event in events if event["event"] == "warning"]
    comparisons: list[ViewComparison] = []
    try:
        capture = capture_of_scene(scene, Path(scene.provenance.capture)) if capture is None else capture
        comparisons = _compare(scene, capture, spread_cameras(shown_cameras(scene), views), progress)
    except (ScenewiseError, OSError) as error:
        warnings.append(f"No pictures: {error}")
    names, answers = label_galleries(folder, scene, views, warnings)
    teachers, sizes, size_curves = distillation_parts(folder, scene, capture, views, warnings)
    content = ReportContent(
        title=_title(scene, folder),
        subtitle=_subtitle(scene),
        tiles=_tiles(scene, events),
        views=comparisons,
        names=names,
        answers=answers,
        teachers=teachers,
        sizes=sizes,
        curves=[*size_curves, *_curves(events)],
        images=_image_rows(scene.evaluation),
        timings={str(event["name"]): float(event["seconds"]) for event in events if _is_stage(event)},
        warnings=warnings,
        card=_card(scene.evaluation),
        provenance=_provenance(scene),
    )
    atomic_write_text(folder / REPORT_FILE, report_html(content))
    return folder / REPORT_FILE


# --- pictures ----------------------------------------------------------------------------------------------------------------


def _compare(scene: Scene, capture: Capture, cameras: Sequence[SceneCamera], progress: Progress) -> list[ViewComparison]:
    frames = {frame.name: frame for frame in capture.frames_with_image}
    gaussians = scene.gaussians
    background = torch.tensor(scene.background or (0.0, 0.0, 0.0))
    measured = {row.get("image"): row for row in _image_rows(scene.evaluation)}
    comparisons = []
    with progress.stage("report", len(cameras)) as stage:
        for entry in cameras:
            stage.advance()
            frame = frames.get(entry.name)
            if frame is None:
                continue
            load_image = frame.resized(entry.camera.width, entry.camera.height).load_image
            assert load_image is not None
            truth_u8 = load_image()
            with torch.no_grad():
                color = render(gaussians, entry.camera, background=background).color
            render_u8 = image_u8_from_color(color.numpy())
            figures = {name: measured.get(entry.name, {}).get(name) for name in ("psnr", "ssim", "lpips")}
            if figures["psnr"] is None:
                figures["psnr"] = psnr(color, torch.from_numpy(truth_u8 / np.float32(255.0)))
            comparisons.append(
                ViewComparison(entry.name, truth_u8, render_u8, {name.upper(): value for name, value in figures.items()})
            )
    return comparisons


# --- figures -----------------------------------------------------------------------------------------------------------------


def _title(scene: Scene, folder: Path) -> str:
    return Path(scene.provenance.capture).name or folder.resolve().name


def _subtitle(scene: Scene) -> str:
    train, test = len(scene.cameras_of("train")), len(scene.cameras_of("test"))
    unit = "metric" if scene.scale == "metric" else "arbitrary"
    where = f", EPSG:{scene.georeference.epsg}" if scene.georeference else ""
    method = scene.provenance.method.replace("_", " ")
    return f"{method}: {scene.num_gaussians:,} Gaussians from {train} photographs, {test} held out; {unit} scale{where}"


def _tiles(scene: Scene, events: _Events) -> dict[str, str]:
    tiles = {"Gaussians": f"{scene.num_gaussians:,}"}
    card = scene.evaluation
    if card is not None:
        figures = {"PSNR": (card.psnr, "{:.2f} dB"), "SSIM": (card.ssim, "{:.4f}"), "LPIPS": (card.lpips, "{:.4f}")}
        held_out = "held-out" if card.split == "test" else "training views"
        shown = {f"{name}, {held_out}": form.format(value) for name, (value, form) in figures.items() if value is not None}
        if card.miou is not None:
            shown["mIoU of names"] = f"{100 * card.miou:.1f} %"
        tiles = shown | tiles
        if card.seconds is not None:
            tiles["training"] = duration_text(float(card.seconds))
        if card.peak_memory_bytes is not None:
            tiles["peak memory"] = text_from_bytes(float(card.peak_memory_bytes))
    steps = [event["step"] for event in events if event["event"] == "step" and "step" in event]
    if steps:
        tiles["steps"] = f"{max(steps):,}"
    return tiles


def _curves(events: _Events) -> list[Curve]:
    def curve(title: str, kind: str, field: str, logarithmic: bool = False) -> Curve:
        chosen = [event for event in events if event["event"] == kind and _is_number(event.get("step")) and field in event]
        values = [event[field] if _is_number(event[field]) else None for event in chosen]
        return Curve(title, [event["step"] for event in chosen], values, logarithmic)

    drawn = [
        curve("Loss", "step", "loss", logarithmic=True),
        curve("PSNR of held-out views, dB", "evaluation", "psnr"),
        curve("Gaussians", "step", "num_gaussians"),
    ]
    return [each for each in drawn if len(each.points()) >= 2]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_stage(event: Mapping[str, Any]) -> bool:
    return event["event"] == "stage" and "name" in event and _is_number(event.get("seconds"))


def _image_rows(card: EvaluationCard | None) -> list[Mapping[str, Any]]:
    rows = card.more.get("images", []) if card is not None else []
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []


def _card(card: EvaluationCard | None) -> dict[str, Any]:
    if card is None:
        return {}
    plain = {name: value for name, value in vars(card).items() if name != "more" and value is not None}
    return plain | {name: value for name, value in card.more.items() if name != "images"}


def _provenance(scene: Scene) -> dict[str, Any]:
    values = {name: value for name, value in vars(scene.provenance).items() if value not in (None, "", {})}
    if scene.licences:
        values["licences"] = {name: licence or "unknown" for name, licence in scene.licences.items()}
    return values
