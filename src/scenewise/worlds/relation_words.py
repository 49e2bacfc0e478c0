"""Words for relations in sentences: many ways to say each, and the one way that VL-SAT says them."""

from collections.abc import Mapping
from types import MappingProxyType

from scenewise.scenes.predicates import CONVERSE, phrase_of
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.worlds.captions import COLOR_NAMES, words_of
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES

NO_RELATION = "none"
TOLD_PREDICATES = (*ROOM_PREDICATES, NO_RELATION)
"""Position in this tuple = predicate id in records; the last one says that nothing at all holds."""

TOLD_CONVERSE: Mapping[str, str] = MappingProxyType(
    {name: other for name, other in CONVERSE.items() if name in TOLD_PREDICATES}
    | {"lighting": "lit by", "lit by": "lighting", NO_RELATION: NO_RELATION}
)
"""Predicates that say the same with subject and object exchanged.  What lights a thing is what it is lit by."""

FAMILIES = (
    ("left", "right", "front", "behind"),
    ("higher than", "lower than", "bigger than", "smaller than", "same as"),
    ("standing on", "hanging on", "leaning against", "attached to", "build in"),
    ("close by", "belonging to", "decorating", "lighting", "lit by", "facing", "opposite", "bedside of", "reading seat of"),
)
"""Predicates that are easily taken for each other."""

PHRASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "left": ("{s} left of {o}", "{s} on the left of {o}", "{s} on the left hand side of {o}"),
        "right": ("{s} right of {o}", "{s} on the right of {o}", "{s} on the right hand side of {o}"),
        "front": ("{o} with {s} in front of it", "{s} before {o}", "{s} nearer than {o}"),
        "behind": ("{o} with {s} behind it", "{s} at the back of {o}", "{s} farther away than {o}"),
        "close by": ("{s} close by {o}", "{s} close to {o}", "{s} near {o}", "{s} beside {o}", "{s} and {o} side by side"),
        "standing on": (
            "{s} on {o}",
            "{s} on top of {o}",
            "{o} with {s} on it",
            "{o} with {s} standing on it",
            "{o} carrying {s}",
        ),
        "attached to": ("{s} fixed to {o}", "{s} joined to {o}", "{o} with {s} attached to it"),
        "same as": ("{s} the same as {o}", "{s} just like {o}", "{s} of the same kind as {o}", "{s} and {o} of the same kind"),
        "higher than": ("{s} taller than {o}", "{s} that reaches higher than {o}", "{s} that is higher than {o}"),
        "lower than": ("{s} not as high as {o}", "{s} not as tall as {o}", "{s} that is lower than {o}"),
        "bigger than": ("{s} larger than {o}", "{s} that is bigger than {o}", "{s} that is larger than {o}"),
        "smaller than": ("{s} not as big as {o}", "{s} not as large as {o}", "{s} that is smaller than {o}"),
        "leaning against": ("{s} against {o}", "{s} with its back to {o}", "{o} with {s} leaning against it"),
        "hanging on": ("{s} hung on {o}", "{s} hanging from {o}", "{o} with {s} hanging on it", "{o} from which {s} hangs"),
        "build in": ("{s} build in {o}", "{s} set into {o}", "{o} with {s} built into it", "{o} with {s} in it"),
        "belonging to": ("{s} that belongs to {o}", "{s} that goes with {o}", "{o} to which {s} belongs"),
        "lit by": ("{s} in the light of {o}", "{s} that gets its light from {o}", "{s} lit up by {o}"),
        "decorating": ("{s} that decorates {o}", "{o} decorated by {s}", "{o} decorated with {s}", "{s} as decoration of {o}"),
        "facing": ("{s} that faces {o}", "{s} turned towards {o}", "{s} to watch {o} from", "{o} in view of {s}"),
        "opposite": ("{s} across from {o}", "{s} and {o} opposite each other", "{s} and {o} that look at each other"),
        "lighting": ("{s} that gives light to {o}", "{s} giving light to {o}", "{s} shining on {o}", "{s} that lights {o}"),
        "bedside of": ("{s} at the bedside of {o}", "{s} at the head of {o}", "{o} with {s} at its head"),
        "reading seat of": ("{s} for reading at {o}", "{s} to read in at {o}", "{o} with {s} to read in"),
        NO_RELATION: ("{s} that has no relation to {o}", "{s} unrelated to {o}", "{s} that has nothing to do with {o}"),
    }
)
"""Ways to say a predicate that stay a thing, so that they fit after "a photo of"; :func:`triplet_phrase` is one more."""

STATEMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "left": ("{s} is to the left of {o}", "on the left of {o} there is {s}"),
        "right": ("{s} is to the right of {o}", "on the right of {o} there is {s}"),
        "front": ("{s} is in front of {o}", "in front of {o} there is {s}"),
        "behind": ("{s} is behind {o}", "behind {o} there is {s}"),
        "close by": ("{s} is near {o}", "next to {o} there is {s}", "{s} and {o} are close together"),
        "standing on": ("{s} stands on {o}", "on top of {o} there is {s}", "{o} carries {s}"),
        "attached to": ("{s} is attached to {o}", "{s} is joined to {o}"),
        "same as": ("{s} is the same as {o}", "{s} and {o} are the same"),
        "higher than": ("{s} is higher than {o}", "{s} reaches higher than {o}"),
        "lower than": ("{s} is lower than {o}", "{s} is not as high as {o}"),
        "bigger than": ("{s} is bigger than {o}", "{s} is larger than {o}"),
        "smaller than": ("{s} is smaller than {o}", "{s} is not as big as {o}"),
        "leaning against": ("{s} leans against {o}", "{s} has its back to {o}"),
        "hanging on": ("{s} hangs on {o}", "{s} hangs from {o}"),
        "build in": ("{s} is built into {o}", "there is {s} in {o}"),
        "belonging to": ("{s} belongs to {o}", "{s} goes with {o}"),
        "lit by": ("{s} is lit by {o}", "{s} gets its light from {o}"),
        "decorating": ("{s} decorates {o}", "{o} is decorated with {s}"),
        "facing": ("{s} faces {o}", "{o} can be watched from {s}"),
        "opposite": ("{s} is opposite {o}", "{s} and {o} look at each other"),
        "lighting": ("{s} lights {o}", "{s} gives light to {o}"),
        "bedside of": ("{s} is at the bedside of {o}", "at the head of {o} there is {s}"),
        "reading seat of": ("{s} is the reading seat of {o}", "one can read in {s} at {o}"),
        NO_RELATION: ("{s} has no relation to {o}", "{s} has nothing to do with {o}"),
    }
)
"""Ways to say a predicate that are sentences by themselves."""

FRAMES = ("{}", "a photo of {}", "a picture of {}", "a view of {}", "there is {}", "a room with {}", "a point cloud of {}")
"""Around a phrase, or several."""

_TRIPLET = "{s} %s {o}"
_NO_TRIPLET = "{s} and {o} that have no relation"


def filled(form: str, subject: str, thing: str) -> str:
    """A form with its places for subject and object filled."""
    return form.replace("{s}", subject).replace("{o}", thing)


def triplet_phrase(predicate: str) -> str:
    """How VL-SAT says a predicate, with places for subject and object.

    >>> triplet_phrase("left"), triplet_phrase("none")
    ('{s} to the left of {o}', '{s} and {o} that have no relation')
    """
    return _NO_TRIPLET if predicate == NO_RELATION else _TRIPLET % phrase_of(predicate)


def triplet_sentence(subject: str, predicate: str, thing: str) -> str:
    """The sentence whose feature VL-SAT's oracle is drawn to.  Source: arXiv 2303.14408, section 3.3.

    Args:
        subject: a noun, without article.
        predicate: its name, see :mod:`scenewise.scenes.predicates`; "none" where nothing holds.
        thing: the noun of the object.

    >>> triplet_sentence("chair", "close by", "table")
    'a point cloud of a chair next to a table'
    """
    return "a point cloud of " + filled(triplet_phrase(predicate), f"a {subject}", f"a {thing}")


def known_nouns() -> tuple[str, ...]:
    """What the things of a sentence may be called, synonyms included."""
    return tuple(noun for name in CLASS_NAMES for noun in SYNONYMS[name])


def known_words() -> tuple[str, ...]:
    """Every word a sentence of this module may contain, sorted."""
    texts = [*FRAMES, *COLOR_NAMES, "a an the and", *map(triplet_phrase, TOLD_PREDICATES)]
    texts += [form for forms in (*PHRASES.values(), *STATEMENTS.values()) for form in forms]
    texts += known_nouns()
    plain = (filled(text.replace("{}", " "), " ", " ") for text in texts)
    return tuple(sorted({word for text in plain for word in words_of(text)}))
