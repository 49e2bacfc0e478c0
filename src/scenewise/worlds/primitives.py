"""Solids of which furniture is put together, and their packing into the ray caster's tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from scenewise.kernels.ray_casting import MaterialTable, PrimitiveTable, Shape
from scenewise.worlds.materials import Material

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Primitive:
    """A solid in the frame of the record that holds it (a piece of furniture's own, or the world).

    Attributes:
        shape: box, upright frustum or ellipsoid.
        center: middle of its bounding box, metres.
        half_size: half extents along its own axes, metres.
        material: how it looks.
        yaw: rotation about +Z, radians.
        end_scales: factors on a frustum's horizontal half extents at its bottom and top, in [0, 1].
    """

    shape: Shape
    center: Point
    half_size: Point
    material: Material
    yaw: float = 0.0
    end_scales: tuple[float, float] = (1.0, 1.0)

    def moved(self, position: Point, yaw: float) -> "Primitive":
        """The solid turned about the origin and then shifted."""
        c, s = math.cos(yaw), math.sin(yaw)
        x, y, z = self.center
        center = (position[0] + c * x - s * y, position[1] + s * x + c * y, position[2] + z)
        return replace(self, center=center, yaw=self.yaw + yaw)


def box(
    x: float, y: float, bottom: float, width: float, depth: float, height: float, material: Material, yaw: float = 0.0
) -> Primitive:
    """A box by its middle (x, y), the height of its underside, and full sizes along x, y, z."""
    return Primitive(Shape.BOX, (x, y, bottom + height / 2), (width / 2, depth / 2, height / 2), material, yaw)


def frustum(
    x: float, y: float, bottom: float, bottom_radius: float, top_radius: float, height: float, material: Material
) -> Primitive:
    """An upright cone frustum by its axis (x, y), the height of its underside, and its radii."""
    widest = max(bottom_radius, top_radius)
    ends = (bottom_radius / widest, top_radius / widest)
    return Primitive(Shape.FRUSTUM, (x, y, bottom + height / 2), (widest, widest, height / 2), material, 0.0, ends)


def cylinder(x: float, y: float, bottom: float, radius: float, height: float, material: Material) -> Primitive:
    """An upright cylinder by its axis (x, y) and the height of its underside."""
    return frustum(x, y, bottom, radius, radius, height, material)


def oval(
    x: float,
    y: float,
    bottom: float,
    radii: tuple[float, float],
    height: float,
    material: Material,
    end_scales: tuple[float, float] = (1.0, 1.0),
) -> Primitive:
    """An upright cylinder or frustum with an elliptic outline: its axis, the height of its underside, its radii along x and y."""
    return Primitive(Shape.FRUSTUM, (x, y, bottom + height / 2), (*radii, height / 2), material, 0.0, end_scales)


def ellipsoid(x: float, y: float, z: float, half_size: Point, material: Material, yaw: float = 0.0) -> Primitive:
    """An ellipsoid by its centre and half extents."""
    return Primitive(Shape.ELLIPSOID, (x, y, z), half_size, material, yaw)


def oval_wall(
    middle: tuple[float, float],
    radii: tuple[float, float],
    bottom: float,
    thick: float,
    height: float,
    material: Material,
    count: int,
) -> list[Primitive]:
    """A hollow upright wall along an ellipse, of short boxes whose tops differ by 2 mm so that none lie in one plane.

    Args:
        middle: of the ellipse.
        radii: along x and y, to the middle of the wall.
        bottom: height of its underside.
        thick: of the wall.
        height: of the wall.
        material: how it looks.
        count: boxes; even, so that neighbours differ.
    """
    parts = []
    for i in range(count):
        angles = [2 * math.pi * (i + shift) / count for shift in (-0.5, 0.5)]
        (x0, y0), (x1, y1) = ((middle[0] + radii[0] * math.cos(a), middle[1] + radii[1] * math.sin(a)) for a in angles)
        length, yaw = math.hypot(x1 - x0, y1 - y0) + 0.6 * thick, math.atan2(y1 - y0, x1 - x0)
        rise = 0.002 * (i % 2)
        parts.append(box((x0 + x1) / 2, (y0 + y1) / 2, bottom + rise, length, thick, height, material, yaw))
    return parts


def pack(primitives: Sequence[Primitive]) -> tuple[PrimitiveTable, MaterialTable]:
    """Tables for the ray caster; row i of the first is primitive i, equal materials share a row of the second."""
    materials: dict[Material, int] = {}
    material_ids = [materials.setdefault(p.material, len(materials)) for p in primitives]
    table = PrimitiveTable(
        shapes=torch.tensor([int(p.shape) for p in primitives], dtype=torch.int32),
        centers_in_world=_rows([p.center for p in primitives], 3),
        half_sizes=_rows([p.half_size for p in primitives], 3),
        yaw_cos_sin=_rows([(math.cos(p.yaw), math.sin(p.yaw)) for p in primitives], 2),
        end_scales=_rows([p.end_scales for p in primitives], 2),
        material_ids=torch.tensor(material_ids, dtype=torch.int32),
    )
    looks = list(materials)
    return table, MaterialTable(
        textures=torch.tensor([int(m.texture) for m in looks], dtype=torch.int32),
        seeds=torch.tensor([m.seed for m in looks], dtype=torch.int32),
        colors=torch.tensor([[m.color, m.second_color] for m in looks], dtype=torch.float32).reshape(-1, 2, 3),
        feature_sizes=torch.tensor([m.feature_size for m in looks], dtype=torch.float32),
        contrasts=torch.tensor([m.contrast for m in looks], dtype=torch.float32),
        grains=torch.tensor([m.grain for m in looks], dtype=torch.float32),
        emissions=torch.tensor([m.emission for m in looks], dtype=torch.float32),
    )


def _rows(values: Sequence[tuple[float, ...]], width: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, width)
