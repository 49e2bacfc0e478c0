"""Vote histograms and mean features over views."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.lifting import (
    VoteSums,
    mean_features,
    pair_histogram,
    pair_labels,
    sample_field,
    vote_histogram,
    votes,
)
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.label_fields import LabelField


def table(rows: list[tuple[int, int, int, int]], num_elements: int, num_views: int) -> Correspondence:
    """Rows (element, view, row, column)."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Correspondence(columns[0], *(c.astype(np.int32) for c in columns[1:]), num_elements, num_views)


def random_table(rng: np.random.Generator, num_elements: int, num_views: int, height: int, width: int) -> Correspondence:
    parts = []
    for view in range(num_views):
        element = np.flatnonzero(rng.random(num_elements) < 0.6)
        size = len(element)
        parts.append(np.stack([element, np.full(size, view), rng.integers(height, size=size), rng.integers(width, size=size)]))
    rows = np.concatenate(parts, axis=1)
    return Correspondence(rows[0], *(c.astype(np.int32) for c in rows[1:]), num_elements, num_views)


class TestSampling:
    def test_cell_centres_and_between_them(self):
        """A 2×3 grid over a 4×12 image: cells of 2×4 pixels, centres at v = 1, 3 and u = 2, 6, 10.

        Pixel (1, 4) has its centre at (1.5, 4.5): a quarter of the way down, 0.625 of the way from column 0 to 1.
        """
        values = np.array([[[0.0], [10.0], [20.0]], [[100.0], [110.0], [120.0]]], dtype=np.float32)
        field = DenseField(values, 4, 12)
        sampled = sample_field(field, np.array([1, 0, 3, 1]), np.array([4, 0, 11, 5]))
        np.testing.assert_allclose(sampled[:, 0], [25 + 6.25, 0.0, 120.0, 25 + 8.75], rtol=1e-6)

    def test_a_field_as_large_as_its_image_is_looked_up(self):
        values = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
        rows, columns = np.divmod(np.arange(35), 7)
        np.testing.assert_allclose(sample_field(DenseField(values, 5, 7), rows, columns), values.reshape(-1, 3), rtol=1e-6)


