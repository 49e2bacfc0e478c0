"""Bundle adjustment from wrong poses: what is found again, what is dropped, what repeats."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.bundles import LONG, WIDE, disturbed, true_bundle

from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.transforms import fit_similarity
from scenewise.geometry.view_overlap import camera_centers
from scenewise.parts.points.multi_view import Observations
from scenewise.parts.poses.refinement.bundle import (
    Bundle,
    BundleSettings,
    adjust,
    choose_tracks,
    errors_of,
    free_lens,
    limits_px,
    straightened,
)

pytest.importorskip("pycolmap", reason="needs the extra sfm")


def noisy(bundle: Bundle, sigma_px: float, wrong: float, seed: int = 1) -> tuple[Bundle, np.ndarray]:
    """Noise on all sightings and a share of them anywhere; and which ones those are."""
    rng = np.random.default_rng(seed)
    pixels = bundle.observations.pixels + rng.normal(0, sigma_px, bundle.observations.pixels.shape)
    strays = rng.random(len(pixels)) < wrong
    pixels[strays] = rng.uniform([0, 0], [640, 480], (int(strays.sum()), 2))
    return replace(bundle, observations=replace(bundle.observations, pixels=pixels)), strays


def errors_to(found: Bundle, truth: Bundle) -> tuple[float, float]:
    """Largest distance between centres (units of the scene) and largest angle (degrees), after a similarity."""
    mine, theirs = camera_centers(found.camera_from_local), camera_centers(truth.camera_from_local)
    scale, rotation, offset = fit_similarity(mine, theirs)
    shift = np.linalg.norm(scale * mine @ rotation.T + offset - theirs, axis=1)
    change = found.camera_from_local[:, :3, :3] @ rotation.T @ np.swapaxes(truth.camera_from_local[:, :3, :3], 1, 2)
    angle = np.arccos(np.clip((np.trace(change, axis1=1, axis2=2) - 1) / 2, -1, 1))
    return float(shift.max()), float(np.rad2deg(angle.max()))


def test_poses_focal_lengths_and_distortion_come_back() -> None:
    truth, _ = true_bundle()
    given, strays = noisy(disturbed(truth, shift=0.02, tilt_deg=0.7, focal=0.1), 0.2, 0.1)
    assert float(np.median(errors_of(given))) > 4
    found = adjust(given, BundleSettings(), pixel_scale=1.0)
    assert found.adjusted.all()
    shift, angle = errors_to(found.bundle, truth)
    assert shift < 0.002 and angle < 0.05
    for lens, true in zip(found.bundle.lenses, (WIDE, LONG)):
        np.testing.assert_allclose(lens.K, true.K, rtol=0.003)
        np.testing.assert_allclose(lens.extra, true.extra, atol=0.012)
    assert found.kept[~strays].mean() > 0.9 and found.kept[strays].mean() < 0.05


def test_the_same_input_gives_the_same_bits() -> None:
    truth, _ = true_bundle(8, 150)
    given, _ = noisy(disturbed(truth, shift=0.01, tilt_deg=0.5, focal=0.05), 0.3, 0.05)
    one, two = (adjust(given, BundleSettings(), pixel_scale=1.0) for _ in range(2))
    np.testing.assert_array_equal(one.bundle.camera_from_local, two.bundle.camera_from_local)
    assert one.bundle.lenses == two.bundle.lenses
    np.testing.assert_array_equal(one.points_in_local, two.points_in_local)


def test_a_view_that_shares_nothing_keeps_its_pose() -> None:
    truth, _ = true_bundle(10, 200)
    given = disturbed(truth, shift=0.01, tilt_deg=0.5, focal=0.0)
    given, _ = noisy(given, 0.2, 0.0)
    rng = np.random.default_rng(5)
    lost = given.observations.view == 4
    pixels = given.observations.pixels.copy()
    pixels[lost] = rng.uniform([0, 0], [640, 480], (int(lost.sum()), 2))
    given = replace(given, observations=replace(given.observations, pixels=pixels))
    found = adjust(given, BundleSettings(), pixel_scale=1.0)
    assert found.adjusted.tolist() == [view != 4 for view in range(10)]


def test_straightening_is_the_inverse_of_the_lens() -> None:
    """By hand: a pixel at the ray (0.5, −0.25) through each lens lies where a pinhole of the same K has that ray."""
    rays = np.array([[0.5, -0.25]])
    r2 = 0.3125
    radial = 1 - 0.06 * r2
    wide = [400 * 0.5 * radial + 310, 400 * -0.25 * radial + 230]
    radial = 1 + 0.04 * r2
    x = 0.5 * radial + 2 * 0.001 * 0.5 * -0.25 - 0.002 * (r2 + 2 * 0.25)
    y = -0.25 * radial + 2 * -0.002 * 0.5 * -0.25 + 0.001 * (r2 + 2 * 0.0625)
    long = [620 * x + 330, 600 * y + 250]
    seen = Observations(np.array([0, 0]), np.array([0, 1]), np.array([wide, long]))
    straight, K = straightened(Bundle((WIDE, LONG), np.array([0, 1]), np.tile(np.eye(4), (2, 1, 1)), seen))
    np.testing.assert_allclose(straight.pixels, [[510, 130], [640, 100]], atol=1e-6)
    np.testing.assert_allclose(straight.pixels[0], WIDE.K[:2, :2] @ rays[0] + WIDE.K[:2, 2])
    np.testing.assert_array_equal(K[1], LONG.K)


def test_lenses_are_freed() -> None:
    square = LensCamera("PINHOLE", (500.0, 502.0, 320.0, 240.0), 640, 480)
    assert free_lens(square).model == "SIMPLE_RADIAL" and free_lens(square).params[0] == pytest.approx(501.0, rel=1e-5)
    oblong = LensCamera("PINHOLE", (500.0, 540.0, 320.0, 240.0), 640, 480)
    assert free_lens(oblong) == LensCamera("OPENCV", (500.0, 540.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0), 640, 480)
    assert free_lens(LONG) is LONG


def test_every_view_gets_its_share_of_tracks() -> None:
    truth, _ = true_bundle()
    seen = truth.observations
    chosen = choose_tracks(seen, 18, BundleSettings(per_view=30))
    have = np.bincount(seen.view[chosen], minlength=18)
    assert have.min() >= 30 and chosen.mean() < 0.6
    np.testing.assert_array_equal(np.bincount(seen.point[chosen], minlength=1) >= 3, np.bincount(seen.point[chosen]) > 0)


def test_limits_fall_to_the_last() -> None:
    assert limits_px(40.0, BundleSettings(), 1.0) == pytest.approx([40, 40 / 3, 40 / 9, 3])
    assert limits_px(1.0, BundleSettings(), 2.0) == pytest.approx([12, 6])
