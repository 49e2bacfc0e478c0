"""What somebody might write about how the things in a picture stand to each other: "a lamp standing on a table".

Sentences are made from an *image-level record*: which relations hold between two things that can be seen, by the classes and
colours of the two.  Nothing says where in the picture anything is; left and right are told as whoever looks at it would.  As with
:mod:`scenewise.worlds.captions`, the record plays the part of a careful captioner that never lies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.errors import ShapeError
from scenewise.worlds.captions import COLOR_NAMES, LEAST_SHARE, NO_COLOR, any_name, image_record
from scenewise.worlds.classes import CLASS_NAMES, STUFF_NAMES
from scenewise.worlds.materials import pick
from scenewise.worlds.relation_words import (
    FAMILIES,
    FRAMES,
    NO_RELATION,
    PHRASES,
    STATEMENTS,
    TOLD_CONVERSE,
    TOLD_PREDICATES,
    filled,
    triplet_phrase,
)
from scenewise.worlds.relations import node_of_instance, nodes_of, true_relations
from scenewise.worlds.rooms import Room

_COLORED = 0.3
_CONVERSE = 0.4


@dataclass(frozen=True)
class Fact:
    """That some thing of a class, perhaps of a colour, stands in a relation to some other.

    Attributes:
        subject: class id.
        predicate: position in ``TOLD_PREDICATES``.
        object: class id.
        subject_color: index into ``COLOR_NAMES``; 255 = not told.
        object_color: the same.
    """

    subject: int
    predicate: int
    object: int
    subject_color: int = NO_COLOR
    object_color: int = NO_COLOR

    @property
    def triple(self) -> tuple[int, int, int]:
        """Subject, predicate, object."""
        return self.subject, self.predicate, self.object

    @property
    def exchanged(self) -> "Fact":
        """The same predicate the other way round: another fact, unless the predicate turns into itself."""
        return Fact(self.object, self.predicate, self.subject, self.object_color, self.subject_color)

    @property
    def converse(self) -> "Fact | None":
        """The same fact told from the other thing; None where there is no word for it."""
        name = TOLD_CONVERSE.get(TOLD_PREDICATES[self.predicate])
        return None if name is None else replace(self.exchanged, predicate=TOLD_PREDICATES.index(name))

    @property
    def retold(self) -> "Fact | None":
        """The converse, if one can tell who is who: "a cabinet smaller than a cabinet" is as true as its converse, but about the
        other cabinet.
        """
        is_about_another = self.subject == self.object and self.subject_color == self.object_color
        other = self.converse
        return None if is_about_another and other is not None and other.predicate != self.predicate else other

    @property
    def canonical(self) -> "Fact":
        """One and the same for both ways of telling a fact: the smaller predicate id, or the smaller class and colour first."""
        other = self.converse
        if other is None:
            return self

        def order(fact: Fact) -> tuple[int, ...]:
            return (fact.predicate, fact.subject, fact.object, fact.subject_color, fact.object_color)

        return min(self, other, key=order)


@dataclass(frozen=True)
class RelationRecord:
    """All that is known about a picture when its sentences are written.  No field says where in the picture anything is.

    Attributes:
        facts: rows (subject class, predicate, object class, colour of the subject, colour of the object), each once, sorted;
            predicates are positions in ``TOLD_PREDICATES``.  Pairs without any relation come once, without colours.
    """

    facts: Int64[np.ndarray, "m 5"]

    def __post_init__(self) -> None:
        if self.facts.ndim != 2 or self.facts.shape[1] != 5:
            raise ShapeError("facts", expected="m×5", got="×".join(map(str, self.facts.shape)))

    def __len__(self) -> int:
        return len(self.facts)

    def fact(self, row: int) -> Fact:
        """A row by name."""
        return Fact(*(int(value) for value in self.facts[row]))

    @cached_property
    def _told(self) -> Mapping[tuple[int, int, int], tuple[tuple[int, int], ...]]:
        """Pairs of colours by canonical triple."""
        found: dict[tuple[int, int, int], tuple[tuple[int, int], ...]] = {}
        for row in range(len(self)):
            fact = self.fact(row).canonical
            found[fact.triple] = (*found.get(fact.triple, ()), (fact.subject_color, fact.object_color))
        return found

    def holds(self, fact: Fact) -> bool:
        """Whether a fact is true of the picture, whichever way round it is told."""
        for told in (fact, fact.converse):
            if told is not None and any(
                told.subject_color in (first, NO_COLOR) and told.object_color in (second, NO_COLOR)
                for first, second in self._told.get(told.triple, ())
            ):
                return True
        return False


def viewing_yaw(world_from_camera: Float64[np.ndarray, "4 4"]) -> float:
    """Direction a camera looks in, as an angle from the room's +Y axis about +Z, radians.

    >>> level_camera_along_minus_x = np.array([[0., 0, -1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    >>> round(math.degrees(viewing_yaw(level_camera_along_minus_x)))
    90
    """
    return math.atan2(-world_from_camera[0, 2], world_from_camera[1, 2])


def relation_record(room: Room, instance_ids: Int64[np.ndarray, "height width"], frame_yaw: float) -> RelationRecord:
    """The record of one picture.

    A thing can be seen if it covers half of what its class must cover to be named in a caption.

    Args:
        room: what was photographed.
        instance_ids: object per pixel, −1 = nothing; used for counting only.
        frame_yaw: direction the camera looks in, see :func:`viewing_yaw`.
    """
    nodes = list(nodes_of(room))
    classes = room.class_of_instance[nodes]
    colors = np.array([COLOR_NAMES.index(room.objects[index].color_name) for index in nodes], dtype=np.int64)
    shares = np.bincount(node_of_instance(room)[instance_ids[instance_ids >= 0]], minlength=len(nodes)) / instance_ids.size
    seen = (shares >= 0.5 * LEAST_SHARE) & image_record(room, instance_ids).visible[0][classes]
    found = true_relations(room, frame_yaw)
    found = found[seen[found[:, 0]] & seen[found[:, 1]]]
    subject, thing, predicate = found.T
    rows = np.stack([classes[subject], predicate, classes[thing], colors[subject], colors[thing]], axis=1)
    unrelated = _unrelated(np.bincount(classes[seen], minlength=len(CLASS_NAMES)), rows)
    return RelationRecord(np.unique(np.concatenate([rows, unrelated]), axis=0))


def _unrelated(counts: Int64[np.ndarray, "classes"], rows: Int64[np.ndarray, "n 5"]) -> Int64[np.ndarray, "m 5"]:
    """Pairs of classes that can be seen of which no thing of the one stands in any relation to any of the other."""
    related = {(int(row[0]), int(row[2])) for row in rows}
    none = TOLD_PREDICATES.index(NO_RELATION)
    pairs = [
        (a, none, b, NO_COLOR, NO_COLOR)
        for a in np.flatnonzero(counts)
        for b in np.flatnonzero(counts)
        if (a < b or (a == b and counts[a] > 1)) and not {(a, b), (b, a)} & related
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 5)


# ------------------------------------------------------------------------------------------------------------------- sentences


@dataclass(frozen=True)
class RelationCaption:
    """A sentence and what it says.

    Attributes:
        text: the sentence.
        facts: all of these must hold.
    """

    text: str
    facts: tuple[Fact, ...]


def with_few_colors(rng: np.random.Generator, fact: Fact) -> Fact:
    """A fact as people tell it: seven times in ten the colour of a thing is left out."""
    subject_color, object_color = (
        color if rng.random() < _COLORED else NO_COLOR for color in (fact.subject_color, fact.object_color)
    )
    return replace(fact, subject_color=subject_color, object_color=object_color)


def sentence(rng: np.random.Generator, fact: Fact, converse: float = _CONVERSE) -> RelationCaption:
    """One of the many sentences that say a fact.

    Args:
        rng: source of the choice.
        fact: what is said; colours that it names are named.
        converse: how often it is told from the other thing's point of view, where there is a word for that.
    """
    told = _either_way(rng, fact, converse)
    kind = rng.random()
    if kind < 0.2:
        name = TOLD_PREDICATES[told.predicate]
        text = "a point cloud of " + filled(triplet_phrase(name), *(_thing(rng, *item, False) for item in _items(told)))
    elif kind < 0.45:
        text = _said(rng, told, STATEMENTS)
    else:
        text = pick(rng, FRAMES).replace("{}", _said(rng, told, PHRASES))
    return RelationCaption(text, (fact,))


def description(rng: np.random.Generator, facts: Sequence[Fact], converse: float = _CONVERSE) -> RelationCaption:
    """One sentence that lists several facts.

    Args:
        rng: source of the choices.
        facts: at least one.
        converse: as for :func:`sentence`.
    """
    said = [_said(rng, _either_way(rng, fact, converse), PHRASES) for fact in facts]
    listed = said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1]
    return RelationCaption(pick(rng, FRAMES).replace("{}", listed), tuple(facts))


def foils(rng: np.random.Generator, record: RelationRecord, fact: Fact, count: int = 3, tries: int = 8) -> list[Fact]:
    """False statements about the same two nouns, hardest first: only the order or only the predicate turned round, then
    other predicates, mostly similar ones.

    Args:
        rng: source of the choice.
        record: of the picture of which they must not be true, whatever the colours.
        fact: true of it.
        count: most that are wanted.
        tries: other predicates looked at; where all of them hold, fewer come back.
    """
    name = TOLD_PREDICATES[fact.predicate]
    family = next((members for members in FAMILIES if name in members), TOLD_PREDICATES)
    turned = [fact.exchanged, *([] if fact.converse is None else [replace(fact, predicate=fact.converse.predicate)])]
    others = [
        replace(fact, predicate=TOLD_PREDICATES.index(pick(rng, family if rng.random() < 0.5 else TOLD_PREDICATES)))
        for _ in range(tries)
    ]
    found: list[Fact] = []
    for wrong in (*turned, *others):
        plain = replace(wrong, subject_color=NO_COLOR, object_color=NO_COLOR)
        if len(found) < count and wrong not in found and not record.holds(plain):
            found.append(wrong)
    return found


def implied(
    premises: Sequence[RelationCaption], conclusions: Sequence[RelationCaption]
) -> Bool[np.ndarray, "premises conclusions"]:
    """Whether whoever says the first has said the second: every fact of it, with no more colours."""

    def laid_out(captions: Sequence[RelationCaption]) -> Int64[np.ndarray, "n facts 10"]:
        # Both ways of telling beside each other.  Padding repeats the first fact.
        most = max((len(caption.facts) for caption in captions), default=1)
        padded = [[*caption.facts, *[caption.facts[0]] * (most - len(caption.facts))] for caption in captions]
        rows = [[(*_row(fact), *_row(fact.retold or fact)) for fact in facts] for facts in padded]
        return np.array(rows, dtype=np.int64).reshape(len(captions), most, 10)

    given, asked = laid_out(premises)[:, None, :, None, :], laid_out(conclusions)[None, :, None, :, :5]
    matches = np.zeros(np.broadcast_shapes(given.shape[:-1], asked.shape[:-1]), dtype=bool)
    for way in (given[..., :5], given[..., 5:]):
        colors = (asked[..., 3:] == NO_COLOR) | (asked[..., 3:] == way[..., 3:])
        matches |= np.all(asked[..., :3] == way[..., :3], axis=-1) & np.all(colors, axis=-1)
    return np.asarray(np.all(matches.any(2), axis=2))


def _row(fact: Fact) -> tuple[int, int, int, int, int]:
    return (*fact.triple, fact.subject_color, fact.object_color)


def _either_way(rng: np.random.Generator, fact: Fact, converse: float) -> Fact:
    other = fact.retold
    return other if other is not None and rng.random() < converse else fact


def _said(rng: np.random.Generator, fact: Fact, forms: Mapping[str, tuple[str, ...]]) -> str:
    name = TOLD_PREDICATES[fact.predicate]
    choice = (triplet_phrase(name), *forms[name]) if forms is PHRASES else forms[name]
    return filled(pick(rng, choice), *(_thing(rng, *item, True) for item in _items(fact)))


def _items(fact: Fact) -> tuple[tuple[int, int], tuple[int, int]]:
    return (fact.subject, fact.subject_color), (fact.object, fact.object_color)


def _thing(rng: np.random.Generator, kind: int, color: int, in_prose: bool) -> str:
    """A noun with its article; the prose says "an" and may say "the wall"."""
    noun = any_name(rng, kind)
    if color != NO_COLOR:
        noun = f"{COLOR_NAMES[color]} {noun}"
    if in_prose and CLASS_NAMES[kind] in STUFF_NAMES and rng.random() < 0.5:
        return f"the {noun}"
    return f"an {noun}" if in_prose and noun[0] in "aeiou" else f"a {noun}"
