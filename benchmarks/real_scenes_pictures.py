"""Pictures of labelled real captures: points over photographs, from above, splats beside photographs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scenewise.apps.label_pictures import class_palette, overlay_picture, with_legend
from scenewise.apps.pictures import image_u8_from_color, thumbnail
from scenewise.io.ply import read_gaussians_ply
from scenewise.io.scene_folder import CLASS_SPLATS_FILE, SPLATS_FILE, read_scene_labels
from scenewise.io.teacher_files import find_answer, read_answer, read_teacher_info
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.labelfree.lifting import visible_pixels
from scenewise.rendering import render
from scenewise.scenes.captures import Capture
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.frames import Frame

_DOT = 3  # pixels to each side
_WIDEST = 1500


def draw_sweep(path: Path, capture: Capture, class_ids: np.ndarray, names: Sequence[str]) -> None:
    """The points each camera sees, in the colours of their classes, over the darkened photograph; two rows."""
    assert capture.points is not None
    colors = class_colors(len(names))
    palette = class_palette(colors)
    frames = capture.frames_with_image
    pixels = visible_pixels(capture.points.points_in_world, list(frames))
    pictures = []
    for view, frame in enumerate(frames):
        assert frame.load_image is not None
        picture = (0.6 * frame.load_image()).astype(np.uint8)
        here = pixels.view == view
        ids = class_ids[pixels.element[here]]
        order = np.argsort(ids > 0, kind="stable")  # objects over the background
        for down in range(-_DOT, _DOT + 1):
            for right in range(-_DOT, _DOT + 1):
                row = np.clip(pixels.row[here][order] + down, 0, picture.shape[0] - 1)
                column = np.clip(pixels.column[here][order] + right, 0, picture.shape[1] - 1)
                picture[row, column] = palette[ids[order]]
        pictures.append(thumbnail(picture, 800))
    half = -(-len(pictures) // 2)
    rows = [np.concatenate(pictures[begin : begin + half], axis=1) for begin in (0, half)]
    _save(path, with_legend(np.concatenate(rows, axis=0), names, colors, _shares(class_ids, len(names))), 2400)


def draw_top_view(path: Path, points: np.ndarray, class_ids: np.ndarray, names: Sequence[str], up: np.ndarray) -> None:
    """The points from above, higher ones over lower ones; the far 2 % on each side are left out."""
    across = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    plan = np.stack([points @ across, points @ np.cross(up, across)], axis=1)
    low, high = np.quantile(plan, [0.02, 0.98], axis=0)
    size = 1000
    scale = size / (high - low).max()
    pixel = np.floor((plan - low) * scale).astype(int)
    colors = class_colors(len(names))
    order = np.lexsort((points @ up, class_ids > 0))
    order = order[((pixel >= 1) & (pixel < size - 1)).all(axis=1)[order]]
    picture = np.full((size, size, 3), 20, dtype=np.uint8)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            picture[pixel[order, 1] + down, pixel[order, 0] + right] = class_palette(colors)[class_ids[order]]
    _save(path, with_legend(picture, names, colors, _shares(class_ids, len(names))), size)


def teacher_pictures(path: Path, frames: Sequence[Frame], folder: Path, count: int = 4) -> None:
    """Label maps of a teacher made of files over photographs."""
    info = read_teacher_info(folder)
    colors = class_colors(len(info.classes))
    pictures, shares = [], np.zeros(len(info.classes))
    for frame in frames[:: max(1, len(frames) // count)][:count]:
        answer = find_answer(folder, frame.name)
        assert answer is not None and frame.load_image is not None
        labels = read_answer(answer, info).labels
        assert labels is not None
        shares += _shares(labels.ravel(), len(info.classes))
        pictures.append(overlay_picture(frame.load_image(), labels, colors))
    _save(path, with_legend(np.concatenate(pictures, axis=1), info.classes, colors, (shares / count).tolist()), _WIDEST)


def splat_pictures(path: Path, folder: Path, capture: Capture, count: int = 4) -> None:
    """Photograph, rendered splats, splats in the colours of their classes: a column per view."""
    names = read_vocabulary(folder / VOCABULARY_FILE)[0]
    labels = read_scene_labels(folder, "splats")
    assert labels is not None
    own, painted = read_gaussians_ply(folder / SPLATS_FILE), read_gaussians_ply(folder / CLASS_SPLATS_FILE)
    frames = capture.frames_with_image
    columns = []
    for frame in frames[:: max(1, len(frames) // count)][:count]:
        assert frame.load_image is not None
        with torch.no_grad():
            seen = [image_u8_from_color(render(gaussians, frame.camera).color.numpy()) for gaussians in (own, painted)]
        columns.append(np.concatenate([frame.load_image(), *seen], axis=0))
    shares = _shares(labels.class_id, len(names))
    picture = with_legend(np.concatenate(columns, axis=1), names.names, names.colors_u8, shares)
    _save(path, picture, _WIDEST)


def _shares(class_ids: np.ndarray, classes: int) -> list[float]:
    shares: list[float] = (np.bincount(class_ids[class_ids >= 0], minlength=classes) / max(1, len(class_ids))).tolist()
    return shares


def _save(path: Path, picture: np.ndarray, longest: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(thumbnail(np.ascontiguousarray(picture), longest)).save(path)
