"""``graph.json`` of a scene folder: rooms that hold objects, and relations between objects, in JSON that explains itself.

The same graph gives the same bytes.  Numbers keep every digit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.geometry.boxes import OrientedBox
from scenewise.io.atomic import atomic_write_text, json_text
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.io.json_values import json_ready
from scenewise.io.placing import source_from_world
from scenewise.io.scene_folder import georeference_json, read_georeference, vectors_on_one_line
from scenewise.io.scene_graphs.frames import moved_graph
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.scene_graphs import GraphObject, GraphRoom, Relation, SceneGraph, described

FORMAT = "scenewise-graph"
_VERSION = 1
_MOST_OBJECTS, _MOST_RELATIONS, _MOST_CORNERS = 100_000, 2_000_000, 100_000
_ROTATION_TOLERANCE = 1e-6
_AXES = (3, 3)
_FARTHEST = 1e10  # of a coordinate

_ABOUT = {
    "frame": "All coordinates are x, y, z in the frame of the capture, exactly as its poses came. world_from_source takes them "
    "to the frame of splats.ply and points.ply in the same folder: point_in_world = world_from_source · [x, y, z, 1].",
    "up": "frame.up is the direction away from the ground, a unit vector.",
    "rooms": "Parts of the floor enclosed by walls, each with the objects in it. outline lists the corners of its floor in "
    "order, floor_area is in square units. Objects that belong to none are in objects_without_room.",
    "objects": "id is also the instance_id of the object's points and splats in labels_points.safetensors and "
    "labels_splats.safetensors. name is the likeliest of names, confidence in [0, 1] says how sure it is. position is the mean "
    "of the object's points or splats.",
    "box": "center is its middle; size its full lengths along its own three axes; axes has one row per axis, a unit vector each; "
    "the last axis is up.",
    "photographs": "Names of the photographs that show the object best, the best first.",
    "relations": "subject and object are ids: {subject} {relation} {object}, as text says in words. score in [0, 1] says how "
    "sure it is; source whether it was measured on the geometry or said by a network.",
    "seen_from": "left, right, front and behind depend on who looks: the photograph of this name, with its direction laid on "
    "the floor ('front' is nearer to it), or 'subject' for the subject itself. null elsewhere.",
    "relations_looked_for": "Every relation that would have been listed had it been found.",
}


def write_scene_graph(
    path: str | Path,
    graph: SceneGraph,
    *,
    world_from_source: Float64[np.ndarray, "4 4"] | None = None,
    georeference: Georeference | None = None,
) -> None:
    """A graph to a file.

    Args:
        path: the file.
        graph: in the world frame of its scene.
        world_from_source: rigid, from the frame of the capture to the world frame; None where they are the same.
        georeference: of the scene; objects then have projected coordinates too.

    Raises:
        ConventionError: a number is NaN or infinite.
        ResourceError: the disk is full or the folder cannot be written.
    """
    world_from_source = np.eye(4) if world_from_source is None else world_from_source
    moved = moved_graph(graph, source_from_world(world_from_source))
    inside: dict[int | None, list[dict[str, Any]]] = {}
    for thing, own in zip(moved.objects, graph.objects):
        inside.setdefault(thing.room_id, []).append(_object_json(thing, own, georeference))
    value = {
        "format": FORMAT,
        "version": _VERSION,
        "about": {
            "units": _units(graph),
            **_ABOUT,
            **({} if georeference is None else {"position_projected": _projected_about(georeference)}),
        },
        "frame": {
            "scale": graph.scale,
            "up": _numbers(moved.up_in_world),
            "left_and_right_seen_from": graph.view,
            "world_from_source": _numbers(world_from_source),
            "georeference": None if georeference is None else georeference_json(georeference),
        },
        "rooms": [
            {
                "id": room.room_id,
                "name": room.name,
                "floor_area": room.floor_area,
                "outline": _numbers(room.outline_in_world),
                "objects": inside.get(room.room_id, []),
            }
            for room in sorted(moved.rooms, key=lambda room: room.room_id)
        ],
        "objects_without_room": inside.get(None, []),
        "relations": [_relation_json(graph, relation) for relation in sorted(graph.relations, key=_order)],
        "relations_looked_for": list(graph.predicates),
        "made_by": _sorted(json_ready(graph.provenance)),
    }
    atomic_write_text(path, vectors_on_one_line(json_text(path, value)))


def _units(graph: SceneGraph) -> str:
    if graph.scale == "metric":
        return "metres and square metres"
    return "the units of the capture, whose scale is arbitrary: not metres"


def _projected_about(georeference: Georeference) -> str:
    return f"east, north and up of the object's position in EPSG:{georeference.epsg}."


def _object_json(thing: GraphObject, in_world: GraphObject, georeference: Georeference | None) -> dict[str, Any]:
    projected: dict[str, Any] = {}
    if georeference is not None:
        projected["position_projected"] = _numbers(georeference.projected_from_world(in_world.center_in_world[None])[0])
    return {
        "id": thing.object_id,
        "name": thing.name,
        "confidence": thing.confidence,
        "position": _numbers(thing.center_in_world),
        **projected,
        "box": {
            "center": _numbers(thing.box.center_in_world),
            "size": _numbers(thing.box.size),
            "axes": _numbers(thing.box.world_from_box.T),
        },
        "color": None if thing.color is None else list(thing.color),
        "photographs": list(thing.views),
        "names": [{"name": name, "probability": probability} for name, probability in thing.names],
        "class_id": thing.class_id,
        "points": thing.num_points,
        "splats": thing.num_splats,
    }


def _relation_json(graph: SceneGraph, relation: Relation) -> dict[str, Any]:
    return {
        "subject": relation.subject,
        "relation": relation.predicate,
        "object": relation.object,
        "score": relation.score,
        "text": described(graph, relation),
        "seen_from": relation.seen_from,
        "source": relation.source,
    }


def _order(relation: Relation) -> tuple[int, int, float, str, str]:
    return relation.subject, relation.object, -relation.score, relation.predicate, relation.seen_from or ""


def _numbers(values: np.ndarray) -> Any:
    return (values + 0.0).tolist()  # no "-0.0"


def _sorted(value: Any) -> Any:
    """With the keys of every object in order."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def read_scene_graph(path: str | Path) -> SceneGraph:
    """The graph in a file, in the world frame of its scene.

    Raises:
        DataFormatError: not such a file, a key that is missing, unknown or of the wrong kind (the message names it), or relations
            between objects that are not there.
    """
    path = Path(path)
    top = read_json_object(path)
    if top.text("format") != FORMAT:
        raise top.wrong("format", repr(FORMAT), "another", "name a graph.json that scenewise graph wrote")
    if top.integer("version") > _VERSION:
        raise top.wrong("version", f"at most {_VERSION}", "a later one", "use a newer Scenewise")
    top.mapping("about")
    frame = top.object("frame")
    scale, up, view = (
        frame.choice("scale", ["metric", "arbitrary"]),
        frame.array("up", (3,)),
        frame.text("left_and_right_seen_from", None),
    )
    world_from_source = frame.array("world_from_source", (4, 4))
    is_far = bool((np.abs(world_from_source) > _FARTHEST).any())
    if is_far or not _is_rotation(world_from_source[:3, :3]) or not np.array_equal(world_from_source[3], [0.0, 0.0, 0.0, 1.0]):
        raise frame.wrong("world_from_source", "a rotation and a translation", "another transform")
    if not abs(float(np.linalg.norm(up)) - 1.0) < _ROTATION_TOLERANCE:
        raise frame.wrong("up", "a unit vector", up.tolist())
    reference = frame.object("georeference", None)
    has_projected = reference is not None
    if reference is not None:
        read_georeference(reference)
    frame.finish()
    rooms, objects = [], []
    for entry in top.objects("rooms"):
        room, held = _read_room(entry, has_projected)
        rooms.append(room)
        objects += held
    objects += [_read_object(entry, None, has_projected) for entry in top.objects("objects_without_room")]
    relations = [_read_relation(entry) for entry in top.objects("relations")]
    if len(objects) > _MOST_OBJECTS or len(relations) > _MOST_RELATIONS:
        expected = f"at most {_MOST_OBJECTS:,} objects and {_MOST_RELATIONS:,} relations"
        raise DataFormatError(path, expected=expected, got=f"{len(objects):,} and {len(relations):,}")
    try:
        graph = SceneGraph(
            objects=tuple(sorted(objects, key=lambda thing: thing.object_id)),
            relations=tuple(relations),
            rooms=tuple(rooms),
            up_in_world=up,
            scale=scale,
            predicates=top.texts("relations_looked_for"),
            view=view,
            provenance=top.mapping("made_by"),
        )
    except (ConventionError, ShapeError) as error:
        raise DataFormatError(path, got=str(error)) from error
    top.finish()
    return moved_graph(graph, world_from_source)


