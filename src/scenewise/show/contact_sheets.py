"""Many small pictures with a few words each, on one sheet."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.plates import drawable

_PAPER: Color = (250, 250, 248)
_EMPTY: Color = (228, 229, 226)
_INK: Color = (22, 26, 33)
_SOFT: Color = (96, 102, 112)
_WIDTH, _HEIGHT = 256, 192  # of a picture at most
_GAP, _LETTERS, _LINE = 14, 13, 18


@dataclass(frozen=True)
class Tile:
    """A picture and what is said of it.

    Attributes:
        picture_u8: any size; None leaves a grey field.
        lines: below it, the first one stronger; what is too long is cut off.
    """

    picture_u8: ImageU8 | None
    lines: tuple[str, ...] = ()


def contact_sheet(tiles: Sequence[Tile], *, columns: int = 4, first: Tile | None = None) -> ImageU8:
    """Tiles in rows, from left to right and from top to bottom.

    Args:
        tiles: in their order.
        columns: tiles in a row at most.
        first: stands alone in a row above them: what was asked for.
    """
    rows: list[tuple[Tile, ...]] = [] if first is None else [(first,)]
    rows += [tuple(tiles[begin : begin + columns]) for begin in range(0, len(tiles), columns)]
    heights = [_HEIGHT + _LINE * max((len(tile.lines) for tile in row), default=0) + _GAP for row in rows]
    across = max((len(row) for row in rows), default=1)
    sheet = Image.new("RGB", (_GAP + across * (_WIDTH + _GAP), _GAP + max(sum(heights), _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for row, height in zip(rows, heights):
        for place, tile in enumerate(row):
            _draw_tile(sheet, draw, tile, _GAP + place * (_WIDTH + _GAP), top)
        top += height
    return np.asarray(sheet).copy()


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    draw.rectangle((left, top, left + _WIDTH - 1, top + _HEIGHT - 1), fill=_EMPTY)
    if tile.picture_u8 is not None:
        height, width = tile.picture_u8.shape[:2]
        scale = min(_WIDTH / width, _HEIGHT / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = Image.fromarray(tile.picture_u8).resize(size, Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (_WIDTH - size[0]) // 2, top + (_HEIGHT - size[1]) // 2))
    for number, line in enumerate(tile.lines):
        place = (left, top + _HEIGHT + 3 + number * _LINE)
        draw.text(place, _cut(drawable(line)), fill=_SOFT if number else _INK, font=_font())


def _cut(words: str) -> str:
    """As much of a line as a tile is wide."""
    if _font().getlength(words) <= _WIDTH:
        return words
    while words and _font().getlength(words + "…") > _WIDTH:
        words = words[:-1]
    return words + "…"


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_LETTERS)


def picture_of(jpeg: bytes) -> ImageU8 | None:
    """The pixels of a small JPEG file; None where there is none, or a damaged one."""
    if not jpeg:
        return None
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB")).copy()
    except Exception:  # decoders meet broken files with all kinds of errors; a sheet lacks one picture then
        return None
