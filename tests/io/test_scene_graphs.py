"""Scene graphs as files: what is written is read again, and other people's packages open it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.boxes import OrientedBox
from scenewise.io.scene_graphs.frames import graph_in_source
from scenewise.io.scene_graphs.graph_json import read_scene_graph, write_scene_graph
from scenewise.io.scene_graphs.graphml import write_graphml
from scenewise.io.scene_graphs.spark_dsg import write_spark_dsg
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.scene_graphs import GraphObject, GraphRoom, Relation, SceneGraph

QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""A quarter turn to the left about +Z."""
TILTED = np.array([[0.0, -0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.8, 0.6]])
"""A turn about no axis of the world."""


def small_graph() -> SceneGraph:
    """A lamp on a table in a room, and something outside that nobody knows."""
    lamp = GraphObject(
        object_id=4,
        name="lamp",
        confidence=0.75,
        center_in_world=np.array([1.0, 2.0, 1.25]),
        box=OrientedBox(np.array([1.0, 2.0, 1.5]), np.array([0.5, 0.25, 1.0]), QUARTER),
        class_id=7,
        room_id=0,
        num_points=12,
        num_splats=34,
        color=(1.0, 0.5, 0.0),
        names=(("lamp", 0.75), ("plant", 0.25)),
        views=("b.png", "a <1>.png"),
    )
    table = replace(
        lamp, object_id=2, name="table", class_id=3, center_in_world=np.array([1.0, 2.0, 0.5]), color=None, names=(), views=()
    )
    alone = replace(table, object_id=9, name="thing", class_id=-1, room_id=None)
    return SceneGraph(
        objects=(table, lamp, alone),
        relations=(
            Relation(2, "left", 9, 0.625, "geometry", "b.png"),
            Relation(4, "standing on", 2, 0.875, "geometry"),
            Relation(4, "lighting", 2, 0.5, "network"),
            Relation(2, "close by", 4, 0.25, "geometry"),
        ),
        rooms=(GraphRoom(0, "room 1", np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [4.0, 3.0, 0.0]]), 6.0),),
        up_in_world=np.array([0.0, 0.0, 1.0]),
        scale="metric",
        predicates=("left", "standing on", "lighting", "close by"),
        view="b.png",
        provenance={"teacher": "small-clip", "network": None},
    )


def about(x: float, y: float, z: float, rotation: np.ndarray = QUARTER) -> np.ndarray:
    """world_from_source with this translation."""
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, (x, y, z)
    return transform


def assert_same(first: SceneGraph, second: SceneGraph, tolerance: float = 0.0) -> None:
    for one, other in zip(first.objects, second.objects, strict=True):
        np.testing.assert_allclose(one.center_in_world, other.center_in_world, atol=tolerance, rtol=0)
        np.testing.assert_allclose(one.box.corners_in_world, other.box.corners_in_world, atol=tolerance + 1e-12, rtol=0)
        for name in (
            "object_id",
            "name",
            "confidence",
            "class_id",
            "room_id",
            "num_points",
            "num_splats",
            "color",
            "names",
            "views",
        ):
            assert getattr(one, name) == getattr(other, name), name
    for room, again in zip(first.rooms, second.rooms, strict=True):
        np.testing.assert_allclose(room.outline_in_world, again.outline_in_world, atol=tolerance, rtol=0)
        assert (room.room_id, room.name, room.floor_area) == (again.room_id, again.name, again.floor_area)
    np.testing.assert_allclose(first.up_in_world, second.up_in_world, atol=1e-12)
    assert sorted(map(repr, first.relations)) == sorted(map(repr, second.relations))
    for name in ("scale", "predicates", "view", "provenance"):
        assert getattr(first, name) == getattr(second, name), name


# ------------------------------------------------------------------------------------------------------------------ graph.json


def test_what_is_written_is_read_again_to_the_last_digit(tmp_path: Path):
    write_scene_graph(tmp_path / "graph.json", small_graph())
    assert_same(small_graph(), read_scene_graph(tmp_path / "graph.json"))


