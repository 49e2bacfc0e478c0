"""A furnished room from a seed."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64

from scenewise.kernels.ray_casting import Lighting, PrimitiveScene
from scenewise.worlds import furniture, materials
from scenewise.worlds.classes import CLASS_NAMES, class_id
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.layout import FloorPlan, RoomObject
from scenewise.worlds.materials import Material, pick
from scenewise.worlds.primitives import Primitive, box, pack

_WALL_THICKNESS = 0.1


@dataclass(frozen=True)
class Room:
    """A closed box with furniture in it.  Frame: x in [0, width], y in [0, length], z up from the floor, metres.

    Attributes:
        seed: what it was made from.
        size: width, length, height inside, metres.
        objects: floor, ceiling, four walls, then everything else; the index is the instance id.
        lighting: the lamp and the rest.
    """

    seed: int
    size: tuple[float, float, float]
    objects: tuple[RoomObject, ...]
    lighting: Lighting

    @cached_property
    def parts(self) -> tuple[Primitive, ...]:
        """Solids of all objects in order: row i of the ray caster's table."""
        return tuple(part for thing in self.objects for part in thing.parts)

    @cached_property
    def scene(self) -> PrimitiveScene:
        """The room as the ray caster reads it."""
        primitives, looks = pack(self.parts)
        return PrimitiveScene(primitives, looks, self.lighting)

    @cached_property
    def instance_of_part(self) -> Int64[np.ndarray, "parts"]:
        """Index of the object that each solid belongs to."""
        return np.repeat(np.arange(len(self.objects), dtype=np.int64), [len(thing.parts) for thing in self.objects])

    @cached_property
    def class_of_instance(self) -> Int64[np.ndarray, "instances"]:
        """Class id of each object."""
        return np.array([class_id(thing.class_name) for thing in self.objects], dtype=np.int64)

    def instance_ids(self, primitive_ids: torch.Tensor) -> Int64[np.ndarray, "*shape"]:
        """Instance per pixel from primitive ids; −1 where nothing was hit."""
        ids = primitive_ids.numpy().astype(np.int64)
        return np.where(ids >= 0, self.instance_of_part[ids], -1)

    def class_ids(self, primitive_ids: torch.Tensor) -> Int64[np.ndarray, "*shape"]:
        """Class per pixel from primitive ids; −1 where nothing was hit."""
        ids = primitive_ids.numpy().astype(np.int64)
        return np.where(ids >= 0, self.class_of_instance[self.instance_of_part[ids]], -1)


def furnished_room(seed: int) -> Room:
    """The room of a seed: always the same, different from every other.

    Args:
        seed: see :mod:`scenewise.worlds.seeds` for which seeds serve what.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    width, length, height = rng.uniform(4.0, 6.5), rng.uniform(4.0, 6.5), rng.uniform(2.4, 2.9)
    plan = FloorPlan(rng, width, length, height)
    shell = _shell(rng, width, length, height)
    lighting = lighting_in(rng, width, length, height)
    plan.reserve(lighting.lamp_in_world, (0.3, 0.3, 0.3))
    _furnish(plan)
    return Room(seed, (width, length, height), (*shell, *plan.objects), lighting)


def _shell(rng: np.random.Generator, width: float, length: float, height: float) -> list[RoomObject]:
    """Floor, ceiling and walls: slabs outside the room's box, with skirting boards inside."""
    t = _WALL_THICKNESS
    wall_color = pick(
        rng, ("white", "white", "white", "beige", "beige", "gray", "gray", "yellow", "blue", "green", "pink", "orange")
    )
    wall = materials.wall_surface(rng, wall_color)
    accent_color = pick(rng, tuple(materials.NAMED_COLORS)) if rng.random() < 0.35 else wall_color
    accent = wall if accent_color == wall_color else materials.wall_surface(rng, accent_color)
    skirting = materials.wood(rng, pick(rng, ("white", "white", "brown", "gray")))
    floor_color, floor = materials.floor_surface(rng)
    ceiling_color, ceiling = materials.ceiling_surface(rng)

    def slab(name: str, color: str, parts: tuple[Primitive, ...]) -> RoomObject:
        half = parts[0].half_size
        return RoomObject(name, color, parts[0].center, (2 * half[0], 2 * half[1], 2 * half[2]), 0.0, parts)

    def standing(x: float, y: float, run: float, yaw: float, look: Material, color: str) -> RoomObject:
        # In its own frame a wall's inner face is at y = 0 and looks to +y, like the back of what hangs on it.
        parts = (
            box(0.0, -t / 2, -t, run + 2 * t, t, height + 2 * t, look),
            box(0.0, 0.006, 0.0, run, 0.012, 0.07, skirting),
        )
        return slab("wall", color, tuple(part.moved((x, y, 0.0), yaw) for part in parts))

    return [
        slab("floor", floor_color, (box(width / 2, length / 2, -t, width + t, length + t, t, floor),)),
        slab("ceiling", ceiling_color, (box(width / 2, length / 2, height, width + t, length + t, t, ceiling),)),
        standing(width / 2, 0.0, width, 0.0, wall, wall_color),
        standing(width, length / 2, length, math.pi / 2, accent, accent_color),
        standing(width / 2, length, width, math.pi, wall, wall_color),
        standing(0.0, length / 2, length, -math.pi / 2, wall, wall_color),
    ]


