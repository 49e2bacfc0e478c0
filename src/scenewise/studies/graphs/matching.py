"""What a graph says of a room against what is true of it: which thing is which, and which relations hold between them."""

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.parts.graphs.rules import RULE_PREDICATES
from scenewise.scenes.scene_graphs import RelationSource, SceneGraph
from scenewise.studies.graphs.changes import Score
from scenewise.worlds.relations import ROOM_PREDICATES, true_relations
from scenewise.worlds.rooms import Room

Triplet = tuple[int, str, int]
"""Subject, predicate, object.  A thing is its position in :func:`scenewise.worlds.relations.nodes_of`; what is none of them has
a number below 0 of its own."""

_MEANT = {"geometry": {"lying on": "standing on", "build in": "attached to"}, "network": {}}
"""Rules tell how a thing rests, and know no difference between what hangs in a wall and what is built into it."""


def judged_predicates(source: RelationSource) -> tuple[str, ...]:
    """Predicates of rooms that rules, or else a network, are held against, in the words the truth is told in."""
    meant = _MEANT[source]
    names = [meant.get(name, name) for name in ROOM_PREDICATES if source == "geometry" or name not in RULE_PREDICATES]
    return tuple(name for name in dict.fromkeys(names) if source == "network" or name in RULE_PREDICATES)


def matches(iou: Float64[np.ndarray, "predicted true"], least: float) -> Int64[np.ndarray, "predicted"]:
    """The true thing that each prediction is, −1 = none: pairs of at least this IoU, the best first, each thing once."""
    answer = np.full(len(iou), -1, dtype=np.int64)
    is_taken = np.zeros(iou.shape[1], dtype=bool)
    rows, columns = np.nonzero((iou >= least) & (iou > 0.0))
    for place in np.lexsort((columns, rows, -iou[rows, columns])):
        row, column = int(rows[place]), int(columns[place])
        if answer[row] < 0 and not is_taken[column]:
            answer[row], is_taken[column] = column, True
    return answer


def found_things(
    iou: Float64[np.ndarray, "predicted true"], names: Collection[str], true: Collection[str], least: float
) -> Score:
    """How many things are found where they are and called what they are.

    Args:
        iou: of predictions with true things.
        names: of the predictions.
        true: of the true things.
        least: IoU from which a prediction is at its place.
    """
    is_called_so = np.array([[name == other for other in true] for name in names], dtype=bool).reshape(iou.shape)
    right = matches(np.where(is_called_so, iou, 0.0), least)
    return Score(int((right >= 0).sum()), iou.shape[0], iou.shape[1])


def told_triplets(graph: SceneGraph, node_of_object: Mapping[int, int], source: RelationSource) -> frozenset[Triplet]:
    """What a graph says, as far as rooms have words for it.

    Args:
        graph: of a room.
        node_of_object: true thing by number; what is not among them, or −1, is none.
        source: rules or network.
    """
    judged, meant = frozenset(judged_predicates(source)), _MEANT[source]
    ends = {thing.object_id: node_of_object.get(thing.object_id, -1) for thing in graph.objects}
    ends = {number: node if node >= 0 else -1 - number for number, node in ends.items()}
    named = [(each, meant.get(each.predicate, each.predicate)) for each in graph.relations if each.source == source]
    return frozenset((ends[each.subject], name, ends[each.object]) for each, name in named if name in judged)


def true_triplets(room: Room, view_yaw: float, seen: Collection[int], source: RelationSource) -> frozenset[Triplet]:
    """What holds between the things of a room that were seen, as far as rules, or a network, are to tell it.

    Args:
        room: which.
        view_yaw: direction of the view that tells left from right, radians from +Y about +Z.
        seen: positions of things.
        source: rules or network.
    """
    judged, meant = frozenset(judged_predicates(source)), _MEANT[source]
    rows = [(int(a), ROOM_PREDICATES[p], int(b)) for a, b, p in true_relations(room, view_yaw)]
    named = [(a, meant.get(name, name), b) for a, name, b in rows if a in seen and b in seen]
    return frozenset((a, name, b) for a, name, b in named if name in judged)


def relation_scores(
    told: Collection[Triplet], true: Collection[Triplet], among: Literal["matched", "all"], matched: Collection[int]
) -> dict[str, Score]:
    """Told against true by predicate; predicates that are in neither are left out.

    Args:
        told: by a graph.
        true: of the room.
        among: whether only pairs of things count that were both found, or all: what is said of a thing that is none is wrong
            then, and so is nothing said of a thing that was not found.
        matched: things that were found.
    """
    both = [{each for each in triplets if among == "all" or {each[0], each[2]} <= set(matched)} for triplets in (told, true)]
    names = sorted({name for triplets in both for _, name, _ in triplets})
    own = {name: [{each for each in triplets if each[1] == name} for triplets in both] for name in names}
    return {name: Score(len(said & held), len(said), len(held)) for name, (said, held) in own.items()}
