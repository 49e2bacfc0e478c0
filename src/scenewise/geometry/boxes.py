"""Boxes around points: along the axes of the world, and upright but turned to fit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError

Points = Float64[np.ndarray, "n 3"]
_TRIANGLE = 3
_MEASURED = 20_000  # points that decide which way a trimmed box turns


@dataclass(frozen=True)
class OrientedBox:
    """A box in any pose.

    Attributes:
        center_in_world: its middle.
        size: full lengths along its own x, y, z.
        world_from_box: rotation whose columns are its axes in the world.
    """

    center_in_world: Float64[np.ndarray, "3"]
    size: Float64[np.ndarray, "3"]
    world_from_box: Float64[np.ndarray, "3 3"]

    @property
    def corners_in_world(self) -> Float64[np.ndarray, "8 3"]:
        """All corners; x changes slowest, z fastest."""
        signs = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5], indexing="ij"), axis=-1).reshape(8, 3)
        return self.center_in_world + (signs * self.size) @ self.world_from_box.T

    @property
    def edges_in_world(self) -> Float64[np.ndarray, "12 2 3"]:
        """Both ends of all edges; the four along z come first, then those along y and x."""
        steps = (1, 2, 4)  # from a corner to its neighbour along z, y, x
        ends = [(corner, corner + step) for step in steps for corner in range(8) if not corner & step]
        return self.corners_in_world[np.array(ends)]


def axis_aligned_box(points: Points, trim: float = 0.0) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Lowest and highest coordinates along the world's axes.

    Args:
        points: at least one.
        trim: share of the points that may stick out at each side of each axis.

    Raises:
        ConventionError: no points.
    """
    _require_points(points)
    low, high = np.quantile(points, [trim, 1.0 - trim], axis=0)
    return low, high


def upright_box(points: Points, up_in_world: Float64[np.ndarray, "3"], trim: float = 0.0) -> OrientedBox:
    """The box of smallest floor area among those that stand upright.

    One side of it lies along an edge of the convex hull of the points seen from above (Freeman and Shapira 1975).  Its x axis is
    the longer horizontal one, z is up.

    Args:
        points: at least one.
        up_in_world: unit vector.
        trim: as in :func:`axis_aligned_box`, along the box's own axes.

    Raises:
        ConventionError: no points.
    """
    _require_points(points)
    level = np.eye(3)[int(np.abs(up_in_world).argmin())]
    first = np.cross(up_in_world, level)
    first /= np.linalg.norm(first)
    second = np.cross(up_in_world, first)
    middle = points.mean(axis=0)
    plan = (points - middle) @ np.stack([first, second], axis=1)
    outline = _outline(plan)
    along = _edge_directions(outline, plan)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    measured = outline if trim == 0.0 and outline is not None else plan[:: max(1, len(plan) // _MEASURED)]
    length, width = (
        np.subtract(*np.quantile(measured @ direction.T, [1.0 - trim, trim], axis=0)) for direction in (along, across)
    )
    best = int((length * width).argmin())
    x = along[best] if length[best] >= width[best] else across[best]
    x_in_world = x[0] * first + x[1] * second
    if x_in_world[np.abs(x_in_world).argmax()] < 0:  # of the two equal choices, the one that points along a world axis
        x_in_world = -x_in_world
    rotation = np.stack([x_in_world, np.cross(up_in_world, x_in_world), up_in_world], axis=1)
    low, high = np.quantile((points - middle) @ rotation, [trim, 1.0 - trim], axis=0)
    return OrientedBox(middle + rotation @ ((low + high) / 2), high - low, rotation)


def box_iou(
    first_low: Float64[np.ndarray, "3"],
    first_high: Float64[np.ndarray, "3"],
    second_low: Float64[np.ndarray, "3"],
    second_high: Float64[np.ndarray, "3"],
) -> float:
    """Intersection over union of the volumes of two boxes along the world's axes; 0 where both are flat."""
    shared = float(np.prod(np.maximum(np.minimum(first_high, second_high) - np.maximum(first_low, second_low), 0.0)))
    union = float(np.prod(first_high - first_low) + np.prod(second_high - second_low)) - shared
    return shared / union if union > 0 else 0.0


def _require_points(points: Points) -> None:
    if not len(points):
        raise ConventionError("points of a box", expected="at least one", got="none")


def _outline(plan: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "corners 2"] | None:
    """The corners of the convex hull in order, or None where all points lie on one line."""
    from scipy.spatial import ConvexHull, QhullError

    if len(plan) < _TRIANGLE:
        return None
    try:
        return np.ascontiguousarray(plan[ConvexHull(plan).vertices])
    except QhullError:
        return None


def _edge_directions(
    outline: Float64[np.ndarray, "corners 2"] | None, plan: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "edges 2"]:
    """Unit vectors along the edges of the hull; of points on a line, along it."""
    if outline is None:
        return np.linalg.eigh(plan.T @ plan)[1][:, -1][None]
    steps = np.roll(outline, -1, axis=0) - outline
    return np.asarray(steps / np.linalg.norm(steps, axis=1, keepdims=True))