def lighting_in(rng: np.random.Generator, width: float, length: float, height: float) -> Lighting:
    """A lamp under the middle of the ceiling, a sun from anywhere, and a tint; sizes of the room in metres."""
    lamp = (rng.uniform(0.38, 0.62) * width, rng.uniform(0.38, 0.62) * length, height - 0.35)
    azimuth, climb = rng.uniform(-math.pi, math.pi), rng.uniform(0.3, 0.9)
    sun = (math.cos(azimuth) * math.cos(climb), math.sin(azimuth) * math.cos(climb), math.sin(climb))
    warmth = rng.normal(0.0, 0.05)
    return Lighting(
        ambient=rng.uniform(0.42, 0.62),
        lamp_in_world=lamp,
        lamp_radius=0.07,
        lamp_strength=rng.uniform(0.55, 0.85),
        sun_direction=sun,
        sun_strength=rng.uniform(0.05, 0.25),
        tint=(1.0 + warmth, 1.0, 1.0 - warmth),
    )


def _furnish(plan: FloorPlan) -> None:
    """Openings first, then what needs a wall, then tables with chairs, then small things."""
    rng = plan.rng
    for _ in range(pick(rng, (1, 1, 2))):
        plan.against_wall(furniture.door(rng))
    for _ in range(pick(rng, (1, 1, 2, 2))):
        plan.against_wall(furniture.window(rng, plan.height), bottom=rng.uniform(0.8, 1.0))
    wishes = [
        (0.65, _bed_corner),
        (0.6, _sofa_corner),
        (0.35, _sofa_corner),
        (0.7, _tall_cabinet),
        (0.65, _low_cabinet),
        (0.75, _bookshelf),
        (0.35, _bookshelf),
        (0.45, _desk),
    ]
    for index in rng.permutation(len(wishes)):
        chance, place = wishes[int(index)]
        if rng.random() < chance:
            place(plan)
    for _ in range(pick(rng, (1, 1, 2))):
        _dining_table(plan)
    for _ in range(pick(rng, (0, 1, 1))):
        plan.anywhere(furniture.chair(rng))
    for _ in range(pick(rng, (1, 1, 2))):
        plan.anywhere(furniture.plant(rng, rng.uniform(0.85, 1.2)), near_walls=rng.random() < 0.8)
    for _ in range(pick(rng, (0, 1, 1, 2))):
        plan.anywhere(furniture.floor_lamp(rng), near_walls=True)
    for _ in range(pick(rng, (1, 2, 2, 3))):
        plan.against_wall(furniture.picture(rng), bottom=rng.uniform(1.15, 1.5))
    if rng.random() < 0.35:
        _pendant(plan)


