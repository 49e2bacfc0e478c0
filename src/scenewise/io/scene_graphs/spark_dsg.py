"""Scene graphs as Spark-DSG JSON, which the ``spark-dsg`` package 1.1 and what is built on it open.

The format, as that version writes it: an undirected graph of nodes in layers (objects 2, places 3, rooms 4, buildings 5), each
with an id that holds a letter in its highest byte.  A node in a higher layer is the parent of those it has edges to.  Two nodes
have at most one edge, so all relations between two objects are in the metadata of theirs, in full: which is the subject, which
relation, which score; the edge's weight is the highest score.  Boxes are float32 there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.geometry.rotations import quat_from_rotation
from scenewise.io.atomic import atomic_write_json
from scenewise.io.json_values import json_ready
from scenewise.io.scene_graphs.frames import graph_in_source
from scenewise.scenes.scene_graphs import GraphObject, GraphRoom, SceneGraph, described

_VERSION = {"major": 1, "minor": 1, "patch": 3}
_OBJECTS, _PLACES, _ROOMS, _BUILDINGS = 2, 3, 4, 5
_LAYER_NAMES = {"AGENTS": 2, "BUILDINGS": 5, "OBJECTS": 2, "PLACES": 3, "ROOMS": 4}
_NO_LABEL = 2**32 - 1
_PREFIX_SHIFT = 56
_FLOAT32_REACH = 8192.0  # beyond it a step of float32 is a millimetre
_GREY = (0.5, 0.5, 0.5)


def write_spark_dsg(path: str | Path, graph: SceneGraph, *, world_from_source: Float64[np.ndarray, "4 4"] | None = None) -> None:
    """A graph to a file that ``spark_dsg.DynamicSceneGraph.load`` reads.

    Coordinates are in the frame of the capture; where they are too large for the format's float32 boxes, in the world frame of
    the scene, near its own origin.  ``metadata.scenewise`` of the file says which, and holds the transform.

    Args:
        path: the file; its name must end in ``.json``.
        graph: in the world frame of its scene.
        world_from_source: rigid, from the frame of the capture to the world frame; None where they are the same.

    Raises:
        ConventionError: a number is NaN or infinite.
        ResourceError: the disk is full or the folder cannot be written.
    """
    world_from_source = np.eye(4) if world_from_source is None else world_from_source
    told = graph_in_source(graph, world_from_source)
    reach = max((float(np.abs(thing.box.corners_in_world).max()) for thing in told.objects), default=0.0)
    frame = "source" if reach < _FLOAT32_REACH else "world"
    told = told if frame == "source" else graph
    nodes = [_object_node(thing) for thing in told.objects] + [_room_node(told, room) for room in told.rooms]
    value = {
        "SPARK_DSG_header": {"project_name": "scenewise", "version": _VERSION},
        "directed": False,
        "edges": _edges(told),
        "layer_keys": [_key(layer) for layer in (_OBJECTS, _PLACES, _ROOMS, _BUILDINGS)],
        "layer_names": {name: _key(layer) for name, layer in _LAYER_NAMES.items()},
        "metadata": {
            "labelspaces": {"_l2p0": _labels(told)},
            "scenewise": {
                "frame": frame,
                "scale": told.scale,
                "up": told.up_in_world.tolist(),
                "left_and_right_seen_from": told.view,
                "world_from_source": world_from_source.tolist(),
                "made_by": json_ready(told.provenance),
            },
        },
        "multigraph": False,
        "nodes": nodes,
    }
    atomic_write_json(path, value, indent=1)


def _key(layer: int) -> dict[str, int]:
    return {"layer": layer, "partition": 0}


def _node_id(letter: str, number: int) -> int:
    return ord(letter) << _PREFIX_SHIFT | number


def _labels(graph: SceneGraph) -> list[list[Any]]:
    """Pairs of a class and its name: that of its surest object."""
    best: dict[int, GraphObject] = {}
    for thing in graph.objects:
        if thing.class_id >= 0 and (thing.class_id not in best or thing.confidence > best[thing.class_id].confidence):
            best[thing.class_id] = thing
    return [[number, best[number].name] for number in sorted(best)]


def _node(kind: str, place: Float64[np.ndarray, "3"], name: str, color: Sequence[float], **more: Any) -> dict[str, Any]:
    red, green, blue = (round(255 * part) for part in color)
    return {
        "bounding_box": _box(place, np.zeros(3), np.eye(3), "INVALID"),
        "color": {"a": 255, "b": blue, "g": green, "r": red},
        "is_active": False,
        "is_predicted": False,
        "last_update_time_ns": 0,
        "metadata": {},
        "name": name,
        "position": place.tolist(),
        "semantic_feature": {"cols": 0, "data": None, "rows": 0},
        "semantic_label": _NO_LABEL,
        "type": kind,
        **more,
    }


def _box(
    center: Float64[np.ndarray, "3"], size: Float64[np.ndarray, "3"], rotation: Float64[np.ndarray, "3 3"], kind: str
) -> dict[str, Any]:
    return {"dimensions": size.tolist(), "type": kind, "world_P_center": center.tolist(), "world_R_center": _quaternion(rotation)}


def _quaternion(rotation: Float64[np.ndarray, "3 3"]) -> dict[str, float]:
    return dict(zip("wxyz", quat_from_rotation(torch.from_numpy(np.ascontiguousarray(rotation))).tolist()))


def _object_node(thing: GraphObject) -> dict[str, Any]:
    attributes = _node(
        "ObjectNodeAttributes",
        thing.center_in_world,
        f"{thing.name} {thing.object_id}",
        thing.color or _GREY,
        bounding_box=_box(thing.box.center_in_world, thing.box.size, thing.box.world_from_box, "OBB"),
        is_predicted=True,
        mesh_connections=[],
        metadata={
            "id": thing.object_id,
            "name": thing.name,
            "confidence": thing.confidence,
            "names": [list(entry) for entry in thing.names],
            "photographs": list(thing.views),
            "points": thing.num_points,
            "splats": thing.num_splats,
        },
        registered=False,
        semantic_label=thing.class_id if thing.class_id >= 0 else _NO_LABEL,
        world_R_object=_quaternion(thing.box.world_from_box),
    )
    return {"attributes": attributes, "id": _node_id("O", thing.object_id), **_key(_OBJECTS)}


def _room_node(graph: SceneGraph, room: GraphRoom) -> dict[str, Any]:
    outline = room.outline_in_world
    held = [thing.center_in_world for thing in graph.objects if thing.room_id == room.room_id]
    around = outline if len(outline) else np.array(held).reshape(-1, 3)
    low, high = (around.min(axis=0), around.max(axis=0)) if len(around) else (np.zeros(3), np.zeros(3))
    attributes = _node(
        "RoomNodeAttributes",
        (low + high) / 2,
        room.name,
        _GREY,
        bounding_box=_box((low + high) / 2, high - low, np.eye(3), "AABB"),
        metadata={"floor_area": room.floor_area, "outline": outline.tolist()},
        semantic_class_probabilities={},
    )
    return {"attributes": attributes, "id": _node_id("R", room.room_id), **_key(_ROOMS)}


def _edge(source: int, target: int, weight: float | None, metadata: dict[str, Any]) -> dict[str, Any]:
    info = {
        "metadata": metadata,
        "type": "EdgeAttributes",
        "weight": 1.0 if weight is None else weight,
        "weighted": weight is not None,
    }
    return {"info": info, "source": source, "target": target}


def _edges(graph: SceneGraph) -> list[dict[str, Any]]:
    pairs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for relation in graph.relations:
        first, second = sorted((relation.subject, relation.object))
        pairs.setdefault((first, second), []).append(
            {
                "subject": relation.subject,
                "relation": relation.predicate,
                "object": relation.object,
                "score": relation.score,
                "text": described(graph, relation),
                "seen_from": relation.seen_from,
                "source": relation.source,
            }
        )
    between = [
        _edge(
            _node_id("O", first),
            _node_id("O", second),
            max(entry["score"] for entry in told),
            {"relations": sorted(told, key=lambda entry: (-entry["score"], entry["subject"], entry["relation"]))},
        )
        for (first, second), told in sorted(pairs.items())
    ]
    holding = [
        _edge(_node_id("R", thing.room_id), _node_id("O", thing.object_id), None, {})
        for thing in graph.objects
        if thing.room_id is not None
    ]
    return between + holding
