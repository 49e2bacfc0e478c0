"""What is known of the pictures that sentences are about, and which facts are never told in training."""

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import final

import numpy as np

from scenewise.errors import ConventionError
from scenewise.kernels import ray_casting
from scenewise.methods.vl_sat.language.config import ToldPictures
from scenewise.worlds.cameras import pinhole, random_view
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relation_captions import Fact, RelationRecord, relation_record, viewing_yaw
from scenewise.worlds.relation_words import TOLD_PREDICATES
from scenewise.worlds.rooms import furnished_room

_ONE_IN = 10


def is_held_out(fact: Fact) -> bool:
    """Whether a combination of subject, predicate and object is kept from training, told either way: about one in ten."""
    subject, predicate, thing = fact.canonical.triple
    named = f"{CLASS_NAMES[subject]} {TOLD_PREDICATES[predicate]} {CLASS_NAMES[thing]}"
    return zlib.crc32(named.encode()) % _ONE_IN == 0


def records_of_room(seed: int, settings: ToldPictures) -> tuple[RelationRecord, ...]:
    """Records of pictures of one room, each by somebody who stands somewhere and looks at something.

    Args:
        seed: of the room.
        settings: how many, and at which size.
    """
    room = furnished_room(seed)
    # A stream of its own: the room's generator has the same seed.
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    records = []
    for _ in range(settings.views):
        world_from_camera = random_view(room, rng)
        camera = pinhole(world_from_camera, settings.size, settings.size, rng.uniform(50.0, 80.0))
        seen = room.instance_ids(ray_casting.surface_maps(room.scene.primitives, camera).primitive_ids)
        records.append(relation_record(room, seen, viewing_yaw(world_from_camera)))
    return tuple(records)


def records_of_rooms(
    seeds: Sequence[int], settings: ToldPictures, advance: Callable[[], None] | None = None
) -> tuple[RelationRecord, ...]:
    """Records of pictures of several rooms; ``advance`` is called after every room."""
    records: list[RelationRecord] = []
    for seed in seeds:
        records += records_of_room(seed, settings)
        if advance is not None:
            advance()
    return tuple(records)


@final
class Corpus:
    """Records, and where in them which predicate is found.

    Args:
        records: of pictures; nothing else is learned from.
        may_tell: which facts are used; None = those that are not held out.

    Raises:
        ConventionError: nothing can be told.
    """

    def __init__(self, records: Sequence[RelationRecord], may_tell: Callable[[Fact], bool] | None = None) -> None:
        @cache
        def is_told(subject: int, predicate: int, thing: int) -> bool:
            fact = Fact(subject, predicate, thing)
            return not is_held_out(fact) if may_tell is None else may_tell(fact)

        self.records = tuple(records)
        self._rows_of = [np.flatnonzero([is_told(*triple) for triple in record.facts[:, :3].tolist()]) for record in records]
        places = np.array([(i, row) for i, rows in enumerate(self._rows_of) for row in rows], dtype=np.int64).reshape(-1, 2)
        if not len(places):
            raise ConventionError("records of pictures", expected="facts that may be told", got="none")
        predicates = np.concatenate([record.facts[rows, 1] for record, rows in zip(records, self._rows_of)])
        self._by_predicate = [places[predicates == kind] for kind in np.unique(predicates)]
        self._with_several = np.flatnonzero([len(rows) >= 3 for rows in self._rows_of])

    def draw_fact(self, rng: np.random.Generator) -> tuple[RelationRecord, Fact]:
        """A fact and the record of its picture: every predicate as likely as every other, however rare it is."""
        places = self._by_predicate[int(rng.integers(len(self._by_predicate)))]
        picture, row = places[int(rng.integers(len(places)))]
        return self.records[picture], self.records[picture].fact(int(row))

    def draw_facts(self, rng: np.random.Generator) -> tuple[RelationRecord, list[Fact]]:
        """Two or three different facts of a picture, of rare predicates rather than of frequent ones, and its record."""
        picture = int(self._with_several[int(rng.integers(len(self._with_several)))])
        record, rows = self.records[picture], self._rows_of[picture]
        weights = 1.0 / np.bincount(record.facts[rows, 1], minlength=len(TOLD_PREDICATES))[record.facts[rows, 1]]
        chosen = rng.choice(rows, int(rng.integers(2, 4)), replace=False, p=weights / weights.sum())
        return record, [record.fact(int(row)) for row in chosen]