class TestHistogram:
    def test_counts_by_hand(self):
        """Element 0: classes 2, 2, 1; element 1: only unknown; element 2: a tie of 0 and 3, decided by confidence."""
        rows = [(0, 0, 0, 0), (1, 0, 0, 1), (2, 0, 0, 2), (0, 1, 0, 0), (2, 1, 0, 2), (0, 2, 1, 1)]
        maps = [np.array([[2, -1, 0], [9, 9, 9]]), np.array([[2, -1, 3], [9, 9, 9]]), np.array([[9, 9, 9], [9, 1, 9]])]
        sure = [np.full((2, 3), 0.25, np.float32), np.full((2, 3), 0.5, np.float32), np.full((2, 3), 1.0, np.float32)]
        found = vote_histogram(table(rows, 4, 3), lambda v: maps[v], 10, weights=lambda v: sure[v])
        assert found.offsets.tolist() == [0, 2, 2, 4, 4]
        assert found.class_ids.tolist() == [1, 2, 0, 3] and found.votes.tolist() == [1, 2, 1, 1]
        assert found.confidence.tolist() == [1.0, 0.75, 0.25, 0.5]
        labels, n_views = found.winner()
        assert labels.class_ids.tolist() == [2, -1, 3, -1] and n_views.tolist() == [3, 0, 2, 0]
        np.testing.assert_allclose(labels.confidence, [2 / 3, 0, 0.5, 0], rtol=1e-6)
        by_confidence, _ = found.winner("confidence")
        assert by_confidence.class_ids.tolist() == [1, -1, 3, -1]

    def test_a_full_tie_goes_to_the_lowest_class(self):
        rows = [(0, 0, 0, 0), (0, 1, 0, 0)]
        found = vote_histogram(table(rows, 1, 2), lambda v: np.array([[5 - 3 * v]]), 6)
        assert found.winner()[0].class_ids.tolist() == [2]

    def test_probabilities_of_any_grid_are_soft_votes(self):
        rng = np.random.default_rng(1)
        links = random_table(rng, 50, 4, 6, 8)
        fields = [DenseField(rng.dirichlet(np.ones(5), (3, 4)).astype(np.float32), 6, 8, "probabilities") for _ in range(4)]
        found = vote_histogram(links, lambda v: fields[v] if v != 2 else None, 5)
        expected = np.zeros((50, 5))
        for e, v, r, c in zip(links.element, links.view, links.row, links.column):
            if v != 2:
                expected[e] += sample_field(fields[v], np.array([r]), np.array([c]))[0]
        np.testing.assert_allclose(found.dense(), expected, atol=1e-5)
        assert found.winner()[0].class_ids.tolist() == np.where(expected.any(1), expected.argmax(1), -1).tolist()

    def test_a_teacher_may_change_its_kind_of_answer(self):
        """Hard labels of one view, probabilities of another, in one table."""
        rows = [(0, 0, 0, 0), (0, 1, 0, 0), (0, 2, 0, 0)]
        answers = [
            np.array([[1]]),
            np.array([[[0.25, 0.5, 0.25]]], np.float32),
            LabelField(np.array([[2]], np.int32), np.array([[0.5]], np.float32)),
        ]
        found = vote_histogram(table(rows, 1, 3), lambda v: answers[v], 3)
        np.testing.assert_allclose(found.dense(), [[0.25, 1.5, 1.25]])
        np.testing.assert_allclose(found.confidence, [0.25, 1.5, 0.75])
        assert found.n_views.tolist() == [3]

    def test_a_zero_confidence_is_kept_beside_its_vote(self):
        sums = VoteSums(2, 3)
        sums.add(np.array([0, 1]), np.array([2, 2]), np.array([0.0, 1.0], np.float32))
        found = sums.histogram()
        assert found.votes.tolist() == [1, 1] and found.confidence.tolist() == [0.0, 1.0]

    @settings(deadline=None, max_examples=25, derandomize=True)
    @given(seed=st.integers(0, 10_000), pending=st.sampled_from([1, 7, 10_000]))
    def test_equals_a_full_table_however_it_is_merged(self, seed: int, pending: int):
        rng = np.random.default_rng(seed)
        links = random_table(rng, 30, 5, 4, 4)
        maps = rng.integers(-1, 6, (5, 4, 4))
        before = votes._PENDING
        votes._PENDING = pending
        try:
            found = vote_histogram(links, lambda v: maps[v], 6)
        finally:
            votes._PENDING = before
        expected = np.zeros((30, 6))
        said = maps[links.view, links.row, links.column]
        np.add.at(expected, (links.element[said >= 0], said[said >= 0]), 1)
        np.testing.assert_array_equal(found.dense(), expected)
        np.testing.assert_array_equal(found.n_views, expected.sum(1))
        assert (np.diff(found.offsets) == (expected > 0).sum(1)).all()
        again = pair_histogram(links, pair_labels(links, lambda v: maps[v]), 6)
        np.testing.assert_array_equal(again.dense(), expected)

    @pytest.mark.errors
    def test_what_is_refused(self):
        links = table([(0, 0, 3, 3)], 1, 1)
        with pytest.raises(ShapeError, match="view 0"):
            vote_histogram(links, lambda v: np.zeros((2, 2), int), 3)
        with pytest.raises(ConventionError, match="class ids"):
            vote_histogram(links, lambda v: np.full((4, 4), 3), 3)
        with pytest.raises(ConventionError, match="classify them first"):
            vote_histogram(links, lambda v: DenseField(np.zeros((2, 2, 3), np.float32), 4, 4), 3)
        with pytest.raises(ShapeError, match="3 columns"):
            vote_histogram(links, lambda v: np.zeros((4, 4, 2), np.float32), 3)
        with pytest.raises(ConventionError, match="NaN"):
            vote_histogram(links, lambda v: np.full((4, 4, 3), np.nan, np.float32), 3)


class TestFeatures:
    def test_mean_over_the_views_that_have_features(self):
        rng = np.random.default_rng(2)
        links = random_table(rng, 40, 4, 6, 8)
        fields = [DenseField(rng.normal(size=(2, 3, 5)).astype(np.float32), 6, 8) for _ in range(4)]
        features, counts = mean_features(links, lambda v: fields[v] if v != 1 else None)
        expected = np.zeros((40, 5))
        number = np.zeros(40, int)
        for e, v, r, c in zip(links.element, links.view, links.row, links.column):
            if v != 1:
                expected[e] += sample_field(fields[v], np.array([r]), np.array([c]))[0]
                number[e] += 1
        np.testing.assert_array_equal(counts, number)
        np.testing.assert_allclose(features, expected / np.maximum(number, 1)[:, None], atol=1e-6)
        unit, _ = mean_features(links, lambda v: fields[v] if v != 1 else None, unit=True, dtype="float16")
        assert unit.dtype == np.float16
        np.testing.assert_allclose(np.linalg.norm(unit.astype(float), axis=1), counts > 0, atol=1e-3)

    def test_without_features(self):
        links = table([(0, 0, 0, 0)], 1, 1)
        with pytest.raises(ConventionError, match="at least one view"):
            mean_features(links, lambda v: None)
        sizes = [3, 4]
        with pytest.raises(ShapeError, match="3 channels"):
            mean_features(
                table([(0, 0, 0, 0), (0, 1, 0, 0)], 1, 2), lambda v: DenseField(np.ones((1, 1, sizes[v]), np.float32), 2, 2)
            )