def test_a_graph_far_from_the_origin_comes_back(tmp_path: Path):
    world_from_source = about(-500_000.0, -4_100_000.0, -20.0)
    write_scene_graph(tmp_path / "graph.json", small_graph(), world_from_source=world_from_source)
    assert_same(small_graph(), read_scene_graph(tmp_path / "graph.json"), 1e-8)


def test_places_are_in_the_frame_of_the_capture(tmp_path: Path):
    """A quarter turn and a shift: source (2, −1, z) is world (1, 2, z) + (10, 20, 0)."""
    write_scene_graph(tmp_path / "graph.json", small_graph(), world_from_source=about(10.0, 20.0, 0.0))
    told = json.loads((tmp_path / "graph.json").read_text())
    table, lamp = told["rooms"][0]["objects"]
    assert (table["id"], lamp["id"], told["objects_without_room"][0]["id"]) == (2, 4, 9)
    np.testing.assert_allclose(lamp["position"], [2.0 - 20.0, 10.0 - 1.0, 1.25], atol=1e-12)
    np.testing.assert_allclose(lamp["box"]["axes"], np.eye(3), atol=1e-12)  # the turn of the box and of the world cancel
    np.testing.assert_allclose(told["rooms"][0]["outline"][1], [-20.0, 10.0 - 4.0, 0.0], atol=1e-12)


def test_axes_and_up_turn_with_the_frame(tmp_path: Path):
    write_scene_graph(tmp_path / "graph.json", small_graph(), world_from_source=about(1.0, 2.0, 3.0, TILTED))
    told = json.loads((tmp_path / "graph.json").read_text())
    np.testing.assert_allclose(told["frame"]["up"], [0.0, 0.8, 0.6], atol=1e-12)
    axes = told["rooms"][0]["objects"][1]["box"]["axes"]
    np.testing.assert_allclose(axes[0], [1.0, 0.0, 0.0], atol=1e-12)  # of the box along +Y of the world
    np.testing.assert_allclose(axes[2], [0.0, 0.8, 0.6], atol=1e-12)
    assert_same(small_graph(), read_scene_graph(tmp_path / "graph.json"), 1e-12)


def test_relations_read_as_sentences_in_one_order(tmp_path: Path):
    write_scene_graph(tmp_path / "graph.json", small_graph())
    told = json.loads((tmp_path / "graph.json").read_text())["relations"]
    assert [entry["text"] for entry in told] == [
        "table 2 next to lamp 4",
        "table 2 to the left of thing 9",
        "lamp 4 standing on table 2",
        "lamp 4 lighting table 2",
    ]
    assert [entry["seen_from"] for entry in told] == [None, "b.png", None, None]


def test_the_same_graph_gives_the_same_bytes_in_every_format(tmp_path: Path):
    graph = small_graph()
    shuffled = replace(graph, relations=graph.relations[::-1], provenance={"network": None, "teacher": "small-clip"})
    for write in (write_scene_graph, write_spark_dsg):
        write(tmp_path / "one.json", graph)
        write(tmp_path / "two.json", shuffled if write is write_scene_graph else graph)
        assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_projected_coordinates_are_beside_the_others(tmp_path: Path):
    reference = Georeference(32615, 2.0, QUARTER, np.array([500_000.0, 4_100_000.0, 100.0]))
    write_scene_graph(tmp_path / "graph.json", small_graph(), world_from_source=about(1.0, 2.0, 3.0), georeference=reference)
    lamp = json.loads((tmp_path / "graph.json").read_text())["rooms"][0]["objects"][1]
    np.testing.assert_allclose(lamp["position_projected"], [500_000.0 - 4.0, 4_100_000.0 + 2.0, 102.5])
    assert_same(small_graph(), read_scene_graph(tmp_path / "graph.json"), 1e-12)


