"""Which relations of a graph are worth showing, in which colours, with which words."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64

from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.predicates import CONVERSE, DIRECTIONS
from scenewise.scenes.scene_graphs import SUBJECT, GraphObject, Relation, SceneGraph, described
from scenewise.scenes.vocabularies import Color

_SHELL = frozenset({"floor", "ceiling", "wall"})
_COMPARISONS = frozenset({"bigger than", "smaller than", "higher than", "lower than", "same as", "same symmetry as"})
TRIVIAL = frozenset(DIRECTIONS) | _COMPARISONS
"""What holds between almost any two things, or any two of a kind, wherever they are."""
_SHARES: tuple[tuple[Collection[str], float], ...] = (
    (DIRECTIONS, 0.05),
    (_COMPARISONS, 0.1),
    (("close by",), 0.5),
)
_SHELL_SHARE = 0.3  # nearly everything stands on the floor
_LONGEST = 32  # letters of a name in a picture
_CENTIMETRES = 1.0  # metres below which a thing is measured in centimetres


def is_shell(thing: GraphObject) -> bool:
    """Whether a thing is a part of the building rather than something in it."""
    return thing.name in _SHELL


def tells(graph: SceneGraph, relation: Relation) -> float:
    """How much somebody learns from a relation, in [0, 1]: its score, less for what holds of almost any pair."""
    share = next((share for names, share in _SHARES if relation.predicate in names), 1.0)
    if is_shell(graph.by_id[relation.subject]) or is_shell(graph.by_id[relation.object]):
        share *= _SHELL_SHARE
    return share * relation.score


def said_once(graph: SceneGraph, relations: Sequence[Relation], *, first: int | None = None) -> tuple[Relation, ...]:
    """Relations without those that only repeat another from the other side, the most telling first.

    Args:
        graph: whose relations they are.
        relations: some of them.
        first: number of an object that is to be the subject where there is a choice.
    """
    ordered = sorted(
        relations,
        key=lambda each: (-tells(graph, each), each.subject != first, each.subject, each.object, each.predicate),
    )
    said: set[tuple[int, str, int]] = set()
    kept = []
    for relation in ordered:
        if (relation.object, CONVERSE.get(relation.predicate, ""), relation.subject) not in said:
            said.add((relation.subject, relation.predicate, relation.object))
            kept.append(relation)
    return tuple(kept)


def drawn_relations(graph: SceneGraph, among: Collection[int], most: int, *, trivial: bool = False) -> tuple[Relation, ...]:
    """The most telling relations between some objects, one for each pair.

    Args:
        graph: whose relations.
        among: numbers of the objects that are drawn.
        most: how many.
        trivial: also those of ``TRIVIAL``, where a pair has no other.
    """
    fitting = [each for each in graph.relations if each.subject in among and each.object in among]
    pairs: set[frozenset[int]] = set()
    kept = []
    for relation in said_once(graph, [each for each in fitting if trivial or each.predicate not in TRIVIAL]):
        pair = frozenset((relation.subject, relation.object))
        if pair not in pairs:
            pairs.add(pair)
            kept.append(relation)
    return tuple(kept[:most])


def sentence(graph: SceneGraph, relation: Relation) -> str:
    """A relation in full: "lamp 4 standing on table 2", with whose left and right it is."""
    text = described(graph, relation)
    if relation.seen_from is None:
        return text
    return f"{text}, as {'it looks itself' if relation.seen_from == SUBJECT else f'seen from {relation.seen_from}'}"


def object_label(thing: GraphObject) -> str:
    """Name and number, as sentences have them; of a very long name the beginning."""
    name = thing.name if len(thing.name) <= _LONGEST else thing.name[: _LONGEST - 1] + "…"
    return f"{name} {thing.object_id}"


def size_text(graph: SceneGraph, size: Float64[np.ndarray, "3"]) -> str:
    """Length, width and height of a box as people say them: centimetres, metres, or units where a unit may be anything."""
    if graph.scale == "metric":
        if float(size.max()) < _CENTIMETRES:
            return " × ".join(f"{100.0 * side:.0f}" for side in size) + " cm"
        return " × ".join(f"{side:.2f}" for side in size) + " m"
    return " × ".join(f"{side:.3g}" for side in size) + " units"


def area_text(graph: SceneGraph, area: float) -> str:
    """A floor's area."""
    return f"{area:.1f} m²" if graph.scale == "metric" else f"{area:.3g} square units"


def object_colors(graph: SceneGraph, colors_u8: Sequence[Color] = ()) -> dict[int, Color]:
    """A colour for every object by its number: that of its class where it has one, else one per name.

    Args:
        graph: whose objects.
        colors_u8: of the scene's classes.
    """
    names = sorted({thing.name for thing in graph.objects})
    invented = dict(zip(names, class_colors(len(names))))
    return {
        thing.object_id: colors_u8[thing.class_id] if 0 <= thing.class_id < len(colors_u8) else invented[thing.name]
        for thing in graph.objects
    }
