"""What a scan is trained on before anything is switched, in the form training keeps."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Int16

from scenewise.errors import ConventionError
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.labelfree.refinement import PointRows, point_supervision, refined_views
from scenewise.parts.scans.scans import TrainingScan

_LABELS_IN_MEMORY = 2 << 30


@dataclass(frozen=True)
class FixedLabels:
    """Refined labels of one scan, made once.

    Attributes:
        pixels: label of each pixel of each view, −1 = none.
        points: rows of points; those that come from a view take part in the steps that it takes part in.
    """

    pixels: tuple[Int16[np.ndarray, "height width"], ...]
    points: PointRows

    @property
    def num_bytes(self) -> int:
        """Memory they take."""
        rows = [self.points.element, self.points.class_ids, *(() if self.points.view is None else (self.points.view,))]
        return sum(part.nbytes for part in (*self.pixels, *rows))


def fixed_labels(scan: TrainingScan, point_labels: PointLabels, num_classes: int) -> FixedLabels:
    """Refined labels of a scan's pixels and points.

    Args:
        scan: with the teacher's answers.
        point_labels: how labels come about.
        num_classes: classes there are words for.

    Raises:
        ConventionError: the teacher named a class there is no word for.
    """
    largest = max((int(view.labels.class_ids.max()) for view in scan.views if view.labels.class_ids.size), default=-1)
    if largest >= num_classes:
        raise ConventionError(
            f"labels of {scan.name}",
            expected=f"−1 or a class from 0 to {num_classes - 1}",
            got=largest,
            fix="prepare the data anew",
        )
    views = refined_views(scan, point_labels)
    pixels = tuple(view.class_ids.astype(np.int16) for view in views)
    return FixedLabels(pixels, point_supervision(scan, point_labels, views))


@final
class LabelsOfScans:
    """Fixed labels, made once per scan and kept while they fit; what does not fit is made again, with the same result.

    Args:
        point_labels: how labels come about.
        num_classes: classes there are words for.
    """

    def __init__(self, point_labels: PointLabels, num_classes: int) -> None:
        self._point_labels, self._num_classes = point_labels, num_classes
        self._kept: dict[int, FixedLabels] = {}
        self._bytes = 0

    def of(self, index: int, scan: TrainingScan) -> FixedLabels:
        """Labels of a scan, which has this number in the data set."""
        if index in self._kept:
            return self._kept[index]
        made = fixed_labels(scan, self._point_labels, self._num_classes)
        if self._bytes + made.num_bytes <= _LABELS_IN_MEMORY:
            self._kept[index] = made
            self._bytes += made.num_bytes
        return made
