"""From things to a scene graph: rules say what geometry says, a network, where there is one, the rest and what the things are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from scenewise.errors import ShapeError
from scenewise.parts.graphs.facing import own_yaws
from scenewise.parts.graphs.floors import floor_plan
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.instances import Instance
from scenewise.parts.graphs.rules import NEIGHBOURS, RULE_PREDICATES, neighbour_pairs, rule_scores
from scenewise.parts.graphs.things import Things, things_of_points
from scenewise.scenes.predicates import DIRECTIONS
from scenewise.scenes.scene_graphs import SUBJECT, GraphObject, GraphRoom, Relation, RelationSource, SceneGraph
from scenewise.scenes.synonyms import SYNONYMS

_NAMES_KEPT = 3
_LEAST_DOUBT = 0.01  # no name is less than 1 % sure before a network is asked
_AGREED = 0.5  # probability of a thing's name from which a network's relations of it count
_SURE = 0.7  # from which nobody is asked: a network has learned from whole things, and here many are in parts


@dataclass(frozen=True)
class NetworkAnswer:
    """What a network says of things and of pairs of them.

    Attributes:
        class_probabilities: of each thing, over its ``class_names``; None where it names nothing.
        predicate_scores: of each pair, over its ``predicates``; in [0, 1], several may hold.
    """

    class_probabilities: Float32[np.ndarray, "n classes"] | None
    predicate_scores: Float32[np.ndarray, "pairs predicates"]


@runtime_checkable
class RelationNetwork(Protocol):
    """What reads relations from points."""

    @property
    def name(self) -> str:
        """For people, and for the record in the graph."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of its classes; empty where it names nothing."""
        ...

    @property
    def predicates(self) -> tuple[str, ...]:
        """Relations it knows."""
        ...

    def answer(
        self,
        points_in_upright: Sequence[Float32[np.ndarray, "_ 3"]],
        names: Sequence[str],
        confidences: Sequence[float],
        pairs: Int64[np.ndarray, "pairs 2"],
    ) -> NetworkAnswer:
        """Classes and relations.

        Args:
            points_in_upright: of each thing, at least one; metres, +Z up, left and right as seen by somebody who looks along +Y.
            names: what the scene's labels call each.
            confidences: and how sure they are, in [0, 1].
            pairs: rows (subject, object).
        """
        ...


@dataclass(frozen=True)
class GraphSettings:
    """How a graph is made.

    Attributes:
        neighbours: other things that each is compared with, the nearest.
        min_score: of a relation that is kept.
        seen_from: whose left and right: of somebody who looks as a view does, or of each subject itself.
    """

    neighbours: int = NEIGHBOURS
    min_score: float = 0.5
    seen_from: Literal["view", "subject"] = "view"


@dataclass(frozen=True)
class GraphScene:
    """What a graph is made of.

    Attributes:
        instances: the things, in ascending order of their numbers.
        class_names: of the scene's labels.
        frame: upright.
        scale: of the world.
        points_in_world: all points and solid splats, for the plan of the rooms.
        views: photographs that show each thing, the best first; may be empty.
        view: name of the view that tells left from right, or None: +Y of the upright frame then does.
        view_yaw: the direction it looks in, from the upright frame's +Y about +Z.
        provenance: what else is to be remembered.
    """

    instances: tuple[Instance, ...]
    class_names: tuple[str, ...]
    frame: UprightFrame
    scale: Literal["metric", "arbitrary"]
    points_in_world: Float64[np.ndarray, "m 3"]
    views: tuple[tuple[str, ...], ...] = ()
    view: str | None = None
    view_yaw: float = 0.0
    provenance: Mapping[str, object] = field(default_factory=dict)


_USUAL = GraphSettings()


