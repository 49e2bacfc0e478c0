"""Questions with relations: what is one, how it is read, and what answers it."""

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.geometry.boxes import OrientedBox
from scenewise.parts.graphs.asking import answers_of, color_fit
from scenewise.parts.graphs.phrases import GraphQuestion, NounPhrase, known_nouns, read_question
from scenewise.scenes.scene_graphs import GraphObject, Relation, SceneGraph

PREDICATES = ("left", "right", "standing on", "close by", "bigger than", "hanging on", "belonging to")


def node(number: int, name: str, confidence: float = 0.9, **more: object) -> GraphObject:
    box = OrientedBox(np.array([float(number), 0.0, 0.5]), np.ones(3), np.eye(3))
    return GraphObject(number, name, confidence, box.center_in_world, box, **more)


def graph(*relations: tuple[int, str, int, float]) -> SceneGraph:
    things = (
        node(0, "floor"),
        node(1, "chair", color=(0.7, 0.1, 0.1)),
        node(2, "chair", color=(0.1, 0.2, 0.7)),
        node(3, "desk", 0.8),
        node(4, "lamp", 0.5, names=(("lamp", 0.5), ("potted plant", 0.4))),
        node(5, "bed"),
        node(6, "office chair"),
    )
    held = tuple(Relation(a, name, b, score, "geometry", "view-3" if name == "left" else None) for a, name, b, score in relations)
    return SceneGraph(things, held, (), np.array([0.0, 0.0, 1.0]), "metric", PREDICATES)


def asked(scene: SceneGraph, text: str) -> tuple[GraphQuestion, dict[str, str]]:
    nouns = known_nouns([thing.name for thing in scene.objects], [("whiteboard", ("whiteboard", "board"))])
    question = read_question(text, nouns, scene.predicates)
    assert question is not None, text
    return question, nouns


def found(scene: SceneGraph, text: str) -> list[int]:
    return [answer.node.object_id for answer in answers_of(scene, *asked(scene, text))]


def read(text: str) -> object:
    return read_question(text, known_nouns(["chair", "table", "potted plant"]), PREDICATES)


@pytest.mark.parametrize(
    "text",
    [
        "chair", "red chair", "two chairs", "where can I sit", "something to put things on", "where are the books", "table lamp",
        "something to sit on near the window", "chairs and tables", "a lamp to read by the bed", "dining table chair",
        "sofa in the corner", "table with a lamp on it", "books on the shelves", "on the table", "chair on", "", "?",
    ],
)  # fmt: skip
def test_plain_texts_are_no_questions_about_relations(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "things", "relation"),
    [
        ("chair next to the table", ("chair", "table"), "next to"),
        ("Where are the chairs near a couch?", ("chair", "sofa"), "near"),
        ("bookshelves to the left of my desk", ("bookshelf", "table"), "to the left of"),
        ("the lamp that is standing on the cupboard", ("lamp", "cabinet"), "standing on"),
        ("what is on the table", (None, "table"), "on"),
        ("something under the bed", (None, "bed"), "under"),
        ("table lamp on the coffee table", ("lamp", "table"), "on"),
        ("plant bigger than the potted plant", ("plant", "potted plant"), "bigger than"),
        ("chair orbiting the table", ("chair", "table"), "orbiting"),
    ],
)
def test_a_question_is_read(text: str, things: tuple[str | None, ...], relation: str) -> None:
    question = read(text)
    assert isinstance(question, GraphQuestion)
    assert tuple(thing.noun for thing in question.things) == things
    assert [said.text for said in question.relations] == [relation]
    assert bool(question.relations[0].meanings) == (relation != "orbiting")


def test_chains_colours_and_unknown_adjectives() -> None:
    question = read("old grey lamp on the red wooden table next to the bed")
    assert isinstance(question, GraphQuestion)
    assert question.things == (
        NounPhrase("lamp", ("gray",), ("old",)),
        NounPhrase("table", ("red",), ("wooden",)),
        NounPhrase("bed"),
    )
    assert [said.text for said in question.relations] == ["on", "next to"]


def test_the_score_is_name_times_relation_times_name() -> None:
    scene = graph((1, "close by", 3, 0.6), (2, "close by", 5, 0.9))
    (answer,) = answers_of(scene, *asked(scene, "chair next to the table"))
    assert answer.node.object_id == 1 and answer.score == pytest.approx(0.9 * 0.6 * 0.8)
    assert answer.because == "chair 1 next to desk 3" and answer.relations == (scene.relations[0],)


def test_directions_are_not_mixed_up_and_hold_the_other_way_round() -> None:
    scene = graph((1, "left", 3, 1.0), (3, "left", 2, 1.0), (4, "standing on", 3, 1.0))
    assert found(scene, "chair left of the desk") == [1]
    assert found(scene, "chair to the right of the desk") == [2]
    assert found(scene, "lamp on the table") == [4] and found(scene, "table on the lamp") == []
    assert found(scene, "table under the lamp") == [3] and found(scene, "table holding a lamp") == [3]
    (answer,) = answers_of(scene, *asked(scene, "chair right of the desk"))
    assert answer.because == "desk 3 to the left of chair 2 (as seen from view-3)"


def test_colours_choose_and_chains_take_the_best_way() -> None:
    scene = graph(
        (1, "close by", 3, 0.9),
        (2, "close by", 3, 0.9),
        (4, "standing on", 3, 0.9),
        (3, "close by", 5, 0.5),
        (6, "close by", 3, 0.4),
    )
    assert found(scene, "red chair next to the desk") == [1, 6]  # nobody knows the colour of the last
    assert found(scene, "blue chair beside the desk") == [2, 6]
    assert found(scene, "chair beside the desk") == [1, 2, 6]  # an office chair is one too
    (answer,) = answers_of(scene, *asked(scene, "lamp on the table next to the bed"))
    assert answer.score == pytest.approx(0.5 * 0.9 * 0.8 * 0.5 * 0.9)
    assert answer.because == "lamp 4 standing on desk 3, desk 3 next to bed 5"
    assert found(scene, "potted plant on the table") == [4]  # by its second name
    assert found(scene, "what is on the table") == [4]


def test_anything_is_no_part_of_the_building() -> None:
    scene = graph((0, "close by", 3, 0.9), (1, "close by", 3, 0.9))
    assert found(scene, "something near the table") == [1]
    assert found(scene, "floor near the table") == [0]


def test_colour_names() -> None:
    assert color_fit((0.7, 0.1, 0.1), "red") == 1.0 and color_fit((0.7, 0.1, 0.1), "blue") < 0.05
    assert color_fit((0.75, 0.3, 0.1), "orange") > 0.3 < color_fit((0.75, 0.3, 0.1), "red")  # in between: both a little
    assert color_fit(None, "red") == 0.5


@pytest.mark.errors
@pytest.mark.parametrize("text", ["chair orbiting the table", "chair facing the table"])
def test_a_relation_the_graph_does_not_know_is_named_with_those_it_knows(text: str) -> None:
    scene = graph((1, "close by", 3, 0.9))
    with pytest.raises(
        ConventionError, match=r"relation '(orbiting|facing)'.*to the left of, .*standing on, next to, bigger than"
    ):
        answers_of(scene, *asked(scene, text))


@pytest.mark.parametrize("predicate", ["standing on", "hanging on", "attached to", "build in"])
def test_what_is_on_something_may_also_be_a_part_of_it(predicate: str) -> None:
    assert found(graph((4, predicate, 0, 0.9), (5, "close by", 0, 0.9)), "lamp on the floor") == [4]
