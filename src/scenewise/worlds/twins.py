"""Rooms that are easily taken for each other: the same shell and the same kinds of furniture, all of it in other places."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scenewise.errors import ConventionError
from scenewise.worlds import furniture
from scenewise.worlds.changes import LEAST_DISTANCE
from scenewise.worlds.classes import STUFF_NAMES
from scenewise.worlds.designs import DESIGNS, Maker
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.layout import FloorPlan, OrientedBoxes, RoomObject, boxes_of, boxes_overlap
from scenewise.worlds.materials import pick
from scenewise.worlds.pieces import BACKED, as_furniture, is_host, is_pendant, plan_around
from scenewise.worlds.relations import hosts_of
from scenewise.worlds.rooms import Room, lighting_in

_SHELL = frozenset({"wall", "ceiling", "door", "window"})
_KEPT_DESIGN = 0.5
_LOW_TABLE, _TALL_CABINET = 0.6, 1.3  # metres up to and from which a table is low and a cabinet tall
_FREE_FRONTS = {"bed": 0.5, "sofa": 0.55, "cabinet": 0.6, "bookshelf": 0.6}  # metres, as newly made ones have it
_ATTEMPTS, _TRIES = 200, 80
_STREAM = 41  # of random numbers


def twin_room(room: Room, seed: int) -> Room:
    """Another room with the same size, walls, floor, doors and windows, and as many pieces of every kind.

    Every piece is placed anew and counts as moved (``changes.LEAST_DISTANCE``).  One in two keeps its design, the others are
    drawn anew; pieces of one make, like the chairs around a table, stay of one make.  Tables stay low or high, cabinets tall or
    low, and lamps and plants stand on something if they did before.  The light is another one too.  What does not fit is tried
    again from another sub-seed.

    Args:
        room: the other twin.
        seed: of the places, the designs and the light; also the ``seed`` of the new room.

    Returns:
        The room; nothing stands in anything else, doors and windows are free.

    Raises:
        ConventionError: a room so full that its furniture did not fit a second time.
    """
    kept, wanted = _sorted(room)
    sills = _boxes([thing for thing in kept if thing.class_name == "window"])  # reach below what a plan takes for a window
    for attempt in range(_ATTEMPTS):
        entropy = [seed, _STREAM, room.seed, attempt]
        rng = np.random.Generator(np.random.PCG64(entropy))
        lighting = lighting_in(rng, *room.size)
        plan = plan_around(rng, room.size, kept, lighting.lamp_in_world)
        is_placed = all(_PLACES[each.role](plan, each.piece) and _is_elsewhere(plan, each) for each in _drawn(entropy, wanted))
        if is_placed and not boxes_overlap(sills, _boxes(plan.objects)).any():
            return Room(seed, room.size, (*kept, *plan.objects), lighting)
    raise ConventionError("room", expected="space to place all pieces anew", got=f"the room of seed {room.seed}")


@dataclass(frozen=True)
class _Wanted:
    """A piece that is to be placed: what it is here for, as it is in the other room, and as it is put into this one."""

    role: str
    thing: RoomObject
    piece: Furniture


def _sorted(room: Room) -> tuple[tuple[RoomObject, ...], tuple[_Wanted, ...]]:
    """The shell, and the pieces in the order in which they are placed: what needs most room first, rugs last."""
    kept, wanted = [], []
    for index, (thing, host) in enumerate(zip(room.objects, hosts_of(room))):
        if index == 0 or thing.class_name in _SHELL:
            kept.append(thing)
        else:
            role = _role(thing, room, is_carried=host is not None)
            wanted.append(_Wanted(role, thing, _taken_up(thing, role)))
    roles = list(_PLACES)
    wanted.sort(key=lambda each: (roles.index(each.role), -each.thing.size[0] * each.thing.size[1]))
    return tuple(kept), tuple(wanted)


def _role(thing: RoomObject, room: Room, is_carried: bool) -> str:
    name = thing.class_name
    if is_carried:
        return "on top"
    if name in STUFF_NAMES:
        return "rug"
    if name == "table":
        return "low table" if thing.size[2] < _LOW_TABLE else "table"
    if name in BACKED:
        return "at a wall"
    if name in ("plant", "lamp"):
        return "pendant" if is_pendant(thing, room) else "near a wall"
    return {"chair": "chair", "picture": "picture"}.get(name, "anywhere")


def _taken_up(thing: RoomObject, role: str) -> Furniture:
    """A piece as it is, in its own frame."""
    if role == "rug":  # stands for its place, not for its box
        x, y, z = thing.center
        parts = tuple(part.moved((-x, -y, -z), 0.0).moved((0.0, 0.0, 0.0), -thing.yaw) for part in thing.parts)
        return Furniture(thing.class_name, thing.color_name, thing.size, parts)
    return as_furniture([thing], _FREE_FRONTS.get(thing.class_name, 0.0))


def _drawn(entropy: Sequence[int], wanted: Sequence[_Wanted]) -> list[_Wanted]:
    """The pieces as they are in the twin: as they were, or anew, which is the same for all pieces of a make."""
    makes: dict[tuple[object, ...], int] = {}
    drawn = []
    for each in wanted:
        make = (each.role, *((part.half_size, part.material) for part in each.thing.parts))
        rng = np.random.Generator(np.random.PCG64([*entropy, makes.setdefault(make, len(makes))]))
        drawn.append(each if rng.random() < _KEPT_DESIGN else replace(each, piece=_maker(each)(rng)))
    return drawn


def _boxes(things: Sequence[RoomObject]) -> OrientedBoxes:
    return boxes_of([part for thing in things for part in thing.parts])


def _is_elsewhere(plan: FloorPlan, each: _Wanted) -> bool:
    """Whether the piece that was placed last is not where it was in the other room."""
    return math.dist(plan.objects[-1].center[:2], each.thing.center[:2]) >= LEAST_DISTANCE


def _maker(each: _Wanted) -> Maker:
    """What makes another piece of the same kind for the same place."""
    name, role = each.thing.class_name, each.role
    if role == "rug":
        return furniture.rug
    if name == "table":
        return lambda rng: furniture.table(rng, is_low=role == "low table")
    if name == "cabinet":
        return lambda rng: furniture.cabinet(rng, is_tall=each.thing.size[2] > _TALL_CABINET)
    if name == "lamp":
        return {"on top": furniture.table_lamp, "pendant": furniture.pendant_lamp}.get(role, furniture.floor_lamp)
    if name == "plant":
        return lambda rng: furniture.plant(rng, rng.uniform(0.4, 0.55) if role == "on top" else rng.uniform(0.85, 1.2))
    return DESIGNS[name]


# ---------------------------------------------------------------------------------------------------------------------- places


def _at_a_wall(plan: FloorPlan, piece: Furniture) -> bool:
    return plan.against_wall(piece, tries=_TRIES) is not None


def _low_table(plan: FloorPlan, piece: Furniture) -> bool:
    """Before a sofa, more often than not."""
    sofas = [thing for thing in plan.objects if thing.class_name == "sofa"]
    if sofas and plan.rng.random() < 0.6 and plan.in_front_of(pick(plan.rng, sofas), piece, plan.rng.uniform(0.3, 0.45)):
        return True
    return _anywhere(plan, piece)


def _table(plan: FloorPlan, piece: Furniture) -> bool:
    if plan.rng.random() < 0.3 and plan.against_wall(replace(piece, free_front=0.7)):
        return True
    return _anywhere(plan, piece)


def _chair(plan: FloorPlan, piece: Furniture) -> bool:
    """At a table, more often than not."""
    tables = [thing for thing in plan.objects if thing.class_name == "table" and thing.size[2] > _LOW_TABLE]
    if tables and plan.rng.random() < 0.75:
        for _ in range(8):
            if plan.at_side(pick(plan.rng, tables), piece, int(plan.rng.integers(4))):
                return True
    return _anywhere(plan, piece)


def _near_a_wall(plan: FloorPlan, piece: Furniture) -> bool:
    return plan.anywhere(piece, near_walls=True) is not None or _anywhere(plan, piece)


def _anywhere(plan: FloorPlan, piece: Furniture) -> bool:
    return plan.anywhere(piece, tries=_TRIES) is not None


def _on_top(plan: FloorPlan, piece: Furniture) -> bool:
    hosts = [thing for thing in plan.objects if is_host(thing)]
    return any(
        plan.on_top(hosts[int(index)], piece, float(plan.rng.normal(0.0, 0.3))) for index in plan.rng.permutation(len(hosts))
    )


def _picture(plan: FloorPlan, piece: Furniture) -> bool:
    return plan.against_wall(piece, bottom=plan.rng.uniform(1.15, 1.5), tries=_TRIES) is not None


def _pendant(plan: FloorPlan, piece: Furniture) -> bool:
    for _ in range(_TRIES):
        x, y = plan.rng.uniform(0.3, 0.7) * plan.width, plan.rng.uniform(0.3, 0.7) * plan.length
        position = (x, y, plan.height - piece.size[2])
        if plan.has_room(piece, position, 0.0):
            plan.put(piece, position, 0.0)
            return True
    return False


def _rug(plan: FloorPlan, piece: Furniture) -> bool:
    """Before a bed, a sofa or under a table; in the middle of a room without any."""
    hosts = [thing for thing in plan.objects if thing.class_name in ("bed", "sofa", "table")]
    if not hosts:
        plan.lay_rug(piece, (plan.width / 2, plan.length / 2), 0.0)
        return True
    host = pick(plan.rng, hosts)
    reach = 0.0 if host.class_name == "table" else host.size[1] / 2 + 0.4
    plan.lay_rug(piece, (host.center[0] - math.sin(host.yaw) * reach, host.center[1] + math.cos(host.yaw) * reach), host.yaw)
    return True


_PLACES: dict[str, Callable[[FloorPlan, Furniture], bool]] = {
    "at a wall": _at_a_wall,
    "table": _table,
    "low table": _low_table,
    "chair": _chair,
    "anywhere": _anywhere,
    "near a wall": _near_a_wall,
    "on top": _on_top,
    "picture": _picture,
    "pendant": _pendant,
    "rug": _rug,
}
"""By what a piece is here for, in the order of placing."""