def test_a_graph_of_nothing_is_a_file_too(tmp_path: Path):
    empty = SceneGraph((), (), (), np.array([0.0, 0.0, 1.0]), "arbitrary", ())
    write_scene_graph(tmp_path / "graph.json", empty)
    assert_same(empty, read_scene_graph(tmp_path / "graph.json"))
    write_graphml(tmp_path / "graph.graphml", empty)
    write_spark_dsg(tmp_path / "graph.dsg.json", empty)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("format",), "other", "scenewise-graph"),
        (("version",), 2, "newer Scenewise"),
        (("frame", "up"), [0, 0, 2], "unit vector"),
        (("frame", "world_from_source", 0), [2, 0, 0, 0], "rotation and a translation"),
        (("frame", "scale"), "feet", "'metric' or 'arbitrary'"),
        (("rooms", 0, "outline", 1), [1, 2], "rows of 3"),
        (("rooms", 0, "objects", 0, "id"), 4, "none twice"),
        (("rooms", 0, "objects", 0, "id"), 2**40, "whole number"),
        (("rooms", 0, "objects", 0, "confidence"), 1.5, r"\[0, 1\]"),
        (("rooms", 0, "objects", 0, "box", "axes", 0), [0, 0, 1], "right angles"),
        (("rooms", 0, "objects", 0, "box", "size", 0), -1, "lengths"),
        (("rooms", 0, "objects", 0, "color"), [0, 0, 2], "three numbers"),
        (("rooms", 0, "objects", 0, "extra"), 1, "extra"),
        (("rooms", 0, "objects", 0, "position", 1), 1e300, "coordinates"),
        (("rooms", 0, "outline", 1), [1, 2, -1e300], "coordinates"),
        (("rooms", 0, "id"), 0.5, "whole number"),
        (("relations", 0, "object"), 77, "numbers of objects"),
        (("relations", 0, "object"), 2, "another object"),
        (("relations", 0, "source"), "oracle", "'geometry' or 'network'"),
        (("made_by",), [], "object"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_the_place(tmp_path: Path, place: tuple[Any, ...], value: object, said: str):
    path = tmp_path / "graph.json"
    write_scene_graph(path, small_graph())
    told = json.loads(path.read_text())
    inner = told
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(told))
    with pytest.raises(DataFormatError, match=said):
        read_scene_graph(path)


def test_no_damage_is_met_with_anything_but_our_errors(tmp_path: Path):
    path = tmp_path / "graph.json"
    write_scene_graph(path, small_graph())
    # The explanations at the top suffer least when they are not there.
    good = json.loads(path.read_text())
    good["about"] = {}
    assert_reader_survives(read_scene_graph, json.dumps(good).encode(), path)


def test_what_is_not_a_number_is_not_written(tmp_path: Path):
    graph = small_graph()
    wrong = replace(graph, objects=(replace(graph.objects[0], center_in_world=np.array([0.0, np.nan, 0.0])), *graph.objects[1:]))
    for write in (write_scene_graph, write_graphml, write_spark_dsg):
        with pytest.raises(ConventionError, match="finite"):
            write(tmp_path / "graph.json", wrong)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------------- Spark-DSG