def _bed_corner(plan: FloorPlan) -> None:
    host = plan.against_wall(furniture.bed(plan.rng))
    if host is not None and plan.rng.random() < 0.4:
        _rug(plan, (host.center[0], host.center[1]), host.yaw)


def _sofa_corner(plan: FloorPlan) -> None:
    rng = plan.rng
    host = plan.against_wall(furniture.sofa(rng))
    if host is None:
        return
    reach = host.size[1] / 2 + 0.6
    if rng.random() < 0.6:
        _rug(plan, (host.center[0] - math.sin(host.yaw) * reach, host.center[1] + math.cos(host.yaw) * reach), host.yaw)
    if rng.random() < 0.65:
        low = plan.in_front_of(host, furniture.table(rng, is_low=True), rng.uniform(0.3, 0.45))
        if low is not None:
            _decorate(plan, low, 0.5)


def _rug(plan: FloorPlan, middle: tuple[float, float], yaw: float) -> None:
    piece = furniture.rug(plan.rng)
    if not any(thing.class_name == "floor" for thing in plan.objects):  # one rug: two could lie across each other
        plan.lay_rug(piece, middle, yaw)


def _tall_cabinet(plan: FloorPlan) -> None:
    plan.against_wall(furniture.cabinet(plan.rng, is_tall=True))


def _low_cabinet(plan: FloorPlan) -> None:
    host = plan.against_wall(furniture.cabinet(plan.rng, is_tall=False))
    if host is not None:
        _decorate(plan, host, 0.8)


def _bookshelf(plan: FloorPlan) -> None:
    plan.against_wall(furniture.bookshelf(plan.rng))


def _desk(plan: FloorPlan) -> None:
    """A table at the wall with a monitor that faces the chair before it."""
    rng = plan.rng
    host = plan.against_wall(_with_free_front(furniture.table(rng, is_low=False), 0.7))
    if host is None:
        return
    plan.on_top(host, furniture.monitor(rng), rng.normal(0.0, 0.1))
    if rng.random() < 0.4:
        plan.on_top(host, furniture.table_lamp(rng), 0.0)
    plan.at_side(host, furniture.chair(rng), 0)


def _with_free_front(piece: Furniture, free_front: float) -> Furniture:
    return Furniture(piece.class_name, piece.color_name, piece.size, piece.parts, free_front, piece.is_hung)


def _dining_table(plan: FloorPlan) -> None:
    rng = plan.rng
    host = plan.anywhere(furniture.table(rng, is_low=False))
    if host is None:
        return
    if rng.random() < 0.3:
        _rug(plan, (host.center[0], host.center[1]), host.yaw)
    style = rng.bit_generator.state  # chairs of one table are of one make
    for side in rng.permutation(4)[: int(rng.integers(1, 5))]:
        twin = np.random.Generator(np.random.PCG64())
        twin.bit_generator.state = style
        plan.at_side(host, furniture.chair(twin), int(side))
    _decorate(plan, host, 0.7)


def _decorate(plan: FloorPlan, host: RoomObject, chance: float) -> None:
    """A monitor, a lamp or a small plant on a table or a low cabinet."""
    rng = plan.rng
    if rng.random() < chance:
        makers = (furniture.monitor, furniture.monitor, furniture.table_lamp, _small_plant)
        plan.on_top(host, pick(rng, makers)(rng), rng.normal(0.0, 0.2))
    if rng.random() < 0.5 * chance:
        plan.on_top(host, pick(rng, (furniture.table_lamp, _small_plant))(rng), 0.0)


def _small_plant(rng: np.random.Generator) -> Furniture:
    return furniture.plant(rng, rng.uniform(0.4, 0.55))


def _pendant(plan: FloorPlan) -> None:
    rng = plan.rng
    piece = furniture.pendant_lamp(rng)
    for _ in range(10):
        position = (rng.uniform(0.3, 0.7) * plan.width, rng.uniform(0.3, 0.7) * plan.length, plan.height - piece.size[2])
        if plan.has_room(piece, position, 0.0):
            plan.put(piece, position, 0.0)
            return


__all__ = ["CLASS_NAMES", "Room", "furnished_room"]
