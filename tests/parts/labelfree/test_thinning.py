"""Fewer points of a scan: labels, segments and pixels stay with the points they belong to."""

import numpy as np
import pytest
from tests.support.tiny_training import CLASSES, tiny_scan

from scenewise.parts.labelfree.augmentation import BatchMember, BatchSettings, thinned, training_batch
from scenewise.parts.labelfree.fixed_labels import fixed_labels
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.labelfree.settings import Augmentation


@pytest.mark.parametrize("by", ["pairs", "set_vote"])
def test_what_stays_belongs_to_the_same_points(by):
    scan = tiny_scan(3)
    member = BatchMember(3, scan, fixed_labels(scan, PointLabels(by), CLASSES))
    few = thinned(member, len(scan) // 2, seed=5, epoch=2)
    assert len(few.scan) == len(scan) // 2
    # Positions are unique here, so that they tell which point is which.
    found = {tuple(point): row for row, point in enumerate(scan.points_in_scan.tolist())}
    rows = np.array([found[tuple(point)] for point in few.scan.points_in_scan.tolist()])
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(few.scan.segments, scan.segments[rows])
    np.testing.assert_array_equal(few.scan.inputs, scan.inputs[rows])

    def pairs(of, point_of):
        return set(zip(point_of(of.element).tolist(), of.view.tolist(), of.row.tolist(), of.column.tolist()))

    whole = pairs(scan.pixels, lambda element: element)
    assert pairs(few.scan.pixels, lambda element: rows[element]) == {pair for pair in whole if pair[0] in set(rows.tolist())}
    told, before = few.labels.points, member.labels.points
    kept = np.isin(before.element, rows)
    np.testing.assert_array_equal(rows[told.element], before.element[kept])
    np.testing.assert_array_equal(told.class_ids, before.class_ids[kept])
    if by == "pairs":
        np.testing.assert_array_equal(told.view, before.view[kept])


def test_other_points_in_every_epoch_and_all_where_there_are_few():
    scan = tiny_scan(3)
    member = BatchMember(3, scan, fixed_labels(scan, PointLabels("set_vote"), CLASSES))
    first, again, later = (thinned(member, 10, 5, epoch).scan.points_in_scan for epoch in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    assert thinned(member, len(scan), 5, 1) is member
    settings = BatchSettings(Augmentation(most_points=10), 0.5, None, seed=5, with_pictures=True, with_images=False)
    batch = training_batch([member], settings, epoch=1)
    assert len(batch.cloud.inputs) == 10 and int(batch.first_point[-1]) == 10 and int(batch.links.point.max()) < 10