def test_spark_dsg_opens_ours(tmp_path: Path):
    spark_dsg = pytest.importorskip("spark_dsg", reason="spark-dsg has no package for this system")
    world_from_source = about(10.0, 20.0, 0.0, TILTED)
    write_spark_dsg(tmp_path / "graph.dsg.json", small_graph(), world_from_source=world_from_source)
    opened = spark_dsg.DynamicSceneGraph.load(str(tmp_path / "graph.dsg.json"))
    objects, rooms = opened.get_layer(spark_dsg.DsgLayers.OBJECTS), opened.get_layer(spark_dsg.DsgLayers.ROOMS)
    assert (objects.num_nodes(), rooms.num_nodes(), objects.num_edges()) == (3, 1, 2)
    told = {thing.object_id: thing for thing in graph_in_source(small_graph(), world_from_source).objects}
    for number, thing in told.items():
        attributes = opened.get_node(spark_dsg.NodeSymbol("O", number)).attributes
        np.testing.assert_allclose(attributes.position, thing.center_in_world, atol=1e-12)
        corners = np.array(attributes.bounding_box.corners())
        ours = thing.box.corners_in_world
        np.testing.assert_allclose(corners[np.lexsort(corners.T.round(3))], ours[np.lexsort(ours.T.round(3))], atol=1e-5)
        assert attributes.name == f"{thing.name} {number}"
        assert attributes.metadata.get()["id"] == number
    lamp = opened.get_node(spark_dsg.NodeSymbol("O", 4))
    assert lamp.get_parent() == spark_dsg.NodeSymbol("R", 0).value
    assert not opened.get_node(spark_dsg.NodeSymbol("O", 9)).has_parent()
    assert lamp.attributes.semantic_label == 7
    assert lamp.attributes.color.tolist() == [255, 128, 0]
    assert opened.get_labelspace(2, 0).labels_to_names == {3: "table", 7: "lamp"}
    between = opened.get_edge(spark_dsg.NodeSymbol("O", 4), spark_dsg.NodeSymbol("O", 2)).info
    said = between.metadata.get()["relations"]
    assert (between.weighted, between.weight) == (True, 0.875)
    assert [(entry["text"], entry["score"]) for entry in said] == [
        ("lamp 4 standing on table 2", 0.875),
        ("lamp 4 lighting table 2", 0.5),
        ("table 2 next to lamp 4", 0.25),
    ]


def test_boxes_of_spark_dsg_keep_a_millimetre_at_utm_coordinates(tmp_path: Path):
    spark_dsg = pytest.importorskip("spark_dsg", reason="spark-dsg has no package for this system")
    write_spark_dsg(tmp_path / "graph.json", small_graph(), world_from_source=about(-500_000.0, -4_100_000.0, 0.0, np.eye(3)))
    opened = spark_dsg.DynamicSceneGraph.load(str(tmp_path / "graph.json"))
    told = opened.metadata.get()["scenewise"]
    box = opened.get_node(spark_dsg.NodeSymbol("O", 4)).attributes.bounding_box
    np.testing.assert_allclose(box.world_P_center, small_graph().by_id[4].box.center_in_world, atol=1e-3)
    assert told["frame"] == "world"
    assert told["world_from_source"][0][3] == -500_000.0


# --------------------------------------------------------------------------------------------------------------------- GraphML


def test_networkx_opens_ours(tmp_path: Path):
    networkx = pytest.importorskip("networkx")
    graph = small_graph()
    odd = replace(graph, objects=(replace(graph.objects[0], name='a <b> & "c"\x00'), *graph.objects[1:]))
    write_graphml(tmp_path / "graph.graphml", odd, world_from_source=about(10.0, 20.0, 0.0))
    opened = networkx.read_graphml(tmp_path / "graph.graphml", force_multigraph=True)
    assert opened.is_directed() and opened.is_multigraph()
    assert set(opened.nodes) == {"r0", "o2", "o4", "o9"}
    lamp = opened.nodes["o4"]
    np.testing.assert_allclose([lamp["x"], lamp["y"], lamp["z"]], [-18.0, 9.0, 1.25], atol=1e-12)
    np.testing.assert_allclose([lamp["size_x"], lamp["size_y"], lamp["size_z"]], [0.5, 0.25, 1.0])
    assert (lamp["name"], lamp["kind"], lamp["object_id"], lamp["color"]) == ("lamp", "object", 4, "#ff8000")
    assert opened.nodes["o2"]["name"] == 'a <b> & "c"'
    assert opened.nodes["r0"]["floor_area"] == 6.0
    said = sorted((entry["relation"], entry["score"]) for entry in opened.get_edge_data("o4", "o2").values())
    assert said == [("lighting", 0.5), ("standing on", 0.875)]
    assert [entry["seen_from"] for entry in opened.get_edge_data("o2", "o9").values()] == ["b.png"]
    assert {target for _, target in opened.out_edges("r0")} == {"o2", "o4"}
