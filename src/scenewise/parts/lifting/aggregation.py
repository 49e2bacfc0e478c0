"""What the views together say about each element: vote histograms and mean features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int, Int32, Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.label_fields import LabelField

ViewLabels = np.ndarray | DenseField | LabelField
"""What a teacher says about a view: class ids [height, width] (−1 = unknown), a :class:`LabelField` of that shape, class
probabilities [height, width, classes], or a :class:`DenseField` of probabilities on any grid."""

_PENDING = 1 << 22  # hard votes kept back before they are merged
_ROWS = 1 << 14  # pairs whose features are sampled together: 32 MB at 512 channels


def sample_field(field: DenseField, rows: Int[np.ndarray, "n"], columns: Int[np.ndarray, "n"]) -> Float32[np.ndarray, "n dim"]:
    """Values of a field at the centres of pixels, by bilinear interpolation between the centres of its cells.

    The centre (row + ½, column + ½) of a pixel lies at ((row + ½)·rows/height − ½, (column + ½)·columns/width − ½) in the grid
    of cell centres; beyond the outermost centres the field is constant.

    Args:
        field: of an image.
        rows: pixel rows, 0 … height − 1.
        columns: pixel columns, 0 … width − 1.
    """
    values = field.values
    height, width, dim = values.shape
    y = ((rows + 0.5) * (height / field.height) - 0.5).clip(0, height - 1)
    x = ((columns + 0.5) * (width / field.width) - 0.5).clip(0, width - 1)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[:, None]
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    flat = values.reshape(-1, dim)
    upper = flat[top * width + left] * (1 - right) + flat[top * width + beside] * right
    lower = flat[below * width + left] * (1 - right) + flat[below * width + beside] * right
    return upper * (1 - down) + lower * down


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


@final
class FeatureSums:
    """Collects features view by view.

    Args:
        num_elements: elements in all.
    """

    def __init__(self, num_elements: int) -> None:
        self.num_elements = num_elements
        self.counts = np.zeros(num_elements, dtype=np.int32)
        self._sums: np.ndarray | None = None

    def add(self, element: Int64[np.ndarray, "pairs"], field: DenseField, row: np.ndarray, column: np.ndarray) -> None:
        """One view's features, sampled at pixels.  An element may occur once.

        Raises:
            ShapeError: another number of channels than before.
        """
        dim = field.values.shape[2]
        if self._sums is None:
            self._sums = np.zeros((self.num_elements, dim), dtype=np.float32)
        if self._sums.shape[1] != dim:
            raise ShapeError("field.values", expected=f"{self._sums.shape[1]} channels", got=dim)
        for begin in range(0, len(element), _ROWS):
            some = slice(begin, begin + _ROWS)
            self._sums[element[some]] += sample_field(field, row[some], column[some])
        self.counts[element] += 1

    def mean(self, unit: bool = False) -> Float32[np.ndarray, "elements dim"]:
        """Mean over the views; zeros where there was none.  The sums are given up.

        Args:
            unit: scale each row to length 1.

        Raises:
            ConventionError: nothing was added.
        """
        if self._sums is None:
            raise ConventionError("features", expected="at least one view with features", got="none")
        sums, self._sums = self._sums, None
        for begin in range(0, len(sums), _ROWS):
            rows = sums[begin : begin + _ROWS]
            divisor = np.linalg.norm(rows, axis=1) if unit else self.counts[begin : begin + _ROWS].astype(np.float32)
            rows /= np.where(divisor > 0, divisor, 1.0)[:, None]
        return sums


def views_of(correspondence: Correspondence) -> Iterator[tuple[int, slice]]:
    """Each view that shows anything, with its rows of the table."""
    bounds = np.searchsorted(correspondence.view, np.arange(correspondence.num_views + 1))
    for view in range(correspondence.num_views):
        if bounds[view + 1] > bounds[view]:
            yield view, slice(int(bounds[view]), int(bounds[view + 1]))


def vote_histogram(
    correspondence: Correspondence,
    label_maps: Callable[[int], ViewLabels | None],
    num_classes: int,
    *,
    weights: Callable[[int], Float32[np.ndarray, "height width"] | None] | None = None,
    progress: Progress | None = None,
) -> VoteHistogram:
    """What the views say about each element.

    Args:
        correspondence: which pixel shows which element.
        label_maps: what is said about a view, by its index; None where nothing is.  Asked for once per view, in order.
        num_classes: classes in all.
        weights: confidence per pixel of a view, in [0, 1]; None = 1.  With it, a :class:`LabelField`'s own is not used.
        progress: where to report.

    Raises:
        ShapeError: a map that does not cover the pixels asked for, or another number of classes.
        ConventionError: class ids beyond ``num_classes``, negative probabilities.
    """
    sums = VoteSums(correspondence.num_elements, num_classes)
    with (NullProgress() if progress is None else progress).stage("voting", correspondence.num_views) as stage:
        for view, rows in views_of(correspondence):
            said = label_maps(view)
            if said is not None:
                element, row, column = correspondence.element[rows], correspondence.row[rows], correspondence.column[rows]
                weight = None if weights is None else weights(view)
                confidence = None if weight is None else _at(weight, row, column, "weights", view)
                _add_votes(sums, element, row, column, said, confidence, view)
            stage.advance()
    return sums.histogram()


def _add_votes(
    sums: VoteSums,
    element: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    said: ViewLabels,
    confidence: np.ndarray | None,
    view: int,
) -> None:
    if isinstance(said, DenseField):
        if said.kind != "probabilities":
            raise ConventionError(
                f"label map of view {view}", expected="probabilities", got="features", fix="classify them first"
            )
        for begin in range(0, len(element), _ROWS):
            some = slice(begin, begin + _ROWS)
            part = None if confidence is None else confidence[some]
            sums.add_probabilities(element[some], sample_field(said, row[some], column[some]), part)
    elif isinstance(said, LabelField):
        own = confidence if confidence is not None else _at(said.confidence, row, column, "label map", view)
        sums.add(element, _at(said.class_ids, row, column, "label map", view), own)
    elif said.ndim == 3:
        sums.add_probabilities(element, _at(said, row, column, "label map", view).astype(np.float32), confidence)
    else:
        sums.add(element, _at(said, row, column, "label map", view), confidence)


def _at(values: np.ndarray, row: np.ndarray, column: np.ndarray, what: str, view: int) -> np.ndarray:
    """Values at pixels of a map that must be as large as the image."""
    if values.ndim < 2 or (len(row) and (int(row.max()) >= values.shape[0] or int(column.max()) >= values.shape[1])):
        raise ShapeError(
            f"{what} of view {view}",
            expected="a map of the image's size",
            got=f"{values.shape}",
            fix="resize it (nearest) or pass a DenseField, which may have any grid",
        )
    return values[row, column]


def pair_labels(correspondence: Correspondence, label_maps: Callable[[int], ViewLabels | None]) -> LabelField:
    """The label of each row of the table: what its view says at its pixel.  Probabilities give their largest class."""
    class_ids = np.full(len(correspondence), -1, dtype=np.int32)
    confidence = np.zeros(len(correspondence), dtype=np.float32)
    for view, rows in views_of(correspondence):
        said = label_maps(view)
        row, column = correspondence.row[rows], correspondence.column[rows]
        if said is None:
            continue
        if isinstance(said, LabelField):
            class_ids[rows] = _at(said.class_ids, row, column, "label map", view)
            confidence[rows] = _at(said.confidence, row, column, "label map", view)
        elif isinstance(said, DenseField) or said.ndim == 3:
            soft = sample_field(said, row, column) if isinstance(said, DenseField) else _at(said, row, column, "label map", view)
            class_ids[rows], confidence[rows] = soft.argmax(axis=1), soft.max(axis=1)
        else:
            class_ids[rows] = _at(said, row, column, "label map", view)
            confidence[rows] = class_ids[rows] >= 0
    return LabelField(class_ids, confidence)


def pair_histogram(correspondence: Correspondence, labels: LabelField, num_classes: int) -> VoteHistogram:
    """The histogram of labels given per row of the table, for example after a vote within them."""
    sums = VoteSums(correspondence.num_elements, num_classes)
    for _, rows in views_of(correspondence):
        sums.add(correspondence.element[rows], labels.class_ids[rows], labels.confidence[rows])
    return sums.histogram()


def mean_features(
    correspondence: Correspondence,
    fields: Callable[[int], DenseField | None],
    *,
    unit: bool = False,
    dtype: Literal["float32", "float16"] = "float32",
    progress: Progress | None = None,
) -> tuple[Float32[np.ndarray, "elements dim"] | Float16[np.ndarray, "elements dim"], Int32[np.ndarray, "elements"]]:
    """The mean over views of the features at each element's pixels.

    Args:
        correspondence: which pixel shows which element.
        fields: features of a view by its index; None where there are none.  Asked for once per view, in order.
        unit: scale each mean to length 1.
        dtype: of the result; sums are float32.
        progress: where to report.

    Returns:
        Features (zeros where no view had any) and the number of views behind each.

    Raises:
        ConventionError: no view has features.
        ShapeError: fields of different numbers of channels.
    """
    sums = FeatureSums(correspondence.num_elements)
    with (NullProgress() if progress is None else progress).stage("mean features", correspondence.num_views) as stage:
        for view, rows in views_of(correspondence):
            field = fields(view)
            if field is not None:
                sums.add(correspondence.element[rows], field, correspondence.row[rows], correspondence.column[rows])
            stage.advance()
    return sums.mean(unit).astype(dtype, copy=False), sums.counts
