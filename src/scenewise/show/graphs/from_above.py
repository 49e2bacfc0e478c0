"""A scene graph as a plan: rooms, objects and relations from above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from scenewise.geometry.boxes import OrientedBox, upright_box
from scenewise.scenes.predicates import phrase_of
from scenewise.scenes.scene_graphs import GraphObject, GraphRoom, SceneGraph
from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.arrows import CANDIDATES, Arrow, draw_words
from scenewise.show.graphs.over_view import WIDTH
from scenewise.show.graphs.plates import Plate, Point, letter_size, plate_size
from scenewise.show.graphs.sheets import Sheet
from scenewise.show.graphs.telling import area_text, drawn_relations, is_shell, object_colors, object_label

PAPER: Color = (255, 255, 255)
FOOT_ROW = 40
"""Pixels below the plan."""
_FLOOR, _WALL, _WALL_EDGE = (246, 242, 234), (168, 172, 178), (120, 124, 132)
_FLAT = ("floor", "ceiling")  # they cover everything from above
_MOST_ROOM_ANCHORS = 13  # across
_BOTTOM = [0, 4, 6, 2]  # corners of a box, around its underside


@dataclass(frozen=True)
class Plan:
    """How the floor is drawn.

    Attributes:
        right, ahead: directions in the world that point right and up on the paper; with the way up they are right-handed, so the
            plan is what somebody sees who looks down.
        left_top: of the paper, in units of the world along ``right`` and ``ahead``.
        scale: pixels per unit.
        size: of the paper in pixels.
    """

    right: Float64[np.ndarray, "3"]
    ahead: Float64[np.ndarray, "3"]
    left_top: Point
    scale: float
    size: tuple[int, int]

    def place(self, point_in_world: Float64[np.ndarray, "3"]) -> Point:
        """Pixel of a point."""
        across, up = float(point_in_world @ self.right), float(point_in_world @ self.ahead)
        return (across - self.left_top[0]) * self.scale, (self.left_top[1] - up) * self.scale

    def places(self, points_in_world: Float64[np.ndarray, "n 3"]) -> list[Point]:
        """Pixels of points."""
        return [self.place(point) for point in points_in_world]

    def footprint(self, box: OrientedBox) -> list[Point]:
        """Pixels of the corners of a box's underside, around it."""
        return self.places(box.corners_in_world[_BOTTOM])


def graph_from_above(
    graph: SceneGraph,
    *,
    colors_u8: Sequence[Color] = (),
    width: int = WIDTH,
    most_relations: int = 16,
    trivial: bool = False,
) -> UInt8[np.ndarray, "height width 3"]:
    """The floor with what stands on it: outlines of rooms, footprints with names, arrows from subjects to objects.

    Args:
        graph: what to draw.
        colors_u8: of the scene's classes.
        width: of the result in pixels.
        most_relations: so many of the most telling are drawn.
        trivial: also directions and comparisons, where a pair has nothing else.
    """
    plan = fitting_plan(graph, width)
    sheet = Sheet(np.full((plan.size[1] + FOOT_ROW, width, 3), PAPER, dtype=np.uint8))
    colors = object_colors(graph, colors_u8)
    draw_building(sheet, graph, plan)
    heights = {thing.object_id: float((thing.box.corners_in_world @ graph.up_in_world).max()) for thing in graph.objects}
    drawn = [thing for thing in graph.objects if not is_shell(thing)]
    drawn.sort(key=lambda thing: (heights[thing.object_id], thing.object_id))  # what is higher covers
    for thing in drawn:
        corners = plan.footprint(thing.box)
        sheet.area(corners, colors[thing.object_id], alpha=95, edge=colors[thing.object_id], thickness=2.0)
    _draw_words(sheet, graph, plan, drawn, colors, most_relations=most_relations, trivial=trivial)
    words = "from above; arrows run from a thing to what it is said of, as from a lamp to its table"
    draw_scale(sheet, graph, plan, words)
    return sheet.finished()


def fitting_plan(graph: SceneGraph, width: int, further: Sequence[OrientedBox] = ()) -> Plan:
    """A plan that holds all rooms and objects and further boxes, turned so that its longer side lies across."""
    boxes = [*(thing.box for thing in graph.objects), *further]
    corners = [room.outline_in_world for room in graph.rooms] + [box.corners_in_world for box in boxes]
    points = np.concatenate(corners) if corners else np.zeros((0, 3))
    if not len(points):
        points = np.zeros((1, 3))
    turned = upright_box(points, graph.up_in_world)
    right, ahead = turned.world_from_box[:, 0], turned.world_from_box[:, 1]
    low = np.array([float((points @ axis).min()) for axis in (right, ahead)])
    high = np.array([float((points @ axis).max()) for axis in (right, ahead)])
    span = np.maximum(high - low, 1e-6)
    margin = 0.03 * width
    scale = (width - 2 * margin) / float(span.max())
    size = (width, math.ceil(span[1] * scale + 2 * margin))
    return Plan(right, ahead, (float(low[0]) - margin / scale, float(high[1]) + margin / scale), scale, size)