def _read_room(entry: JsonFields, has_projected: bool) -> tuple[GraphRoom, list[GraphObject]]:
    number = entry.integer("id")
    outline = entry.rows("outline", 3, most=_MOST_CORNERS)
    if (np.abs(outline) > _FARTHEST).any():
        raise entry.wrong("outline", f"coordinates up to {_FARTHEST:g}", "larger ones")
    room = GraphRoom(number, entry.text("name"), outline, entry.number("floor_area"))
    held = [_read_object(inner, number, has_projected) for inner in entry.objects("objects")]
    entry.finish()
    return room, held


def _read_object(entry: JsonFields, room_id: int | None, has_projected: bool) -> GraphObject:
    box = entry.object("box")
    axes, size = box.array("axes", _AXES), box.array("size", (3,))
    if not _is_rotation(axes):
        raise box.wrong("axes", "three unit vectors at right angles, right-handed", "others")
    if not ((size >= 0) & (size <= _FARTHEST)).all():
        raise box.wrong("size", f"lengths from 0 to {_FARTHEST:g}", size.tolist())
    oriented = OrientedBox(_place(box, "center"), size, axes.T.copy())
    box.finish()
    color = entry.array("color", (3,), None)
    if color is not None and not ((color >= 0) & (color <= 1)).all():
        raise entry.wrong("color", "three numbers in [0, 1]", color.tolist())
    if has_projected:
        entry.array("position_projected", (3,))  # follows from the position
    names = []
    for inner in entry.objects("names"):
        names.append((inner.text("name"), _share(inner, "probability")))
        inner.finish()
    thing = GraphObject(
        object_id=entry.integer("id", maximum=2**31 - 1),
        name=entry.text("name"),
        confidence=_share(entry, "confidence"),
        center_in_world=_place(entry, "position"),
        box=oriented,
        class_id=entry.integer("class_id", minimum=-1),
        room_id=room_id,
        num_points=entry.integer("points"),
        num_splats=entry.integer("splats"),
        color=None if color is None else (float(color[0]), float(color[1]), float(color[2])),
        names=tuple(names),
        views=entry.texts("photographs"),
    )
    entry.finish()
    return thing


