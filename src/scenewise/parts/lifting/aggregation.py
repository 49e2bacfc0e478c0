"""What the views together say about each element: vote histograms and mean features."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float16, Float32, Int32

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.lifting.features import FeatureSums, sample_field
from scenewise.parts.lifting.votes import VoteHistogram, VoteSums
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.label_fields import LabelField

ViewLabels = np.ndarray | DenseField | LabelField
"""What a teacher says about a view: class ids [height, width] (−1 = unknown), a :class:`LabelField` of that shape, class
probabilities [height, width, classes], or a :class:`DenseField` of probabilities on any grid."""

_ROWS = 1 << 14  # pairs whose features are sampled together: 32 MB at 512 channels


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
