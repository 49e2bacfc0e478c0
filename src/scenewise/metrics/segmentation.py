"""How well classes were told: IoU and accuracy from one confusion matrix, with the conventions that change figures spelled out.

Figures of a data set come from one matrix over all its images or scans, never from averaging figures of single ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float64, Int64, Integer

from scenewise.errors import ConventionError, ShapeError

Labels = Integer[np.ndarray, "*shape"]
AbsentRule = Literal["nan", "one", "zero"]
UnpredictedRule = Literal["false_negative", "dropped_from_iou", "dropped", "refused"]


@dataclass(frozen=True)
class Conventions:
    """What tools disagree about.

    Attributes:
        absent: value of a figure that is 0/0.  "nan" leaves the class out of means, "one" inflates them, "zero" deflates them.
        unpredicted: what an element without a prediction is.  "false_negative": an error of its class.  "dropped_from_iou": not
            in the IoU, but an error in the accuracies.  "dropped": as if it were not there.  "refused": an error is raised.
    """

    absent: AbsentRule = "nan"
    unpredicted: UnpredictedRule = "false_negative"


OURS = Conventions()
"""Absent classes are left out; an element nobody named is an error."""

CONVENTIONS: dict[str, Conventions] = {
    "scenewise": OURS,
    "scannet": Conventions("nan", "false_negative"),
    "nuscenes": Conventions("nan", "refused"),
    "openscene": Conventions("zero", "dropped_from_iou"),
    "clip2scene": Conventions("one", "refused"),
}
"""By the tool whose figures one wants to compare with."""


@dataclass(frozen=True)
class SegmentationScores:
    """Figures from one confusion matrix; shares of 1, not per cent.

    Attributes:
        names: of the classes.
        iou: TP / (TP + FP + FN) per class.
        accuracy: TP / (TP + FN) per class.
        true_count: labelled elements per class.
        predicted_count: labelled elements that were given the class.
        miou: mean of ``iou`` without NaN; NaN when nothing is left.
        macc: mean of ``accuracy`` without NaN.
        all_accuracy: TP of all classes / labelled elements.
        fwiou: mean of ``iou`` weighted by the share of the class in the truth.
        coverage: share of the labelled elements that have a prediction.
        count: labelled elements.
        conventions: how absent classes and missing predictions were counted.
    """

    names: tuple[str, ...]
    iou: Float64[np.ndarray, "classes"]
    accuracy: Float64[np.ndarray, "classes"]
    true_count: Int64[np.ndarray, "classes"]
    predicted_count: Int64[np.ndarray, "classes"]
    miou: float
    macc: float
    all_accuracy: float
    fwiou: float
    coverage: float
    count: int
    conventions: Conventions

    def text(self) -> str:
        """A table for people: a line per class, then the means."""
        width = max([len(name) for name in self.names] + [len("class")])
        lines = [f"{'class':<{width}}  {'IoU %':>6}  {'acc %':>6}  {'elements':>12}"]
        for name, iou, accuracy, true_count in zip(self.names, self.iou, self.accuracy, self.true_count):
            lines.append(f"{name:<{width}}  {_percent(iou):>6}  {_percent(accuracy):>6}  {int(true_count):>12,}")
        lines.append(
            f"mIoU {_percent(self.miou)}, mAcc {_percent(self.macc)}, allAcc {_percent(self.all_accuracy)}, "
            f"fwIoU {_percent(self.fwiou)}, coverage {_percent(self.coverage)} of {self.count:,}"
        )
        return "\n".join(lines)


@final
class ConfusionMatrix:
    """Counts of (true class, predicted class) pairs, added up over images or scans.

    Args:
        names: of the classes; position = class id.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise ConventionError("class names", expected="at least one", got="none")
        self.names = tuple(names)
        self._counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)

    @classmethod
    def from_counts(cls, names: Sequence[str], counts: Int64[np.ndarray, "classes columns"]) -> "ConfusionMatrix":
        """A matrix with given counts [classes, classes + 1]; the last column holds elements without a prediction.

        Raises:
            ShapeError: another shape.
            ConventionError: a negative count.
        """
        matrix = cls(names)
        if counts.shape != matrix._counts.shape:
            raise ShapeError("counts", expected=f"{matrix._counts.shape}", got=f"{counts.shape}")
        if counts.size and int(counts.min()) < 0:
            raise ConventionError("counts", expected="0 or more", got=int(counts.min()))
        matrix._counts += counts
        return matrix

    @property
    def counts(self) -> Int64[np.ndarray, "classes columns"]:
        """A copy of the counts [classes, classes + 1]: rows = truth, columns = prediction, the last one = none."""
        return self._counts.copy()

    @property
    def matrix(self) -> Int64[np.ndarray, "classes classes"]:
        """The square part: elements that have a prediction."""
        return self._counts[:, :-1].copy()

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts the elements of one image or scan.

        Args:
            prediction: class ids, −1 = none; of any shape.
            truth: class ids, −1 = not labelled, such elements do not count; of the same shape.

        Raises:
            ShapeError: the shapes differ.
            ConventionError: a class that does not exist.
        """
        if prediction.shape != truth.shape:
            raise ShapeError("prediction", expected=f"{truth.shape} like the truth", got=f"{prediction.shape}")
        classes = len(self.names)
        for what, ids in (("truth", truth), ("prediction", prediction)):
            if ids.size and not (int(ids.min()) >= -1 and int(ids.max()) < classes):
                raise ConventionError(
                    what,
                    expected=f"−1 or a class from 0 to {classes - 1}",
                    got=f"{int(ids.min())} … {int(ids.max())}",
                    fix="map the file's codes first; 255 means ignore in many files and is −1 in memory",
                )
        counted = truth.ravel() >= 0
        rows = truth.ravel()[counted].astype(np.int64)
        columns = prediction.ravel()[counted].astype(np.int64)
        columns[columns < 0] = classes
        self._counts += np.bincount(rows * (classes + 1) + columns, minlength=self._counts.size).reshape(self._counts.shape)

    def __iadd__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Adds the counts of another matrix over the same classes."""
        if other.names != self.names:
            raise ConventionError("confusion matrices", expected="the same classes in both", got="others")
        self._counts += other._counts
        return self

    def scores(self, conventions: Conventions = OURS) -> SegmentationScores:
        """Figures of everything counted so far.

        Source of the formulas: Long et al. 2015, arXiv 1411.4038, section 5 (mean IoU, frequency weighted IoU, accuracies).

        Raises:
            ConventionError: some elements have no prediction and the conventions refuse that.
        """
        square, unpredicted = self._counts[:, :-1], self._counts[:, -1]
        missing = int(unpredicted.sum())
        if conventions.unpredicted == "refused" and missing:
            raise ConventionError("prediction", expected="a class for every labelled element", got=f"{missing:,} without one")
        hit = np.diagonal(square).copy()
        predicted, named = square.sum(axis=0), square.sum(axis=1)
        everything = named + unpredicted
        in_iou = everything if conventions.unpredicted == "false_negative" else named
        in_accuracy = named if conventions.unpredicted == "dropped" else everything
        iou = _ratio(hit, in_iou + predicted - hit, conventions.absent)
        accuracy = _ratio(hit, in_accuracy, conventions.absent)
        weight = in_iou / max(1, int(in_iou.sum()))
        return SegmentationScores(
            names=self.names,
            iou=iou,
            accuracy=accuracy,
            true_count=everything,
            predicted_count=predicted,
            miou=_mean(iou),
            macc=_mean(accuracy),
            all_accuracy=_share(int(hit.sum()), int(in_accuracy.sum())),
            fwiou=float((weight * np.nan_to_num(iou)).sum()) if in_iou.any() else math.nan,
            coverage=_share(int(named.sum()), int(everything.sum())),
            count=int(everything.sum()),
            conventions=conventions,
        )


def _ratio(part: Int64[np.ndarray, "n"], whole: Int64[np.ndarray, "n"], absent: AbsentRule) -> Float64[np.ndarray, "n"]:
    empty = {"nan": math.nan, "one": 1.0, "zero": 0.0}[absent]
    return np.where(whole > 0, part / np.maximum(whole, 1), empty)


def _mean(values: Float64[np.ndarray, "n"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100.0 * value:.1f}"
