"""Point clouds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class PointCloud:
    """Points with optional colours and normals, row i of each belonging together.

    Positions are float64 because georeferenced clouds carry seven digits before the point.

    Attributes:
        points_in_world: positions in world units.
        colors_u8: sRGB, or None.
        normals_in_world: unit normals, or None.
        source_rows: where points of the file were left out, the row that each had in it (0 is the first); None: row i is row i.
    """

    points_in_world: Float64[np.ndarray, "n 3"]
    colors_u8: UInt8[np.ndarray, "n 3"] | None = None
    normals_in_world: Float64[np.ndarray, "n 3"] | None = None
    source_rows: Int64[np.ndarray, "n"] | None = None

    def __post_init__(self) -> None:
        for name, values in (("colors_u8", self.colors_u8), ("normals_in_world", self.normals_in_world)):
            if values is not None and values.shape != self.points_in_world.shape:
                raise ShapeError(name, expected=f"{self.points_in_world.shape}", got=f"{values.shape}")
        if self.source_rows is not None and self.source_rows.shape != (len(self),):
            raise ShapeError("source_rows", expected=f"({len(self)},)", got=f"{self.source_rows.shape}")

    def __len__(self) -> int:
        return len(self.points_in_world)