def _read_relation(entry: JsonFields) -> Relation:
    subject, thing = entry.integer("subject"), entry.integer("object")
    if subject == thing:
        raise entry.wrong("object", "another object than the subject", thing)
    entry.text("text")  # follows from the rest
    relation = Relation(
        subject=subject,
        predicate=entry.text("relation"),
        object=thing,
        score=_share(entry, "score"),
        source=entry.choice("source", ["geometry", "network"]),
        seen_from=entry.text("seen_from", None),
    )
    entry.finish()
    return relation


def _place(entry: JsonFields, key: str) -> Float64[np.ndarray, "3"]:
    place: np.ndarray = entry.array(key, (3,))
    if (np.abs(place) > _FARTHEST).any():
        raise entry.wrong(key, f"coordinates up to {_FARTHEST:g}", place.tolist())
    return place


def _share(entry: JsonFields, key: str) -> float:
    value = entry.number(key)
    if not 0.0 <= value <= 1.0:
        raise entry.wrong(key, "a number in [0, 1]", value)
    return float(value)


def _is_rotation(matrix: Float64[np.ndarray, "3 3"]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = np.abs(matrix @ matrix.T - np.eye(3)).max()
    return bool(deviation < _ROTATION_TOLERANCE) and float(np.linalg.det(matrix)) > 0
