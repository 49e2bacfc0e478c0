"""Pieces that stand in a room already, taken up to be placed again, and the room as it is around them."""

import math
from collections.abc import Sequence

import numpy as np

from scenewise.kernels.ray_casting import Lighting
from scenewise.worlds.classes import STUFF_NAMES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.layout import FloorPlan, RoomObject, boxes_of, boxes_overlap
from scenewise.worlds.primitives import Point
from scenewise.worlds.rooms import Room, lighting_in

BACKED = frozenset({"bed", "sofa", "cabinet", "bookshelf"})
"""What stands with its back at a wall."""

_HOSTS = frozenset({"table", "cabinet"})
_OPENINGS = {"door": 0.8, "window": 0.5, "picture": 0.4}  # metres that are left free in front
_TRIES = 40


def is_pendant(piece: RoomObject, room: Room) -> bool:
    """A lamp that hangs from the ceiling: nothing to carry about."""
    return piece.class_name == "lamp" and piece.center[2] + piece.size[2] / 2 > room.size[2] - 0.1


def is_host(piece: RoomObject) -> bool:
    """Whether a piece is one that others may be put on."""
    return piece.class_name in _HOSTS and piece.center[2] + piece.size[2] / 2 < 1.2


def foot_of(thing: RoomObject) -> Point:
    """Where a piece's own frame has its origin: under its middle, or at its back where it hangs on a wall."""
    x, y, z = thing.center
    back = thing.size[1] / 2 if thing.class_name == "picture" else 0.0
    return x + math.sin(thing.yaw) * back, y - math.cos(thing.yaw) * back, z - thing.size[2] / 2


def as_furniture(things: Sequence[RoomObject], free_front: float = 0.0) -> Furniture:
    """Pieces that are moved together as one, in the frame of the first.

    Args:
        things: a piece, and perhaps what stands on it.
        free_front: depth in front of it that other pieces leave free, metres; more before pictures.
    """
    thing = things[0]
    x, y, z = foot_of(thing)
    parts = [part.moved((-x, -y, -z), 0.0).moved((0.0, 0.0, 0.0), -thing.yaw) for each in things for part in each.parts]
    top = max(each.center[2] + each.size[2] / 2 for each in things)
    size = (thing.size[0], thing.size[1], top - z)
    is_hung = thing.class_name == "picture"
    return Furniture(
        thing.class_name, thing.color_name, size, tuple(parts), _OPENINGS["picture"] if is_hung else free_front, is_hung
    )


def plan_around(rng: np.random.Generator, size: Point, pieces: Sequence[RoomObject], lamp_in_world: Point) -> FloorPlan:
    """A room of a size as those see it who are to be placed among pieces; rugs and the shell take no place.

    Args:
        rng: source of the places.
        size: width, length, height of the room, metres.
        pieces: what stays where it is.
        lamp_in_world: middle of what is kept free around the light, metres.
    """
    plan = FloorPlan(rng, *size)
    plan.reserve(lamp_in_world, (0.3, 0.3, 0.3))
    for piece in pieces:
        if piece.class_name not in STUFF_NAMES:
            ahead = _OPENINGS.get(piece.class_name)
            plan.occupy(piece, ahead or 0.0, is_hung=ahead is not None)
    return plan


def other_light(rng: np.random.Generator, pieces: Sequence[RoomObject], room: Room) -> Lighting:
    """Another lamp and another sun; the lamp hangs in nothing."""
    solids = boxes_of([part for piece in pieces for part in piece.parts])
    for _ in range(_TRIES):
        lighting = lighting_in(rng, *room.size)
        around = np.array([[*lighting.lamp_in_world, 0.15, 0.15, 0.15, 0.0]])
        if not boxes_overlap(around, solids).any():
            return lighting
    return room.lighting
