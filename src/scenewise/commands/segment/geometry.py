"""What a teacher's 3D branch says of points and splats, without any picture of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.commands.segment.element_sets import ElementSet
from scenewise.errors import ConventionError
from scenewise.parts.scans.bare_scans import axes_around
from scenewise.parts.words.lifted_views import Means
from scenewise.teachers.protocol import PointTeacher


@dataclass(frozen=True)
class Surroundings:
    """How elements lie in their world.

    Attributes:
        up_in_world: None where nobody knows; +Z then counts as up.
        world_units_per_metre: of the world.
    """

    up_in_world: Float64[np.ndarray, "3"] | None
    world_units_per_metre: float


def geometry_means(elements: ElementSet, dim: int, teacher: PointTeacher, surroundings: Surroundings) -> Means:
    """The feature of each element by the 3D branch, which counts as one view; of splats only the surface is known.

    Args:
        elements: points or splats.
        dim: of the teacher's features.
        teacher: with a 3D branch.
        surroundings: of the scene.

    Raises:
        ConventionError: points without colours, or not at finite places.
    """
    rows, cloud = elements.surface()
    values, weight = np.zeros((len(elements.elements), dim), np.float32), np.zeros(len(elements.elements), np.float32)
    if not len(rows):
        return values, weight
    if cloud.colors_u8 is None:
        raise ConventionError(
            "points",
            expected="colours, which a 3D branch looks at",
            got="none",
            fix="colour them, or let photographs name them: --points-from pictures, with --capture",
        )
    axes = axes_around(cloud.points_in_world, surroundings.up_in_world, surroundings.world_units_per_metre)
    values[rows] = teacher.features_of_points(axes(cloud.points_in_world), cloud.colors_u8)
    weight[rows] = 1.0
    return values, weight
