"""Words for relations between things: which of them turn round, which are geometry alone, how people say them."""

from collections.abc import Mapping
from types import MappingProxyType

THREE_DSSG = (
    "supported by",
    "left",
    "right",
    "front",
    "behind",
    "close by",
    "inside",
    "bigger than",
    "smaller than",
    "higher than",
    "lower than",
    "same symmetry as",
    "same as",
    "attached to",
    "standing on",
    "lying on",
    "hanging on",
    "connected to",
    "leaning against",
    "part of",
    "belonging to",
    "build in",
    "standing in",
    "cover",
    "lying in",
    "hanging in",
)
"""The 26 predicates of 3DSSG (Wald et al. 2020) as VL-SAT uses them, in the order of its file; "none" has no place in it."""

HEAD = frozenset({"left", "right", "front", "behind", "close by", "same as", "attached to", "standing on"})
"""Frequent predicates of 3DSSG.  Source: supplement of VL-SAT, arXiv 2303.14408."""
BODY = frozenset({"bigger than", "smaller than", "higher than", "lower than", "lying on", "hanging on"})
"""Predicates of medium frequency; all others are the tail."""

DIRECTIONS = ("left", "right", "front", "behind")
"""Where the subject is as seen from the object, for somebody whose view is named; the same words name the other way round."""

CONVERSE: Mapping[str, str] = MappingProxyType(
    {
        "left": "right",
        "right": "left",
        "front": "behind",
        "behind": "front",
        "bigger than": "smaller than",
        "smaller than": "bigger than",
        "higher than": "lower than",
        "lower than": "higher than",
        "above": "below",
        "below": "above",
        "close by": "close by",
        "same as": "same as",
        "same symmetry as": "same symmetry as",
        "connected to": "connected to",
        "opposite": "opposite",
    }
)
"""Predicates that say the same with subject and object exchanged, and under which name."""

PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "left": "to the left of",
        "right": "to the right of",
        "front": "in front of",
        "close by": "next to",
        "build in": "built into",
        "cover": "covering",
        "above": "above",
        "below": "below",
    }
)
"""How a predicate reads between two nouns, where its own name does not do: "a chair to the left of a table"."""


def phrase_of(predicate: str) -> str:
    """Words that stand between subject and object in a sentence.

    >>> phrase_of("close by"), phrase_of("standing on")
    ('next to', 'standing on')
    """
    return PHRASES.get(predicate, predicate)
