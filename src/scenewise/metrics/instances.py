"""How well instances were found: average precision and recall against the true ones, of elements or of boxes.

A prediction is right at a threshold when its IoU with a true instance that no surer prediction has taken is above it.
Predictions choose in falling confidence, each the free instance of highest IoU; one whose instances are all taken is a
duplicate, and wrong.  AP is the area under precision over recall by the trapezoid rule, from (recall 0, precision 1) on, equal
confidences taken together; AP of a data set comes from all its scenes at once.  So does the evaluation of ScanNet (Dai et al.
2017, arXiv 1702.04405), which also leaves .95 out of the mean over thresholds and ignores instances of less than 100 points; we
do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from scenewise.errors import ConventionError, ShapeError
from scenewise.geometry.boxes import box_iou

MEAN_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_THRESHOLDS = (0.25, *MEAN_THRESHOLDS)


@dataclass(frozen=True)
class InstanceOverlaps:
    """The predicted and the true instances of a scene, and what they share.

    Attributes:
        predicted: number of a prediction; one entry per overlapping pair, as of the next three.
        true: number of a true instance.
        iou: intersection over union.
        shared: size of the intersection, in elements or volume.
        confidences: of each prediction.
        predicted_classes: −1 = none.
        true_classes: −1 = unknown.
        sizes: of each prediction, ignored parts included.
        ignored: how much of each prediction lies where nothing is labelled: an exact count, no sum of shares.
        is_predicted: False for numbers without an element that is labelled: no prediction at all.
        is_true: False for numbers without an element.
    """

    predicted: Int64[np.ndarray, "k"]
    true: Int64[np.ndarray, "k"]
    iou: Float64[np.ndarray, "k"]
    shared: Float64[np.ndarray, "k"]
    confidences: Float64[np.ndarray, "p"]
    predicted_classes: Int64[np.ndarray, "p"]
    true_classes: Int64[np.ndarray, "t"]
    sizes: Float64[np.ndarray, "p"]
    ignored: Float64[np.ndarray, "p"]
    is_predicted: Bool[np.ndarray, "p"]
    is_true: Bool[np.ndarray, "t"]


@dataclass(frozen=True)
class InstanceFigures:
    """Shares of 1; NaN where there is no true instance.

    Attributes:
        ap: mean over IoU .5, .55 … .95.
        ap50: at .5.
        ap25: at .25.
        recall50: share of the true instances that are found at .5.
        recall25: at .25.
        true_count: true instances.
        predicted_count: predictions.
    """

    ap: float
    ap50: float
    ap25: float
    recall50: float
    recall25: float
    true_count: int
    predicted_count: int


@dataclass(frozen=True)
class InstanceScores:
    """Figures of a data set.

    Attributes:
        class_agnostic: all instances as if of one class.
        class_aware: mean of ``by_class`` over classes that occur in the truth; counts are sums.
        by_class: a prediction is right with the class of the true instance only.
    """

    class_agnostic: InstanceFigures
    class_aware: InstanceFigures
    by_class: tuple[InstanceFigures, ...]


def element_overlaps(
    predicted_ids: Integer[np.ndarray, "n"],
    true_ids: Integer[np.ndarray, "n"],
    confidences: Float[np.ndarray, "p"],
    predicted_classes: Integer[np.ndarray, "p"],
    true_classes: Integer[np.ndarray, "t"],
) -> InstanceOverlaps:
    """Overlaps of instances that are sets of points or splats.

    Elements without a true instance are ignored: IoU is that of the other elements alone, a prediction without one of them is
    none, and a wrong prediction of which more than the threshold lies there does not count.

    Args:
        predicted_ids: instance of each element, position in ``confidences``; −1 = none.
        true_ids: likewise, position in ``true_classes``.
        confidences: of each prediction, higher = surer.
        predicted_classes: class of each prediction, −1 = none.
        true_classes: class of each true instance, −1 = unknown.

    Raises:
        ShapeError: as many elements or classes as instances are needed.
        ConventionError: numbers of instances that do not exist.
    """
    if predicted_ids.shape != true_ids.shape or predicted_classes.shape != confidences.shape:
        got = f"{predicted_ids.shape}, {true_ids.shape} and {predicted_classes.shape}, {confidences.shape}"
        raise ShapeError("predicted_ids, true_ids", expected="as many as each other, a class per confidence", got=got)
    for what, ids, count in (
        ("predicted_ids", predicted_ids, len(confidences)),
        ("true_ids", true_ids, len(true_classes)),
    ):
        if ids.size and not -1 <= int(ids.min()) <= int(ids.max()) < count:
            raise ConventionError(what, expected=f"−1 … {count - 1}", got=f"{ids.min()} … {ids.max()}")
    predicted_ids, true_ids = predicted_ids.astype(np.int64), true_ids.astype(np.int64)
    size = np.bincount(predicted_ids[predicted_ids >= 0], minlength=len(confidences))
    labelled = true_ids >= 0
    labelled_size = np.bincount(predicted_ids[labelled & (predicted_ids >= 0)], minlength=len(confidences))
    true_size = np.bincount(true_ids[labelled], minlength=len(true_classes))
    both = labelled & (predicted_ids >= 0)
    codes, shared = np.unique(predicted_ids[both] * max(1, len(true_classes)) + true_ids[both], return_counts=True)
    predicted, true = codes // max(1, len(true_classes)), codes % max(1, len(true_classes))
    return InstanceOverlaps(
        predicted=predicted,
        true=true,
        iou=shared / (labelled_size[predicted] + true_size[true] - shared),
        shared=shared.astype(np.float64),
        confidences=confidences.astype(np.float64),
        predicted_classes=predicted_classes.astype(np.int64),
        true_classes=true_classes.astype(np.int64),
        sizes=size.astype(np.float64),
        ignored=(size - labelled_size).astype(np.float64),
        is_predicted=labelled_size > 0,
        is_true=true_size > 0,
    )


def box_overlaps(
    predicted_boxes: Float64[np.ndarray, "p 2 3"],
    true_boxes: Float64[np.ndarray, "t 2 3"],
    confidences: Float[np.ndarray, "p"],
    predicted_classes: Integer[np.ndarray, "p"],
    true_classes: Integer[np.ndarray, "t"],
) -> InstanceOverlaps:
    """Overlaps of instances that are boxes along the world's axes, whatever points they were made of; nothing is ignored.

    Args:
        predicted_boxes: lower and upper corner of each.
        true_boxes: likewise.
        confidences: of each prediction, higher = surer.
        predicted_classes: −1 = none.
        true_classes: −1 = unknown.

    Raises:
        ShapeError: as many boxes, confidences and classes are needed.
    """
    if not (len(predicted_boxes) == len(confidences) == len(predicted_classes) and len(true_boxes) == len(true_classes)):
        got = f"{len(predicted_boxes)}, {len(confidences)}, {len(predicted_classes)}; {len(true_boxes)}, {len(true_classes)}"
        raise ShapeError("boxes", expected="a confidence and a class each", got=got)
    low = np.maximum(predicted_boxes[:, None, 0], true_boxes[None, :, 0])
    high = np.minimum(predicted_boxes[:, None, 1], true_boxes[None, :, 1])
    predicted, true = np.nonzero((low < high).all(axis=2))
    pairs = list(zip(predicted.tolist(), true.tolist()))
    volume = np.prod(predicted_boxes[:, 1] - predicted_boxes[:, 0], axis=1)
    shared = np.prod((high - low)[predicted, true], axis=1)
    return InstanceOverlaps(
        predicted=predicted.astype(np.int64),
        true=true.astype(np.int64),
        iou=np.array([box_iou(*predicted_boxes[a], *true_boxes[b]) for a, b in pairs], dtype=np.float64),
        shared=shared,
        confidences=confidences.astype(np.float64),
        predicted_classes=predicted_classes.astype(np.int64),
        true_classes=true_classes.astype(np.int64),
        sizes=volume,
        ignored=np.zeros(len(confidences)),
        is_predicted=np.ones(len(confidences), dtype=bool),
        is_true=np.ones(len(true_classes), dtype=bool),
    )


def instance_scores(scenes: Sequence[InstanceOverlaps], num_classes: int) -> InstanceScores:
    """Figures over all scenes.

    With classes, true instances of unknown class are ignored like unlabelled elements, and predictions without a class are none.

    Args:
        scenes: of :func:`element_overlaps` or :func:`box_overlaps`.
        num_classes: classes in all.

    Raises:
        ConventionError: a class that does not exist.
    """
    for scene in scenes:
        for classes in (scene.predicted_classes, scene.true_classes):
            if len(classes) and not -1 <= int(classes.min()) <= int(classes.max()) < num_classes:
                raise ConventionError("classes", expected=f"−1 … {num_classes - 1}", got=f"{classes.min()} … {classes.max()}")
    by_class = tuple(_figures([_of_class(scene, number) for scene in scenes]) for number in range(num_classes))
    occurring = [figures for figures in by_class if figures.true_count]

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    aware = InstanceFigures(
        ap=mean([figures.ap for figures in occurring]),
        ap50=mean([figures.ap50 for figures in occurring]),
        ap25=mean([figures.ap25 for figures in occurring]),
        recall50=mean([figures.recall50 for figures in occurring]),
        recall25=mean([figures.recall25 for figures in occurring]),
        true_count=sum(figures.true_count for figures in by_class),
        predicted_count=sum(figures.predicted_count for figures in by_class),
    )
    return InstanceScores(_figures(scenes), aware, by_class)


def _of_class(scene: InstanceOverlaps, number: int) -> InstanceOverlaps:
    """The instances of one class; what lies on instances of unknown class is ignored."""
    on_unknown = scene.true_classes[scene.true] < 0
    on_others = np.bincount(scene.predicted[on_unknown], weights=scene.shared[on_unknown], minlength=len(scene.confidences))
    is_predicted, is_true = scene.predicted_classes == number, scene.true_classes == number
    kept = is_predicted[scene.predicted] & is_true[scene.true]
    return InstanceOverlaps(
        predicted=scene.predicted[kept],
        true=scene.true[kept],
        iou=scene.iou[kept],
        shared=scene.shared[kept],
        confidences=scene.confidences,
        predicted_classes=scene.predicted_classes,
        true_classes=scene.true_classes,
        sizes=scene.sizes,
        ignored=scene.ignored + on_others,
        is_predicted=scene.is_predicted & is_predicted,
        is_true=scene.is_true & is_true,
    )


def _figures(scenes: Sequence[InstanceOverlaps]) -> InstanceFigures:
    true_count = sum(int(scene.is_true.sum()) for scene in scenes)
    predicted_count = sum(int(scene.is_predicted.sum()) for scene in scenes)
    precision: dict[float, float] = {}
    recall: dict[float, float] = {}
    for threshold in _THRESHOLDS:
        matched = [_matches(scene, threshold) for scene in scenes]
        confidences = np.concatenate([part[0] for part in matched]) if matched else np.zeros(0)
        is_right = np.concatenate([part[1] for part in matched]) if matched else np.zeros(0, dtype=bool)
        precision[threshold] = area_under_precision(confidences, is_right, true_count)
        recall[threshold] = int(is_right.sum()) / true_count if true_count else float("nan")
    return InstanceFigures(
        ap=float(np.mean([precision[threshold] for threshold in MEAN_THRESHOLDS])),
        ap50=precision[0.5],
        ap25=precision[0.25],
        recall50=recall[0.5],
        recall25=recall[0.25],
        true_count=true_count,
        predicted_count=predicted_count,
    )


def _matches(scene: InstanceOverlaps, threshold: float) -> tuple[Float64[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Confidence of each prediction that counts, and whether it is right."""
    over = scene.iou > threshold
    predicted, true, iou = scene.predicted[over], scene.true[over], scene.iou[over]
    # by confidence, of equally sure predictions the best fitting first, then each prediction's instances by IoU
    best = np.zeros(len(scene.confidences))
    np.maximum.at(best, predicted, iou)
    order = np.lexsort((true, -iou, predicted, -best[predicted], -scene.confidences[predicted]))
    is_right, is_taken = np.zeros(len(scene.confidences), dtype=bool), np.zeros(len(scene.true_classes), dtype=bool)
    for a, b in zip(predicted[order].tolist(), true[order].tolist()):
        if not is_right[a] and not is_taken[b]:
            is_right[a] = is_taken[b] = True
    counts = scene.is_predicted & (is_right | (scene.ignored / np.where(scene.sizes > 0, scene.sizes, 1.0) <= threshold))
    return scene.confidences[counts], is_right[counts]


def area_under_precision(confidences: Float64[np.ndarray, "n"], is_right: Bool[np.ndarray, "n"], true_count: int) -> float:
    """∫ P dR by the trapezoid rule over the different confidences from the highest down, from (0, 1) on; NaN without truth.

    Args:
        confidences: of all predictions that count.
        is_right: whether each found an instance.
        true_count: instances there are.
    """
    if not true_count:
        return float("nan")
    order = np.argsort(-confidences, kind="stable")
    hits = np.cumsum(is_right[order])
    ends = np.flatnonzero(np.r_[confidences[order][1:] != confidences[order][:-1], True]) if len(order) else order
    precision = np.r_[1.0, hits[ends] / (ends + 1)]
    recall = np.r_[0.0, hits[ends] / true_count]
    return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())
