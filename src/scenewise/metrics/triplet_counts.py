"""How many triplets of class, class and predicate score above a floor, without listing them all."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

_ENTRIES = 1 << 19  # pairs of a subject class and a predicate looked at together: some 40 MB


def triplets_above(
    subject_scores: Float64[np.ndarray, "rows classes"],
    object_scores: Float64[np.ndarray, "rows classes"],
    predicate_scores: Float64[np.ndarray, "rows predicates"],
    floors: Float64[np.ndarray, "rows"],
    *,
    or_equal: bool = False,
) -> Int64[np.ndarray, "rows"]:
    """For each row, the number of triplets (s, o, p) with (a_s · b_o) · c_p > floor.

    Exact to the last bit: rounded products of numbers that are not negative grow with either factor, so along the sorted object
    classes a bisection finds where they stop to be above.  Only subject classes and predicates that are above with the best
    partners are looked at; where the floor is high there are few.

    Args:
        subject_scores: a, 0 or more.
        object_scores: b, 0 or more.
        predicate_scores: c, 0 or more.
        floors: of each row.
        or_equal: count those at the floor too.
    """
    classes, predicates = subject_scores.shape[1], predicate_scores.shape[1]
    counts = np.zeros(len(floors), dtype=np.int64)
    if not classes or not predicates:
        return counts
    step = max(1, _ENTRIES // (classes * predicates))
    for begin in range(0, len(floors), step):
        block = slice(begin, begin + step)
        counts[block] = _above(subject_scores[block], object_scores[block], predicate_scores[block], floors[block], or_equal)
    return counts


def _above(
    a: Float64[np.ndarray, "rows classes"],
    b: Float64[np.ndarray, "rows classes"],
    c: Float64[np.ndarray, "rows predicates"],
    floors: Float64[np.ndarray, "rows"],
    or_equal: bool,
) -> Int64[np.ndarray, "rows"]:
    beats = np.greater_equal if or_equal else np.greater
    b = -np.sort(-b, axis=1)
    row, subject = np.nonzero(beats((a * b[:, :1]) * c.max(axis=1, keepdims=True), floors[:, None]))
    entry, predicate = np.nonzero(beats((a[row, subject] * b[row, 0])[:, None] * c[row], floors[row, None]))
    row, subject = row[entry], subject[entry]
    of_subject, of_predicate, floor = a[row, subject], c[row, predicate], floors[row]
    sure = np.ones(len(row), dtype=np.int64)  # so many of the best object classes are above
    end = np.full(len(row), b.shape[1], dtype=np.int64)  # none from here on is
    for _ in range(int(b.shape[1]).bit_length()):
        middle = (sure + end) // 2
        is_open: Bool[np.ndarray, " entries"] = sure < end
        is_above = beats((of_subject * b[row, np.minimum(middle, b.shape[1] - 1)]) * of_predicate, floor)
        sure = np.where(is_open & is_above, middle + 1, sure)
        end = np.where(is_open & ~is_above, middle, end)
    return np.bincount(row, weights=sure, minlength=len(floors)).astype(np.int64)
