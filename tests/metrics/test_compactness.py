"""How tightly classes lie together, by hand and on features whose spread is known."""

import math

import numpy as np
import pytest

from scenewise.errors import ConventionError, ShapeError
from scenewise.metrics.compactness import ClassSums, Compactness


def class_compactness(features: np.ndarray, class_ids: np.ndarray, scan: np.ndarray, num_classes: int) -> Compactness:
    """Of features that are all at hand, taken scene by scene."""
    sums = ClassSums(num_classes)
    for number in np.unique(scan):
        sums.add(features[scan == number], class_ids[scan == number])
    return sums.result()


def test_figures_by_hand():
    """Class 0: (1, 0) twice in scene 0, (0, 5) in scene 1.  Class 1: (−2, 0) in scene 1.  One unlabelled, one of length 0."""
    features = np.array([[1.0, 0], [3, 0], [0, 5], [-2, 0], [9, 9], [0, 0]])
    result = class_compactness(features, np.array([0, 0, 0, 1, -1, 1]), np.array([0, 0, 1, 1, 1, 1]), 3)
    assert result.count == 4
    # Pairs of class 0: cos 1, 0, 0.
    assert result.by_class[0] == pytest.approx(1 / 3) and math.isnan(result.by_class[1]) and math.isnan(result.by_class[2])
    assert result.intra_class_cosine == pytest.approx(1 / 3)
    # Means (2/3, 1/3) and (−1, 0): W = ½ (4/9 + 0), B = ¼ of their squared distance 25/9 + 1/9.
    assert result.scatter_ratio == pytest.approx((2 / 9) / (26 / 36))
    assert result.between_class_distance == pytest.approx(math.sqrt(26 / 9))
    assert result.cross_scene_distance == pytest.approx(math.sqrt(2))
    assert result.cross_scene_ratio == pytest.approx(math.sqrt(2) / math.sqrt(26 / 9))


def spread(within: float, between_scenes: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    means, moved = rng.normal(size=(4, 8)), rng.normal(size=(3, 4, 8))
    return np.concatenate([means + between_scenes * moved[s] + within * rng.normal(size=(50, 4, 8)) for s in range(3)])


def test_each_figure_follows_its_own_spread():
    ids, scan = np.tile(np.arange(4), 150), np.repeat(np.arange(3), 200)

    def figures(within: float, between_scenes: float):
        return class_compactness(spread(within, between_scenes).reshape(-1, 8).astype(np.float32), ids, scan, 4)

    tight, loose, moved = figures(0.1, 0.1), figures(1.0, 0.1), figures(0.1, 0.7)
    assert tight.intra_class_cosine > loose.intra_class_cosine and tight.scatter_ratio < loose.scatter_ratio
    assert moved.cross_scene_distance > 3 * tight.cross_scene_distance and moved.cross_scene_ratio > tight.cross_scene_ratio
    assert tight.cross_scene_ratio < 0.3


def test_nothing_to_compare():
    empty = ClassSums(2).result()
    assert empty.count == 0 and math.isnan(empty.scatter_ratio) and math.isnan(empty.cross_scene_distance)
    one = class_compactness(np.ones((1, 3)), np.array([1]), np.array([0]), 2)
    assert math.isnan(one.intra_class_cosine) and math.isnan(one.cross_scene_ratio) and one.count == 1


@pytest.mark.errors
def test_what_is_refused():
    sums = ClassSums(2)
    with pytest.raises(ConventionError, match=r"class_ids: expected −1 … 1, got 0 … 2"):
        sums.add(np.ones((2, 3)), np.array([0, 2]))
    with pytest.raises(ShapeError, match="as features"):
        sums.add(np.ones((2, 3)), np.array([0]))
    sums.add(np.ones((2, 3)), np.array([0, 1]))
    with pytest.raises(ShapeError, match="3 channels"):
        sums.add(np.ones((2, 4)), np.array([0, 1]))
