"""``report.html``: what a run achieved, as sections that products contribute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from scenewise.engine.journal import read_journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ScenewiseError
from scenewise.io.atomic import atomic_write_text
from scenewise.io.scene_folder import JOURNAL_FILE, REPORT_FILE, read_scene
from scenewise.methods.distilled_3dgs.report import distillation_sections
from scenewise.methods.momentum_gs.report import city_sections
from scenewise.parts.sources.scene_photographs import reopen_photographs
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.scenes import Scene, SceneCamera
from scenewise.scenes.sections import ReportMaterial, Section
from scenewise.show.report.graph import graph_sections
from scenewise.show.report.held_out import card_sections, held_out_section, measured_sections
from scenewise.show.report.labels import word_sections
from scenewise.show.report.page import report_html
from scenewise.show.report.training import duration_sections, provenance_sections, training_sections

PRODUCTS: tuple[Callable[[ReportMaterial], Sequence[Section]], ...] = (
    distillation_sections,
    city_sections,
    word_sections,
    graph_sections,
    training_sections,
    measured_sections,
    duration_sections,
    card_sections,
    provenance_sections,
)
"""Who contributes to a report, in the order of reading; a product that has left nothing in the scene contributes nothing."""


def write_report(
    folder: Path,
    *,
    scene: Scene | None = None,
    capture: Capture | None = None,
    renders: Mapping[str, ImageU8] | None = None,
    seen_by: SeenBy | None = None,
    views: int = 3,
    progress: Progress | None = None,
) -> Path:
    """Writes ``report.html`` into a scene folder and returns its path.

    Args:
        folder: scene folder; what products have left there goes into the page.
        scene: what the folder holds, its evaluation included; read when None.
        capture: the photographs; read again from where the scene says they were when None.  Without them the page has no pictures
            and says why.
        renders: views of the scene's Gaussians as the evaluation rendered them, by frame; others are rendered here.
        seen_by: what cameras see of the scene's Gaussians, where these need not all be in memory; None loads them.
        views: how many held-out photographs to compare, see :func:`shown_views`.
        progress: told about the pictures.

    Raises:
        DataFormatError: the scene cannot be read.
    """
    progress = NullProgress() if progress is None else progress
    scene = read_scene(folder) if scene is None else scene
    scene = replace(scene, load_gaussians=cache(scene.load_gaussians))  # several sections need them
    events = read_journal(folder / JOURNAL_FILE)
    # A resumed run has been warned again.
    warnings = list(dict.fromkeys(str(event.get("message", "")) for event in events if event["event"] == "warning"))
    try:
        capture = reopen_photographs(scene, Path(scene.provenance.capture)).opened if capture is None else capture
    except (ScenewiseError, OSError) as error:
        warnings.append(f"No pictures: {error}")
    material = ReportMaterial(folder, scene, shown_views(scene, views), views, capture, events, renders or {}, seen_by)
    held_out, rendered = held_out_section(material, progress)
    material = replace(material, renders=rendered)
    sections = [Section("Run", warnings=tuple(warnings)), held_out]
    sections += [section for contribute in PRODUCTS for section in contribute(material)]
    atomic_write_text(folder / REPORT_FILE, report_html(_title(scene, folder), sections, subtitle=_subtitle(scene)))
    return folder / REPORT_FILE


def shown_views(scene: Scene, count: int = 3) -> tuple[SceneCamera, ...]:
    """``count`` held-out cameras, or any where none are held out; evenly spaced and away from both ends."""
    cameras = scene.cameras_of("test") or scene.cameras
    if len(cameras) <= count:
        return cameras
    return tuple(cameras[int((index + 0.5) * len(cameras) / count)] for index in range(count))


def _title(scene: Scene, folder: Path) -> str:
    return Path(scene.provenance.capture).name or folder.resolve().name


def _subtitle(scene: Scene) -> str:
    train, test = len(scene.cameras_of("train")), len(scene.cameras_of("test"))
    unit = "metric" if scene.scale == "metric" else "arbitrary"
    where = f", EPSG:{scene.georeference.epsg}" if scene.georeference else ""
    method = scene.provenance.method.replace("_", " ")
    return f"{method}: {scene.num_gaussians:,} Gaussians from {train} photographs, {test} held out; {unit} scale{where}"
