"""The report's part about teachers and student: pictures side by side, quality over size, the table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenewise.errors import ScenewiseError
from scenewise.io.images import image_u8_from_color
from scenewise.io.ply import read_gaussians_ply
from scenewise.io.scene_folder import DISTILLATION_FILE, SPLATS_FILE
from scenewise.methods.distilled_3dgs.distillation import mean_picture
from scenewise.scenes.captures import Capture
from scenewise.scenes.scenes import Scene
from scenewise.show.curves import Curve
from scenewise.show.report.labels import shown_cameras, spread_cameras
from scenewise.show.report.page import Gallery

_COLUMNS = {
    "name": "",
    "num_gaussians": "Gaussians",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ply_megabytes": "ply, MB",
    "spz_megabytes": "spz, MB",
    "render_ms": "render, ms",
    "steps": "steps",
    "seconds": "training, s",
    "views_rendered": "pictures rendered",
}


def distillation_parts(
    folder: Path, scene: Scene, capture: Capture | None, views: int, warnings: list[str]
) -> tuple[list[Gallery], list[dict[str, Any]], list[Curve]]:
    """Galleries, table rows and charts; nothing where the scene was not distilled.  What cannot be shown becomes a warning."""
    if not (folder / DISTILLATION_FILE).exists():
        return [], [], []
    try:
        found = json.loads((folder / DISTILLATION_FILE).read_text(encoding="utf-8"))
        table, curve = _rows(found["table"]), _rows(found["curve"])
        places = [folder / str(place) for place in found["teachers"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.append(f"Teachers and student are not shown: {error}")
        return [], [], []
    rows = [{_COLUMNS[name]: row.get(name) for name in _COLUMNS} for row in _with_megabytes([*table, *_others(curve, table)])]
    galleries: list[Gallery] = []
    try:
        galleries = _galleries(scene, capture, places, views)
    except (ScenewiseError, OSError) as error:
        warnings.append(f"No pictures of the teachers: {error}")
    return galleries, rows, _charts(curve)


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _others(curve: Sequence[Mapping[str, Any]], table: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    known = {row.get("name") for row in table}
    return [row for row in curve if row.get("name") not in known]


def _with_megabytes(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(row) | {f"{kind}_megabytes": _megabytes(row.get(f"{kind}_bytes")) for kind in ("ply", "spz")} for row in rows]


def _megabytes(size: object) -> float | None:
    return size / 1e6 if isinstance(size, int | float) else None


def _charts(curve: Sequence[Mapping[str, Any]]) -> list[Curve]:
    points = [(_megabytes(row.get("spz_bytes")), row.get("psnr")) for row in curve]
    drawn = sorted((size, float(value)) for size, value in points if size is not None and isinstance(value, int | float))
    chart = Curve("PSNR of held-out views over size, dB", [x for x, _ in drawn], [y for _, y in drawn], across="MB of .spz")
    return [chart] if len(drawn) >= 2 else []


def _galleries(scene: Scene, capture: Capture | None, places: Sequence[Path], views: int) -> list[Gallery]:
    if capture is None:
        return []
    teachers = [read_gaussians_ply(place / SPLATS_FILE) for place in places]
    frames = {frame.name: frame for frame in capture.frames_with_image}
    galleries = []
    for entry in spread_cameras(shown_cameras(scene), views):
        frame = frames.get(entry.name)
        if frame is None:
            continue
        load_image = frame.resized(entry.camera.width, entry.camera.height).load_image
        assert load_image is not None
        pictures = {
            "mean of the teachers": image_u8_from_color(mean_picture(teachers, entry.camera, scene.background).numpy()),
            "student": image_u8_from_color(mean_picture([scene.gaussians], entry.camera, scene.background).numpy()),
            "photograph": load_image(),
        }
        note = f"{sum(map(len, teachers)):,} Gaussians in {len(teachers)} teachers, {scene.num_gaussians:,} in the student"
        galleries.append(Gallery(entry.name, note, pictures))
    return galleries
