"""Segments as fine as the points allow."""

import numpy as np
import pytest

from scenewise.parts.segments.segment_settings import compact_segments, smooth_segments


def grid(spacing: float) -> np.ndarray:
    side = np.arange(30) * spacing
    return np.stack([*np.meshgrid(side, side), np.zeros((30, 30))], axis=-1).reshape(-1, 3)


@pytest.mark.parametrize(("spacing", "fewest"), [(0.02, 20), (0.03, 20), (0.045, 9), (0.2, 5)])
def test_sparse_clouds_have_smaller_segments(spacing, fewest):
    assert smooth_segments(grid(spacing), 1.0, colored=True).min_size == fewest
    assert smooth_segments(grid(50 * spacing), 50.0, colored=True).min_size == fewest  # in world units


def test_colour_counts_only_where_there_is_any():
    assert smooth_segments(grid(0.02), 1.0, colored=True).color_weight > 0
    assert smooth_segments(grid(0.02), 1.0, colored=False).color_weight == 0


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((1, 3)), np.zeros((9, 3))], ids=["none", "one", "equal"])
def test_clouds_without_a_spacing(points):
    assert smooth_segments(points, 1.0, colored=False).min_size == 20


@pytest.mark.parametrize(
    ("spacing", "voxel", "seeds"), [(0.02, 0.05, 0.5), (0.08, 0.08, 0.5), (0.3, 0.3, 0.75)], ids=["dense", "room", "sparse"]
)
def test_voxels_are_as_wide_as_points_are_apart(spacing, voxel, seeds):
    settings = compact_segments(grid(spacing), 1.0)
    assert settings.voxel_size == pytest.approx(voxel) and settings.seed_spacing == pytest.approx(seeds)
    assert compact_segments(grid(50 * spacing), 50.0).voxel_size == pytest.approx(voxel)
