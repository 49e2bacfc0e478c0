"""Points and splats as one kind of thing: whatever of a scene can be named, asked for and painted."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64

from scenewise.errors import ConventionError, ShapeError
from scenewise.geometry.spherical_harmonics import Y00
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

ElementKind = Literal["points", "splats"]
ELEMENT_KINDS: tuple[ElementKind, ...] = get_args(ElementKind)


@dataclass(frozen=True)
class Elements:
    """A set of elements of one kind; row i of every field is one of them, in the order of its file.

    Attributes:
        kind: what they are.
        positions_in_world: of points, or of the centres of splats.
        colors: their own, sRGB in [0, 1], or None where they have none; of splats the part that does not depend on the view.
    """

    kind: ElementKind
    positions_in_world: Float64[np.ndarray, "n 3"]
    colors: Float32[np.ndarray, "n 3"] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ELEMENT_KINDS:
            raise ConventionError("kind", expected=" or ".join(ELEMENT_KINDS), got=repr(self.kind))
        if self.colors is not None and self.colors.shape != self.positions_in_world.shape:
            raise ShapeError("colors", expected=f"{self.positions_in_world.shape}", got=f"{self.colors.shape}")

    def __len__(self) -> int:
        return len(self.positions_in_world)

    @staticmethod
    def of_cloud(cloud: PointCloud) -> "Elements":
        """The points of a cloud."""
        colors = None if cloud.colors_u8 is None else cloud.colors_u8.astype(np.float32) / 255.0
        return Elements("points", cloud.points_in_world, colors)

    @staticmethod
    def of_gaussians(gaussians: Gaussians) -> "Elements":
        """Gaussians, at their centres."""
        sh0 = gaussians.sh0[:, 0].detach().cpu().numpy()
        means = gaussians.means.detach().cpu().numpy().astype(np.float64)
        return Elements("splats", means, np.clip(0.5 + Y00 * sh0, 0.0, 1.0).astype(np.float32))
