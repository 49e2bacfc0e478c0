"""Questions about relations: whether a text is one, and its answer in the terms of every other answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from scenewise.commands.query.asked_scene import AskedElements
from scenewise.errors import DataFormatError
from scenewise.geometry.boxes import axis_aligned_box
from scenewise.io.scene_folder import GRAPH_FILE, read_scene_labels
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.graphs.asking import GraphAnswer, answers_of, things_counted
from scenewise.parts.graphs.phrases import GraphQuestion, known_nouns, read_question
from scenewise.parts.words.answers import AnswerSegment
from scenewise.scenes.elements import ElementKind
from scenewise.scenes.heats import Heat
from scenewise.scenes.scene_graphs import SceneGraph

_TRIM = 0.01  # share of stray elements that a box leaves out at each side


@dataclass(frozen=True)
class GraphReply:
    """What the graph of a scene answers.

    Attributes:
        question: as it was read.
        graph: of the scene.
        answers: the best first.
        counted: how many of each thing asked for there are.
        heat: the score of its thing for each splat and point that belongs to one, else 0.
    """

    question: GraphQuestion
    graph: SceneGraph
    answers: tuple[GraphAnswer, ...]
    counted: str
    heat: Heat


def graph_reply(folder: Path, text: str) -> GraphReply | None:
    """The answer to a question about relations, or None where the text is none.

    Raises:
        DataFormatError: it is one, and the scene has no graph.
        ConventionError: a relation that the graph does not know.
    """
    classes = _classes(folder)
    question = read_question(text, known_nouns((), classes))
    path = folder / GRAPH_FILE
    if not path.exists():
        if question is None:
            return None
        said = ", ".join(relation.text for relation in question.relations)
        raise DataFormatError(
            folder,
            expected=f"{GRAPH_FILE}, because {said!r} asks for a relation",
            got="none",
            fix=f"run scenewise graph {folder}",
        )
    graph = read_scene_graph(path)
    nouns = known_nouns([node.name for node in graph.objects], classes)
    question = read_question(text, nouns, graph.predicates)
    if question is None:
        return None
    answers = answers_of(graph, question, nouns)
    return GraphReply(question, graph, answers, things_counted(graph, question, nouns), _heat(folder, text, answers))


def _classes(folder: Path) -> Sequence[tuple[str, Sequence[str]]]:
    path = folder / VOCABULARY_FILE
    if not path.exists():
        return ()
    vocabulary = read_vocabulary(path)[0]
    return tuple(zip(vocabulary.names, vocabulary.phrases))


def _heat(folder: Path, text: str, answers: Sequence[GraphAnswer]) -> Heat:
    def of(kind: ElementKind) -> Float32[np.ndarray, " n"] | None:
        labels = read_scene_labels(folder, kind)
        if labels is None:
            return None
        heat = np.zeros(len(labels), dtype=np.float32)
        for answer in answers:
            heat[labels.instance_ids == answer.node.object_id] = answer.score
        return heat

    heat = Heat(" ".join(text.split()), of("splats"), of("points"))
    if heat.splats is None and heat.points is None:
        raise DataFormatError(
            folder, expected="the labels that its graph speaks of", got="none", fix="run scenewise segment again"
        )
    return heat


def told_segments(
    reply: GraphReply, sets: Sequence[AskedElements], limit: int
) -> tuple[tuple[tuple[AnswerSegment, GraphAnswer], ...], Float64[np.ndarray, "hot 3"]]:
    """The things that answer as segments of elements, each with what makes it true, and where all their elements are.

    Args:
        reply: of the graph.
        sets: elements with labels; a thing is told by the first of them that has any of it.
        limit: at most this many.
    """
    told, hot = [], [np.zeros((0, 3))]
    for answer in reply.answers[:limit]:
        for asked in sets:
            assert asked.labels is not None  # the heat came from them
            elements = np.flatnonzero(asked.labels.instance_ids == answer.node.object_id).astype(np.int64)
            if len(elements):
                places = asked.elements.positions_in_world[elements]
                told.append((_segment(answer, elements, places), answer))
                hot.append(places)
                break
    return tuple(told), np.concatenate(hot)


def _segment(
    answer: GraphAnswer, elements: Int64[np.ndarray, "members"], places: Float64[np.ndarray, "members 3"]
) -> AnswerSegment:
    low, high = axis_aligned_box(places, _TRIM)
    return AnswerSegment(
        elements=elements,
        confidence=answer.score,
        center_in_world=answer.node.center_in_world,
        low_in_world=low,
        high_in_world=high,
        peak=answer.score,
        box=answer.node.box,
        class_id=answer.node.class_id,
        name=answer.node.name,
        instance_id=answer.node.object_id,
    )


def question_json(question: GraphQuestion) -> dict[str, Any]:
    """How a question was read, for the file of its answer."""
    return {
        "things": [
            {"name": thing.noun, "colors": list(thing.colors), "words_not_understood": list(thing.ignored)}
            for thing in question.things
        ],
        "relations": [
            {"text": relation.text, "means": list(dict.fromkeys(name for name, _ in relation.meanings))}
            for relation in question.relations
        ],
    }
