"""From what the teacher says about pixels to the fixed labels a student starts from; done once per scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from scenewise.errors import ShapeError
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.lifting import pair_histogram, pair_labels
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.parts.segments.votes import MajorityVote
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition


@dataclass(frozen=True)
class PointRows:
    """Fixed supervision of a scan's points.

    Attributes:
        element: point of each row.
        class_ids: its class, never −1.
        view: view a row comes from, where rows are (point, pixel) pairs: a step that sees some of the views takes their rows.
            None where a point has one row.
    """

    element: Int64[np.ndarray, "rows"]
    class_ids: Int64[np.ndarray, "rows"]
    view: Int32[np.ndarray, "rows"] | None = None

    def __len__(self) -> int:
        return len(self.element)


def refined_view(view: ScanView, *, min_region: int) -> LabelField:
    """The teacher's labels of a picture after the vote in its 2D regions.

    Source: CNS (Chen et al. 2023): within each SAM mask every pixel takes the mask's most frequent label.  Regions below
    ``min_region`` pixels do not vote, holes keep the teacher's label, and a pixel without a label takes its region's.

    Args:
        view: with or without regions; without, the labels stay as they are.
        min_region: pixels.
    """
    if view.regions is None:
        return view.labels
    inside = view.regions >= 0
    size = np.bincount(view.regions[inside]) if inside.any() else np.zeros(1, dtype=np.int64)
    large = np.where(inside & (size[np.maximum(view.regions, 0)] >= min_region), view.regions, -1)
    return MajorityVote(scope="view")(view.labels, Partition.from_any_ids(large.astype(np.int64), "regions"))


def refined_views(scan: TrainingScan, point_labels: PointLabels) -> tuple[LabelField, ...]:
    """Labels of the pixels of every view: the teacher's, or after :func:`refined_view` with ``point_labels.region_vote``.

    They are what a 2D student is trained on, and what :func:`point_supervision` starts from.
    """
    if not point_labels.region_vote:
        return tuple(view.labels for view in scan.views)
    return tuple(refined_view(view, min_region=point_labels.min_region) for view in scan.views)


def point_supervision(scan: TrainingScan, point_labels: PointLabels, views: Sequence[LabelField]) -> PointRows:
    """Fixed supervision of a scan's points from the labels of its pixels.

    Args:
        scan: points, their pixels and their sets.
        point_labels: how; see there.  "pairs" gives a row for every labelled pixel that shows a point, "view_vote" the mode over
            the views as one row per point, "set_vote" HICL's vote as one row per point.
        views: :func:`refined_views`.

    Raises:
        ShapeError: as many label maps as views are needed.
    """
    if len(views) != len(scan.views):
        raise ShapeError("views", expected=f"{len(scan.views)} label maps, one per view", got=len(views))
    said = pair_labels(scan.pixels, lambda view: views[view])
    if point_labels.by == "pairs":
        known = said.class_ids >= 0
        return PointRows(scan.pixels.element[known], said.class_ids[known].astype(np.int64), scan.pixels.view[known])
    # Classes beyond the largest that occurs have no votes, so their number does not matter here.
    num_classes = int(said.class_ids.max()) + 1 if len(said.class_ids) and said.class_ids.max() >= 0 else 1
    if point_labels.by == "view_vote":
        labels, _ = pair_histogram(scan.pixels, said, num_classes).winner()
    else:
        sets = Partition.from_any_ids(scan.segments.astype(np.int64), "segments")
        labels = point_labels.set_vote.over_views(scan.pixels, said, sets, num_classes)
    element = np.flatnonzero(labels.class_ids >= 0)
    return PointRows(element.astype(np.int64), labels.class_ids[element].astype(np.int64))
