"""Pictures of the label-free results, drawn with Pillow."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw

from scenewise.parts.words.pixel_classes import classify_pixels
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.studies.read_outs.arms import INJECTED, ReadOutArms
from scenewise.studies.read_outs.rooms import room_views
from scenewise.teachers.preprocessing import normalised_image
from scenewise.teachers.read_outs import ReadOutSettings, ScClipSettings
from scenewise.teachers.read_outs.diagnostics import Diagnostics, diagnose_pass
from scenewise.teachers.read_outs.injection import inject_anomalies, random_direction, random_positions
from scenewise.worlds.seeds import BENCHMARK_SEEDS

_BLACK, _GRAY, _RED, _BLUE = (20, 20, 20), (200, 200, 200), (200, 60, 40), (50, 90, 190)


def heat(values: Float[np.ndarray, "rows columns"], low: float, high: float, cell: int) -> Image.Image:
    """Numbers as squares from dark blue over green to yellow."""
    t = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)[..., None]
    stops = np.array([[48, 18, 90], [40, 110, 140], [90, 190, 100], [250, 230, 60]], dtype=np.float64)
    position = t * (len(stops) - 1)
    below = np.minimum(position.astype(int)[..., 0], len(stops) - 2)
    mixed = stops[below] + (position - below[..., None]) * (stops[below + 1] - stops[below])
    return Image.fromarray(mixed.round().astype(np.uint8)).resize((values.shape[1] * cell, values.shape[0] * cell), 0)


def curves(
    title: str, lines: dict[str, tuple[list[float], tuple[int, int, int]]], size: tuple[int, int], log: bool = False
) -> Image.Image:
    """Lines over layer numbers."""
    width, height = size
    picture = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = 44, 30, width - 10, height - 24
    everything = np.array([value for values, _ in lines.values() for value in values])
    shown = np.log10(np.maximum(everything, 1e-3)) if log else everything
    low, high = (shown.min(), shown.max()) if log else (0.0, shown.max())
    high = max(high, low + 1e-6)
    draw.text((left, 4), title, fill=_BLACK)
    for tick in np.linspace(low, high, 4):
        y = bottom - (tick - low) / (high - low) * (bottom - top)
        draw.line([(left, y), (right, y)], fill=(230, 230, 230))
        draw.text((4, y - 6), f"{10**tick if log else tick:.3g}", fill=_BLACK)
    for row, (label, (values, color)) in enumerate(lines.items()):
        scaled = np.log10(np.maximum(values, 1e-3)) if log else np.array(values)
        xs = np.linspace(left + 6, right - 6, len(values))
        ys = bottom - (scaled - low) / (high - low) * (bottom - top)
        draw.line(list(zip(xs, ys)), fill=color, width=2)
        for number, x in enumerate(xs):
            if row == 0:
                draw.text((x - 3, bottom + 6), str(number + 1), fill=_BLACK)
        draw.text((left + 8, top + 2 + 12 * row), label, fill=color)
    return picture


def anomaly_figure(arms: ReadOutArms, settings: ScClipSettings, path: Path) -> None:
    """Per block the norms of tokens and the attention they receive, natural and injected; similarity before and after repair."""
    tower = arms.tower
    views = room_views(BENCHMARK_SEEDS[0], arms.sizes.views).views[:4]
    size = tower.native_size
    images = torch.stack([normalised_image(view.image, (size, size), tower.mean, tower.std) for view in views])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        healthy = tower.tokens(images)
    patches = healthy.rows * healthy.columns
    positions = random_positions(len(images), patches, INJECTED.fraction, generator)
    spoilt = inject_anomalies(healthy, positions, random_direction(tower.width, generator), INJECTED)
    natural, ill = diagnose_pass(tower, healthy, settings), diagnose_pass(tower, spoilt, settings)

    def norms(found: Diagnostics, what: str) -> list[float]:
        values = found.norms
        if what == "median":
            return [float(layer.median()) for layer in values]
        if what == "largest":
            return [float(layer.max()) for layer in values]
        return [float(layer[positions].mean()) for layer in values]

    def attention(found: Diagnostics, chosen: torch.Tensor) -> list[float]:
        return [float(layer[chosen].mean()) for layer in found.attention]

    left = curves(
        "token norm at the entry of each block",
        {
            "median patch": (norms(natural, "median"), _BLUE),
            "longest patch, nothing injected": (norms(natural, "largest"), _BLACK),
            "injected tokens": (norms(ill, "injected"), _RED),
        },
        (430, 250),
        log=True,
    )
    right = curves(
        "attention received (1 = equal share)",
        {
            "patches flagged, nothing injected": (attention(natural, natural.anomalous), _BLACK),
            "injected tokens": (attention(ill, positions), _RED),
            "other patches": (attention(ill, ~positions), _BLUE),
        },
        (430, 250),
    )
    sheet = Image.new("RGB", (880, 250 + 250), (255, 255, 255))
    sheet.paste(left, (0, 0))
    sheet.paste(right, (440, 0))
    draw = ImageDraw.Draw(sheet)
    first = int(torch.nonzero(positions[0])[0])
    rows, columns = natural.rows, natural.columns
    shown = Image.fromarray(views[0].image).resize((192, 192))
    sheet.paste(shown, (10, 285))
    draw.text((10, 262), "window", fill=_BLACK)
    maps = (
        ("cosine to the marked patch: healthy", natural.similarity_before[0, first]),
        ("injected, before repair", ill.similarity_before[0, first]),
        ("injected, after repair", ill.similarity_after[0, first]),
    )
    for index, (title, values) in enumerate(maps):
        x = 220 + 220 * index
        picture = heat(values.reshape(rows, columns).numpy(), -0.2, 1.0, 192 // rows)
        mark = ImageDraw.Draw(picture)
        cell, row, column = 192 // rows, first // columns, first % columns
        mark.rectangle([column * cell, row * cell, column * cell + cell - 1, row * cell + cell - 1], outline=(255, 255, 255))
        sheet.paste(picture, (x, 285))
        draw.text((x, 262), title, fill=_BLACK)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(path, optimize=True)


def picture_of_rooms(arms: ReadOutArms, read_outs: dict[str, ReadOutSettings], path: Path, count: int = 5) -> None:
    """Photograph, truth and what each read-out says, a row per room."""

    vocabulary: Vocabulary = arms.question.vocabulary
    colors = np.array([*vocabulary.colors_u8, (0, 0, 0)], dtype=np.uint8)
    names = ["photograph", "truth", *read_outs]
    rooms = min(count, arms.sizes.rooms)
    sheet = Image.new("RGB", (len(names) * 164, 16 + rooms * 124 + 34), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        draw.text((column * 164 + 4, 2), name, fill=_BLACK)
    for row in range(rooms):
        view = room_views(BENCHMARK_SEEDS[row], arms.sizes.views).views[0]
        maps = [view.image, colors[view.truth.class_ids]]
        for settings in read_outs.values():
            maps.append(colors[classify_pixels(arms.field(view, settings), arms.question, arms.teacher.logit_scale)[0]])
        for column, picture in enumerate(maps):
            sheet.paste(Image.fromarray(picture), (column * 164, 16 + row * 124))
    for index, name in enumerate(vocabulary.names):
        x, y = (index % 8) * 80 + 4, 16 + rooms * 124 + 14 * (index // 8) + 2
        draw.rectangle([x, y + 1, x + 9, y + 10], fill=tuple(int(c) for c in vocabulary.colors_u8[index]), outline=_GRAY)
        draw.text((x + 13, y), name, fill=_BLACK)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(200).save(path, optimize=True)
