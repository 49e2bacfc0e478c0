"""Names, and arrows between them with a word each, drawn as far as there is room."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.plates import Plate, Point, Rectangle, letter_size, placed_plates
from scenewise.show.graphs.sheets import Sheet

CANDIDATES = 3
"""Times as many arrows should be offered as are wanted: not all find room."""
_ALONG = (0.5, 0.4, 0.6, 0.3, 0.7)  # of an arrow, where its word may stand
_SEEN = 16.0  # pixels of an arrow beside its word


@dataclass(frozen=True)
class Arrow:
    """A relation in a picture.

    Attributes:
        word: what is said.
        start: of its subject, in pixels.
        end: of its object.
        color: of its subject.
    """

    word: str
    start: Point
    end: Point
    color: Color


def draw_words(
    sheet: Sheet, names: Sequence[Plate], arrows: Sequence[Arrow], most: int, *, height: int, places: Sequence[Plate] = ()
) -> None:
    """Draws labels that do not cover each other, and the arrows whose word found room.

    Args:
        sheet: to draw on.
        names: of objects, the most important first.
        arrows: the most telling first.
        most: so many arrows are drawn at most.
        height: of the part of the sheet that words may use, in pixels.
        places: labels of what lies under everything, in the room that is left.
    """
    letters = letter_size(sheet.width)
    placed = list(placed_plates(names, sheet.width, height, letters))
    named, taken = [each.place for each in placed], [each.place for each in placed]
    drawn: list[Arrow] = []
    for arrow in arrows:
        free = _between_plates(arrow, named)
        if free is None or len(drawn) == most:
            continue
        anchors = tuple(_along(free, share) for share in _ALONG)
        found = placed_plates([Plate(free.word, anchors, free.color, "predicate")], sheet.width, height, letters, taken)
        if found and _sticks_out(free, found[0].place):
            drawn.append(free)
            placed += found
            taken.append(found[0].place)
    placed += placed_plates(places, sheet.width, height, letters, taken)
    for arrow in drawn:
        sheet.arrow(arrow.start, arrow.end, arrow.color)
    sheet.plates(placed, letters)


def _between_plates(arrow: Arrow, places: Sequence[Rectangle]) -> Arrow | None:
    """The part of an arrow outside of the plates its ends lie under, or None where too little is left."""
    start, end = _way_out(arrow.start, arrow.end, places), _way_out(arrow.end, arrow.start, places)
    ahead = (arrow.end[0] - arrow.start[0], arrow.end[1] - arrow.start[1])
    left = (end[0] - start[0]) * ahead[0] + (end[1] - start[1]) * ahead[1]
    length = math.hypot(*ahead)
    return replace(arrow, start=start, end=end) if length > 0 and left / length >= _SEEN else None


def _way_out(start: Point, end: Point, places: Sequence[Rectangle]) -> Point:
    """Where the line from ``start`` leaves the plate that covers it; ``start`` where none does."""
    x, y = start
    across, down = end[0] - x, end[1] - y
    for left, top, right, bottom in places:
        if left <= x <= right and top <= y <= bottom:
            sides = ((right - x, left - x, across), (bottom - y, top - y, down))
            shares = [(far if step > 0 else near) / step for far, near, step in sides if step != 0.0]
            share = min([1.0, *shares])
            return x + share * across, y + share * down
    return start


def _sticks_out(arrow: Arrow, place: Rectangle) -> bool:
    """Whether enough of an arrow is seen beside its word."""
    across, down = abs(arrow.end[0] - arrow.start[0]), abs(arrow.end[1] - arrow.start[1])
    length = math.hypot(across, down)
    width, height = place[2] - place[0], place[3] - place[1]
    covered = length * min(width / max(across, 1e-9), height / max(down, 1e-9))  # by a plate in its middle
    middle = _along(arrow, 0.5)
    is_on = place[0] <= middle[0] <= place[2] and place[1] <= middle[1] <= place[3]
    return length >= (covered if is_on else 0.0) + _SEEN


def _along(arrow: Arrow, share: float) -> Point:
    return (
        (1 - share) * arrow.start[0] + share * arrow.end[0],
        (1 - share) * arrow.start[1] + share * arrow.end[1],
    )
