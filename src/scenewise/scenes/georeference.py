"""Where a scene lies on Earth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Georeference:
    """Similarity from the scene's world frame to a projected coordinate system.

    ``projected = offset + scale · R · point_in_world``: the linear part works on small numbers and the float64 offset is added
    last, so nothing is lost at UTM magnitudes.

    Attributes:
        epsg: code of the projected system (metres), e.g. 32615 for UTM 15N.
        scale: projected units per world unit, > 0.
        rotation: proper rotation from world axes to (east, north, up).
        offset: projected coordinates of the world origin.
        rms_error: root mean square residual of the fit in metres, or None when the transform was given and not fitted.
    """

    epsg: int
    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    offset: Float64[np.ndarray, "3"]
    rms_error: float | None = None

    def projected_from_world(self, points_in_world: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Projected coordinates (east, north, up) of world points."""
        return self.offset + self.scale * (points_in_world @ self.rotation.T)

    def world_from_projected(self, points_in_projected: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """World coordinates of projected points."""
        return ((points_in_projected - self.offset) / self.scale) @ self.rotation
