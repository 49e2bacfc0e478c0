"""What people say for relations, colours and things, and how a question made of them is read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from scenewise.scenes.predicates import THREE_DSSG, phrase_of
from scenewise.scenes.synonyms import SYNONYMS

Meaning = tuple[str, bool]
"""A predicate, and whether subject and object are exchanged."""

_RESTS: tuple[Meaning, ...] = (("standing on", False), ("lying on", False), ("supported by", False))
_BEARS: tuple[Meaning, ...] = (("standing on", True), ("lying on", True), ("supported by", True))
_NEAR: tuple[Meaning, ...] = (("close by", False), ("bedside of", False))
_WITHIN: tuple[Meaning, ...] = tuple((name, False) for name in ("inside", "standing in", "lying in", "hanging in", "build in"))
_HANGS: tuple[Meaning, ...] = (("hanging on", False),)

_SAID: tuple[tuple[tuple[str, ...], tuple[Meaning, ...]], ...] = (
    (("on", "upon"), (*_RESTS, *_HANGS, ("attached to", False), ("build in", False))),
    (("on top of", "atop"), (*_RESTS, ("above", False))),
    (("resting on", "standing on", "stands on", "sitting on", "placed on", "supported by"), _RESTS),
    (("lying on", "lies on"), (("lying on", False), ("standing on", False))),
    (("supporting", "holding", "carrying", "bearing"), _BEARS),
    (("under", "underneath", "beneath", "below"), (("below", False), *_BEARS)),
    (("above", "over"), (("above", False),)),
    (("next to", "beside", "near", "nearby", "near to", "by", "close to", "close by", "at", "alongside", "adjacent to"), _NEAR),
    (("left of", "to the left of", "on the left of", "at the left of"), (("left", False),)),
    (("right of", "to the right of", "on the right of", "at the right of"), (("right", False),)),
    (("in front of", "before"), (("front", False),)),
    (("behind", "in back of", "at the back of"), (("behind", False),)),
    (("hanging on", "hangs on", "hanging from", "hangs from", "hung on", "suspended from"), _HANGS),
    (("leaning against", "leaning on", "leans against", "against"), (("leaning against", False),)),
    (("in", "inside", "inside of", "within"), _WITHIN),
    (("containing", "with in it"), tuple((name, True) for name, _ in _WITHIN)),
    (("built into", "built in", "set into"), (("build in", False),)),
    (
        ("attached to", "fixed to", "mounted on", "fastened to"),
        (("attached to", False), ("hanging on", False), ("build in", False)),
    ),
    (("connected to", "joined to"), (("connected to", False),)),
    (("belonging to", "belongs to"), (("belonging to", False),)),
    (("part of", "a part of"), (("part of", False),)),
    (("bigger than", "larger than", "wider than"), (("bigger than", False),)),
    (("smaller than", "tinier than"), (("smaller than", False),)),
    (("higher than", "taller than"), (("higher than", False),)),
    (("lower than", "shorter than"), (("lower than", False),)),
    (("same as", "the same as", "identical to", "equal to"), (("same as", False),)),
    (("covering", "covers"), (("cover", False),)),
    (("facing", "faces", "turned to", "turned towards", "looking at", "directed at"), (("facing", False),)),
    (("opposite", "opposite to", "opposite of", "across from"), (("opposite", False),)),
    (("lighting", "illuminating", "lights"), (("lighting", False), ("lit by", True))),
    (("lit by", "illuminated by"), (("lit by", False), ("lighting", True))),
    (("decorating", "decorates"), (("decorating", False),)),
)

RELATION_PHRASES: Mapping[str, tuple[Meaning, ...]] = MappingProxyType(
    {phrase: said for phrases, said in _SAID for phrase in phrases}
)
"""What may stand between two nouns, and the predicates that make it true."""

COLORS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "red": (0.72, 0.13, 0.12),
        "orange": (0.90, 0.50, 0.12),
        "yellow": (0.90, 0.78, 0.20),
        "green": (0.20, 0.50, 0.22),
        "blue": (0.15, 0.30, 0.66),
        "purple": (0.45, 0.22, 0.56),
        "pink": (0.90, 0.56, 0.64),
        "brown": (0.42, 0.27, 0.15),
        "beige": (0.80, 0.71, 0.56),
        "white": (0.90, 0.90, 0.89),
        "gray": (0.50, 0.50, 0.50),
        "black": (0.09, 0.09, 0.09),
    }
)
"""What a person means by a colour's name, sRGB."""
_COLOR_WORDS = {**{name: name for name in COLORS}, "grey": "gray", "violet": "purple"}

