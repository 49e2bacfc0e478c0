"""Questions about relations, answered from a scene graph: "chair next to the table", "lamp on the table next to the bed"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.parts.graphs.phrases import COLORS, GraphQuestion, NounPhrase, RelationPhrase, folded
from scenewise.parts.graphs.things import SHELL_NAMES
from scenewise.scenes.class_colors import oklab_from_srgb
from scenewise.scenes.predicates import CONVERSE, phrase_of
from scenewise.scenes.scene_graphs import GraphObject, Relation, SceneGraph, described

LEAST_SCORE = 0.05
"""Answers that are less sure are none."""

_COLOR_STEP = 0.08  # in Oklab, by which a colour may be farther than the nearest name before it counts 1/e
_UNKNOWN = 0.5


@dataclass(frozen=True)
class GraphAnswer:
    """One thing that answers.

    Attributes:
        node: it.
        score: product along the way: how well names and colours fit, and how sure the relations are.
        relations: that make it true, in the order of the question.
        because: the same as a person reads it: "lamp 4 standing on table 2, table 2 next to bed 1".
    """

    node: GraphObject
    score: float
    relations: tuple[Relation, ...]
    because: str


def answers_of(graph: SceneGraph, question: GraphQuestion, nouns: Mapping[str, str]) -> tuple[GraphAnswer, ...]:
    """The things that answer, the best first; each with the one way that makes it truest.

    Args:
        graph: of the scene.
        question: as read.
        nouns: of :func:`scenewise.parts.graphs.phrases.known_nouns`, with the graph's own names.

    Raises:
        ConventionError: a relation that the graph does not know; the message lists those it knows.
    """
    require_known(graph, question)
    last = question.things[-1]
    ways: dict[int, tuple[float, tuple[Relation, ...]]] = {
        node.object_id: (fit, ()) for node in graph.objects if (fit := _fit(node, last, nouns)) > 0
    }
    for thing, relation in zip(reversed(question.things[:-1]), reversed(question.relations)):
        ways = _step(graph, thing, relation, ways, nouns)
    found = [
        GraphAnswer(graph.by_id[number], score, relations, _told(graph, relations))
        for number, (score, relations) in ways.items()
        if score >= LEAST_SCORE
    ]
    return tuple(sorted(found, key=lambda answer: (-answer.score, answer.node.object_id)))


def things_counted(graph: SceneGraph, question: GraphQuestion, nouns: Mapping[str, str]) -> str:
    """How many of each thing asked for there are, relations aside: "2 × lamp, 0 × table"; tells why a question has no answer."""
    counts = {}
    for thing in question.things:
        name = " ".join([*thing.colors, thing.noun or "thing"])
        counts[name] = sum(_fit(node, thing, nouns) >= LEAST_SCORE for node in graph.objects)
    return ", ".join(f"{count} × {name}" for name, count in counts.items())


def require_known(graph: SceneGraph, question: GraphQuestion) -> None:
    """Every relation of the question is one that the graph was searched for; errors as in :func:`answers_of`."""
    known = {*graph.predicates, *(relation.predicate for relation in graph.relations)}
    for relation in question.relations:
        if not any(name in known or CONVERSE.get(name) in known for name, _ in relation.meanings):
            listed = ", ".join(dict.fromkeys(phrase_of(name) for name in (*graph.predicates, *sorted(known))))
            raise ConventionError(
                f"relation {relation.text!r}", expected="one that the graph knows", got="another", fix=f"ask for one of: {listed}"
            )


def _step(
    graph: SceneGraph,
    thing: NounPhrase,
    relation: RelationPhrase,
    ways: Mapping[int, tuple[float, tuple[Relation, ...]]],
    nouns: Mapping[str, str],
) -> dict[int, tuple[float, tuple[Relation, ...]]]:
    """The best way from each subject to what has been reached already."""
    best: dict[int, tuple[float, tuple[Relation, ...]]] = {}
    for held in graph.relations:
        for subject, target in _as_said(held, relation):
            if target not in ways:
                continue
            fit = _fit(graph.by_id[subject], thing, nouns)
            score = fit * held.score * ways[target][0]
            if score > best.get(subject, (0.0, ()))[0]:
                best[subject] = score, (held, *ways[target][1])
    return best


def _as_said(held: Relation, relation: RelationPhrase) -> list[tuple[int, int]]:
    """Subject and object of the phrase that a relation makes true."""
    found = []
    for name, is_exchanged in relation.meanings:
        for subject, target, predicate in (
            (held.subject, held.object, held.predicate),
            (held.object, held.subject, CONVERSE.get(held.predicate)),
        ):
            if predicate == name:
                found.append((target, subject) if is_exchanged else (subject, target))
    return found


def _fit(node: GraphObject, asked: NounPhrase, nouns: Mapping[str, str]) -> float:
    """How well a thing is what was asked for, in [0, 1]."""
    if asked.noun is None:
        fit = 0.0 if folded(node.name) in SHELL_NAMES else 1.0
    elif _is_called(node.name, asked.noun, nouns):
        fit = node.confidence
    else:
        fit = max((share for name, share in node.names if _is_called(name, asked.noun, nouns)), default=0.0)
    for color in asked.colors:
        fit *= color_fit(node.color, color)
    return fit


def _is_called(name: str, noun: str, nouns: Mapping[str, str]) -> bool:
    """Whether a name, or its last word ("office chair"), means what was asked for."""
    whole = folded(name)
    return noun in (nouns.get(whole, whole), nouns.get(whole.rpartition(" ")[2]))


def color_fit(color: tuple[float, float, float] | None, name: str) -> float:
    """1 where no other name is nearer to a colour, falling with how much nearer another one is; ½ where it is unknown."""
    if color is None:
        return _UNKNOWN
    distances = dict(zip(COLORS, _distances(np.array(color))))
    beyond = distances[name] - min(distances.values())
    return float(np.exp(-((beyond / _COLOR_STEP) ** 2)))


def _distances(color: Float64[np.ndarray, "3"]) -> list[float]:
    named = oklab_from_srgb(np.array(list(COLORS.values())))
    return [float(value) for value in np.linalg.norm(named - oklab_from_srgb(color), axis=1)]


def _told(graph: SceneGraph, relations: Sequence[Relation]) -> str:
    told = []
    for relation in relations:
        seen = "" if relation.seen_from is None else f" (as seen from {relation.seen_from})"
        told.append(described(graph, relation) + seen)
    return ", ".join(told)
