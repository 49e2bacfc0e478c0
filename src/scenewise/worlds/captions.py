"""What somebody might write under a picture of a room: nouns, colours, numbers, and what things are for.

A caption is made from an *image-level record*: which classes are visible, how many of each, the colour of the largest and the
share of the picture each class covers.  Nothing says where in the picture a thing is.  The record comes from the ray caster's
truth, so it plays the part of a careful captioner that never lies; that is more than the captions of the web offer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from scenewise.errors import ShapeError
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.worlds.classes import CLASS_NAMES, STUFF_NAMES, class_id
from scenewise.worlds.materials import NAMED_COLORS, pick
from scenewise.worlds.rooms import Room

NO_COLOR = 255
NO_SUBJECT = -1
COLOR_NAMES = tuple(NAMED_COLORS)
LEAST_SHARE = 0.005  # of the picture, to count as visible: lamps and monitors seldom cover more than one per cent

_PLURALS = {"bookshelf": "bookshelves", "couch": "couches"}


@dataclass(frozen=True)
class Affordance:
    """What a thing is for.

    Attributes:
        class_names: what serves.
        phrases: ways to say it that fit after "a photo of".
        questions: ways to ask for it.
    """

    class_names: tuple[str, ...]
    phrases: tuple[str, ...]
    questions: tuple[str, ...]


AFFORDANCES = (
    Affordance(
        ("chair", "sofa"),
        ("something to sit on", "somewhere to sit", "a place to sit down", "a seat"),
        ("where can i sit", "where can i sit down", "where to sit", "what can i sit on"),
    ),
    Affordance(
        ("bed",),
        ("something to sleep on", "somewhere to sleep", "a place to lie down"),
        ("where can i sleep", "where can i lie down", "where to sleep", "what can i sleep on"),
    ),
    Affordance(
        ("table",),
        ("something to put things on", "something to eat at", "a place to work at", "somewhere to work"),
        ("where can i work", "where can i eat", "where can i put things", "where to eat"),
    ),
    Affordance(
        ("cabinet",),
        ("something to store things in", "a place to keep clothes", "somewhere to keep clothes"),
        ("where can i store things", "where can i keep clothes", "where are the clothes"),
    ),
    Affordance(
        ("bookshelf",),
        ("something to keep books on", "a place for books", "somewhere to put books"),
        ("where can i find books", "where are the books", "where can i put books", "what can i read"),
    ),
    Affordance(
        ("door",),
        ("a way out of the room", "something to walk through", "a way to leave the room"),
        ("how can i leave the room", "where is the way out", "where can i walk through"),
    ),
    Affordance(
        ("window",),
        ("something to look out of", "a place where daylight comes in"),
        ("where can i look outside", "where can i look out", "where does daylight come in"),
    ),
    Affordance(
        ("picture",),
        ("something that hangs on the wall to look at", "art on the wall", "decoration"),
        ("where is the art", "what decoration hangs on the wall"),
    ),
    Affordance(
        ("lamp",),
        ("something that gives light", "something to light the room", "something to switch on to read"),
        ("what gives light", "where does light come from", "what can i switch on to read"),
    ),
    Affordance(
        ("plant",),
        ("something that grows", "something alive with leaves", "something to water"),
        ("what grows here", "what can i water", "what is alive"),
    ),
    Affordance(
        ("monitor",),
        ("something to watch", "a computer display", "something to watch a movie on"),
        ("where can i watch a movie", "what can i watch", "where is the computer"),
    ),
    Affordance(
        ("floor",),
        ("something to walk on", "something to stand on"),
        ("where can i walk", "where can i stand", "what can i stand on"),
    ),
)

SUBJECT_TEMPLATES = (
    "a photo of a {}",
    "a close-up of a {}",
    "a {}",
    "a picture showing a {}",
    "a {} in a room",
    "a photo of the {}",
    "this is a {}",
    "a view of a {}",
)
"""For the one thing a picture is of; also the prompts of zero-shot classification."""

LIST_TEMPLATES = (
    "a photo of a room with {}",
    "a room with {}",
    "there is {} in the room",
    "an indoor scene with {}",
    "a view of {}",
    "{}",
)
"""For pictures of several things."""

PURPOSE_TEMPLATES = ("{}", "a photo of {}", "a view of {}", "this is {}", "there is {} in the room")
"""For affordances."""

_NUMBERS = ("", "a", "two", "three", "four", "many")


def plural(noun: str) -> str:
    """More than one of a noun of this world."""
    return _PLURALS.get(noun, noun + "s")


def words_of(text: str) -> list[str]:
    """Lower-case words of a text; everything that is neither a letter, a digit nor a hyphen separates."""
    return "".join(letter if letter.isalnum() or letter == "-" else " " for letter in text.lower()).split()


def known_words() -> tuple[str, ...]:
    """Every word a caption may contain, sorted."""
    texts = [*SUBJECT_TEMPLATES, *LIST_TEMPLATES, *PURPOSE_TEMPLATES, *_NUMBERS, *COLOR_NAMES, "and", "next to"]
    for names in SYNONYMS.values():
        texts += [*names, *map(plural, names)]
    for affordance in AFFORDANCES:
        texts += [*affordance.phrases, *affordance.questions]
    return tuple(sorted({word for text in texts for word in words_of(text)}))


@dataclass(frozen=True)
class ImageRecords:
    """All that is known about pictures when their captions are written.  No field says where in a picture anything is.

    Attributes:
        counts: visible instances per class, at most 255.
        colors: index into ``COLOR_NAMES`` of the largest instance of each class; 255 = none visible.
        shares: of the picture, per class.
    """

    counts: UInt8[np.ndarray, "n classes"]
    colors: UInt8[np.ndarray, "n classes"]
    shares: Float32[np.ndarray, "n classes"]

    def __post_init__(self) -> None:
        for name in ("colors", "shares"):
            if getattr(self, name).shape != self.counts.shape:
                raise ShapeError(name, expected=f"{self.counts.shape}", got=f"{getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, index: Int64[np.ndarray, "m"]) -> "ImageRecords":
        """Some of the records."""
        return ImageRecords(self.counts[index], self.colors[index], self.shares[index])

    @property
    def visible(self) -> Bool[np.ndarray, "n classes"]:
        """Which classes a caption may name."""
        return self.counts > 0

    @property
    def subjects(self) -> Int64[np.ndarray, "n"]:
        """The class a picture is of, −1 where it is of nothing in particular.

        A piece of furniture that covers more than 6 % and 2.5 times as much as any other; else floor, ceiling or wall when it
        covers more than half and furniture less than 6 %.
        """
        stuff = np.array([name in STUFF_NAMES for name in CLASS_NAMES])
        things = np.where(stuff, 0.0, self.shares)
        ordered = np.sort(things, axis=1)
        subjects = np.full(len(self), NO_SUBJECT, dtype=np.int64)
        is_stuff = (np.where(stuff, self.shares, 0.0).max(1) > 0.5) & (things.sum(1) < 0.06)
        subjects[is_stuff] = np.where(stuff, self.shares, 0.0).argmax(1)[is_stuff]
        is_thing = (ordered[:, -1] > 0.06) & (ordered[:, -1] > 2.5 * ordered[:, -2])
        subjects[is_thing] = things.argmax(1)[is_thing]
        return subjects


def image_record(room: Room, instance_ids: Int64[np.ndarray, "height width"]) -> ImageRecords:
    """The record of one picture, as a batch of one.

    Args:
        room: what was photographed.
        instance_ids: object per pixel, −1 = nothing; used for counting only.
    """
    classes = len(CLASS_NAMES)
    shares = np.bincount(instance_ids[instance_ids >= 0], minlength=len(room.objects)) / instance_ids.size
    of_class = np.bincount(room.class_of_instance, weights=shares, minlength=classes)
    counts = np.zeros(classes, dtype=np.uint8)
    colors = np.full(classes, NO_COLOR, dtype=np.uint8)
    for kind in np.flatnonzero(of_class >= LEAST_SHARE):
        own = np.where(room.class_of_instance == kind, shares, 0.0)
        counts[kind] = min(255, max(1, int((own >= 0.5 * LEAST_SHARE).sum())))
        colors[kind] = COLOR_NAMES.index(room.objects[int(own.argmax())].color_name)
    return ImageRecords(counts[None], colors[None], of_class[None].astype(np.float32))


@dataclass(frozen=True)
class Caption:
    """A sentence and what makes it true of a picture.

    Attributes:
        text: the sentence.
        classes: all of these must be visible.
        any_of: at least one of these must be visible; empty = no such demand.
        colors: (class, colour) pairs that must hold.
        subject: the picture must show much of this class; −1 = no such demand.
    """

    text: str
    classes: frozenset[int]
    any_of: frozenset[int] = frozenset()
    colors: tuple[tuple[int, int], ...] = ()
    subject: int = NO_SUBJECT


def caption(rng: np.random.Generator, record: ImageRecords) -> Caption:
    """One of the many captions of a picture.

    Args:
        rng: source of the choice.
        record: of one picture.
    """
    counts, colors, shares = record.counts[0], record.colors[0], record.shares[0]
    subject = int(record.subjects[0])
    named: set[int] = set()
    colored: list[tuple[int, int]] = []

    def item(kind: int, with_article: bool) -> str:
        named.add(kind)
        noun = any_name(rng, kind)
        if with_article and counts[kind] > 1 and CLASS_NAMES[kind] not in STUFF_NAMES and rng.random() < 0.4:
            return f"{_NUMBERS[min(int(counts[kind]), 5)]} {plural(noun)}"
        if colors[kind] != NO_COLOR and rng.random() < 0.4:
            colored.append((kind, int(colors[kind])))
            noun = f"{COLOR_NAMES[colors[kind]]} {noun}"
        return f"a {noun}" if with_article else noun

    if subject != NO_SUBJECT and rng.random() < 0.8:
        serving = [a for a in AFFORDANCES if CLASS_NAMES[subject] in a.class_names]
        if serving and rng.random() < 0.15:
            text = pick(rng, PURPOSE_TEMPLATES).format(pick(rng, serving[0].phrases))
            return Caption(text, frozenset(), frozenset(map(class_id, serving[0].class_names)), (), NO_SUBJECT)
        text = pick(rng, SUBJECT_TEMPLATES).format(item(subject, False))
        others = [k for k in np.flatnonzero(counts) if k != subject and CLASS_NAMES[k] not in STUFF_NAMES]
        if others and rng.random() < 0.3:
            text += " next to " + item(int(pick(rng, others)), True)
        return Caption(text, frozenset(named), frozenset(), tuple(colored), subject)
    chance = np.where([name in STUFF_NAMES for name in CLASS_NAMES], 0.3, 0.85)
    present = np.flatnonzero((counts > 0) & (rng.random(len(CLASS_NAMES)) < chance))
    if len(present) == 0:
        present = np.array([int(shares.argmax())])
    items = [item(int(kind), True) for kind in rng.permutation(present)[:6]]
    listed = items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
    return Caption(pick(rng, LIST_TEMPLATES).format(listed), frozenset(named), frozenset(), tuple(colored))


def any_name(rng: np.random.Generator, kind: int) -> str:
    """The name of a class, or three times in ten one of its synonyms."""
    names = SYNONYMS[CLASS_NAMES[kind]]
    return pick(rng, names) if rng.random() < 0.3 else names[0]


def entailed(captions: Sequence[Caption], records: ImageRecords) -> Bool[np.ndarray, "images captions"]:
    """Which captions are true of which pictures, so that a true pair is never taught as a false one.

    A caption about a subject counts as true of another picture only if that class covers more than a fifth of it; between the two
    the pair is left for the picture's own caption to win.
    """
    count, classes = len(captions), records.counts.shape[1]
    required, any_of = np.zeros((count, classes), bool), np.zeros((count, classes), bool)
    wanted = np.full((count, classes), NO_COLOR, dtype=np.uint8)
    subject = np.array([entry.subject for entry in captions])
    for row, entry in enumerate(captions):
        required[row, list(entry.classes)] = True
        any_of[row, list(entry.any_of)] = True
        for kind, color in entry.colors:
            wanted[row, kind] = color
    visible = records.visible
    holds = (~visible).astype(np.float32) @ required.T.astype(np.float32) == 0
    holds &= (visible.astype(np.float32) @ any_of.T.astype(np.float32) > 0) | ~any_of.any(1)
    for color in range(len(COLOR_NAMES)):
        asks = (wanted == color).astype(np.float32)
        holds &= (records.colors != color).astype(np.float32) @ asks.T == 0
    covers = records.shares[:, np.maximum(subject, 0)] > 0.2
    return holds & (covers | (subject == NO_SUBJECT))