_ANYTHING = frozenset({"something", "anything", "everything", "thing", "things", "object", "objects"})
_LEADS = frozenset(("where", "is", "are", "show", "me", "find", "which", "all", "list", "there", "please", "locate", "highlight"))
_ARTICLES = frozenset({"the", "a", "an", "my", "our", "this", "that", "these", "those", "some", "any", "every", "each"})
_FILLERS = frozenset({"that", "which", "is", "are", "stands", "lies"})
_PLAIN = frozenset(
    "and or with without for of to from not no but than like can could i you we do does who how".split()  # noqa: SIM905
)
"""Words that make what stands between two nouns no relation."""
_LONGEST_NOUN, _LONGEST_RELATION, _MOST_ADJECTIVES = 3, 4, 2


@dataclass(frozen=True)
class NounPhrase:
    """A thing as it is asked for.

    Attributes:
        noun: what it is, by the first of the words that mean the same; None = anything.
        colors: it is said to have.
        ignored: adjectives that nobody understands.
    """

    noun: str | None
    colors: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class RelationPhrase:
    """What is said to hold between two things.

    Attributes:
        text: as it was said.
        meanings: predicates that make it true; none where it is not understood.
    """

    text: str
    meanings: tuple[Meaning, ...]


@dataclass(frozen=True)
class GraphQuestion:
    """ "lamp on the table next to the bed": the first relation holds between the first two things, and so on.

    Attributes:
        things: at least two.
        relations: one less.
    """

    things: tuple[NounPhrase, ...]
    relations: tuple[RelationPhrase, ...]


def known_nouns(names: Iterable[str], phrases: Iterable[tuple[str, Sequence[str]]] = ()) -> dict[str, str]:
    """What may be called what: each word or phrase → the name that things are found under.

    Args:
        names: of the things of a graph.
        phrases: class names with what may stand for them.
    """
    nouns = {word: first for first, words in SYNONYMS.items() for word in words}
    for name, words in phrases:
        canonical = nouns.get(folded(name), folded(name))
        nouns |= {folded(word): nouns.get(folded(word), canonical) for word in (name, *words)}
    nouns |= {folded(name): nouns.get(folded(name), folded(name)) for name in names}
    for phrase in list(nouns):  # "bench" finds a piano bench
        nouns.setdefault(phrase.rpartition(" ")[2], phrase.rpartition(" ")[2])
    return nouns


def folded(text: str) -> str:
    """In lower case, words separated by single spaces.

    >>> folded("Coffee_Table")
    'coffee table'
    """
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def read_question(text: str, nouns: Mapping[str, str], predicates: Sequence[str] = THREE_DSSG) -> GraphQuestion | None:
    """A question about relations, or None where the text is none.

    It is one only where all of it is read: a thing, a relation, a thing, and so on to the end.  Words that stand between two
    things and are no relation that anybody knows make a question whose relation has no meaning, if an article follows them.

    Args:
        text: such as "red chair next to the table".
        nouns: of :func:`known_nouns`.
        predicates: further relations by their own names.
    """
    words = folded(text).split()
    phrases = {**_own_phrases(predicates), **RELATION_PHRASES}
    at, things, relations = 0, [], []
    if words[:1] == ["what"] or words[:1] == ["whats"]:
        at = 1
        while at < len(words) and words[at] in ("is", "are", "s"):
            at += 1
        things.append(NounPhrase(None))
    else:
        while at < len(words) and words[at] in _LEADS:
            at += 1
        first = _noun_phrase(words, at, nouns)
        if first is None:
            return None
        things.append(first[0])
        at = first[1]
    while at < len(words):
        found = _relation(words, at, phrases, nouns)
        if found is None:
            return None
        relation, following = found
        thing = _noun_phrase(words, following, nouns)
        if thing is None:
            return None
        relations.append(relation)
        things.append(thing[0])
        at = thing[1]
    return GraphQuestion(tuple(things), tuple(relations)) if relations else None


