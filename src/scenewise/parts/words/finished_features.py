"""Elements whose features are known at once, beside those that are added up view by view."""

from typing import final

import numpy as np

from scenewise.errors import ConventionError
from scenewise.parts.segments.votes import MajorityVote
from scenewise.parts.words.lifted_views import ClassReading, Means, ReadView
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition

_ROWS = 1 << 14


@final
class FinishedFeatures:
    """Elements that are named by one feature each; :class:`~scenewise.parts.words.lifted_views.LiftedElements`.

    Args:
        means: feature of each element, and how much is known of it; 0 = nothing.
        reading: how features become classes.
    """

    def __init__(self, means: Means, reading: ClassReading) -> None:
        self._means, self._reading = means, reading

    def add(self, view: ReadView) -> None:
        """Never: ConventionError."""
        raise ConventionError("features of elements", expected="finished ones", got="one more view")

    def means(self) -> Means:
        """As they were given."""
        return self._means

    def winners(self) -> LabelField:
        """The class of each feature."""
        return self._reading.classes_of(self._means, "features")

    def set_winners(self, vote: MajorityVote, partition: Partition) -> LabelField:
        """The classes of a set's elements vote."""
        return vote(self.winners(), partition)


def mean_of_both(first: Means, second: Means) -> Means:
    """(û + v̂)/2 of two features u and v of each element, at length 1; of an element that one of them knows nothing of, the other.

    What is known of an element is added up.
    """
    values = np.empty_like(first[0])
    for begin in range(0, len(values), _ROWS):
        some = slice(begin, begin + _ROWS)
        units, known = zip(*(_units(each[0][some], each[1][some]) for each in (first, second)))
        values[some] = sum(units) / np.maximum(sum(known), 1)
    return values, first[1] + second[1]


def _units(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows at length 1, zeros where nothing is known; and whether something is, as a column of 0 and 1."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    known = (weight[:, None] > 0) & (length > 0)
    return np.where(known, values / np.where(known, length, 1.0), 0.0).astype(np.float32), known.astype(np.float32)