def build_graph(scene: GraphScene, settings: GraphSettings = _USUAL, network: RelationNetwork | None = None) -> SceneGraph:
    """The graph of a scene.

    Geometric relations (``RULE_PREDICATES``) always come from rules, so that they can be checked with a ruler; all others from
    the network, between things that it, too, takes for what they are called.  Names are those of the labels unless those are
    unsure and the network knows better (:func:`fused_names`).
    """
    points = [thing.points_in_upright for thing in scene.instances]
    names = [scene.class_names[thing.class_id] for thing in scene.instances]
    things = things_of_points(points, names, [scene.frame.box_in_upright(thing.box) for thing in scene.instances])
    pairs = neighbour_pairs(things, settings.neighbours)
    said = _asked(network, scene, names, pairs)
    classes, posterior = fused_names(scene, network, said)
    if [scene.class_names[number] for number in classes] != names:
        things = Things(things.points, things.centers, things.boxes, tuple(scene.class_names[c] for c in classes), things.kinds)
    relations = _relations(scene, things, pairs, settings, network, said)
    plan = floor_plan(things, scene.frame.upright(scene.points_in_world))
    rooms = tuple(
        GraphRoom(number, f"room {number + 1}", scene.frame.world(room.outline), room.area * scene.frame.unit**2)
        for number, room in enumerate(plan.rooms)
    )
    objects = tuple(
        _object(scene, index, int(classes[index]), posterior[index], int(plan.room_of_thing[index]))
        for index in range(len(scene.instances))
    )
    others = () if network is None else tuple(name for name in network.predicates if name not in RULE_PREDICATES)
    return SceneGraph(
        objects=objects,
        relations=relations,
        rooms=rooms,
        up_in_world=scene.frame.up_in_world,
        scale=scene.scale,
        predicates=RULE_PREDICATES + others,
        view=scene.view if settings.seen_from == "view" else None,
        provenance={
            **scene.provenance,
            "network": None if network is None else network.name,
            "neighbours": settings.neighbours,
            "min_score": settings.min_score,
            "seen_from": settings.seen_from,
        },
    )


def _asked(
    network: RelationNetwork | None, scene: GraphScene, names: Sequence[str], pairs: Int64[np.ndarray, "pairs 2"]
) -> NetworkAnswer | None:
    """What the network says, of points turned so that the view looks along +Y."""
    if network is None or not scene.instances:
        return None
    c, s = np.cos(scene.view_yaw), np.sin(scene.view_yaw)
    turned = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)  # of rows
    points = [np.ascontiguousarray(thing.points_in_upright @ turned) for thing in scene.instances]
    said = network.answer(points, names, [thing.confidence for thing in scene.instances], pairs)
    wanted = (len(pairs), len(network.predicates))
    if said.predicate_scores.shape != wanted:
        raise ShapeError("predicate_scores", expected=f"{wanted}", got=f"{said.predicate_scores.shape}")
    return said


def fused_names(
    scene: GraphScene, network: RelationNetwork | None, said: NetworkAnswer | None
) -> tuple[Int64[np.ndarray, "n"], Float64[np.ndarray, "n classes"]]:
    """The class of each thing and the probabilities of all classes of the scene.

    Labels tell one class and how sure it is, c; the rest of the probability is shared evenly by the other classes.  A network's
    probabilities multiply it, class by class where the two lists have a word in common or a synonym; a class that the network
    does not know counts as its average one.  The product is scaled to a sum of 1, and the mean of it and of what the labels say
    is taken: a network is sure of everything, fragments included.  Things whose labels are at least 70 % sure stay as they are.
    """
    count, classes = len(scene.instances), len(scene.class_names)
    own = np.array([thing.class_id for thing in scene.instances], dtype=np.int64)
    sure = np.array([thing.confidence for thing in scene.instances])
    posterior = np.repeat(((1.0 - sure) / max(classes - 1, 1))[:, None], classes, axis=1).reshape(count, classes)
    posterior[np.arange(count), own] = sure if classes > 1 else 1.0
    if network is None or said is None or said.class_probabilities is None:
        return own, posterior
    column = _columns(scene.class_names, network.class_names)
    known = np.flatnonzero(column >= 0)
    if not len(known):
        return own, posterior
    told = np.full((count, classes), 1.0 / len(network.class_names))
    told[:, known] = said.class_probabilities[:, column[known]]
    doubted = np.maximum(sure, _LEAST_DOUBT)
    prior = np.repeat(((1.0 - doubted) / max(classes - 1, 1))[:, None], classes, axis=1)
    prior[np.arange(count), own] = doubted
    product = prior * np.maximum(told, 1e-6)
    product /= product.sum(axis=1, keepdims=True)
    asked = sure < _SURE
    posterior = np.where(asked[:, None], 0.5 * (posterior + product), posterior)
    return np.where(asked, posterior.argmax(axis=1), own).astype(np.int64), posterior


