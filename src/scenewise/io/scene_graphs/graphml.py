"""Scene graphs as GraphML (http://graphml.graphdrawing.org/specification.html): a node per object, an edge per relation.

Attributes are flat.  Node ``o4`` is object 4, ``r0`` room 0; an edge from ``r0`` to ``o4`` with the relation "contains" says that
the room holds the object.  Two nodes may have several edges: ``networkx.read_graphml(path, force_multigraph=True)``.
"""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.scene_graphs.frames import graph_in_source
from scenewise.scenes.scene_graphs import GraphObject, GraphRoom, SceneGraph, described

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_NODE_FIELDS = {
    "kind": "string",
    "name": "string",
    "object_id": "long",
    "confidence": "double",
    "x": "double",
    "y": "double",
    "z": "double",
    "box_x": "double",
    "box_y": "double",
    "box_z": "double",
    "size_x": "double",
    "size_y": "double",
    "size_z": "double",
    "box_axes": "string",
    "class_id": "long",
    "color": "string",
    "photographs": "string",
    "floor_area": "double",
}
_EDGE_FIELDS = {"relation": "string", "score": "double", "text": "string", "seen_from": "string", "source": "string"}
_GRAPH_FIELDS = {"units": "string", "up_x": "double", "up_y": "double", "up_z": "double", "left_and_right_seen_from": "string"}
_Value = str | int | float


def write_graphml(path: str | Path, graph: SceneGraph, *, world_from_source: Float64[np.ndarray, "4 4"] | None = None) -> None:
    """A graph to a GraphML file, in the frame of the capture; the same graph gives the same bytes.

    Args:
        path: the file.
        graph: in the world frame of its scene.
        world_from_source: rigid, from the frame of the capture to the world frame; None where they are the same.

    Raises:
        ConventionError: a number is NaN or infinite.
        ResourceError: the disk is full or the folder cannot be written.
    """
    told = graph_in_source(graph, np.eye(4) if world_from_source is None else world_from_source)
    root = ElementTree.Element("graphml", xmlns=_NAMESPACE)
    for owner, fields in (("graph", _GRAPH_FIELDS), ("node", _NODE_FIELDS), ("edge", _EDGE_FIELDS)):
        for name, kind in fields.items():
            # The attributes' names are free; "for" is a word of Python.
            ElementTree.SubElement(root, "key", {"id": f"{owner}_{name}", "for": owner, "attr.name": name, "attr.type": kind})
    body = ElementTree.SubElement(root, "graph", id="scene", edgedefault="directed")
    _fill(body, "graph", _graph_values(told))
    for room in told.rooms:
        _fill(ElementTree.SubElement(body, "node", id=f"r{room.room_id}"), "node", _room_values(room))
    for thing in told.objects:
        _fill(ElementTree.SubElement(body, "node", id=f"o{thing.object_id}"), "node", _object_values(thing))
    edges: list[tuple[str, str, dict[str, _Value]]] = [
        (f"r{thing.room_id}", f"o{thing.object_id}", {"relation": "contains", "score": 1.0, "source": "geometry"})
        for thing in told.objects
        if thing.room_id is not None
    ]
    edges += [
        (
            f"o{relation.subject}",
            f"o{relation.object}",
            {
                "relation": relation.predicate,
                "score": relation.score,
                "text": described(told, relation),
                "seen_from": relation.seen_from or "",
                "source": relation.source,
            },
        )
        for relation in told.relations
    ]
    for number, (source, target, values) in enumerate(edges):
        _fill(ElementTree.SubElement(body, "edge", id=f"e{number}", source=source, target=target), "edge", values)
    ElementTree.indent(root, " ")
    atomic_write_bytes(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _fill(element: ElementTree.Element, owner: str, values: Mapping[str, _Value]) -> None:
    for name, value in values.items():
        if value == "":  # as good as absent
            continue
        if isinstance(value, float) and not np.isfinite(value):
            raise ConventionError(f"{name} in GraphML", expected="a finite number", got=value)
        text = value if isinstance(value, str) else repr(value)
        ElementTree.SubElement(element, "data", key=f"{owner}_{name}").text = _printable(text)


def _printable(text: str) -> str:
    """Without what XML 1.0 cannot hold at all, not even escaped."""
    return "".join(c for c in text if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000")


def _three(prefix: str, values: Float64[np.ndarray, "3"]) -> dict[str, float]:
    return {f"{prefix}{axis}": float(value) + 0.0 for axis, value in zip("xyz", values)}


def _graph_values(graph: SceneGraph) -> dict[str, _Value]:
    units = "metres" if graph.scale == "metric" else "arbitrary"
    return {"units": units, **_three("up_", graph.up_in_world), "left_and_right_seen_from": graph.view or ""}


def _room_values(room: GraphRoom) -> dict[str, _Value]:
    place = room.outline_in_world.mean(axis=0) if len(room.outline_in_world) else np.zeros(3)
    return {"kind": "room", "name": room.name, **_three("", place), "floor_area": float(room.floor_area)}


def _object_values(thing: GraphObject) -> dict[str, _Value]:
    colored: dict[str, _Value] = {}
    if thing.color is not None:
        colored["color"] = "#" + "".join(f"{round(255 * part):02x}" for part in thing.color)
    return {
        "kind": "object",
        "name": thing.name,
        "object_id": thing.object_id,
        "confidence": float(thing.confidence),
        **_three("", thing.center_in_world),
        **_three("box_", thing.box.center_in_world),
        **_three("size_", thing.box.size),
        "box_axes": " ".join(repr(value) for value in (thing.box.world_from_box.T + 0.0).ravel().tolist()),
        "class_id": thing.class_id,
        **colored,
        "photographs": ", ".join(thing.views),
    }
