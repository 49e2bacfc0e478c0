"""The frame that things are compared in: upright, in metres, or in what stands for metres where nobody knows the scale."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.geometry.boxes import OrientedBox

_PLUMB = 1e-12


@dataclass(frozen=True)
class UprightFrame:
    """Axes with +Z up.

    Attributes:
        upright_from_world: rotation.
        unit: world units per metre; see :func:`scenewise.parts.segments.oversegmentation.scale_unit`.
    """

    upright_from_world: Float64[np.ndarray, "3 3"]
    unit: float = 1.0

    @staticmethod
    def of_up(up_in_world: Float64[np.ndarray, "3"], unit: float = 1.0) -> "UprightFrame":
        """The frame whose +Z is this direction; the world's own axes where they are upright already."""
        up = up_in_world / np.linalg.norm(up_in_world)
        if up[2] > 1.0 - _PLUMB:
            return UprightFrame(np.eye(3), unit)
        level = np.eye(3)[int(np.abs(up).argmin())]
        x = level - (level @ up) * up
        x /= np.linalg.norm(x)
        return UprightFrame(np.stack([x, np.cross(up, x), up]), unit)

    @property
    def up_in_world(self) -> Float64[np.ndarray, "3"]:
        return self.upright_from_world[2].copy()

    def upright(self, points_in_world: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Points in metres."""
        return points_in_world @ (self.upright_from_world.T / self.unit)

    def world(self, points_in_upright: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """The inverse of :meth:`upright`."""
        return points_in_upright @ (self.upright_from_world * self.unit)

    def box_in_world(self, box: OrientedBox) -> OrientedBox:
        """A box measured in this frame, in the world."""
        center = self.world(box.center_in_world[None])[0]
        return OrientedBox(center, box.size * self.unit, self.upright_from_world.T @ box.world_from_box)

    def box_in_upright(self, box: OrientedBox) -> OrientedBox:
        """The inverse of :meth:`box_in_world`."""
        center = self.upright(box.center_in_world[None])[0]
        return OrientedBox(center, box.size / self.unit, self.upright_from_world @ box.world_from_box)

    def yaw_of(self, direction_in_world: Float64[np.ndarray, "3"]) -> float | None:
        """Angle of a direction laid on the floor, from +Y about +Z, radians; None where it is plumb."""
        x, y, z = self.upright_from_world @ direction_in_world
        return None if x * x + y * y < 1e-2 * (x * x + y * y + z * z) else float(np.arctan2(-x, y))
