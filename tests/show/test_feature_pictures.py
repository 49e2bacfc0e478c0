"""Features as colours of one basis."""

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.show.feature_pictures import FeatureRow, feature_sheet, principal_colors


def ramp(count: int = 101) -> np.ndarray:
    """Five numbers: the second varies most, then the fifth, then the first; the others stand still."""
    rows = np.full((count, 5), 0.5, dtype=np.float32)
    generator = np.random.Generator(np.random.PCG64(0))
    for column, width in ((1, 8.0), (4, 4.0), (0, 2.0)):
        rows[:, column] = width * generator.permutation(np.linspace(-1.0, 1.0, count))
    return rows


def test_the_first_three_axes_become_red_green_and_blue():
    colors = principal_colors(ramp(2001))
    assert np.allclose(np.abs(colors.axes).argmax(axis=0), [1, 4, 0])
    assert (np.take_along_axis(colors.axes, np.abs(colors.axes).argmax(axis=0)[None], axis=0) > 0.9).all(), "never turned around"
    middle = np.array([0.0, 0.0, 0.5, 0.5, 0.0], dtype=np.float32)
    assert np.abs(colors(middle).astype(int) - 128).max() <= 10
    bright, dark = middle.copy(), middle.copy()
    bright[1], dark[4] = 8.0, -4.0
    assert colors(bright)[0] == 255 and colors(dark)[1] == 0
    assert colors(np.stack([bright, dark]).reshape(1, 2, 5)).shape == (1, 2, 3)


def test_the_same_feature_has_the_same_colour_in_both_kinds_and_in_every_picture():
    generator = np.random.Generator(np.random.PCG64(1))
    first, second = (generator.standard_normal((6, 8, 7)).astype(np.float32) for _ in range(2))
    everywhere = np.ones((6, 8), dtype=bool)
    picture = np.full((24, 32, 3), 77, dtype=np.uint8)
    hole = everywhere.copy()
    hole[2, 3] = False
    sheet = feature_sheet([FeatureRow(picture, first, first, everywhere), FeatureRow(picture, second, second, hole)])
    assert sheet.shape == (18 + 180 + 4 + 180, 3 * 240 + 2 * 4, 3)
    lines = [sheet[18:198], sheet[202:382]]
    shown = [[line[:, left : left + 240] for left in (0, 244, 488)] for line in lines]
    for photograph, image, volume in shown:
        assert (photograph == 77).all()
        differs = (image != volume).any(axis=2)
        assert not differs.any() or (volume[differs] == (208, 211, 217)).all()
    grey = (shown[1][2] == (208, 211, 217)).all(axis=2)
    rows, columns = np.nonzero(grey)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (60, 90, 90, 120), "cell (2, 3) of 6 × 8"
    assert not (shown[0][2] == (208, 211, 217)).all(axis=2).any()


def test_a_picture_without_any_rendered_cell_is_shown_all_the_same():
    row = FeatureRow(
        np.zeros((480, 640, 3), np.uint8),
        np.eye(12, dtype=np.float32).reshape(3, 4, 12),
        np.zeros((3, 4, 12), np.float32),
        np.zeros((3, 4), bool),
    )
    sheet = feature_sheet([row])
    assert sheet.shape == (18 + 180, 728, 3) and (sheet[18:, 488:] == (208, 211, 217)).all()


@pytest.mark.errors
def test_nothing_to_show_is_refused():
    with pytest.raises(ConventionError, match="pictures: expected at least one, got none"):
        feature_sheet([])
    with pytest.raises(ConventionError, match="features: expected rows of at least three numbers"):
        principal_colors(np.zeros((4, 2), dtype=np.float32))
