"""Records of scene graphs: words for relations, things with relations between them, scans to learn from."""

import numpy as np
import pytest
from tests.support.small_graph import LAMP_ID, SOFA_ID, small_graph, thing

from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.graph_scans import GraphScan
from scenewise.scenes.predicates import BODY, CONVERSE, DIRECTIONS, HEAD, THREE_DSSG, phrase_of
from scenewise.scenes.scene_graphs import Relation, SceneGraph, described
from scenewise.worlds.relations import ROOM_PREDICATES


def test_words_that_turn_round_turn_back() -> None:
    assert all(CONVERSE[CONVERSE[name]] == name for name in CONVERSE)
    assert CONVERSE["left"] == "right" and CONVERSE["front"] == "behind" and set(DIRECTIONS) <= set(CONVERSE)
    assert CONVERSE["same as"] == "same as" and "standing on" not in CONVERSE and "facing" not in CONVERSE


def test_predicates_of_the_data_set_and_their_thirds() -> None:
    assert len(set(THREE_DSSG)) == len(THREE_DSSG) == 26 and "none" not in THREE_DSSG
    assert set(THREE_DSSG) >= HEAD | BODY and not HEAD & BODY
    assert (len(HEAD), len(BODY)) == (8, 6)
    assert len(set(ROOM_PREDICATES)) == len(ROOM_PREDICATES) and set(ROOM_PREDICATES) >= HEAD


def test_relations_as_people_read_them() -> None:
    graph = small_graph()
    said = [described(graph, relation) for relation in graph.relations_of(LAMP_ID)]
    assert said[0] == "sofa 3 to the left of lamp 7" and "lamp 7 next to sofa 3" in said
    assert len(said) == 5 and len(graph.relations_of(0)) == 1 and graph.relations_of(99) == ()
    assert graph.by_id[SOFA_ID].name == "sofa" and phrase_of("build in") == "built into"


@pytest.mark.errors
def test_graphs_that_cannot_be() -> None:
    graph = small_graph()

    def changed(**changes: object) -> SceneGraph:
        fields = ("objects", "relations", "rooms", "up_in_world", "scale", "predicates")
        return SceneGraph(**{name: changes.get(name, getattr(graph, name)) for name in fields})

    with pytest.raises(ConventionError, match="objects: expected ascending numbers"):
        changed(objects=graph.objects[::-1])
    with pytest.raises(ConventionError, match="objects: expected ascending numbers"):
        changed(objects=(*graph.objects, graph.objects[-1]))
    with pytest.raises(ConventionError, match="relations: expected numbers of objects, got 3 on 8"):
        changed(relations=(Relation(3, "on", 8, 1.0, "geometry"),))
    with pytest.raises(ConventionError, match="room_id: expected the number of a room, got 0"):
        changed(rooms=())
    with pytest.raises(ConventionError, match="two different things"):
        Relation(3, "on", 3, 1.0, "geometry")
    for number in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConventionError, match="score"):
            Relation(3, "on", 4, number, "geometry")
        with pytest.raises(ConventionError, match="confidence"):
            thing(1, "lamp", [0, 0, 0], [1, 1, 1], confidence=number)
    with pytest.raises(ConventionError, match="object_id"):
        thing(-1, "lamp", [0, 0, 0], [1, 1, 1])


@pytest.mark.errors
def test_scans_that_cannot_be() -> None:
    points, classes = (np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)), np.array([0, -1])
    good = GraphScan("s", points, classes, np.array([[1, 0, 4], [1, 0, 2]]), (7, 3))
    assert len(good) == 2
    none = np.zeros((0, 3), dtype=np.int64)
    for triplets in ([[0, 2, 0]], [[-1, 0, 0]], [[1, 1, 0]]):
        with pytest.raises(ConventionError, match="triplets: expected two different things of 2"):
            GraphScan("s", points, classes, np.array(triplets))
    with pytest.raises(ConventionError, match="triplets: expected a predicate from 0, got -1"):
        GraphScan("s", points, classes, np.array([[0, 1, -1]]))
    with pytest.raises(ShapeError, match=r"class_ids: expected \(2,\)"):
        GraphScan("s", points, np.array([0]), none)
    with pytest.raises(ShapeError, match="object_ids: expected 2 numbers"):
        GraphScan("s", points, classes, none, (1,))
    with pytest.raises(ConventionError, match="at least one point of every thing"):
        GraphScan("s", (points[0], np.zeros((0, 3), np.float32)), classes, none)