def _columns(names: Sequence[str], theirs: Sequence[str]) -> Int64[np.ndarray, "classes"]:
    """Position of each name, or of what means the same, in another list; −1 where there is none."""
    meaning = {word: name for name, words in SYNONYMS.items() for word in words}
    position = {meaning.get(name.lower(), name.lower()): index for index, name in reversed(list(enumerate(theirs)))}
    return np.array([position.get(meaning.get(name.lower(), name.lower()), -1) for name in names], dtype=np.int64)


def _relations(
    scene: GraphScene,
    things: Things,
    pairs: Int64[np.ndarray, "pairs 2"],
    settings: GraphSettings,
    network: RelationNetwork | None,
    said: NetworkAnswer | None,
) -> tuple[Relation, ...]:
    """All that hold, ordered by subject, object and descending score."""
    of_subject = settings.seen_from == "subject"
    yaws = own_yaws(things) if of_subject else np.full(len(things), scene.view_yaw)
    tables: list[tuple[Sequence[str], np.ndarray, RelationSource]] = [
        (RULE_PREDICATES, rule_scores(things, pairs, yaws), "geometry")
    ]
    if network is not None and said is not None:
        agreed = _agreed(things.names, network, said)[pairs].all(axis=1)
        tables.append((network.predicates, np.where(agreed[:, None], said.predicate_scores, 0.0), "network"))
    numbers = [thing.number for thing in scene.instances]
    found = []
    for predicates, scores, source in tables:
        for row, column in np.argwhere(scores >= settings.min_score).tolist():
            predicate = predicates[column]
            if source == "network" and predicate in RULE_PREDICATES:
                continue
            seen_from = (SUBJECT if of_subject else scene.view) if predicate in DIRECTIONS else None
            subject, thing = numbers[pairs[row, 0]], numbers[pairs[row, 1]]
            score = round(float(min(max(scores[row, column], 0.0), 1.0)), 6)
            found.append(Relation(subject, predicate, thing, score, source, seen_from))
    return tuple(sorted(found, key=lambda entry: (entry.subject, entry.object, -entry.score, entry.predicate)))


def _agreed(names: Sequence[str], network: RelationNetwork, said: NetworkAnswer) -> Bool[np.ndarray, "n"]:
    """Things that the network, too, would rather call as they are called than anything else; all where it names nothing.

    What it says of a lamp is no use where it takes something else for one, or does not know the word.
    """
    if said.class_probabilities is None:
        return np.ones(len(names), dtype=bool)
    column = _columns(names, network.class_names)
    return np.asarray((column >= 0) & (said.class_probabilities[np.arange(len(names)), np.maximum(column, 0)] >= _AGREED))


def _object(
    scene: GraphScene, index: int, class_id: int, probabilities: Float64[np.ndarray, "classes"], room: int
) -> GraphObject:
    thing = scene.instances[index]
    order = np.lexsort((np.arange(len(probabilities)), -probabilities))
    first = [class_id, *(int(number) for number in order if number != class_id)][:_NAMES_KEPT]
    return GraphObject(
        object_id=thing.number,
        name=scene.class_names[class_id],
        confidence=float(min(max(probabilities[class_id], 0.0), 1.0)),
        center_in_world=thing.center_in_world,
        box=thing.box,
        class_id=class_id,
        room_id=None if room < 0 else room,
        num_points=thing.num_points,
        num_splats=thing.num_splats,
        color=thing.color,
        names=tuple((scene.class_names[number], float(probabilities[number])) for number in first),
        views=scene.views[index] if scene.views else (),
    )
