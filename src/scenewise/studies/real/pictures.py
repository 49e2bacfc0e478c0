"""Pictures of labelled real captures: points over photographs, from above, splats beside photographs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from scenewise.io.images import image_u8_from_color
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.scene_folder import CLASS_SPLATS_FILE, SPLATS_FILE, read_scene_labels
from scenewise.io.teacher_files import find_answer, read_answer, read_teacher_info
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.lifting import visible_pixels
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.frames import Frame
from scenewise.scenes.vocabularies import Color
from scenewise.show.label_pictures import class_palette, overlay_picture, with_legend
from scenewise.show.pictures import thumbnail

_EMPTY = 20  # grey where there is no point
_DOT = 3  # pixels to each side
_WIDEST = 1500


@dataclass(frozen=True)
class Legend:
    """Classes below a picture.

    Attributes:
        names: of the classes.
        colors_u8: of each.
        shares: of each, in [0, 1]; what is never there is left out.
    """

    names: Sequence[str]
    colors_u8: Sequence[Color]
    shares: Sequence[float]


def draw_sweep(path: Path, capture: Capture, class_ids: Int[np.ndarray, " n"], names: Sequence[str]) -> None:
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


def draw_top_view(
    path: Path,
    points: Float[np.ndarray, "n 3"],
    class_ids: Int[np.ndarray, " n"],
    names: Sequence[str],
    up: Float[np.ndarray, "3"],
) -> None:
    """The points from above in the colours of their classes."""
    colors = class_colors(len(names))
    picture = top_view(points, class_palette(colors)[class_ids], up, 1000, last=class_ids > 0)
    _save(path, with_legend(picture, names, colors, _shares(class_ids, len(names))), 1000)


def top_view(
    points: Float[np.ndarray, "n 3"],
    colors_u8: UInt8[np.ndarray, "n 3"],
    up: Float[np.ndarray, "3"],
    size: int,
    last: Bool[np.ndarray, " n"] | None = None,
) -> UInt8[np.ndarray, "size size 3"]:
    """The points from above, higher ones over lower ones, those marked ``last`` over all others; the far 2 % on each side are
    left out."""
    across = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    plan = np.stack([points @ across, points @ np.cross(up, across)], axis=1)
    low, high = np.quantile(plan, [0.02, 0.98], axis=0)
    scale = size / (high - low).max()
    pixel = np.floor((plan - low) * scale).astype(int)
    order = np.lexsort((points @ up,) if last is None else (points @ up, last))
    order = order[((pixel >= 1) & (pixel < size - 1)).all(axis=1)[order]]
    picture = np.full((size, size, 3), _EMPTY, dtype=np.uint8)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            picture[pixel[order, 1] + down, pixel[order, 0] + right] = colors_u8[order]
    return picture


def camera_view(
    points: Float[np.ndarray, "n 3"], colors_u8: UInt8[np.ndarray, "n 3"], camera: Cameras, radius: float = 0.012
) -> UInt8[np.ndarray, "height width 3"]:
    """The points as a camera sees them, each a square of half its ``radius`` in metres to each side, near ones over far ones."""
    R, t = camera.camera_from_world[:3, :3].numpy(), camera.camera_from_world[:3, 3].numpy()
    K, seen = camera.K.numpy(), points @ R.T + t
    front = np.flatnonzero(seen[:, 2] > 0.2)
    front = front[np.argsort(-seen[front, 2], kind="stable")]
    depth = seen[front, 2]
    column = np.floor(K[0, 0] * seen[front, 0] / depth + K[0, 2]).astype(int)
    row = np.floor(K[1, 1] * seen[front, 1] / depth + K[1, 2]).astype(int)
    reach = np.minimum(np.round(K[0, 0] * radius / depth).astype(int), 8)
    picture = np.full((camera.height, camera.width, 3), _EMPTY, dtype=np.uint8)
    nearest = np.full((camera.height, camera.width), np.inf)
    widest = int(reach.max(initial=0))
    for down in range(-widest, widest + 1):
        for right in range(-widest, widest + 1):
            y, x = row + down, column + right
            here = (reach >= max(abs(down), abs(right))) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
            here[here] &= depth[here] < nearest[y[here], x[here]]
            # Far to near: of several points in one pixel the assignment keeps the last, which is the nearest.
            nearest[y[here], x[here]] = depth[here]
            picture[y[here], x[here]] = colors_u8[front[here]]
    return picture


def compare_points(
    path: Path,
    points: Float[np.ndarray, "n 3"],
    columns: Mapping[str, UInt8[np.ndarray, "n 3"]],
    up: Float[np.ndarray, "3"],
    cameras: Sequence[Cameras],
    legend: Legend,
    width: int,
) -> None:
    """The same points in several colourings, a column each under its title: from above, and below as cameras see them."""
    pictures = []
    for title, colors in columns.items():
        above = _cropped(top_view(points, colors, up, 2 * width))
        rows = [_titled(title, width), np.asarray(Image.fromarray(above).resize((width, width * len(above) // above.shape[1])))]
        rows += [thumbnail(camera_view(points, colors, camera), width) for camera in cameras]
        stacked = np.concatenate([np.pad(row, ((0, 4), (0, 4), (0, 0)), constant_values=255) for row in rows], axis=0)
        pictures.append(stacked)
    beside = np.ascontiguousarray(np.concatenate(pictures, axis=1))
    picture = with_legend(beside, legend.names, legend.colors_u8, legend.shares)
    path.parent.mkdir(parents=True, exist_ok=True)
    # 256 colours are enough for a look, and a third of the bytes.
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _cropped(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Without its empty margins, lying."""
    filled = (picture != _EMPTY).any(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    inside = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(inside if inside.shape[1] >= inside.shape[0] else np.rot90(inside))


def _titled(title: str, width: int) -> UInt8[np.ndarray, "height width 3"]:
    strip = Image.new("RGB", (width, 20), (255, 255, 255))
    ImageDraw.Draw(strip).text((4, 3), title, fill=(20, 20, 20), font=ImageFont.load_default())
    return np.asarray(strip)


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
    shares = _shares(labels.class_ids, len(names))
    picture = with_legend(np.concatenate(columns, axis=1), names.names, names.colors_u8, shares)
    _save(path, picture, _WIDEST)


def _shares(class_ids: Int[np.ndarray, " n"], classes: int) -> list[float]:
    shares: list[float] = (np.bincount(class_ids[class_ids >= 0], minlength=classes) / max(1, len(class_ids))).tolist()
    return shares


def _save(path: Path, picture: UInt8[np.ndarray, "height width 3"], longest: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(thumbnail(np.ascontiguousarray(picture), longest)).save(path)
