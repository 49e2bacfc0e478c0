"""What a sentence asks of a room: how many of which things in which colours."""

import re
from dataclasses import dataclass, replace

from scenewise.parts.graphs.phrases import COLORS

_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "several": 3, "many": 4, "some": 1, "the": 1, "both": 2,
}  # fmt: skip
_COLOR_WORDS = {**{name: name for name in COLORS}, "grey": "gray", "violet": "purple"}
_HAS = re.compile(
    r"\b(?:where\s+there\s+(?:is|are)|there\s+(?:is|are)|(?:is|are)\s+there|with|that\s+ha(?:s|ve)|contain(?:s|ing)|ha(?:s|ve|ving))\b",
    re.IGNORECASE,
)
_SAYS_NOTHING = frozenset({
    "a", "an", "the", "any", "it", "me", "i", "of", "in", "for", "which", "where", "what", "that", "photo", "picture", "view",
    "image", "indoor", "scene", "room", "rooms", "place", "places", "space", "office", "show", "find", "give", "get", "want",
    "search",
})  # fmt: skip
"""Words before "with" that name no thing."""
_ON = re.compile(r"\s+(?:standing\s+|lying\s+)?on\s+(?:top\s+of\s+)?", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*(?:,\s*and\s+|,|;|\band\b|\bplus\b|\bas\s+well\s+as\b)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """One thing that a sentence asks for.

    Attributes:
        text: without number and article: "red chair".
        count: how many at least.
        noun: without the colour: "chair".
        color: a name of a colour, or None.
        on: what it stands or lies on, or None.
    """

    text: str
    count: int
    noun: str
    color: str | None
    on: "Asked | None" = None


def things_asked(sentence: str) -> tuple[Asked, ...]:
    """The things of a sentence, in its order; the whole of it where nothing can be told apart.

    >>> [(each.count, each.text) for each in things_asked("a room with two red chairs, a blue sofa and a yellow wall")]
    [(2, 'red chair'), (1, 'blue sofa'), (1, 'yellow wall')]
    >>> things_asked("a lamp on a white table")[0].on.text
    'white table'
    """
    body = sentence.strip().rstrip(".!?")
    has = _HAS.search(body)
    parts = [body]
    if has is not None:
        before = [word for word in re.findall(r"[\w-]+", body[: has.start()].lower()) if word not in _SAYS_NOTHING]
        parts = [" ".join(before), body[has.end() :]]
    found = [_asked(piece) for part in parts for piece in _BETWEEN.split(part) if piece.strip()]
    return tuple(each for each in found if each is not None) or (Asked(sentence.strip(), 1, sentence.strip(), None),)


def _asked(part: str) -> Asked | None:
    thing, *host = _ON.split(part, maxsplit=1)
    found = _thing_asked(thing)
    if not host or found is None:
        return found or _thing_asked(part)
    below = _thing_asked(host[0])
    return found if below is None else replace(found, on=below)


def _thing_asked(part: str) -> Asked | None:
    words = re.findall(r"[\w-]+", part.lower())
    count = 1
    while words and (words[0] in _NUMBERS or words[0].isdigit()):
        number = int(words[0]) if words[0].isdigit() else _NUMBERS[words[0]]
        count = max(count, min(number, 100))
        words = words[1:]
    if not words:
        return None
    words[-1] = singular(words[-1]) if count > 1 else words[-1]
    colors = [_COLOR_WORDS[word] for word in words if word in _COLOR_WORDS]
    noun = [word for word in words if word not in _COLOR_WORDS]
    if not noun:
        return None
    return Asked(" ".join(words), count, " ".join(noun), colors[0] if colors else None)


def singular(noun: str) -> str:
    """One of many: chairs → chair, bookshelves → bookshelf, couches → couch."""
    for ending, one in (("shelves", "shelf"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("ies", "y")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + one
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun
