"""Which scenes of a library a search looks at: by date, place, licence and how many things of a class there are."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scenewise.errors import ConventionError
from scenewise.io.scene_library.records import StoredScene

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_COUNT = re.compile(r"\s*(?P<name>[^<>=]+?)\s*(?:(?P<sign>>=|<=|==|=|>|<)\s*(?P<number>\d+))?\s*")


@dataclass(frozen=True)
class CountCondition:
    """How many things of a class a scene has, as predicted.

    Attributes:
        class_name: which.
        sign: how the count is compared.
        number: with what.
    """

    class_name: str
    sign: str
    number: int

    def holds(self, scene: StoredScene) -> bool:
        """Whether a scene fulfils it."""
        counts = {name.casefold(): count for name, count in scene.facts.class_counts.items()}
        return _COMPARISONS[self.sign](counts.get(self.class_name.casefold(), 0), self.number)


def count_condition(text: str) -> CountCondition:
    """ "chair>=2"; a bare "chair" asks for one at least.

    Raises:
        ConventionError: no such condition.
    """
    match = _COUNT.fullmatch(text)
    if match is None or not match["name"].strip():
        raise ConventionError("--has", expected='a class and perhaps a number, such as "chair>=2"', got=repr(text))
    return CountCondition(match["name"], match["sign"] or ">=", int(match["number"] or 1))


@dataclass(frozen=True)
class SceneFilter:
    """Conditions that all must hold; None and () ask for nothing.

    Attributes:
        after: captured on this day or later, ISO 8601; scenes without a date fail.
        before: on this day or earlier.
        place: part of the place's name, whatever the case.
        licence: part of the licence's.
        counts: of things.
    """

    after: str | None = None
    before: str | None = None
    place: str | None = None
    licence: str | None = None
    counts: tuple[CountCondition, ...] = ()

    def holds(self, scene: StoredScene) -> bool:
        """Whether a scene passes."""
        facts = scene.facts
        if self.after is not None and (facts.date is None or facts.date < self.after):
            return False
        if self.before is not None and (facts.date is None or facts.date[: len(self.before)] > self.before):
            return False
        for wanted, told in ((self.place, facts.place), (self.licence, facts.licence)):
            if wanted is not None and wanted.casefold() not in (told or "").casefold():
                return False
        return all(condition.holds(scene) for condition in self.counts)

    def rows(self, scenes: Sequence[StoredScene]) -> list[int]:
        """Numbers of the scenes that pass."""
        return [index for index, scene in enumerate(scenes) if self.holds(scene)]


EVERYTHING = SceneFilter()
"""No condition."""
