"""Scores to classes: synonyms, thresholds, ties with the written-out formula; relevancy of a query."""

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.words import classification
from scenewise.parts.words.classification import class_probabilities, classify_probabilities, classify_scores, relevancy
from scenewise.scenes.vocabularies import Vocabulary

SEATS = Vocabulary(
    names=("wall", "seat", "table"),
    phrases=(("wall",), ("chair", "sofa"), ("table",)),
    templates=("{}",),
    colors_u8=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
)


def test_a_class_has_the_probability_of_its_best_phrase_among_all_phrases():
    # e^2 / (e^1 + e^0 + e^2 + e^0.5): the softmax runs over four phrases, and "seat" gets its second one's share, not the sum.
    scores = np.array([[0.1, 0.0, 0.2, 0.05]], dtype=np.float32)
    classes, confidence = classify_scores(scores, SEATS, 10.0)
    expected = np.exp(2.0) / (np.exp(1.0) + np.exp(0.0) + np.exp(2.0) + np.exp(0.5))
    assert classes.tolist() == [1] and classes.dtype == np.int32
    assert confidence[0] == pytest.approx(expected, abs=1e-6) and confidence.dtype == np.float32


def test_many_synonyms_do_not_win_by_their_number():
    scores = np.array([[0.30, 0.29, 0.29, 0.0]], dtype=np.float32)  # the sum of seat's two exceeds wall's one
    assert classify_scores(scores, SEATS, 10.0)[0].tolist() == [0]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_any_leading_shape_and_both_libraries(kind):
    scores = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    given = scores if kind == "numpy" else torch.from_numpy(scores)
    classes, confidence = classify_scores(given, SEATS, 3.0)
    exponents = np.exp(3.0 * scores.astype(np.float64))
    table = exponents / exponents.sum(-1, keepdims=True)
    grouped = np.stack([table[..., 0], table[..., 1:3].max(-1), table[..., 3]], axis=-1)
    np.testing.assert_array_equal(classes, grouped.argmax(-1))
    np.testing.assert_allclose(confidence, grouped.max(-1), atol=1e-6)
    np.testing.assert_allclose(class_probabilities(scores, SEATS, 3.0), grouped, atol=1e-6)


def test_chunks_do_not_change_the_answer(monkeypatch):
    scores = np.random.default_rng(1).normal(size=(1000, 4)).astype(np.float32)
    whole = classify_scores(scores, SEATS, 5.0, area_threshold=0.3)
    monkeypatch.setattr(classification, "_CHUNK_NUMBERS", 64)
    for one, other in zip(whole, classify_scores(scores, SEATS, 5.0, area_threshold=0.3)):
        np.testing.assert_array_equal(one, other)


def test_improbable_elements_become_background_or_unknown():
    scores = np.array([[1.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.11]], dtype=np.float32)
    unknown = classify_scores(scores, SEATS, 5.0, probability_threshold=0.5)
    assert unknown[0].tolist() == [0, -1] and unknown[1][1] == 0
    background = classify_scores(scores, SEATS, 5.0, probability_threshold=0.5, background=1)
    assert background[0].tolist() == [0, 1] and 0 < background[1][1] < 0.5


def test_small_classes_are_dropped_by_their_share_of_the_foreground():
    wall, chair, table = (3.0 * np.eye(4, dtype=np.float32)[i] for i in (0, 1, 3))
    table_then_chair = table + 0.5 * chair
    scores = np.stack([wall] * 90 + [chair] * 9 + [table_then_chair])
    assert classify_scores(scores, SEATS, 1.0, area_threshold=0.2, background=0)[0].tolist() == [0] * 90 + [1] * 10
    assert classify_scores(scores, SEATS, 1.0, area_threshold=0.05, background=0)[0].tolist() == [0] * 90 + [1] * 9 + [2]
    assert classify_scores(scores, SEATS, 1.0, area_threshold=0.05)[0].tolist() == [0] * 90 + [1] * 9 + [1]


def test_what_was_never_seen_stays_unknown_even_where_there_is_a_background():
    scores = np.full((1, 4), np.nan, dtype=np.float32)
    classes, confidence = classify_scores(scores, SEATS, 1.0, background=0)
    assert classes.tolist() == [-1] and confidence.tolist() == [0.0]
    assert classify_probabilities(np.zeros((1, 3), dtype=np.float32))[0].tolist() == [-1]


def test_probabilities_are_taken_as_they_are():
    classes, confidence = classify_probabilities(np.array([[0.2, 0.7, 0.1]], dtype=np.float32))
    assert classes.tolist() == [1] and confidence[0] == np.float32(0.7)


def test_relevancy_is_the_least_of_the_pairwise_softmaxes_of_the_best_phrase():
    rng = np.random.default_rng(2)
    features, text, canonical = (_unit(rng.normal(size=(n, 6))) for n in (50, 2, 3))
    features[7] = 0
    pairwise = np.array(
        [max(min(1 / (1 + np.exp(4.0 * (f @ c - f @ q))) for c in canonical) for q in text) for f in features.astype(np.float64)]
    )
    pairwise[7] = 0  # never seen
    np.testing.assert_allclose(relevancy(features, text, canonical, 4.0), pairwise, atol=1e-5)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.errors
def test_wrong_tables_are_refused():
    scores = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ShapeError, match="4 columns, one per phrase"):
        classify_scores(scores, SEATS, 1.0)
    with pytest.raises(ConventionError, match="a class from 0 to 2"):
        classify_probabilities(scores, background=3)
    with pytest.raises(ShapeError, match="canonical: expected at least one row"):
        relevancy(scores, scores, np.zeros((0, 3), dtype=np.float32), 1.0)
