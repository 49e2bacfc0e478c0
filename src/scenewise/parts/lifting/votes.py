"""Votes of views for the classes of elements: collected view by view, kept as a sparse table."""

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Int64

from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.label_fields import LabelField

_PENDING = 1 << 22  # hard votes kept back before they are merged


@dataclass(frozen=True)
class VoteHistogram:
    """For each element, the classes that were named for it and how often; a sparse table, rows by element, then class.

    Attributes:
        offsets: entries of element i are offsets[i] … offsets[i + 1] − 1.
        class_ids: class of each entry, ascending within an element.
        votes: views that named the class; sums of probabilities where the teacher gives those.
        confidence: sum of the confidences of those votes; equal to ``votes`` where none were given.
        n_views: views that said anything about each element.
        num_classes: classes in all.
    """

    offsets: Int64[np.ndarray, "elements_and_end"]
    class_ids: Int32[np.ndarray, "entries"]
    votes: Float32[np.ndarray, "entries"]
    confidence: Float32[np.ndarray, "entries"]
    n_views: Int32[np.ndarray, "elements"]
    num_classes: int

    def __len__(self) -> int:
        """Number of elements."""
        return len(self.n_views)

    @property
    def element(self) -> Int64[np.ndarray, "entries"]:
        """Element of each entry."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def winner(self, by: Literal["votes", "confidence"] = "votes") -> tuple[LabelField, Int32[np.ndarray, "elements"]]:
        """The class with most votes, its share of them, and how many views there were.

        Args:
            by: what is counted.  A tie goes to the larger sum of the other, then to the lowest class id.

        Returns:
            Labels whose confidence is the winner's share (−1 and 0 without votes), and ``n_views``.
        """
        weight, second = (self.votes, self.confidence) if by == "votes" else (self.confidence, self.votes)
        class_ids, share, _ = largest_of_groups(self.element, self.class_ids, weight, second, len(self))
        return LabelField(class_ids, share.astype(np.float32)), self.n_views

    def dense(self) -> Float32[np.ndarray, "elements classes"]:
        """Votes as a full table."""
        table = np.zeros((len(self), self.num_classes), dtype=np.float32)
        table[self.element, self.class_ids] = self.votes
        return table


def largest_of_groups(
    group: Int64[np.ndarray, "entries"],
    class_ids: Int32[np.ndarray, "entries"],
    weight: Float32[np.ndarray, "entries"] | Float64[np.ndarray, "entries"],
    second: Float32[np.ndarray, "entries"] | Float64[np.ndarray, "entries"],
    num_groups: int,
) -> tuple[Int32[np.ndarray, "groups"], Float64[np.ndarray, "groups"], Int64[np.ndarray, "groups"]]:
    """The class of largest weight in each group; ties go to the larger ``second``, then to the lowest class id.

    Args:
        group: ascending.
        class_ids: ascending within a group, each class once.
        weight: what decides, ≥ 0.
        second: what decides between equal weights.
        num_groups: groups in all, also those without entries.

    Returns:
        Class (−1 where nothing has weight), its share of the group's weight, and the entry that won (−1 where none did).
    """
    winner, share = np.full(num_groups, -1, dtype=np.int32), np.zeros(num_groups)
    place = np.full(num_groups, -1, dtype=np.int64)
    if not len(group):
        return winner, share, place
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    lengths = np.diff(np.r_[starts, len(group)])
    weight = weight.astype(np.float64)
    best = np.repeat(np.maximum.reduceat(weight, starts), lengths)
    tied = np.where(weight == best, second.astype(np.float64), -np.inf)
    leading = tied == np.repeat(np.maximum.reduceat(tied, starts), lengths)
    entry = np.where(leading, np.arange(len(group)), len(group))
    chosen = np.minimum.reduceat(entry, starts)
    total = np.add.reduceat(weight, starts)
    valid = total > 0
    winner[group[starts][valid]] = class_ids[chosen[valid]]
    share[group[starts][valid]] = np.minimum(weight[chosen[valid]] / total[valid], 1.0)
    place[group[starts][valid]] = chosen[valid]
    return winner, share, place


@final
class VoteSums:
    """Collects votes view by view; memory grows with the number of different (element, class) pairs, not with the views.

    Args:
        num_elements: elements in all.
        num_classes: classes in all.
    """

    def __init__(self, num_elements: int, num_classes: int) -> None:
        if num_classes < 1:
            raise ConventionError("num_classes", expected="at least 1", got=num_classes)
        self.num_elements, self.num_classes = num_elements, num_classes
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._pending_rows = 0
        # Votes are the real parts, confidences the imaginary ones: one sparse sum keeps both, also where a confidence is 0.
        self._hard: Any = None
        self._soft: np.ndarray | None = None
        self._soft_confidence: np.ndarray | None = None
        self._n_views = np.zeros(num_elements, dtype=np.int32)

    def add(
        self,
        element: Int64[np.ndarray, "pairs"],
        class_ids: Int[np.ndarray, "pairs"],
        confidence: Float32[np.ndarray, "pairs"] | None = None,
    ) -> None:
        """One view's hard votes; −1 is no vote.  An element may occur once.

        Raises:
            ConventionError: class ids beyond ``num_classes``.
        """
        if len(class_ids) and not (int(class_ids.min()) >= -1 and int(class_ids.max()) < self.num_classes):
            raise ConventionError(
                "class ids", expected=f"−1 … {self.num_classes - 1}", got=f"{class_ids.min()} … {class_ids.max()}"
            )
        known = class_ids >= 0
        element, class_ids = element[known], class_ids[known]
        self._n_views[element] += 1
        value = np.ones(len(element), dtype=np.complex128)
        value.imag = 1.0 if confidence is None else confidence[known]
        self._pending.append((element, class_ids.astype(np.int64), value))
        self._pending_rows += len(element)
        if self._pending_rows >= _PENDING:
            self._merge()

    def add_probabilities(
        self,
        element: Int64[np.ndarray, "pairs"],
        probabilities: Float32[np.ndarray, "pairs classes"],
        confidence: Float32[np.ndarray, "pairs"] | None = None,
    ) -> None:
        """One view's soft votes: every class gets its probability.  An element may occur once.

        Raises:
            ShapeError: another number of classes.
            ConventionError: negative probabilities or NaN.
        """
        if probabilities.shape[1] != self.num_classes:
            raise ShapeError("probabilities", expected=f"{self.num_classes} columns", got=probabilities.shape[1])
        if not (probabilities >= 0).all():  # false for NaN too
            raise ConventionError("probabilities", expected="numbers ≥ 0", got="negative ones or NaN")
        if self._soft is None:
            self._soft = np.zeros((self.num_elements, self.num_classes), dtype=np.float32)
        if confidence is not None and self._soft_confidence is None:
            self._soft_confidence = self._soft.copy()
        self._soft[element] += probabilities
        if self._soft_confidence is not None:
            self._soft_confidence[element] += probabilities if confidence is None else probabilities * confidence[:, None]
        self._n_views[element] += probabilities.any(axis=1)

    def histogram(self) -> VoteHistogram:
        """Everything added so far."""
        import scipy.sparse

        self._merge()
        total = self._hard
        if self._soft is not None:
            element, class_ids = np.nonzero(self._soft)
            value = self._soft[element, class_ids].astype(np.complex128)
            value.imag = (self._soft if self._soft_confidence is None else self._soft_confidence)[element, class_ids]
            soft = scipy.sparse.csr_matrix((value, (element, class_ids)), shape=(self.num_elements, self.num_classes))
            total = soft if total is None else total + soft
        if total is None:
            total = scipy.sparse.csr_matrix((self.num_elements, self.num_classes), dtype=np.complex128)
        total.sort_indices()
        return VoteHistogram(
            offsets=total.indptr.astype(np.int64),
            class_ids=total.indices.astype(np.int32),
            votes=total.data.real.astype(np.float32),
            confidence=total.data.imag.astype(np.float32),
            n_views=self._n_views.copy(),
            num_classes=self.num_classes,
        )

    def _merge(self) -> None:
        import scipy.sparse

        if not self._pending:
            return
        element, class_ids, value = (np.concatenate(parts) for parts in zip(*self._pending))
        part = scipy.sparse.csr_matrix((value, (element, class_ids)), shape=(self.num_elements, self.num_classes))
        self._hard = part if self._hard is None else self._hard + part
        self._pending, self._pending_rows = [], 0
