"""Points on triangles."""

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.errors import ConventionError


def points_on_triangles(
    vertices: Float64[np.ndarray, "n 3"], faces: Int64[np.ndarray, "m 3"], count: int, generator: np.random.Generator
) -> Float64[np.ndarray, "count 3"]:
    """Points spread evenly at random over the surface of triangles.

    A triangle is drawn with a probability proportional to its area; in it p = (1 − √a)·A + √a·(1 − b)·B + √a·b·C with a, b
    uniform in [0, 1).  Source: Osada et al. 2002, "Shape distributions", section 4.1.

    Args:
        vertices: positions, any unit.
        faces: indices of corners.
        count: of the points.
        generator: of the randomness.

    Raises:
        ConventionError: the triangles have no area.
    """
    corners = vertices[faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    ends = np.cumsum(np.sqrt((crossed * crossed).sum(axis=1)))
    if not len(ends) or not ends[-1] > 0:
        raise ConventionError("triangles", expected="a surface with an area", got=f"{len(faces)} triangles without")
    chosen = np.minimum(np.searchsorted(ends, generator.random(count) * ends[-1], side="right"), len(ends) - 1)
    root, share = np.sqrt(generator.random((count, 1))), generator.random((count, 1))
    first, second, third = corners[chosen].transpose(1, 0, 2)
    spread: Float64[np.ndarray, "count 3"] = (1 - root) * first + root * (1 - share) * second + root * share * third
    return spread
