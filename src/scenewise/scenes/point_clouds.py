"""Point clouds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class PointCloud:
    """Points with optional colours and normals, row i of each belonging together.

    Positions are float64 because georeferenced clouds carry seven digits before the point.

    Attributes:
        points_in_world: positions in world units.
        colors_u8: sRGB, or None.
        normals_in_world: unit normals, or None.
    """

    points_in_world: Float64[np.ndarray, "n 3"]
    colors_u8: UInt8[np.ndarray, "n 3"] | None = None
    normals_in_world: Float64[np.ndarray, "n 3"] | None = None

    def __post_init__(self) -> None:
        for name, values in (("colors_u8", self.colors_u8), ("normals_in_world", self.normals_in_world)):
            if values is not None and values.shape != self.points_in_world.shape:
                raise ShapeError(name, expected=f"{self.points_in_world.shape}", got=f"{values.shape}")

    def __len__(self) -> int:
        return len(self.points_in_world)
