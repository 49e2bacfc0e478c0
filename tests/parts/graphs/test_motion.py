"""How a thing came from one place to another, and what the other capture shows of where it was."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.support.observed_graphs import CHAIR, PIECES, observed

from scenewise.geometry.boxes import OrientedBox
from scenewise.geometry.transforms import transform_points
from scenewise.parts.graphs.evidence import Witness
from scenewise.parts.graphs.motion import Surface, fitted_motion, overlap, rotation_about_up, upright_fit
from scenewise.parts.graphs.observed import box_surface, thinned
from scenewise.scenes.class_colors import linear_from_srgb


def everywhere(points: np.ndarray) -> np.ndarray:
    return np.ones(len(points), dtype=bool)


def surface(points: np.ndarray) -> Surface:
    return Surface(points, 1.0, everywhere)


@pytest.mark.parametrize("turn_deg", [25.0, -140.0, 180.0])
def test_a_motion_is_found_again(turn_deg: float) -> None:
    before = CHAIR.points()
    after = replace(CHAIR, at=(2.2, 0.4), yaw=CHAIR.yaw + turn_deg, bottom=0.1).points()
    motion = fitted_motion(surface(before), surface(after))
    assert math.degrees(math.remainder(motion.turn - math.radians(turn_deg), 2 * math.pi)) == pytest.approx(0.0, abs=2.0)
    middle = surface(before).middle
    turned = rotation_about_up(math.radians(turn_deg)) @ (middle - np.array([*CHAIR.at, 0.0])) + np.array([2.2, 0.4, 0.1])
    assert motion.distance == pytest.approx(math.dist(middle, turned), abs=0.02) and motion.overlap > 0.95
    np.testing.assert_allclose(transform_points(motion.after_from_before, before), after, atol=0.03)


def test_of_equal_turns_the_smallest_is_taken() -> None:
    box = OrientedBox(np.array([1.0, 1.0, 0.5]), np.array([0.6, 0.6, 1.0]), np.eye(3))
    turned = OrientedBox(box.center_in_world, box.size, rotation_about_up(math.radians(80.0)))
    motion = fitted_motion(surface(box_surface(box)), surface(box_surface(turned)))
    assert math.degrees(motion.turn) == pytest.approx(-10.0, abs=4.0)


def test_the_closed_form_is_exact_for_a_turn_and_a_shift() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(20, 3))
    true = np.eye(4)
    true[:3, :3], true[:3, 3] = rotation_about_up(0.4), [1.0, -2.0, 0.5]
    np.testing.assert_allclose(upright_fit(points, transform_points(true, points)), true, atol=1e-12)


def test_overlap_counts_only_what_could_be_seen() -> None:
    whole = CHAIR.points()
    half = whole[whole[:, 0] > CHAIR.at[0]]
    full, part = surface(whole), surface(half)
    assert overlap(full, full) == pytest.approx(1.0)
    assert 0.5 < overlap(full, part) < 0.8
    hidden = Surface(whole, 1.0, lambda points: points[:, 0] > CHAIR.at[0])
    assert overlap(hidden, part) > 0.93
    assert overlap(full, surface(whole + 5.0)) == 0.0


def test_thinned_points_are_the_means_of_cells() -> None:
    points = np.array([[0.01, 0.01, 0.01], [0.03, 0.01, 0.01], [-0.01, 0.0, 0.0], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(thinned(points, 0.1), [[-0.01, 0.0, 0.0], [0.02, 0.01, 0.01], [0.5, 0.5, 0.5]])
    assert thinned(np.zeros((0, 3)), 0.1).shape == (0, 3)


def test_free_space_is_told_from_surfaces_and_from_what_nobody_saw() -> None:
    witness = Witness(observed(PIECES[1:]), 1.0)
    gone = witness.about(thinned(CHAIR.points(), 0.03))
    assert gone.freed > 0.75 and gone.known > 0.9 and not gone.is_flat
    there = witness.about(thinned(PIECES[1].points(), 0.03))
    assert there.freed == 0.0 and there.known == pytest.approx(1.0)
    behind_a_wall = witness.about(CHAIR.points() + np.array([0.0, -3.0, 0.0]))
    assert behind_a_wall.known == 0.0 and behind_a_wall.freed == 0.0
    on_the_wall = np.stack([np.linspace(1, 2, 50), np.full(50, 0.02), np.linspace(1, 2, 50)], axis=1)
    assert witness.about(on_the_wall).is_flat


def test_colours_of_a_place_are_compared_under_one_light() -> None:
    before, after = observed(PIECES), observed(PIECES, light=0.5)
    factor = linear_from_srgb(np.full(3, 0.4)) / linear_from_srgb(np.full(3, 0.8))
    same, naive = (Witness(after, 1.0).recolored(before, 10, each) for each in (factor, np.ones(3)))
    assert same is not None and naive is not None and same < 0.03 < 0.1 < naive
    assert Witness(replace(after, colors=None), 1.0).recolored(before, 10, factor) is None