def _draw_words(
    sheet: Sheet,
    graph: SceneGraph,
    plan: Plan,
    drawn: Sequence[GraphObject],
    colors: dict[int, Color],
    *,
    most_relations: int,
    trivial: bool,
) -> None:
    """Names of objects, relations for which there is room, names of rooms."""
    letters = letter_size(sheet.width)
    named = sorted(
        (thing for thing in drawn if not is_shell(thing)), key=lambda thing: (-_floor_area(thing.box), thing.object_id)
    )
    centers = {thing.object_id: plan.place(thing.box.center_in_world) for thing in named}
    names = [Plate(object_label(thing), (centers[thing.object_id],), colors[thing.object_id]) for thing in named]
    arrows = [
        Arrow(phrase_of(each.predicate), centers[each.subject], centers[each.object], colors[each.subject])
        for each in drawn_relations(graph, centers, CANDIDATES * most_relations, trivial=trivial)
    ]
    rooms = [
        Plate(text, _inside(plan, room, text, letters), _WALL, "place")
        for room in graph.rooms
        for text in (f"{room.name} · {area_text(graph, room.floor_area)}",)
    ]
    draw_words(sheet, names, arrows, most_relations, height=plan.size[1], places=rooms)


def draw_building(sheet: Sheet, graph: SceneGraph, plan: Plan) -> None:
    """Floors of rooms, and walls."""
    for room in graph.rooms:
        if len(room.outline_in_world):
            sheet.area(plan.places(room.outline_in_world), _FLOOR, alpha=255, edge=_WALL_EDGE, thickness=2.0)
    for thing in graph.objects:
        if is_shell(thing) and thing.name not in _FLAT:
            sheet.area(plan.footprint(thing.box), _WALL, alpha=255, edge=_WALL_EDGE, thickness=1.0)


def draw_scale(sheet: Sheet, graph: SceneGraph, plan: Plan, words: str) -> None:
    """A bar of known length below the plan, and how to read what is drawn."""
    length = _round_length(0.2 * sheet.width / plan.scale)
    left, y = 0.03 * sheet.width, plan.size[1] + 0.5 * FOOT_ROW - 6
    right = left + length * plan.scale
    for start, end in (((left, y), (right, y)), ((left, y - 4), (left, y + 4)), ((right, y - 4), (right, y + 4))):
        sheet.line(start, end, _WALL_EDGE, 2.0, is_cased=False)
    unit = "m" if graph.scale == "metric" else "units"
    letters = letter_size(sheet.width)
    sheet.text((right + 10, y - 0.6 * letters), f"{length:g} {unit} · {words}", letters)


def _round_length(about: float) -> float:
    """1, 2 or 5 times a power of ten, at most ``about``."""
    power = 10.0 ** math.floor(math.log10(about))
    return max(step * power for step in (1, 2, 5) if step * power <= about * (1 + 1e-9))


def _inside(plan: Plan, room: GraphRoom, text: str, letters: float) -> tuple[Point, ...]:
    """Places in a room for its name, those at the upper left first."""
    if len(room.outline_in_world) < 3:
        return ()
    corners = np.array(plan.places(room.outline_in_world))
    low, high = corners.min(axis=0), corners.max(axis=0)
    shares = (np.arange(_MOST_ROOM_ANCHORS) + 0.5) / _MOST_ROOM_ANCHORS
    places = [(low[0] + across * (high[0] - low[0]), low[1] + down * (high[1] - low[1])) for down in shares for across in shares]
    half = 0.5 * plate_size(text, "place", letters)[0]
    return tuple((float(x), float(y)) for x, y in places if _is_within(corners, x - half, y) and _is_within(corners, x + half, y))


def _is_within(corners: Float64[np.ndarray, "n 2"], x: float, y: float) -> bool:
    """Whether a point is in a polygon: whether a ray to the right crosses its outline an odd number of times."""
    start, end = corners, np.roll(corners, -1, axis=0)
    crosses = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(crosses, end[:, 1] - start[:, 1], 1.0)
    at = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    return bool((crosses & (at > x)).sum() % 2)


def _floor_area(box: OrientedBox) -> float:
    return float(box.size[0] * box.size[1])
