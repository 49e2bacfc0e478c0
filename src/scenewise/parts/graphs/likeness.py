"""How alike two things are that were seen at different times: by name, colour, size and shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.parts.graphs.evidence import Evidence, oklab_under_light
from scenewise.parts.graphs.motion import Surface
from scenewise.parts.graphs.things import SHELL_NAMES
from scenewise.scenes.class_colors import linear_from_srgb
from scenewise.scenes.scene_graphs import GraphObject
from scenewise.scenes.synonyms import SYNONYMS

_COLOR_STEP = 0.12  # distance in Oklab at which colours are alike to 1/e: sides of one thing differ, and so does shadow
_UNKNOWN = 0.5
_NAME, _COLOR, _SIZE, _SHAPE = 0.25, 0.25, 0.1, 0.4


@dataclass(frozen=True)
class Thing:
    """One thing as it is compared.

    Attributes:
        node: of its graph, in the common frame.
        surface: its points.
        color: mean colour in Oklab under the light of the later capture, or None.
        evidence: what the other capture says about its place.
    """

    node: GraphObject
    surface: Surface
    color: Float64[np.ndarray, "3"] | None
    evidence: Evidence

    @property
    def is_shell(self) -> bool:
        """Whether it is a part of the building."""
        return self.node.name.lower() in SHELL_NAMES


def name_likeness(first: GraphObject, second: GraphObject) -> float:
    """1 where the names mean the same, else the probability that one name fits both, in [0, 1]."""
    if canonical(first.name) == canonical(second.name):
        return 1.0
    ours, theirs = ({canonical(name): share for name, share in reversed(each.names)} for each in (first, second))
    return float(sum(min(share, theirs[name]) for name, share in ours.items() if name in theirs))


def canonical(name: str) -> str:
    """The first of the words that mean the same, in lower case."""
    folded = " ".join(name.lower().replace("_", " ").split())
    return next((first for first, words in SYNONYMS.items() if folded in words), folded)


def color_likeness(first: Float64[np.ndarray, "3"] | None, second: Float64[np.ndarray, "3"] | None) -> float:
    """exp(−(distance in Oklab / 0.12)²); ½ where a colour is unknown."""
    if first is None or second is None:
        return _UNKNOWN
    return float(np.exp(-(float(np.linalg.norm(first - second)) ** 2) / _COLOR_STEP**2))


def size_likeness(first: GraphObject, second: GraphObject) -> float:
    """Product of the ratios of the smaller to the larger length, of both floor sides by length and of the height."""
    ours, theirs = _lengths(first), _lengths(second)
    return float(np.prod(np.minimum(ours, theirs) / np.maximum(ours, theirs)))


def _lengths(node: GraphObject) -> Float64[np.ndarray, "3"]:
    size = np.maximum(node.box.size, 1e-6)
    return np.array([max(size[0], size[1]), min(size[0], size[1]), size[2]]) + 0.05


def likeness(first: Thing, second: Thing, shape: float) -> float:
    """Weighted mean of all four, in [0, 1].

    Args:
        first: before.
        second: after.
        shape: overlap of the two laid on each other.
    """
    return (
        _NAME * name_likeness(first.node, second.node)
        + _COLOR * color_likeness(first.color, second.color)
        + _SIZE * size_likeness(first.node, second.node)
        + _SHAPE * shape
    )


def light_between(pairs: Sequence[tuple[GraphObject, GraphObject]]) -> Float64[np.ndarray, "3"]:
    """Factor per channel that takes colours before to colours after, from things that did not change: the median of their ratios,
    in linear light."""
    known = [(a.color, b.color) for a, b in pairs if a.color is not None and b.color is not None]
    ratios = [linear_from_srgb(np.array(b)) / np.maximum(linear_from_srgb(np.array(a)), 1e-3) for a, b in known]
    return np.clip(np.median(ratios, axis=0), 0.2, 5.0) if ratios else np.ones(3)


def color_of(node: GraphObject, factor: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"] | None:
    """A thing's colour in Oklab when the light is changed by a factor per channel."""
    return None if node.color is None else oklab_under_light(np.array(node.color), factor)
