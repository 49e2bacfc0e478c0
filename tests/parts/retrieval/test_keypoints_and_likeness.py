"""Which places are remembered, and how much sets of them are like each other: against loops one can read."""

import numpy as np
import pytest
from tests.support.library_examples import key_points, unit_rows

from scenewise.errors import ShapeError
from scenewise.parts.retrieval import likeness
from scenewise.parts.retrieval.keypoints import KeyPoints, covering_maxima, picture_keypoints, scene_keypoints, spread_maxima
from scenewise.parts.retrieval.likeness import best_in_each, mean_vector, set_likeness
from scenewise.teachers.consistent import CloudFeatures, PictureFeatures


def greedy(positions: np.ndarray, scores: np.ndarray, apart: float) -> list[int]:
    """The definition: the surest first, whatever is nearer than ``apart`` to one that was kept is left out."""
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        if all(np.linalg.norm(positions[row] - positions[other]) > apart for other in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize(("count", "apart"), [(300, 0.3), (300, 0.9), (60, 1e-9), (300, 9.0), (1, 0.1)])
def test_kept_places_are_those_of_the_loop(count: int, apart: float):
    rng = np.random.default_rng(count)
    positions, scores = rng.uniform(0, 2, (count, 3)), rng.choice(np.linspace(0.1, 0.9, 50), count).astype(np.float32)
    assert spread_maxima(positions, scores, apart).tolist() == greedy(positions, scores, apart)


def test_key_points_cover_a_scene_although_one_corner_is_surer_than_all_the_rest():
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 4, (800, 3)) * np.array([1, 1, 0.5])
    in_corner = (positions[:, :2] < 1).all(axis=1)
    scores = (rng.uniform(0.1, 0.4, 800) + 0.5 * in_corner).astype(np.float32)
    kept = covering_maxima(positions, scores, 40)
    assert len(kept) == 40 and (np.diff(scores[kept]) <= 0).all() and kept[0] == int(np.argmax(scores))
    assert 1 <= in_corner[kept].sum() <= 10 < in_corner.sum()
    apart = np.linalg.norm(positions[kept][:, None] - positions[kept][None], axis=2) + 9 * np.eye(40)
    to_kept = np.linalg.norm(positions[:, None] - positions[kept][None], axis=2).min(axis=1)
    assert apart.min() > 0.4 and np.quantile(to_kept, 0.95) < 1.0


def test_of_few_places_all_are_kept_and_of_a_crowd_the_surest():
    rng = np.random.default_rng(1)
    positions, scores = rng.uniform(0, 1, (9, 3)), rng.permutation(9).astype(np.float32)
    assert scores[covering_maxima(positions, scores, 9)].tolist() == list(range(8, -1, -1))
    same = np.zeros((9, 3))
    assert scores[covering_maxima(same, scores, 4)].tolist() == [8, 7, 6, 5]


def test_key_points_of_a_cloud_keep_what_belongs_to_them():
    rng = np.random.default_rng(1)
    cloud = CloudFeatures(
        unit_rows(rng, 50), rng.uniform(0, 1, 50).astype(np.float32), rng.uniform(0, 1, (50, 3)).astype(np.float32), np.arange(50)
    )
    found = scene_keypoints(cloud, 10)
    rows = [int(np.argmax((cloud.centers == place).all(axis=1))) for place in found.positions]
    assert len(found) == 10 and (np.diff(found.scores) <= 0).all()
    np.testing.assert_array_equal(found.features, cloud.features[rows])
    np.testing.assert_array_equal(found.scores, cloud.scores[rows])


def test_key_points_of_a_picture_are_surer_than_their_neighbours():
    scores = np.full((4, 6), 0.1, np.float32)
    scores[1, 4], scores[2, 1], scores[2, 2] = 0.8, 0.6, 0.5
    scores[0, 0], scores[3, 5] = 0.2, 0.3
    features = unit_rows(np.random.default_rng(0), 24).reshape(4, 6, -1)
    found = picture_keypoints(PictureFeatures(features, scores, height=40, width=120))
    # Cells are 20 by 10 pixels; (row 1, column 4) has its centre at (90, 15).  Flat regions have peaks of their own.
    assert found.positions[:2].tolist() == [[90.0, 15.0], [30.0, 25.0]]
    np.testing.assert_array_equal(found.features[0], features[1, 4])
    assert [30.0, 35.0] not in found.positions.tolist() and [50.0, 25.0] not in found.positions.tolist()
    assert len(picture_keypoints(PictureFeatures(features, scores, 40, 120), most=1)) == 1


@pytest.mark.errors
def test_key_points_have_as_many_rows_each():
    with pytest.raises(ShapeError, match="scores: expected 2 rows, got 3"):
        KeyPoints(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), np.zeros(3, np.float32))


def looped(asked: np.ndarray, held: np.ndarray, starts: list[int]) -> np.ndarray:
    best = np.full((len(asked), len(starts)), -1.0)
    for group, begin in enumerate(starts):
        end = starts[group + 1] if group + 1 < len(starts) else len(held)
        for query in range(len(asked)):
            best[query, group] = max([-1.0, *(float(asked[query] @ held[row]) for row in range(begin, end))])
    return best


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("starts", [[0, 4, 4, 9, 20, 20], [0, 0, 0, 5], [0], [0, 20], []])
def test_the_best_of_each_group_is_that_of_the_loop(chunk: int, starts: list[int], monkeypatch: pytest.MonkeyPatch):
    """Empty groups at the beginning, in between and at the end; groups larger than what is compared at once."""
    monkeypatch.setattr(likeness, "_CHUNK", chunk)
    rng = np.random.default_rng(len(starts))
    asked, held = unit_rows(rng, 5), unit_rows(rng, 20)
    found = best_in_each(asked, held, np.array(starts, dtype=np.int64))
    np.testing.assert_allclose(found, looped(asked, held, starts), atol=1e-6)


def test_likeness_weighs_by_score():
    rng = np.random.default_rng(3)
    asked, held, starts = key_points(rng, 6), unit_rows(rng, 9), [0, 4, 4]
    wanted = (asked.scores / asked.scores.sum()) @ looped(asked.features, held, starts)
    np.testing.assert_allclose(set_likeness(asked, held, np.array(starts)), wanted, atol=1e-6)
    assert set_likeness(asked.first(0), held, np.array(starts)).tolist() == [0, 0, 0]


def test_the_mean_vector_has_unit_length_and_nothing_has_none():
    mean = mean_vector(np.array([[1, 0], [0, 1]], np.float32), np.array([3, 1], np.float32))
    np.testing.assert_allclose(mean, np.array([3, 1]) / np.sqrt(10), atol=1e-6)
    assert mean_vector(np.zeros((0, 4), np.float32)).tolist() == [0, 0, 0, 0]