def _own_phrases(predicates: Sequence[str]) -> dict[str, tuple[Meaning, ...]]:
    own = {folded(name): ((name, False),) for name in predicates}
    return {**own, **{folded(phrase_of(name)): ((name, False),) for name in predicates}}


def _relation(
    words: Sequence[str], at: int, phrases: Mapping[str, tuple[Meaning, ...]], nouns: Mapping[str, str]
) -> tuple[RelationPhrase, int] | None:
    """The relation that begins at a word, and where it ends."""
    for begin in _after_fillers(words, at):
        for length in range(min(_LONGEST_RELATION, len(words) - begin - 1), 0, -1):
            said = " ".join(words[begin : begin + length])
            if said in phrases and _noun_phrase(words, begin + length, nouns) is not None:
                return RelationPhrase(said, phrases[said]), begin + length
    begin = _after_fillers(words, at)[-1]
    for end in range(begin + 1, min(begin + _LONGEST_RELATION, len(words))):
        between = words[begin:end]
        if words[end] in _ARTICLES and not _PLAIN & set(between) and _noun_phrase(words, end, nouns) is not None:
            return RelationPhrase(" ".join(between), ()), end
    return None


def _after_fillers(words: Sequence[str], at: int) -> list[int]:
    """Where a relation may begin: here, or after "that is" and the like."""
    places = [at]
    while at < len(words) and words[at] in _FILLERS:
        at += 1
        places.append(at)
    return places


def _noun_phrase(words: Sequence[str], at: int, nouns: Mapping[str, str]) -> tuple[NounPhrase, int] | None:
    """Articles, adjectives and a noun, and where they end."""
    while at < len(words) and words[at] in _ARTICLES:
        at += 1
    colors: list[str] = []
    ignored: list[str] = []
    while at < len(words):
        if words[at] in _ANYTHING:
            return NounPhrase(None, tuple(colors), tuple(ignored)), at + 1
        for length in range(min(_LONGEST_NOUN, len(words) - at), 0, -1):
            name = _name_of(words[at : at + length], nouns)
            if name is None:
                continue
            after = _noun_phrase(words, at + length, nouns) if _is_noun_after(words, at + length, nouns) else None
            if after is not None:  # "table lamp" is a lamp
                noun, end = after
                return NounPhrase(noun.noun, (*colors, *noun.colors), (*ignored, *words[at : at + length], *noun.ignored)), end
            return NounPhrase(name, tuple(colors), tuple(ignored)), at + length
        if words[at] in _COLOR_WORDS:
            colors.append(_COLOR_WORDS[words[at]])
        elif len(ignored) == _MOST_ADJECTIVES or words[at] in _PLAIN or words[at] in RELATION_PHRASES:
            return None
        else:
            ignored.append(words[at])
        at += 1
    return None


def _is_noun_after(words: Sequence[str], at: int, nouns: Mapping[str, str]) -> bool:
    return any(_name_of(words[at : at + length], nouns) is not None for length in range(1, _LONGEST_NOUN + 1) if at < len(words))


def _name_of(words: Sequence[str], nouns: Mapping[str, str]) -> str | None:
    """The name of a thing from its noun in singular or plural."""
    *before, last = words
    for singular in _singulars(last):
        name = nouns.get(" ".join([*before, singular]))
        if name is not None:
            return name
    return None


def _singulars(word: str) -> tuple[str, ...]:
    """What a noun may be the plural of, itself first.

    >>> _singulars("bookshelves")
    ('bookshelves', 'bookshelve', 'bookshelv', 'bookshelf', 'bookshelfe')
    """
    forms = [word]
    if word.endswith("s"):
        forms.append(word[:-1])
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("ves"):
        forms += [word[:-3] + "f", word[:-3] + "fe"]
    return tuple(forms)
