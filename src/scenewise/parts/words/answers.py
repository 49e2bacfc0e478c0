"""From a heat to places: connected segments, best first, with boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from scenewise.geometry.boxes import OrientedBox, axis_aligned_box, upright_box
from scenewise.parts.segments.instances import connected_instances
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.objects import SceneObject

LEAST_OPACITY = 0.1
"""Gaussians fainter than this are haze, no surface that could answer."""

_LIKELY = 0.5  # relevancy above which an element fits the query better than anything it is compared with
_BINS = 256
_MIN_ELEMENTS = 10
_MIN_SHARE = 0.02  # of the largest segment


@dataclass(frozen=True, kw_only=True)
class AnswerSegment(SceneObject):
    """One place that answers a query; its confidence is its score.

    Attributes:
        peak: highest relevancy.
        box: upright box of smallest floor area.
    """

    peak: float
    box: OrientedBox

    @property
    def score(self) -> float:
        """Mean relevancy."""
        return self.confidence


def adaptive_threshold(heat: Float32[np.ndarray, "n"]) -> float:
    """The relevancy from which an element belongs to the answer; elements that were never seen (0) do not count.

    The middle between the means of the two groups that Otsu's criterion (1979) separates, but at least ½ where anything reaches
    that: a value above ½ means that the query fits better than all it is compared with.
    """
    seen = heat[heat > 0]
    if not len(seen):
        return 1.0
    low, high = _group_means(seen)
    middle = (low + high) / 2
    if low >= _LIKELY:  # even the weaker group fits: nothing is left out
        return _LIKELY
    return max(_LIKELY, middle) if float(seen.max()) >= _LIKELY else middle


def _group_means(values: Float32[np.ndarray, "n"]) -> tuple[float, float]:
    """Means of the two groups with the largest variance between them."""
    count, edges = np.histogram(values, bins=_BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(count)[:-1].astype(np.float64)
    sum_below = np.cumsum(count * centers)[:-1]
    above, sum_above = len(values) - below, float((count * centers).sum()) - sum_below
    low, high = sum_below / np.maximum(below, 1), sum_above / np.maximum(above, 1)
    best = int((below * above * (high - low) ** 2).argmax())
    return float(low[best]), float(high[best])


def answer_segments(
    points_in_world: Float64[np.ndarray, "n 3"],
    heat: Float32[np.ndarray, "n"],
    *,
    threshold: float | None = None,
    objects: Int32[np.ndarray, "n"] | None = None,
    usable: Bool[np.ndarray, "n"] | None = None,
    up_in_world: Float64[np.ndarray, "3"] | None = None,
    limit: int | None = None,
    trim: float = 0.01,
) -> tuple[AnswerSegment, ...]:
    """Connected segments of elements at least as hot as the threshold, the best answers first: see :func:`_rank`.

    Args:
        points_in_world: where the elements are.
        heat: relevancy of each.
        threshold: default :func:`adaptive_threshold`.
        objects: elements of different objects (≥ 0) are never in one segment, however close they are.
        usable: elements to look at; default all.
        up_in_world: unit vector; default +Z.
        limit: at most this many.
        trim: share of stray elements a box may leave out at each side.
    """
    counted = heat if usable is None else np.where(usable, heat, np.float32(0))
    level = adaptive_threshold(counted) if threshold is None else threshold
    hot = (counted >= level) & (counted > 0)
    kinds = np.zeros(len(heat), dtype=np.int32) if objects is None else objects + 1
    ids = connected_instances(points_in_world, np.where(hot, kinds, -1).astype(np.int32), min_elements=_MIN_ELEMENTS)
    order = np.argsort(ids, kind="stable")
    starts = np.searchsorted(ids[order], np.arange(int(ids.max(initial=-1)) + 2))
    groups = [order[begin:end] for begin, end in pairwise(starts)]
    smallest = _MIN_SHARE * max((len(group) for group in groups), default=0)
    up = np.array([0.0, 0.0, 1.0]) if up_in_world is None else up_in_world
    found = [
        _segment(np.sort(group).astype(np.int64), points_in_world, counted, up, trim)
        for group in groups
        if len(group) >= smallest
    ]
    found.sort(key=lambda segment: (-_rank(segment), -segment.score, int(segment.elements[0])))
    return tuple(found[:limit])


def _rank(segment: AnswerSegment) -> float:
    """How good an answer is: its mean relevancy above ½, times the root of its size.

    Relevancy alone puts specks of a few splats first; size alone puts the floor first.  The root lies in between, and what is
    no better than anything else (½ or less) comes last whatever its size.
    """
    return (max(segment.score - 0.5, 0.0) + 1e-3 * segment.score) * len(segment.elements) ** 0.5


def _segment(
    elements: Int64[np.ndarray, "members"],
    points_in_world: Float64[np.ndarray, "n 3"],
    heat: Float32[np.ndarray, "n"],
    up: Float64[np.ndarray, "3"],
    trim: float,
) -> AnswerSegment:
    points, values = points_in_world[elements], heat[elements]
    low, high = axis_aligned_box(points, trim)
    return AnswerSegment(
        elements=elements,
        confidence=float(values.mean(dtype=np.float64)),
        center_in_world=points.mean(axis=0),
        low_in_world=low,
        high_in_world=high,
        peak=float(values.max()),
        box=upright_box(points, up, trim),
    )


def identified(segment: AnswerSegment, labels: ElementLabels, names: Sequence[str]) -> AnswerSegment:
    """The answer with the class and the object that most of its elements belong to."""
    class_id = _most_common(labels.class_ids[segment.elements])
    instance = _most_common(labels.instance_ids[segment.elements])
    return replace(
        segment,
        class_id=class_id,
        name=names[class_id] if 0 <= class_id < len(names) else None,
        instance_id=instance if instance >= 0 else None,
    )


def _most_common(ids: Int32[np.ndarray, "n"]) -> int:
    values, counts = np.unique(ids, return_counts=True)
    return int(values[counts.argmax()])
