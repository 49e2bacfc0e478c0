"""Triangle meshes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class TriangleMesh:
    """Vertices and the triangles between them.

    Attributes:
        vertices_in_world: positions in world units.
        faces: vertex indices, counter-clockwise seen from outside.
        colors_u8: sRGB per vertex, or None.
    """

    vertices_in_world: Float64[np.ndarray, "n 3"]
    faces: Int64[np.ndarray, "m 3"]
    colors_u8: UInt8[np.ndarray, "n 3"] | None = None

    def __post_init__(self) -> None:
        count = len(self.vertices_in_world)
        if self.faces.size and not (int(self.faces.min()) >= 0 and int(self.faces.max()) < count):
            raise ShapeError("faces", expected=f"indices of {count} vertices", got=f"{self.faces.min()} to {self.faces.max()}")
        if self.colors_u8 is not None and self.colors_u8.shape != self.vertices_in_world.shape:
            raise ShapeError("colors_u8", expected=f"{self.vertices_in_world.shape}", got=f"{self.colors_u8.shape}")
