"""Scene graphs: things with boxes, relations between them, rooms that hold them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.geometry.boxes import OrientedBox
from scenewise.scenes.predicates import phrase_of

RelationSource = Literal["geometry", "network"]
SUBJECT = "subject"
"""Point of view of a direction that is told as the subject itself would see it."""


@dataclass(frozen=True)
class GraphObject:
    """One thing of a scene.

    Attributes:
        object_id: its number; that of its elements in the scene's labels (``instance_id``).
        name: what it is called.
        confidence: in [0, 1]: how sure the name is.
        center_in_world: mean position of its elements.
        box: upright box that fits it.
        class_id: of the scene's classes, −1 = unknown.
        room_id: the room it is in, or None.
        num_points: elements it has among the points.
        num_splats: and among the splats.
        color: mean colour, sRGB in [0, 1], or None.
        names: further names with probabilities, the likeliest first, its own included.
        views: photographs that show it best, the best first.
    """

    object_id: int
    name: str
    confidence: float
    center_in_world: Float64[np.ndarray, "3"]
    box: OrientedBox
    class_id: int = -1
    room_id: int | None = None
    num_points: int = 0
    num_splats: int = 0
    color: tuple[float, float, float] | None = None
    names: tuple[tuple[str, float], ...] = ()
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.object_id < 0:
            raise ConventionError("object_id", expected="0 or more", got=self.object_id)
        if not 0.0 <= self.confidence <= 1.0:
            raise ConventionError("confidence", expected="a number in [0, 1]", got=self.confidence)


@dataclass(frozen=True)
class Relation:
    """Something that holds between two things: "lamp 4 is standing on table 2".

    Attributes:
        subject: object_id.
        predicate: its name, see :mod:`scenewise.scenes.predicates`.
        object: object_id.
        score: in [0, 1].
        source: measured on the boxes, or said by a network.
        seen_from: for directions, whose left and right it is: the name of a view, or "subject"; None where it does not matter.
    """

    subject: int
    predicate: str
    object: int
    score: float
    source: RelationSource
    seen_from: str | None = None

    def __post_init__(self) -> None:
        if self.subject == self.object:
            raise ConventionError("relation", expected="two different things", got=f"object {self.subject} twice")
        if not 0.0 <= self.score <= 1.0:
            raise ConventionError("score", expected="a number in [0, 1]", got=self.score)


@dataclass(frozen=True)
class GraphRoom:
    """A part of the floor enclosed by walls.

    Attributes:
        room_id: its number, from 0.
        name: "room 1", "room 2" …
        outline_in_world: corners of its floor in order, at the floor's height.
        floor_area: in squared units of the world.
    """

    room_id: int
    name: str
    outline_in_world: Float64[np.ndarray, "corners 3"]
    floor_area: float


@dataclass(frozen=True)
class SceneGraph:
    """Everything a planner wants to know about a scene.

    Attributes:
        objects: in ascending order of their numbers.
        relations: ordered by subject, object and descending score.
        rooms: at least one where there are objects.
        up_in_world: unit vector away from the ground.
        scale: "metric" where a unit is a metre, else "arbitrary".
        predicates: every relation that was looked for, found or not.
        view: name of the view that tells left from right, or None.
        provenance: who made it: names of teacher and network, versions; JSON values only.
    """

    objects: tuple[GraphObject, ...]
    relations: tuple[Relation, ...]
    rooms: tuple[GraphRoom, ...]
    up_in_world: Float64[np.ndarray, "3"]
    scale: Literal["metric", "arbitrary"]
    predicates: tuple[str, ...]
    view: str | None = None
    provenance: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = [thing.object_id for thing in self.objects]
        if ids != sorted(set(ids)):
            raise ConventionError("objects", expected="ascending numbers, none twice", got=str(ids[:20]))
        known, rooms = set(ids), {room.room_id for room in self.rooms}
        for relation in self.relations:
            if relation.subject not in known or relation.object not in known:
                got = f"{relation.subject} {relation.predicate} {relation.object}"
                raise ConventionError("relations", expected="numbers of objects", got=got)
        for thing in self.objects:
            if thing.room_id is not None and thing.room_id not in rooms:
                raise ConventionError("room_id", expected="the number of a room", got=thing.room_id)

    @cached_property
    def by_id(self) -> dict[int, GraphObject]:
        """Objects by their numbers."""
        return {thing.object_id: thing for thing in self.objects}

    def relations_of(self, object_id: int) -> tuple[Relation, ...]:
        """Relations a thing is subject or object of."""
        return tuple(entry for entry in self.relations if object_id in (entry.subject, entry.object))


def described(graph: SceneGraph, relation: Relation) -> str:
    """A relation as a person reads it: "lamp 4 standing on table 2"."""
    subject, thing = graph.by_id[relation.subject], graph.by_id[relation.object]
    return f"{subject.name} {subject.object_id} {phrase_of(relation.predicate)} {thing.name} {thing.object_id}"
