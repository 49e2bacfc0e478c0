"""Where labels go so that none covers another."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import ImageFont

from scenewise.scenes.vocabularies import Color

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Style = Literal["name", "predicate", "place"]

_RINGS: dict[Style, int] = {"name": 5, "predicate": 2, "place": 1}  # distances that are tried, in heights of a plate
_GAPS: dict[Style, float] = {"name": 2.0, "predicate": 7.0, "place": 2.0}  # pixels to other plates
_TURNS = (0.0, 0.5, 0.25, 0.75, 0.125, 0.875, 0.375, 0.625)  # around the anchor, in full turns from straight above
_SPELT = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "œ": "oe", "đ": "d", "×": "x"})
_FINENESS = 2  # text is drawn at twice its size, and measured so


@dataclass(frozen=True)
class Plate:
    """A few words for something in a picture.

    Attributes:
        text: one line; what the font has not is replaced, see :func:`drawable`.
        anchors: what it belongs to, in pixels; it goes to any of them, the first if possible.
        color: of what it belongs to.
        style: of an object, a relation, or a room.
        is_above: stands on the anchor instead of around it.
    """

    text: str
    anchors: tuple[Point, ...]
    color: Color
    style: Style = "name"
    is_above: bool = False


@dataclass(frozen=True)
class PlacedPlate:
    """A plate with its place.

    Attributes:
        plate: which.
        place: that it covers.
        anchor: that it has gone to.
    """

    plate: Plate
    place: Rectangle
    anchor: Point


def placed_plates(
    plates: Sequence[Plate], width: int, height: int, letters: float, taken: Sequence[Rectangle] = ()
) -> tuple[PlacedPlate, ...]:
    """Puts labels beside what they belong to, one after the other, each at the nearest free place.

    Args:
        plates: the most important first; those that find no place are left out.
        width, height: of the picture in pixels; plates stay in it.
        letters: size of a name's letters in pixels, see :func:`letter_size`.
        taken: places that are to stay free.

    Returns:
        The plates that found a place, in order; no two of them overlap.
    """
    covered = list(taken)
    placed = []
    for plate in plates:
        across, down = plate_size(plate.text, plate.style, letters)
        for anchor, (x, y) in _centers(plate, down):
            left = min(max(x - across / 2, 1.0), width - across - 1.0)
            top = min(max(y - down / 2, 1.0), height - down - 1.0)
            place = (left, top, left + across, top + down)
            if left >= 0 and top >= 0 and not any(overlap(place, other, _GAPS[plate.style]) for other in covered):
                covered.append(place)
                placed.append(PlacedPlate(plate, place, anchor))
                break
    return tuple(placed)


def overlap(first: Rectangle, second: Rectangle, gap: float = 0.0) -> bool:
    """Whether two rectangles are nearer to each other than ``gap``, both across and down."""
    return first[0] < second[2] + gap and second[0] < first[2] + gap and first[1] < second[3] + gap and second[1] < first[3] + gap


def letter_size(width: int) -> float:
    """Size of a name's letters for pictures of a width, in pixels: 15 at 900."""
    return max(11.0, width / 60.0)


@cache
def font_of(style: Style, letters: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font a plate is drawn with, at twice its size."""
    return ImageFont.load_default(size=_FINENESS * letters * (1.0 if style == "name" else 0.87))


def drawable(text: str) -> str:
    """A text in the letters that Pillow's own font has: accents are dropped, other scripts become question marks.

    >>> drawable("Stühle, 37 m²"), drawable("椅子")
    ('Stuhle, 37 m2', '??')
    """
    plain = unicodedata.normalize("NFKD", " ".join(text.translate(_SPELT).split()))
    return "".join(
        letter if " " <= letter <= "~" or letter in "·…" else "?" for letter in plain if not unicodedata.combining(letter)
    )


def plate_size(text: str, style: Style, letters: float) -> Point:
    """Pixels that a plate takes, across and down."""
    return font_of(style, letters).getlength(drawable(text)) / _FINENESS + 0.9 * letters, 1.45 * letters


def _centers(plate: Plate, down: float) -> Iterator[tuple[Point, Point]]:
    """Anchors, and middles of places for the plate, the best first."""
    lift = 0.5 * down + 3.0 if plate.is_above else 0.0
    for ring in range(_RINGS[plate.style]):
        for x, y in plate.anchors:
            for turn in _TURNS[: 1 if ring == 0 else None]:
                # Words are wider than high: further aside than up.
                aside = 2.2 * ring * down * math.sin(2 * math.pi * turn)
                yield (x, y), (x + aside, y - lift - 0.8 * ring * down * math.cos(2 * math.pi * turn))
