"""What the ray caster reads: one row per primitive, one row per material, one record of lights."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Float, Float32, Int32, UInt8
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError


class Shape(IntEnum):
    """Kinds of solid.  Each is centred at the origin of its own frame and turned about +Z only."""

    BOX = 0
    FRUSTUM = 1
    """Upright elliptic cone frustum; a cylinder where both end scales are 1."""
    ELLIPSOID = 2


class Texture(IntEnum):
    """Procedural patterns.  Each mixes a material's two colours; ``size`` is the material's feature size in metres."""

    PLAIN = 0
    STRIPES = 1
    WOOD = 2
    CHECKER = 3
    NOISE = 4
    TILES = 5
    PLANKS = 6
    BOOKS = 7
    WINDOW = 8
    SCREEN = 9
    PICTURE = 10
    LEAVES = 11
    ORNAMENT = 12


FACE_ROUND = 6
"""Face code of a curved side; flat faces are 2·axis + (1 when the outward normal is positive)."""


@dataclass(frozen=True)
class PrimitiveTable:
    """Solids seen from outside; a ray that starts inside one does not see it.

    Attributes:
        shapes: ``Shape`` of each row.
        centers_in_world: centres, metres.
        half_sizes: half extents along the primitive's own axes, metres, > 0.
        yaw_cos_sin: cosine and sine of the world_from_primitive rotation about +Z.
        end_scales: factor on the horizontal half extents at the bottom and at the top of a frustum, in [0, 1]; 1 elsewhere.
        material_ids: row of the material table.
    """

    shapes: Int32[Tensor, "n"]
    centers_in_world: Float32[Tensor, "n 3"]
    half_sizes: Float32[Tensor, "n 3"]
    yaw_cos_sin: Float32[Tensor, "n 2"]
    end_scales: Float32[Tensor, "n 2"]
    material_ids: Int32[Tensor, "n"]

    def __post_init__(self) -> None:
        n = self.shapes.shape[0]
        widths = {
            "centers_in_world": (n, 3),
            "half_sizes": (n, 3),
            "yaw_cos_sin": (n, 2),
            "end_scales": (n, 2),
            "material_ids": (n,),
        }
        for name, shape in widths.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ShapeError(name, expected=f"{shape}", got=f"{tuple(getattr(self, name).shape)}")
        if n and (int(self.shapes.min()) < 0 or int(self.shapes.max()) > max(Shape)):
            raise ConventionError(
                "shapes", expected=f"0 … {max(Shape)}", got=f"{int(self.shapes.min())} … {int(self.shapes.max())}"
            )
        if n and float(self.half_sizes.min()) <= 0:
            raise ConventionError("half_sizes", expected="above 0", got=f"{float(self.half_sizes.min()):.6g}")

    def __len__(self) -> int:
        return int(self.shapes.shape[0])


@dataclass(frozen=True)
class MaterialTable:
    """How surfaces look.

    Attributes:
        textures: ``Texture`` of each row.
        seeds: decorrelates two materials of the same kind.
        colors: first and second albedo of the pattern, linear in [0, 1].
        feature_sizes: size of one stripe, tile, cell … in metres, > 0.
        contrasts: how far the pattern goes from the first towards the second colour, in [0, 1].
        grains: amplitude of the fine brightness noise that every surface carries (2–5 cm features), in [0, 1].
        emissions: share of the surface's look that does not depend on the lights, in [0, 1].
    """

    textures: Int32[Tensor, "m"]
    seeds: Int32[Tensor, "m"]
    colors: Float32[Tensor, "m 2 3"]
    feature_sizes: Float32[Tensor, "m"]
    contrasts: Float32[Tensor, "m"]
    grains: Float32[Tensor, "m"]
    emissions: Float32[Tensor, "m"]

    def __post_init__(self) -> None:
        m = self.textures.shape[0]
        if m and float(self.feature_sizes.min()) <= 0:
            raise ConventionError("feature_sizes", expected="above 0", got=f"{float(self.feature_sizes.min()):.6g}")
        if m and (int(self.textures.min()) < 0 or int(self.textures.max()) > max(Texture)):
            raise ConventionError(
                "textures", expected=f"0 … {max(Texture)}", got=f"{int(self.textures.min())} … {int(self.textures.max())}"
            )

    def __len__(self) -> int:
        return int(self.textures.shape[0])


@dataclass(frozen=True)
class Lighting:
    """Light from everywhere, from one lamp with shadows, and from one far direction without.

    Attributes:
        ambient: irradiance from all sides; surfaces that face down get 80 %, vertical ones 90 %.
        lamp_in_world: centre of the lamp, metres.
        lamp_radius: sub-pixel samples see the lamp moved by this much, which softens shadow edges, metres.
        lamp_strength: irradiance at one metre under a perpendicular lamp, falling off as 1/(1 + 0.1 d²).
        sun_direction: unit vector towards the far light.
        sun_strength: its irradiance on a perpendicular surface.
        tint: colour of all light.
    """

    ambient: float
    lamp_in_world: tuple[float, float, float]
    lamp_radius: float
    lamp_strength: float
    sun_direction: tuple[float, float, float]
    sun_strength: float
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class RayHits:
    """Nearest surface along each ray.

    Attributes:
        distances: in multiples of the ray direction's length, so a direction with unit camera Z gives depth; +inf = no hit.
        primitive_ids: row of the primitive table, −1 = no hit.
        normals_in_world: outward unit normals; zeros where there is no hit.
        local_positions: hit position in the primitive's own frame, metres; zeros where there is no hit.
        faces: 2·axis + (1 for the positive side) on flat faces, ``FACE_ROUND`` on curved ones; −1 = no hit.
    """

    distances: Float[Tensor, "r"]
    primitive_ids: Int32[Tensor, "r"]
    normals_in_world: Float[Tensor, "r 3"]
    local_positions: Float[Tensor, "r 3"]
    faces: Int32[Tensor, "r"]


@dataclass(frozen=True)
class PrimitiveScene:
    """All that is needed to photograph a procedural world."""

    primitives: PrimitiveTable
    materials: MaterialTable
    lighting: Lighting

    def __post_init__(self) -> None:
        ids = self.primitives.material_ids
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= len(self.materials)):
            raise ConventionError(
                "material_ids", expected=f"0 … {len(self.materials) - 1}", got=f"{int(ids.min())} … {int(ids.max())}"
            )


@dataclass(frozen=True)
class SurfaceMaps:
    """What each pixel's centre sees, without antialiasing.

    Attributes:
        depth: along the camera's +Z, metres; 0 = nothing there.
        primitive_ids: row of the primitive table, −1 = nothing there.
    """

    depth: Float32[Tensor, "height width"]
    primitive_ids: Int32[Tensor, "height width"]


ImageTensorU8 = UInt8[Tensor, "height width 3"]


def sample_offsets(samples_per_axis: int) -> Float[Tensor, "s 2"]:
    """Sub-pixel positions (u, v) in (0, 1)², a regular grid in row order; s = samples_per_axis²."""
    ticks = (torch.arange(samples_per_axis, dtype=torch.float64) + 0.5) / samples_per_axis
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([u.reshape(-1), v.reshape(-1)], dim=-1)
