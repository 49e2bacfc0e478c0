"""A sheet to draw a graph on: lines, arrows, areas and labels, at twice the size and then reduced."""

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from PIL import Image, ImageDraw

from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.plates import PlacedPlate, Point, drawable, font_of

_FINE = 2
_INK: Color = (22, 26, 33)
_LIGHT: Color = (255, 255, 255)
_SOFT: Color = (96, 102, 112)
_CASING = (10, 12, 16, 150)
_FAR = 5.0  # pixels from a plate to what it belongs to, beyond which a line leads there


@final
class Sheet:
    """A picture that is drawn on in its own pixels, with soft edges.

    Args:
        under_u8: what lies under it, at the size that is wanted.
    """

    def __init__(self, under_u8: ImageU8) -> None:
        self.height, self.width = under_u8.shape[:2]
        large = (_FINE * self.width, _FINE * self.height)
        self._image = Image.fromarray(under_u8).resize(large, Image.Resampling.BICUBIC)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def line(self, start: Point, end: Point, color: Color, thickness: float, *, alpha: int = 255, is_cased: bool = True) -> None:
        """A straight line, with a dark rim that keeps it apart from what lies under it."""
        ends = [_fine(start), _fine(end)]
        if is_cased:
            self._draw.line(ends, fill=(*_CASING[:3], _CASING[3] * alpha // 255), width=round(_FINE * (thickness + 1.6)))
        self._draw.line(ends, fill=(*color, alpha), width=max(1, round(_FINE * thickness)))

    def arrow(self, start: Point, end: Point, color: Color, thickness: float = 1.6) -> None:
        """A line with a dot where it starts and a head where it ends."""
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        if length < 1e-6:
            return
        ahead = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        head = min(9.0, 0.5 * length)
        neck = (end[0] - 0.8 * head * ahead[0], end[1] - 0.8 * head * ahead[1])
        self.line(start, neck, color, thickness)
        aside = (-ahead[1] * 0.42 * head, ahead[0] * 0.42 * head)
        base = (end[0] - head * ahead[0], end[1] - head * ahead[1])
        corners = [end, (base[0] + aside[0], base[1] + aside[1]), (base[0] - aside[0], base[1] - aside[1])]
        self._draw.polygon([_fine(corner) for corner in corners], fill=(*color, 255), outline=_CASING)
        self.dot(start, color, 2.6)

    def dot(self, center: Point, color: Color, radius: float) -> None:
        """A round spot."""
        x, y = _fine(center)
        self._draw.ellipse(
            (x - _FINE * radius, y - _FINE * radius, x + _FINE * radius, y + _FINE * radius), (*color, 255), _CASING
        )

    def area(self, corners: Sequence[Point], fill: Color, *, alpha: int, edge: Color, thickness: float) -> None:
        """A filled outline."""
        fine = [_fine(corner) for corner in corners]
        if len(fine) > 2:
            self._draw.polygon(fine, fill=(*fill, alpha))
        self._draw.line([*fine, *fine[:2]], fill=(*edge, 255), width=round(_FINE * thickness), joint="curve")

    def plates(self, placed: Sequence[PlacedPlate], letters: float) -> None:
        """Labels, the lines that lead to what they belong to first."""
        for each in placed:
            reached = _nearest(each)
            if math.dist(reached, each.anchor) > _FAR and each.plate.style != "place":
                self.line(reached, each.anchor, _LIGHT if each.plate.style == "name" else _INK, 1.0, alpha=200)
        for each in placed:
            self._plate(each, letters)

    def text(self, place: Point, words: str, letters: float) -> None:
        """Plain words from their left top corner."""
        self._draw.text(_fine(place), drawable(words), fill=_SOFT, font=font_of("predicate", letters))

    def finished(self) -> ImageU8:
        """The picture at its own size."""
        return np.asarray(self._image.reduce(_FINE)).copy()

    def _plate(self, each: PlacedPlate, letters: float) -> None:
        left, top, right, bottom = (_FINE * value for value in each.place)
        middle = ((left + right) / 2, (top + bottom) / 2)
        font = font_of(each.plate.style, letters)
        match each.plate.style:
            case "place":
                self._draw.text(middle, drawable(each.plate.text), fill=_SOFT, font=font, anchor="mm")
                return
            case "name":
                fill, ink, edge = (*_LIGHT, 235), _INK, each.plate.color
            case "predicate":
                fill, ink, edge = (*_INK, 225), _LIGHT, _INK
        self._draw.rounded_rectangle(
            (left, top, right, bottom), radius=0.7 * letters, fill=fill, outline=edge, width=2 * _FINE - 1
        )
        self._draw.text(middle, drawable(each.plate.text), fill=ink, font=font, anchor="mm")


def _fine(point: Point) -> Point:
    return _FINE * point[0], _FINE * point[1]


def _nearest(each: PlacedPlate) -> Point:
    """The point of a plate that is nearest to what it belongs to."""
    left, top, right, bottom = each.place
    return min(max(each.anchor[0], left), right), min(max(each.anchor[1], top), bottom)
