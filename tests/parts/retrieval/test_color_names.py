"""Colours of surfaces are named whatever light they are in."""

import numpy as np
import pytest

from scenewise.parts.graphs.phrases import COLORS
from scenewise.parts.retrieval.color_names import COLOR_NAMES, name_shares, white_of
from scenewise.scenes.class_colors import linear_from_srgb


def lit(srgb: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Under another light, as sRGB bytes."""
    linear = np.clip(linear_from_srgb(srgb) * light, 0, 1)
    return np.round(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(np.uint8)


@pytest.mark.parametrize("light", [(1.0, 1.0, 1.0), (0.6, 0.5, 0.33), (0.3, 0.34, 0.4)], ids=["white", "warm", "dim and cold"])
def test_every_colour_has_its_own_name_in_any_light(light: tuple[float, float, float]):
    colors = lit(np.array(list(COLORS.values())), np.array(light))
    scene = np.concatenate([colors, np.tile(colors[COLOR_NAMES.index("white")], (4, 1))])
    shares = name_shares(colors / 255.0, white_of(scene))
    assert [COLOR_NAMES[index] for index in shares.argmax(axis=1)] == list(COLOR_NAMES)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_between_two_colours_both_have_a_share():
    red, orange = (np.array(COLORS[name]) for name in ("red", "orange"))
    shares = name_shares(((red + orange) / 2)[None], np.full(3, 0.9))[0]
    assert {COLOR_NAMES[index] for index in np.argsort(-shares)[:2]} == {"red", "orange"} and shares[0] > 0.05 < shares[1]


def test_nothing_seen_is_taken_for_white_light():
    np.testing.assert_array_equal(white_of(np.zeros((0, 3), np.uint8)), 1)
    assert np.isfinite(name_shares(np.zeros((2, 3)), white_of(np.zeros((5, 3), np.uint8)))).all()
