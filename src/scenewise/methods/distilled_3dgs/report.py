"""The report's part about teachers and student: pictures side by side, quality over size, the table."""

import json
from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

from scenewise.errors import ScenewiseError
from scenewise.io.images import image_u8_from_color
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.scene_folder import DISTILLATION_FILE, SPLATS_FILE
from scenewise.methods.distilled_3dgs.distillation import mean_picture
from scenewise.parts.sources.scene_photographs import ScenePhotographs
from scenewise.scenes.sections import Curve, Picture, Pictures, ReportMaterial, Section, Table

_TITLE = "Teachers and student"
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


def distillation_sections(material: ReportMaterial) -> list[Section]:
    """Pictures, table and chart; nothing where the scene was not distilled.  What cannot be shown becomes a warning."""
    path = material.folder / DISTILLATION_FILE
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        table, curve = _rows(found["table"]), _rows(found["curve"])
        places = [material.folder / str(place) for place in found["teachers"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Section(_TITLE, warnings=(f"Teachers and student are not shown: {error}",))]
    rows = [{_COLUMNS[name]: row.get(name) for name in _COLUMNS} for row in _with_megabytes([*table, *_others(curve, table)])]
    pictures: list[Pictures] = []
    warnings: tuple[str, ...] = ()
    try:
        pictures = _pictures(material, places)
    except (ScenewiseError, OSError) as error:
        warnings = (f"No pictures of the teachers: {error}",)
    tables = [Table(rows)] if rows else []
    return [Section(_TITLE, (*pictures, *tables), warnings=warnings), Section("Training", tuple(_charts(curve)))]


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


def _pictures(material: ReportMaterial, places: Sequence[Path]) -> list[Pictures]:
    if material.capture is None:
        return []
    scene = material.scene
    teachers = [read_gaussians_ply(place / SPLATS_FILE) for place in places]
    photographs = ScenePhotographs(scene, material.capture)
    note = f"{sum(map(len, teachers)):,} Gaussians in {len(teachers)} teachers, {scene.num_gaussians:,} in the student"
    shown = []
    for entry in material.views:
        frame = photographs.frame(entry)
        if frame is None:
            continue
        assert frame.load_image is not None
        student_u8 = material.renders.get(entry.name)
        if student_u8 is None:
            student_u8 = image_u8_from_color(mean_picture([scene.gaussians], entry.camera, scene.background).numpy())
        pictures = {
            "mean of the teachers": image_u8_from_color(mean_picture(teachers, entry.camera, scene.background).numpy()),
            "student": student_u8,
            "photograph": frame.load_image(),
        }
        shown.append(Pictures(entry.name, note, tuple(starmap(Picture, pictures.items()))))
    return shown
