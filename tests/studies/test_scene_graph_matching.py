"""Which object is which thing of a room, and which relations are right."""

import numpy as np
import pytest

from scenewise.geometry.boxes import OrientedBox
from scenewise.parts.graphs.rules import RULE_PREDICATES
from scenewise.scenes.scene_graphs import GraphObject, Relation, SceneGraph
from scenewise.studies.graphs.changes import Score
from scenewise.studies.graphs.matching import (
    found_things,
    judged_predicates,
    matches,
    relation_scores,
    told_triplets,
    true_triplets,
)
from scenewise.worlds.relations import ROOM_PREDICATES, true_relations
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import VALIDATION_SEEDS

BOX = OrientedBox(np.zeros(3), np.ones(3), np.eye(3))


def graph_of(*relations: Relation) -> SceneGraph:
    things = tuple(GraphObject(number, f"thing {number}", 1.0, np.zeros(3), BOX) for number in (2, 5, 7))
    return SceneGraph(things, relations, (), np.array([0.0, 0.0, 1.0]), "metric", ())


def test_the_best_fitting_pairs_match_and_nothing_twice() -> None:
    iou = np.array([[0.6, 0.5, 0.0], [0.7, 0.55, 0.1], [0.0, 0.3, 0.0]])
    assert matches(iou, 0.25).tolist() == [1, 0, -1]
    assert matches(iou, 0.55).tolist() == [-1, 0, -1]
    assert matches(iou, 0.0).tolist() == [1, 0, -1], "what does not overlap is no match"
    assert matches(np.zeros((2, 0)), 0.25).tolist() == [-1, -1] and matches(np.zeros((0, 2)), 0.25).tolist() == []


def test_a_thing_is_found_by_an_object_of_its_name_only() -> None:
    iou = np.array([[0.9, 0.0], [0.4, 0.3]])
    assert found_things(iou, ["table", "chair"], ["chair", "chair"], 0.25) == Score(1, 2, 2)
    assert found_things(iou, ["table", "chair"], ["table", "chair"], 0.25) == Score(2, 2, 2)
    assert found_things(iou, ["table", "chair"], ["table", "chair"], 0.5) == Score(1, 2, 2)
    assert found_things(np.zeros((0, 2)), [], ["chair", "table"], 0.5) == Score(0, 0, 2)


def test_rules_are_asked_for_what_they_tell_and_a_network_for_the_rest() -> None:
    rules, network = judged_predicates("geometry"), judged_predicates("network")
    assert set(rules) <= set(RULE_PREDICATES) and "standing on" in rules and "inside" not in rules
    assert not set(network) & set(RULE_PREDICATES) and "build in" in network and "facing" in network
    assert set(rules) | set(network) == set(ROOM_PREDICATES)


def test_told_relations_speak_of_true_things_and_of_others_by_numbers_of_their_own() -> None:
    graph = graph_of(
        Relation(2, "lying on", 5, 0.9, "geometry"),
        Relation(5, "left", 7, 0.8, "geometry", "view"),
        Relation(5, "inside", 7, 0.8, "geometry"),
        Relation(2, "facing", 5, 0.7, "network"),
    )
    told = told_triplets(graph, {2: 10, 5: 11, 7: -1}, "geometry")
    assert told == {(10, "standing on", 11), (11, "left", -8)}
    assert told_triplets(graph, {2: 10, 5: 11}, "network") == {(10, "facing", 11)}


def test_true_relations_in_the_words_of_rules_and_of_networks() -> None:
    room = furnished_room(VALIDATION_SEEDS[0])
    rows = {(int(a), ROOM_PREDICATES[p], int(b)) for a, b, p in true_relations(room, 0.7)}
    everything = range(len(room.objects))
    rules, network = (true_triplets(room, 0.7, everything, source) for source in ("geometry", "network"))
    built_in = {each for each in rows if each[1] == "build in"}
    assert built_in and built_in <= network
    assert {(a, "attached to", b) for a, _, b in built_in} <= rules
    assert {each for each in rows if each[1] in RULE_PREDICATES} == {each for each in rules if each in rows}
    assert true_triplets(room, 0.0, everything, "geometry") != rules, "left and right follow the view"
    thing, _, wall = next(iter(built_in))
    assert true_triplets(room, 0.7, [thing], "network") == frozenset()
    assert (thing, "build in", wall) in true_triplets(room, 0.7, [thing, wall], "network")


def test_relations_count_among_found_things_or_among_all() -> None:
    told = {(0, "left", 1), (1, "right", 0), (0, "left", -4), (0, "close by", 1)}
    true = {(0, "left", 1), (1, "left", 0), (2, "left", 1), (2, "front", 1)}
    assert relation_scores(told, true, "matched", [0, 1]) == {
        "left": Score(1, 1, 2),
        "right": Score(0, 1, 0),
        "close by": Score(0, 1, 0),
    }
    among_all = relation_scores(told, true, "all", [0, 1])
    assert among_all["left"] == Score(1, 2, 3) and among_all["front"] == Score(0, 0, 1)


@pytest.mark.parametrize("matched", [[], [0]])
def test_nothing_is_said_of_pairs_that_were_not_found(matched: list[int]) -> None:
    assert relation_scores({(0, "left", 1)}, {(0, "left", 1)}, "matched", matched) == {}
