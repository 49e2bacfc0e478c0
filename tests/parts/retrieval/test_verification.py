"""Poses from matches of which many are wrong: what is found is the pose they were made with."""

import numpy as np
import pytest
from tests.support.library_examples import key_points, true_and_false, turn

from scenewise.geometry.transforms import fit_similarity
from scenewise.parts.retrieval.keypoints import KeyPoints
from scenewise.parts.retrieval.verification import (
    METRE,
    Matches,
    Unit,
    mutual_matches,
    rigid_fits,
    scene_pose,
    similarity_fits,
)

NO_MATCHES = Matches(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def moved(points: KeyPoints, scale: float, rotation: np.ndarray, shift: np.ndarray, noise: float, seed: int = 5) -> KeyPoints:
    rng = np.random.default_rng(seed)
    places = scale * points.positions @ rotation.T + shift + noise * rng.standard_normal(points.positions.shape)
    return KeyPoints(places.astype(np.float32), points.features, points.scores)


# --- matches --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [1, 2, 3])
def test_matches_are_those_that_are_among_the_best_of_both(others: int):
    rng = np.random.default_rng(others)
    asked, held = key_points(rng, 15), key_points(rng, 11)
    cosines = asked.features @ held.features.T
    wanted = {
        (row, column)
        for row in range(15)
        for column in range(11)
        if column in np.argsort(-cosines[row])[:others] and row in np.argsort(-cosines[:, column])[:others]
    }
    found = mutual_matches(asked, held, others)
    assert set(zip(found.asked.tolist(), found.held.tolist())) == wanted and len(found) == len(wanted)
    np.testing.assert_array_equal(found.cosines, cosines[found.asked, found.held])
    assert (np.diff(found.cosines) <= 0).all()
    assert len(mutual_matches(asked.first(0), held)) == len(mutual_matches(asked, held.first(0))) == 0
    assert len(mutual_matches(asked.first(1), held.first(1), 5)) == 1


# --- scenes ---------------------------------------------------------------------------------------------------------------------

TURN, SHIFT = turn((0.1, -0.2, 1.0), 130), np.array([4.0, -7.0, 0.5])


def test_a_scene_is_laid_on_another_among_wrong_matches():
    rng = np.random.default_rng(1)
    asked = key_points(rng, 40)
    held = moved(asked, 1.0, TURN, SHIFT, 0.02)
    found = scene_pose(asked, held, true_and_false(40, 80, rng))
    assert found is not None and found.inliers >= 38 and (found.scale, found.metre, found.matches) == (1.0, 1.0, 120)
    np.testing.assert_allclose(found.held_from_asked[:3, :3], TURN, atol=0.02)
    np.testing.assert_allclose(found.held_from_asked[:3, 3], SHIFT, atol=0.08)
    assert np.linalg.det(found.held_from_asked[:3, :3]) == pytest.approx(1)
    other = scene_pose(held, asked, true_and_false(40, 80, np.random.default_rng(1)))
    assert other is not None
    np.testing.assert_allclose(other.held_from_asked @ found.held_from_asked, np.eye(4), atol=0.15)


@pytest.mark.parametrize("guess", [3.0, 1.4, 7.0], ids=["known", "guessed too small", "guessed too large"])
@pytest.mark.parametrize("arbitrary", ["held", "asked", "both"])
def test_the_scale_between_two_captures_is_found(arbitrary: str, guess: float):
    """One is three times as large as the other in its own units; a guess of the unit may be off."""
    rng = np.random.default_rng(2)
    metric = key_points(rng, 40)
    large = moved(metric, 3.0, TURN, SHIFT, 0.06)
    matches = true_and_false(40, 60, rng)
    unit = Unit(guess, is_metric=False)
    if arbitrary == "asked":
        found = scene_pose(large, metric, Matches(matches.held, matches.asked, matches.cosines), units=(unit, METRE))
        wanted, scale, metre = TURN.T / 3, 1 / 3, 1.0
        shift = -TURN.T @ SHIFT / 3
    else:
        own = METRE if arbitrary == "held" else Unit(1.0, is_metric=False)
        found = scene_pose(metric, large, matches, units=(own, unit))
        wanted, scale, metre, shift = 3 * TURN, 3.0, 3.0 if arbitrary == "held" else min(3.0, guess), SHIFT
    assert found is not None and found.inliers >= 36
    assert found.scale == pytest.approx(scale, rel=0.02) and found.metre == pytest.approx(metre, rel=0.02)
    np.testing.assert_allclose(found.held_from_asked[:3, :3], wanted, atol=0.08)
    np.testing.assert_allclose(found.held_from_asked[:3, 3], shift, atol=0.3)


def test_metric_captures_of_different_size_are_not_one_place():
    rng = np.random.default_rng(3)
    asked = key_points(rng, 40)
    held, matches = moved(asked, 3.0, TURN, SHIFT, 0.0), true_and_false(40, 20, rng)
    assert scene_pose(asked, held, matches) is None
    assert scene_pose(asked, held, matches, units=(METRE, Unit(3.0, is_metric=False))) is not None
    assert scene_pose(asked, held, matches, units=(METRE, Unit(0.5, is_metric=False))) is None  # beyond any guess


@pytest.mark.parametrize("units", [(METRE, METRE), (METRE, Unit(1.0, is_metric=False))])
def test_a_mirrored_scene_and_matches_by_chance_are_none(units: tuple[Unit, Unit]):
    rng = np.random.default_rng(4)
    asked = key_points(rng, 40)
    mirrored = KeyPoints(asked.positions * np.array([1, 1, -1], np.float32), asked.features, asked.scores)
    found = scene_pose(asked, mirrored, true_and_false(40, 0, rng), units=units)
    assert found is None or found.inliers < 20  # what lies near one level fits
    assert scene_pose(asked, key_points(rng, 40), true_and_false(40, 40, rng), units=units) is None
    assert scene_pose(asked, asked, NO_MATCHES, units=units) is None


def test_fits_are_those_of_one_set_at_a_time():
    rng = np.random.default_rng(6)
    first, noise = rng.standard_normal((3, 7, 3)), 0.1 * rng.standard_normal((3, 7, 3))
    second = 2.5 * first @ TURN.T + SHIFT + noise
    second[2] = first[2] * np.array([1, 1, -1.0]) + noise[2]  # mirrored: the best rotation is no reflection
    scales, turns, shifts = similarity_fits(first, second)
    for k in range(3):
        scale, rotation, shift = fit_similarity(first[k], second[k])
        assert scales[k] == pytest.approx(scale)
        np.testing.assert_allclose(turns[k], rotation, atol=1e-9)
        np.testing.assert_allclose(shifts[k], shift, atol=1e-9)
    rigid_turns, rigid_shifts = rigid_fits(first, second)
    np.testing.assert_allclose(rigid_turns, turns, atol=1e-9)  # the best rotation does not depend on the scale
    np.testing.assert_allclose(rigid_shifts, second.mean(axis=1) - np.einsum("kij,kj->ki", turns, first.mean(axis=1)), atol=1e-9)
