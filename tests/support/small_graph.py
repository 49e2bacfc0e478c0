"""The graph of the small room: a floor, a sofa on the left, a lamp on the right."""

from pathlib import Path

import numpy as np

from scenewise.geometry.boxes import OrientedBox
from scenewise.io.scene_folder import GRAPH_FILE
from scenewise.io.scene_graphs.graph_json import write_scene_graph
from scenewise.scenes.scene_graphs import GraphObject, GraphRoom, Relation, SceneGraph

FLOOR_ID, SOFA_ID, LAMP_ID = 0, 3, 7


def thing(object_id: int, name: str, center: list[float], size: list[float], class_id: int = -1, **more) -> GraphObject:
    """An object whose box lies along the axes of the world."""
    box = OrientedBox(np.array(center), np.array(size), np.eye(3))
    return GraphObject(object_id, name, more.pop("confidence", 0.8), np.array(center), box, class_id, **more)


def small_graph() -> SceneGraph:
    objects = (
        thing(FLOOR_ID, "floor", [0.0, 0.0, 0.0], [4.0, 2.0, 0.1], 0, room_id=0),
        thing(SOFA_ID, "sofa", [-1.0, 0.0, 0.6], [0.8, 0.6, 0.5], 1, room_id=0, names=(("sofa", 0.8), ("bed <b>", 0.1))),
        thing(LAMP_ID, "lamp", [1.0, 0.0, 0.6], [0.7, 0.55, 0.6], 2, room_id=0, views=("2.jpg", "gone.jpg", "1.jpg")),
    )
    relations = (
        Relation(SOFA_ID, "standing on", FLOOR_ID, 0.9, "geometry"),
        Relation(SOFA_ID, "left", LAMP_ID, 1.0, "geometry", seen_from="0.jpg"),
        Relation(SOFA_ID, "close by", LAMP_ID, 0.7, "geometry"),
        Relation(LAMP_ID, "right", SOFA_ID, 1.0, "geometry", seen_from="0.jpg"),
        Relation(LAMP_ID, "lighting", SOFA_ID, 0.6, "network"),
        Relation(LAMP_ID, "close by", SOFA_ID, 0.7, "geometry"),
    )
    outline = np.array([[-2.0, -1.0, 0.0], [2.0, -1.0, 0.0], [2.0, 1.0, 0.0], [-2.0, 1.0, 0.0]])
    return SceneGraph(
        objects,
        relations,
        (GraphRoom(0, "room 1", outline, 8.0),),
        np.array([0.0, 0.0, 1.0]),
        "metric",
        ("left", "right", "close by", "standing on", "lighting"),
        view="0.jpg",
        provenance={"teacher": "truth"},
    )


def write_small_graph(folder: Path) -> Path:
    write_scene_graph(folder / GRAPH_FILE, small_graph())
    return folder
