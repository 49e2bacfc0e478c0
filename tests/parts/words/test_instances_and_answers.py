"""Objects as connected pieces; places that answer a query."""

import numpy as np
import pytest

from scenewise.parts.segments.instances import connected_instances
from scenewise.parts.words.answers import adaptive_threshold, answer_segments
from scenewise.scenes.partitions import Partition


def block(center, count=300, side=0.5, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-side / 2, side / 2, (count, 3)) + center


TWO_CHAIRS_AND_A_TABLE = np.concatenate([block((0, 0, 0), 200), block((3, 0, 0), 300), block((0.5, 0, 0), 400)])
CLASSES = np.repeat(np.array([4, 4, 6], dtype=np.int32), [200, 300, 400])


def test_pieces_of_a_class_that_do_not_touch_are_two_objects_the_largest_first():
    ids = connected_instances(TWO_CHAIRS_AND_A_TABLE, CLASSES)
    assert np.array_equal(ids, np.repeat([2, 1, 0], [200, 300, 400]))  # the table touches a chair but is another class


def test_a_set_holds_what_is_far_apart_together_but_only_within_a_class():
    everything = Partition(np.zeros(900, dtype=np.int32), 1, "file")
    ids = connected_instances(TWO_CHAIRS_AND_A_TABLE, CLASSES, everything)
    assert np.array_equal(ids, np.repeat([0, 1], [500, 400]))


def test_unknown_elements_and_specks_are_no_objects():
    points = np.concatenate([TWO_CHAIRS_AND_A_TABLE, block((9, 9, 9), 5)])
    classes = np.concatenate([CLASSES, np.full(5, 4, dtype=np.int32)])
    classes[:200] = -1
    ids = connected_instances(points, classes)
    assert (ids[:200] == -1).all() and (ids[-5:] == -1).all() and ids.max() == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_elements(count):
    ids = connected_instances(np.zeros((count, 3)), np.zeros(count, dtype=np.int32), min_elements=1)
    assert ids.tolist() == [0] * count


def test_places_are_ranked_by_their_mean_and_have_boxes():
    heat = np.repeat(np.array([0.8, 0.9, 0.1], dtype=np.float32), [200, 300, 400])
    found = answer_segments(TWO_CHAIRS_AND_A_TABLE, heat, trim=0.0)
    assert [len(segment.elements) for segment in found] == [300, 200]
    assert found[0].score == pytest.approx(0.9) and found[0].elements[0] == 200
    np.testing.assert_allclose(found[0].center_in_world, [3, 0, 0], atol=0.05)
    np.testing.assert_allclose(found[0].low_in_world, TWO_CHAIRS_AND_A_TABLE[200:500].min(axis=0))
    np.testing.assert_allclose(found[0].high_in_world, TWO_CHAIRS_AND_A_TABLE[200:500].max(axis=0))
    assert (found[0].box.size <= 0.75).all()
    assert len(answer_segments(TWO_CHAIRS_AND_A_TABLE, heat, limit=1)) == 1


def test_objects_that_touch_are_told_apart():
    heat = np.ones(900, dtype=np.float32)
    touching = answer_segments(TWO_CHAIRS_AND_A_TABLE, heat, threshold=0.5)
    assert sorted(len(segment.elements) for segment in touching) == [300, 600]
    objects = np.repeat(np.array([0, -1, 1], dtype=np.int32), [200, 300, 400])
    apart = answer_segments(TWO_CHAIRS_AND_A_TABLE, heat, threshold=0.5, objects=objects)
    assert sorted(len(segment.elements) for segment in apart) == [200, 300, 400]


def test_the_threshold_adapts():
    cold_with_a_hot_tenth = np.repeat(np.array([0.2, 0.9], dtype=np.float32), [900, 100])
    assert adaptive_threshold(cold_with_a_hot_tenth) == pytest.approx(0.55, abs=1e-3)
    assert adaptive_threshold(np.repeat(np.array([0.01, 0.6], dtype=np.float32), [900, 100])) == 0.5
    assert adaptive_threshold(np.repeat(np.array([0.1, 0.4], dtype=np.float32), [900, 100])) == pytest.approx(0.25, abs=1e-3)
    assert adaptive_threshold(np.linspace(0.6, 1.0, 1000, dtype=np.float32)) == 0.5  # all of it answers
    mostly_wall = np.repeat(np.array([0.05, 0.9, 0.95], dtype=np.float32), [300, 400, 300])
    assert adaptive_threshold(mostly_wall) == 0.5
    unseen = np.concatenate([cold_with_a_hot_tenth, np.zeros(10_000, dtype=np.float32)])
    assert adaptive_threshold(unseen) == pytest.approx(0.55, abs=1e-3)
    assert answer_segments(np.zeros((3, 3)), np.zeros(3, dtype=np.float32)) == ()
