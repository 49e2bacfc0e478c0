"""A scene graph drawn over a picture of the scene: boxes, names, and the relations that tell most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from scenewise.errors import ShapeError
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.predicates import phrase_of
from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.arrows import CANDIDATES, Arrow, draw_words
from scenewise.show.graphs.plates import Plate, Point
from scenewise.show.graphs.projection import Segments, is_front_edge, is_inside, seen_share, segments_in_picture
from scenewise.show.graphs.sheets import Sheet
from scenewise.show.graphs.telling import drawn_relations, is_shell, object_colors, object_label

WIDTH = 900
"""Pixels across at which the words are easily read."""
_MOST_OBJECTS = 30
_LEAST_SEEN = 0.04  # of a box's rectangle
_FAINT = 90


@dataclass(frozen=True)
class Outline:
    """An object as a picture shows it.

    Attributes:
        thing: which.
        edges: of its box in pixels, cut off at the sides of the picture.
        is_front: which of them belong to a side that faces the camera.
        center: of its box; of what is shown of it where that is not in the picture.
        top: above which its name stands.
    """

    thing: GraphObject
    edges: Segments
    is_front: Bool[np.ndarray, "n"]
    center: Point
    top: Point


def graph_over_view(
    graph: SceneGraph,
    camera: Cameras,
    picture_u8: ImageU8,
    *,
    depth: Float[np.ndarray, "height width"] | None = None,
    colors_u8: Sequence[Color] = (),
    width: int = WIDTH,
    most_relations: int = 10,
    trivial: bool = False,
) -> UInt8[np.ndarray, "drawn_height drawn_width 3"]:
    """A picture with the boxes and names of its objects, and arrows from subjects to objects with what holds between them.

    Walls, floor and ceiling are left out.

    Args:
        graph: in the camera's world.
        camera: one, without batch axes.
        picture_u8: what it shows, rendered or photographed, at its size.
        depth: along +Z at the camera's size, so that hidden objects can be left out; None draws them too.
        colors_u8: of the scene's classes.
        width: of the result in pixels.
        most_relations: so many of the most telling are drawn.
        trivial: also directions and comparisons, where a pair has nothing else.

    Raises:
        ShapeError: picture or depth are not of the camera's size.
    """
    for name, array in (("picture_u8", picture_u8), ("depth", depth)):
        if array is not None and array.shape[:2] != (camera.height, camera.width):
            raise ShapeError(name, expected=f"{camera.height}×{camera.width} pixels", got=f"{array.shape[0]}×{array.shape[1]}")
    height = max(1, round(camera.height * width / camera.width))
    shown = [thing for thing in graph.objects if depth is None or seen_share(thing.box, camera, depth) >= _LEAST_SEEN]
    outlines = outlines_in(shown, camera.resized(width, height))
    large = Image.fromarray(picture_u8).resize((width, height), Image.Resampling.BICUBIC)
    sheet = Sheet(np.asarray(large))
    colors = object_colors(graph, colors_u8)
    for outline in reversed(outlines):
        for (start, end), is_front in zip(outline.edges.tolist(), outline.is_front.tolist()):
            alpha, thickness = (255, 1.8) if is_front else (_FAINT, 1.0)
            sheet.line(tuple(start), tuple(end), colors[outline.thing.object_id], thickness, alpha=alpha)
    _draw_words(sheet, graph, outlines, colors, most=most_relations, trivial=trivial)
    return sheet.finished()


def _draw_words(
    sheet: Sheet, graph: SceneGraph, outlines: Sequence[Outline], colors: dict[int, Color], *, most: int, trivial: bool
) -> None:
    """Names, and the relations for which there is room."""
    centers = {outline.thing.object_id: outline.center for outline in outlines}
    names = [Plate(object_label(each.thing), (each.top,), colors[each.thing.object_id], is_above=True) for each in outlines]
    arrows = [
        Arrow(phrase_of(each.predicate), centers[each.subject], centers[each.object], colors[each.subject])
        for each in drawn_relations(graph, centers, CANDIDATES * most, trivial=trivial)
    ]
    draw_words(sheet, names, arrows, most, height=sheet.height)


def outlines_in(things: Sequence[GraphObject], camera: Cameras) -> list[Outline]:
    """The objects that are in a picture, the nearest first; walls, floor, ceiling and what the camera is in are left out."""
    eye = camera.centers_in_world.numpy()
    found = []
    for thing in things:
        if is_shell(thing) or bool(is_inside(thing.box, eye)):
            continue
        edges, kept = segments_in_picture(camera, thing.box.edges_in_world)
        if not len(edges):
            continue
        low, high = edges.reshape(-1, 2).min(axis=0), edges.reshape(-1, 2).max(axis=0)
        middle = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
        center = _pixel(camera, thing.box.center_in_world) or middle
        found.append(Outline(thing, edges, is_front_edge(thing.box, eye)[kept], center, (middle[0], float(low[1]))))
    found.sort(key=lambda each: (float(np.linalg.norm(each.thing.box.center_in_world - eye)), each.thing.object_id))
    return found[:_MOST_OBJECTS]


def _pixel(camera: Cameras, point_in_world: np.ndarray) -> Point | None:
    """Where a point is in a picture, or None where it is not."""
    pose = camera.camera_from_world.numpy()
    x, y, z = camera.K.numpy() @ (pose[:3, :3] @ point_in_world + pose[:3, 3])
    if z < camera.near or not (0 <= x < camera.width * z and 0 <= y < camera.height * z):
        return None
    return float(x / z), float(y / z)
