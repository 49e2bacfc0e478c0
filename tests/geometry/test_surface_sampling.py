"""Points on triangles: on the surface, evenly spread, the same for the same seed."""

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.geometry.surface_sampling import points_on_triangles

# A unit square in the plane x = 2, split unevenly into three triangles, and a triangle of no area.
VERTICES = np.array([[2.0, 0, 0], [2, 1, 0], [2, 1, 1], [2, 0, 1], [2, 0.25, 0], [2, 0.5, 0]])
FACES = np.array([[0, 4, 3], [4, 1, 2], [4, 2, 3], [4, 5, 1]])


def test_points_are_spread_evenly_over_a_square():
    points = points_on_triangles(VERTICES, FACES, 20_000, np.random.default_rng(1))
    assert points.shape == (20_000, 3) and np.allclose(points[:, 0], 2)
    counts = np.histogram2d(points[:, 1], points[:, 2], bins=4, range=[[0, 1], [0, 1]])[0]
    assert counts.sum() == 20_000  # none is beyond the square
    assert np.abs(counts / 1250 - 1).max() < 0.12  # four standard deviations of a cell with 1,250 points


def test_corners_are_not_crowded():
    """In the triangle (0,0), (1,0), (0,1) a share of t² lies within a corner's copy of size t."""
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points = points_on_triangles(triangle, np.array([[0, 1, 2]]), 20_000, np.random.default_rng(2))[:, :2]
    near = [points.sum(axis=1) < 0.5, points[:, 0] > 0.5, points[:, 1] > 0.5]
    assert np.allclose([corner.mean() for corner in near], 0.25, atol=0.012)


def test_the_seed_decides():
    first, again, other = (points_on_triangles(VERTICES, FACES, 9, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("faces", [FACES[3:], FACES[:0]])
def test_no_surface(faces: np.ndarray):
    with pytest.raises(ConventionError, match="a surface with an area"):
        points_on_triangles(VERTICES, faces, 3, np.random.default_rng(0))
