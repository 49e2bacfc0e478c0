"""The report's section of a scene graph: a plan, the graph over some views, objects and relations in tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import ScenewiseError
from scenewise.io.images import image_u8_from_color
from scenewise.io.scene_folder import GRAPH_FILE
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.sources.scene_photographs import ScenePhotographs
from scenewise.rendering import render
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.scenes.scenes import SceneCamera
from scenewise.scenes.sections import Definitions, Picture, Pictures, ReportMaterial, Section, Table
from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.from_above import graph_from_above
from scenewise.show.graphs.over_view import graph_over_view
from scenewise.show.graphs.telling import area_text, object_label, said_once, sentence, size_text

_MOST_OBJECTS, _MOST_RELATIONS = 100, 60  # rows
_SOLID = 0.5  # of a pixel that shows a surface


def graph_sections(material: ReportMaterial) -> list[Section]:
    """The scene graph in pictures and tables; nothing where the scene has none.

    What cannot be read or shown becomes a warning.
    """
    path = material.folder / GRAPH_FILE
    if not path.is_file():
        return []
    try:
        graph = read_scene_graph(path)
        return [_section(material, graph, _class_colors(material))]
    except (ScenewiseError, OSError) as error:
        return [Section("Scene graph", warnings=(f"No scene graph: {error}",))]


def _section(material: ReportMaterial, graph: SceneGraph, colors_u8: tuple[Color, ...]) -> Section:
    plan = Picture("from above", graph_from_above(graph, colors_u8=colors_u8), "Plan of the floor with objects and relations")
    views = tuple(
        Picture(entry.name, picture, f"Objects and relations seen from {entry.name}")
        for entry in material.views
        if (picture := _over(material, graph, entry, colors_u8)) is not None
    )
    rows = [_object_row(graph, thing) for thing in graph.objects[:_MOST_OBJECTS]]
    relations = said_once(graph, graph.relations)
    told = [
        {"relation": sentence(graph, each), "score": f"{each.score:.0%}", "source": each.source}
        for each in relations[:_MOST_RELATIONS]
    ]
    content = (
        Definitions(_summary(graph, len(rows), len(told), len(relations))),
        Pictures("Plan", "arrows and words for the relations that tell most", (plan,), is_wide=True),
        *((Pictures("Views", "walls, floor and ceiling are left out", views, is_wide=True),) if views else ()),
        *((Table(rows),) if rows else ()),
        *((Table(told),) if told else ()),
    )
    figures = {"objects in the graph": f"{len(graph.objects):,}", "relations": f"{len(graph.relations):,}"}
    return Section("Scene graph", content, figures)


def _summary(graph: SceneGraph, objects: int, told: int, relations: int) -> Mapping[str, Any]:
    """What there is, and how much of it the tables list."""
    listed = f"; the first {objects} are listed" if objects < len(graph.objects) else ""
    once = f"; {relations:,} without those that say the same from the other side"
    most = f", the {told} most telling of them listed" if told < relations else ""
    summary: dict[str, Any] = {
        "objects": f"{len(graph.objects):,}{listed}",
        "relations": f"{len(graph.relations):,}{once}{most}",
        "rooms": [f"{room.name} ({area_text(graph, room.floor_area)})" for room in graph.rooms],
    }
    if graph.view is not None:
        summary["left and right as seen from"] = graph.view
    return summary | {"made by": graph.provenance}


def _object_row(graph: SceneGraph, thing: GraphObject) -> dict[str, Any]:
    rooms = {room.room_id: room.name for room in graph.rooms}
    return {
        "object": object_label(thing),
        "confidence": f"{thing.confidence:.0%}",
        "box": size_text(graph, thing.box.size),
        "room": None if thing.room_id is None else rooms[thing.room_id],
        "splats": thing.num_splats,
        "points": thing.num_points,
        "best photograph": thing.views[0] if thing.views else None,
    }


def _over(material: ReportMaterial, graph: SceneGraph, entry: SceneCamera, colors_u8: tuple[Color, ...]) -> ImageU8 | None:
    """The graph over what the scene shows from a view, or over the photograph where there are no splats; None without either."""
    picture, depth = _rendered(material, entry) if material.scene.num_gaussians else (_photograph(material, entry), None)
    return None if picture is None else graph_over_view(graph, entry.camera, picture, depth=depth, colors_u8=colors_u8)


def _rendered(material: ReportMaterial, entry: SceneCamera) -> tuple[ImageU8, Float64[np.ndarray, "height width"]]:
    scene = material.scene
    gaussians = scene.gaussians if material.seen_by is None else material.seen_by(entry.camera)
    with torch.no_grad():
        seen = render(gaussians, entry.camera, background=torch.tensor(scene.background or (0.0, 0.0, 0.0)))
    alpha, depth = (np.asarray(each.numpy(), dtype=np.float64).reshape(seen.color.shape[:2]) for each in (seen.alpha, seen.depth))
    surface = np.where(alpha >= _SOLID, depth / np.maximum(alpha, _SOLID), 0.0)
    return image_u8_from_color(seen.color.numpy()), surface


def _photograph(material: ReportMaterial, entry: SceneCamera) -> ImageU8 | None:
    frame = None if material.capture is None else ScenePhotographs(material.scene, material.capture).frame(entry)
    return None if frame is None or frame.load_image is None else frame.load_image()


def _class_colors(material: ReportMaterial) -> tuple[Color, ...]:
    path = material.folder / VOCABULARY_FILE
    return read_vocabulary(path)[0].colors_u8 if path.is_file() else ()
