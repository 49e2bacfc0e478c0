"""The report's section of photographs beside renders, and of the figures measured on them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from scenewise.engine.progress import Progress
from scenewise.errors import ScenewiseError
from scenewise.io.images import image_u8_from_color
from scenewise.metrics.psnr import psnr
from scenewise.parts.sources.scene_photographs import ScenePhotographs
from scenewise.rendering import render
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.scenes import EvaluationCard
from scenewise.scenes.sections import Definitions, Picture, Pictures, ReportMaterial, Section, Table
from scenewise.show.pictures import ERROR_RANGE, error_picture
from scenewise.show.report.texts import number_text


def held_out_section(material: ReportMaterial, progress: Progress) -> tuple[Section, dict[str, ImageU8]]:
    """The photographs beside what the scene shows from there; and that, by frame, for whoever else needs it.

    Without photographs the section has its figures alone.  What cannot be shown becomes a warning.
    """
    rows: list[Pictures] = []
    renders = dict(material.renders)
    warnings: tuple[str, ...] = ()
    try:
        rows = _compared(material, renders, progress)
    except (ScenewiseError, OSError) as error:
        warnings = (f"No pictures: {error}",)
    title = "Held-out views"
    if not material.scene.cameras_of("test"):
        title = "Training views"
        warnings = (*warnings, "No view was held out: pictures and figures are of views that were trained on, and flatter.")
    return Section(title, tuple(rows), _figures(material.scene.evaluation), warnings), renders


def _compared(material: ReportMaterial, renders: dict[str, ImageU8], progress: Progress) -> list[Pictures]:
    if material.capture is None:
        return []
    scene = material.scene
    photographs = ScenePhotographs(scene, material.capture)
    seen_by = material.seen_by or (lambda camera: scene.gaussians)
    background = torch.tensor(scene.background or (0.0, 0.0, 0.0))
    measured = {row.get("image"): row for row in image_rows(scene.evaluation)}
    rows = []
    with progress.stage("report", len(material.views)) as stage:
        for entry in material.views:
            stage.advance()
            frame = photographs.frame(entry)
            if frame is None:
                continue
            assert frame.load_image is not None
            truth_u8 = frame.load_image()
            figures = {name: measured.get(entry.name, {}).get(name) for name in ("psnr", "ssim", "lpips")}
            if figures["psnr"] is None or entry.name not in renders:
                with torch.no_grad():
                    color = render(seen_by(entry.camera), entry.camera, background=background).color
                renders[entry.name] = image_u8_from_color(color.numpy())
                if figures["psnr"] is None:
                    mask = None if frame.load_mask is None else torch.from_numpy(frame.load_mask().copy())
                    value = psnr(color, torch.from_numpy(truth_u8 / np.float32(255.0)), mask)
                    figures["psnr"] = value if math.isfinite(value) else None
            shown = {name.upper(): value for name, value in figures.items()}
            rows.append(comparison(entry.name, truth_u8, renders[entry.name], shown))
    return rows


def comparison(name: str, truth_u8: ImageU8, render_u8: ImageU8, figures: Mapping[str, float | None]) -> Pictures:
    """A photograph, what the scene shows from there, and the error between them.

    Args:
        name: the frame's name.
        truth_u8: the photograph.
        render_u8: the rendered picture of the same size.
        figures: what was measured on it; None where it was not.
    """
    pictures = {
        "photograph": truth_u8,
        "render": render_u8,
        f"absolute error, white = {ERROR_RANGE:g} or more": error_picture(truth_u8, render_u8),
    }
    return Pictures(
        name,
        " · ".join(f"{figure} {number_text(value)}" for figure, value in figures.items() if value is not None),
        tuple(Picture(caption, picture, f"{caption} of {name}") for caption, picture in pictures.items()),
    )


def measured_sections(material: ReportMaterial) -> list[Section]:
    """Figures of every measured image, in a table."""
    rows = image_rows(material.scene.evaluation)
    return [Section("Every measured image", (Table(rows),))] if rows else []


def card_sections(material: ReportMaterial) -> list[Section]:
    """The evaluation card: split, sizes, corrections."""
    card = material.scene.evaluation
    if card is None:
        return []
    plain = {name: value for name, value in vars(card).items() if name != "more" and value is not None}
    return [
        Section(
            "Evaluation card",
            (Definitions(plain | {name: value for name, value in card.more.items() if name != "images"}),),
        )
    ]


def image_rows(card: EvaluationCard | None) -> list[Mapping[str, Any]]:
    """Figures of every measured image, one row each."""
    rows = card.more.get("images", []) if card is not None else []
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []


def _figures(card: EvaluationCard | None) -> dict[str, str]:
    if card is None:
        return {}
    measured = {"PSNR": (card.psnr, "{:.2f} dB"), "SSIM": (card.ssim, "{:.4f}"), "LPIPS": (card.lpips, "{:.4f}")}
    held_out = "held-out" if card.split == "test" else "training views"
    shown = {f"{name}, {held_out}": form.format(value) for name, (value, form) in measured.items() if value is not None}
    if card.miou is not None:
        shown["mIoU of names"] = f"{100 * card.miou:.1f} %"
    return shown
