"""Fixed labels of pixels and points, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from scenewise.errors import ShapeError
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.labelfree.refinement import point_supervision, refined_views
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.parts.segments.votes import MajorityVote
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.label_fields import LabelField


def view(said: list[list[int]], regions: list[list[int]] | None, name: str = "a", confidence: float = 1.0) -> ScanView:
    ids = np.array(said, np.int32)
    sure = np.where(ids >= 0, confidence, 0).astype(np.float32)
    return ScanView(name, LabelField(ids, sure), regions=None if regions is None else np.array(regions, np.int32))


#   Region 4 (six pixels) says 2 thrice, 0 twice and nothing once; region 9 (two pixels) is too small; the rest is a hole.
FIRST = view([[2, 2, 0, 1], [2, 0, -1, 3], [3, 1, 1, -1]], [[4, 4, 4, 9], [4, 4, 4, 9], [-1, -1, -1, -1]])
SECOND = view([[1, 1, 1, 1]] * 3, None, "b", confidence=0.25)


def scan() -> TrainingScan:
    """Points 0 … 4.  View 0 sees 0, 1, 2 at pixels (0,0), (0,2), (1,2); view 1 sees 0, 2, 3.  Sets: {0, 1, 2}, {3}."""
    links = Correspondence(
        np.array([0, 1, 2, 0, 2, 3]),
        np.array([0, 0, 0, 1, 1, 1], np.int32),
        np.array([0, 0, 1, 0, 0, 0], np.int32),
        np.array([0, 2, 2, 0, 1, 2], np.int32),
        5,
        2,
    )
    segments = np.array([7, 7, 7, 3, -1], np.int32)
    return TrainingScan("s", np.zeros((5, 3), np.float32), np.zeros((5, 3), np.float32), segments, (FIRST, SECOND), links)


def rows(point_labels: PointLabels, min_region: int = 5) -> list[tuple[int, int]]:
    views = refined_views(scan(), replace(point_labels, min_region=min_region))
    made = point_supervision(scan(), point_labels, views)
    assert made.element.dtype == made.class_ids.dtype == np.int64
    return list(zip(made.element.tolist(), made.class_ids.tolist()))


def test_regions_vote_fill_and_leave_holes():
    first, second = refined_views(scan(), PointLabels("pairs", region_vote=True, min_region=5))
    assert first.class_ids.tolist() == [[2, 2, 2, 1], [2, 2, 2, 3], [3, 1, 1, -1]]
    assert second is SECOND.labels  # without regions nothing changes
    untouched = refined_views(scan(), PointLabels("pairs"))
    assert untouched[0] is FIRST.labels
    assert refined_views(scan(), PointLabels("pairs", region_vote=True))[0].class_ids.tolist() == FIRST.labels.class_ids.tolist()


def test_pairs_are_every_labelled_pixel_of_a_point_and_know_their_view():
    assert rows(PointLabels("pairs")) == [(0, 2), (1, 0), (0, 1), (2, 1), (3, 1)]
    assert rows(PointLabels("pairs", region_vote=True)) == [(0, 2), (1, 2), (2, 2), (0, 1), (2, 1), (3, 1)]
    made = point_supervision(scan(), PointLabels("pairs"), [FIRST.labels, SECOND.labels])
    assert made.view is not None and made.view.tolist() == [0, 0, 1, 1, 1]


def test_view_vote_is_the_mode_of_each_point():
    """Point 0 has a vote for 2 and one for 1, of which the first is surer; the counts of all others are plain."""
    assert rows(PointLabels("view_vote")) == [(0, 2), (1, 0), (2, 1), (3, 1)]
    assert point_supervision(scan(), PointLabels("view_vote"), [FIRST.labels, SECOND.labels]).view is None


@pytest.mark.parametrize(
    ("vote", "expected"),
    [
        # Set 7 has the votes 2, 0 (view 0) and 1, 1 (view 1): together 1 wins.
        (MajorityVote(), [(0, 1), (1, 1), (2, 1), (3, 1)]),
        # By confidence 2 and 0 have 1.0 each, 1 has 0.5; the tie goes to the lower class.
        (MajorityVote(weighting="confidence"), [(0, 0), (1, 0), (2, 0), (3, 1)]),
        # View 0: a tie of 2 and 0 → 0 for points 0 and 1, and by filling 2; view 1: 1 for points 0 and 2.
        # Point 0 then has 0 (confidence ½) and 1 (¼), point 2 the same.
        (MajorityVote(scope="view"), [(0, 0), (1, 0), (2, 0), (3, 1)]),
        # One vote of two is no majority of 0.6: only the set of point 3 has a label.
        (MajorityVote(min_agreement=0.6), [(3, 1)]),
    ],
)
def test_set_vote_by_hand(vote: MajorityVote, expected: list[tuple[int, int]]):
    assert rows(PointLabels("set_vote", set_vote=vote)) == expected


def test_set_vote_fills_points_no_view_labels_unless_told_not_to():
    filled = PointLabels("set_vote")
    views = [
        LabelField.certain(np.where(FIRST.labels.class_ids == 0, -1, FIRST.labels.class_ids)),
        LabelField.certain(-np.ones((3, 4), np.int64)),
    ]
    assert point_supervision(scan(), filled, views).element.tolist() == [0, 1, 2]
    literal = PointLabels("set_vote", set_vote=MajorityVote(fill=False))
    assert point_supervision(scan(), literal, views).element.tolist() == [0]


def test_region_and_set_votes_follow_each_other():
    """After the regions voted, set 7 has 2, 2, 2 of view 0 against 1, 1 of view 1."""
    assert rows(PointLabels("set_vote", region_vote=True)) == [(0, 2), (1, 2), (2, 2), (3, 1)]


def test_nothing_labelled_gives_no_rows():
    silent = [LabelField.certain(-np.ones((3, 4), np.int64))] * 2
    for by in ("pairs", "view_vote", "set_vote"):
        assert len(point_supervision(scan(), PointLabels(by), silent)) == 0


@pytest.mark.errors
def test_as_many_label_maps_as_views():
    with pytest.raises(ShapeError, match="2 label maps, one per view"):
        point_supervision(scan(), PointLabels("pairs"), [FIRST.labels])
