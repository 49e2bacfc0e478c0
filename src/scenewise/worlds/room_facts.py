"""What somebody would say who looks around in a room: "two red chairs", "a black monitor on a white table".

Facts are for measuring searches by words, and only for that: :func:`unique_captions` says of each room of a library what is true
of no other.  Words are those of :mod:`scenewise.worlds.captions`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from scenewise.scenes.synonyms import SYNONYMS
from scenewise.worlds.captions import known_words, plural, words_of
from scenewise.worlds.classes import CLASS_NAMES, STUFF_NAMES
from scenewise.worlds.layout import RoomObject
from scenewise.worlds.library_rooms import LibraryRoom
from scenewise.worlds.materials import pick
from scenewise.worlds.relations import hosts_of
from scenewise.worlds.rooms import Room

LEAST_FACTS, MOST_FACTS = 3, 6

_NUMBERS = ("", "a", "two", "three", "four")
_SYNONYMS_TOLD = 0.3
_NARROW = frozenset({"desk", "wardrobe"})  # not said of a low table or a low cabinet
_LEAST_FACE = 0.1  # m², of the larger of a thing's faces, from which it is noticed
_STREAM = 61  # of random numbers

_Kind = tuple[str, str]


@dataclass(frozen=True)
class RoomFact:
    """That there are things of a colour and a kind.

    Attributes:
        count: so many at least; 1 to 4.
        color: a colour's name.
        name: a class's name.
        on: colour and class of what a thing of them stands on; None = nothing is said about that.
    """

    count: int
    color: str
    name: str
    on: _Kind | None = None

    @property
    def kinds(self) -> tuple[_Kind, ...]:
        """All that is mentioned."""
        own = (self.color, self.name)
        return (own,) if self.on is None else (own, self.on)


@dataclass(frozen=True)
class RoomCaption:
    """A sentence about a room and what it says.

    Attributes:
        text: the sentence.
        facts: all of these must hold.
    """

    text: str
    facts: tuple[RoomFact, ...]


def room_facts(room: Room) -> tuple[RoomFact, ...]:
    """What there is to say: things large enough to be noticed, by colour and kind, and what stands on what; sorted.

    Of four and more it is said that there are four.  The walls of a colour are one fact, and rugs are none.
    """
    told = [_is_told(index, thing) for index, thing in enumerate(room.objects)]
    counts = Counter(_kind(thing) for thing, is_told in zip(room.objects, told) if is_told)
    facts = {RoomFact(1 if name in STUFF_NAMES else min(count, 4), color, name) for (color, name), count in counts.items()}
    for thing, host, is_told in zip(room.objects, hosts_of(room), told):
        if host is not None and is_told and told[host]:
            facts.add(RoomFact(1, *_kind(thing), _kind(room.objects[host])))
    return tuple(sorted(facts, key=lambda fact: (fact.name, fact.color, fact.on or ())))


def holds(fact: RoomFact, room: Room) -> bool:
    """Whether a fact is true of a room, with all that is in it, however small."""
    return _Inventory.of(room).has(fact)


def unique_captions(rooms: Sequence[LibraryRoom], seed: int, least: int = LEAST_FACTS) -> dict[str, RoomCaption | None]:
    """For each scene and each twin a caption that is true of no other room.

    As few facts as that takes, but at least ``least``, and none that mentions a thing that another of them mentions.  Of a
    duplicate the caption of its scene may be true.

    Args:
        rooms: all rooms of the library, duplicates included.
        seed: of the choice among captions with as many facts, and of the order and the synonyms.
        least: facts, at most six.

    Returns:
        By the rooms' names; None where not even six facts tell a room from all others.
    """
    stock = {entry.name: _Inventory.of(entry.room) for entry in rooms}
    captions: dict[str, RoomCaption | None] = {}
    for number, entry in enumerate(rooms):
        if entry.role == "duplicate":
            continue
        rng = np.random.Generator(np.random.PCG64([seed, _STREAM, number]))
        others = [stock[other.name] for other in rooms if other is not entry and not _is_again(other, entry)]
        facts = room_facts(entry.room)
        chosen = _fewest([facts[int(index)] for index in rng.permutation(len(facts))], others, least)
        captions[entry.name] = None if chosen is None else RoomCaption(_sentence(rng, chosen), chosen)
    return captions


def _is_again(other: LibraryRoom, entry: LibraryRoom) -> bool:
    return other.role == "duplicate" and other.of == entry.name


def _kind(thing: RoomObject) -> _Kind:
    return thing.color_name, thing.class_name


_KNOWN = frozenset(known_words())


def _is_told(index: int, thing: RoomObject) -> bool:
    """Whether a thing is noticed and there are words for it; a rug is no floor of that colour to those who look around."""
    if thing.class_name not in CLASS_NAMES or not set(words_of(thing.color_name)) <= _KNOWN:
        return False
    sides = sorted(thing.size)
    return sides[1] * sides[2] >= _LEAST_FACE and (thing.class_name != "floor" or index == 0)


@dataclass(frozen=True)
class _Inventory:
    """All things of a room by colour and kind, and what carries what."""

    counts: Mapping[_Kind, int]
    carried: frozenset[tuple[_Kind, _Kind]]

    @staticmethod
    def of(room: Room) -> "_Inventory":
        pairs = [(thing, host) for thing, host in zip(room.objects, hosts_of(room)) if host is not None]
        return _Inventory(
            Counter(map(_kind, room.objects)), frozenset((_kind(thing), _kind(room.objects[host])) for thing, host in pairs)
        )

    def has(self, fact: RoomFact) -> bool:
        own = (fact.color, fact.name)
        return self.counts.get(own, 0) >= fact.count if fact.on is None else (own, fact.on) in self.carried


def _fewest(facts: Sequence[RoomFact], others: Sequence[_Inventory], least: int) -> tuple[RoomFact, ...] | None:
    """The first of the smallest sets of facts that no other room has all of."""
    having = [sum(1 << place for place, other in enumerate(others) if other.has(fact)) for fact in facts]  # a bit per room
    for count in range(least, MOST_FACTS + 1):
        for chosen in combinations(range(len(facts)), count):
            left = -1
            for index in chosen:
                left &= having[index]
            kinds = [kind for index in chosen for kind in facts[index].kinds]
            if left == 0 and len(set(kinds)) == len(kinds):
                return tuple(facts[index] for index in chosen)
    return None


def _sentence(rng: np.random.Generator, facts: Sequence[RoomFact]) -> str:
    said = []
    for fact in facts:
        text = _thing(rng, fact.count, fact.color, fact.name)
        said.append(text if fact.on is None else f"{text} on {_thing(rng, 1, *fact.on)}")
    return "a room with " + (said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1])


def _thing(rng: np.random.Generator, count: int, color: str, name: str) -> str:
    """Number or article, colour and noun."""
    names = [noun for noun in SYNONYMS[name] if noun not in _NARROW]
    noun = pick(rng, names) if rng.random() < _SYNONYMS_TOLD else names[0]
    if count > 1:
        return f"{_NUMBERS[count]} {color} {plural(noun)}"
    return f"{'an' if color[0] in 'aeiou' else 'a'} {color} {noun}"
