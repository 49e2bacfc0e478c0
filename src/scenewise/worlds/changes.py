"""The same room on another day: some pieces elsewhere, gone or new, under other light.

What a comparison of two captures should find is known: :class:`ChangedRoom` lists every piece that is not where it was.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ConventionError
from scenewise.kernels.ray_casting import Lighting
from scenewise.worlds import furniture
from scenewise.worlds.classes import STUFF_NAMES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.layout import FloorPlan, RoomObject
from scenewise.worlds.materials import pick
from scenewise.worlds.pieces import BACKED, as_furniture, foot_of, is_host, is_pendant, other_light, plan_around
from scenewise.worlds.relations import hosts_of
from scenewise.worlds.rooms import Room, furnished_room

LEAST_DISTANCE = 0.3
"""Metres between the middles of a piece before and after, from which it counts as moved."""
LEAST_TURN = math.radians(45.0)
"""The same for turns; only pieces whose front can be told from their back are turned where they stand."""
MOST_CHANGES = 5

_KEPT = frozenset({*STUFF_NAMES, "door", "window"})  # parts of the building
_HAVE_FRONTS = frozenset({"chair", "monitor"})
_TRIES = 40


@dataclass(frozen=True)
class Change:
    """What happened to one piece.

    Attributes:
        kind: what.
        before: its instance in the room before; None where it was added.
        after: its instance in the room after; None where it was removed.
        distance: between its middles, metres; 0 unless it was moved.
        turn: about +Z, radians in (−π, π]; 0 unless it was moved.
    """

    kind: Literal["moved", "added", "removed"]
    before: int | None
    after: int | None
    distance: float = 0.0
    turn: float = 0.0


@dataclass(frozen=True)
class ChangedRoom:
    """A room before and after.

    Attributes:
        before: as its seed makes it.
        after: with other light too; what was removed has no instance any more, what was added has the last ones.
        changes: of every piece, those that went along with what they stood on included; ordered by instance before, then after.
        after_of_before: instance after of each instance before; −1 = removed.
    """

    before: Room
    after: Room
    changes: tuple[Change, ...]
    after_of_before: Int64[np.ndarray, "instances"]


def changed_room(room: Room, seed: int, count: int) -> ChangedRoom:
    """Moves, adds and removes furniture; nothing stands in anything else, doors and windows stay free.

    What stands on a piece goes where the piece goes, and is a change of its own.  The lamp, the sun and their colours change too.

    Args:
        room: before.
        seed: of the changes and the light.
        count: how many pieces are moved, added or removed, not counting what goes along; 1 to 5.

    Raises:
        ConventionError: a count out of range, or a room so bare or so full that there are not as many.
    """
    if not 1 <= count <= MOST_CHANGES:
        raise ConventionError("count", expected=f"1 to {MOST_CHANGES}", got=count)
    rng = np.random.Generator(np.random.PCG64([seed, room.seed]))
    work = _Work(rng, room)
    done = 0
    for _ in range(_TRIES * count):
        if done == count:
            break
        change = pick(rng, (work.move, work.move, work.add, work.remove))
        done += change()
    if done < count:
        raise ConventionError("count", expected=f"at most {done} in the room of seed {room.seed}", got=count)
    return work.result(other_light(rng, work.pieces, room))


def changed_room_of(seed: int) -> ChangedRoom:
    """The room of a seed with 1 to 5 changes, all of them from that seed."""
    count = 1 + int(np.random.Generator(np.random.PCG64([seed, 1])).integers(MOST_CHANGES))
    return changed_room(furnished_room(seed), seed, count)


class _Work:
    """Pieces being changed; each change either happens as a whole or not at all."""

    def __init__(self, rng: np.random.Generator, room: Room) -> None:
        self.rng, self.room = rng, room
        self.pieces: list[RoomObject] = list(room.objects)
        self.origin: list[int | None] = list(range(len(room.objects)))  # instance before of each piece
        self.host: list[int | None] = list(hosts_of(room))  # instance before that a piece stands on
        self.changed: set[int] = set()  # instances before
        self.settled: set[int | None] = set()  # instances before that stay as they are now: changed ones, and what got a load

    def _choices(self, is_wanted: Callable[[RoomObject], bool]) -> list[int]:
        """Positions of pieces that may still be changed with all that stands on them."""
        return [
            position
            for position, (piece, origin) in enumerate(zip(self.pieces, self.origin))
            if origin is not None
            and piece.class_name not in _KEPT
            and is_wanted(piece)
            and not self.settled & {self.origin[member] for member in self._group(position)}
        ]

    def _group(self, position: int) -> list[int]:
        """A piece, first, and what stands on it."""
        origin = self.origin[position]
        return [position, *(at for at, host in enumerate(self.host) if host is not None and host == origin)]

    def _settle(self, position: int) -> None:
        origin = self.origin[position]
        assert origin is not None
        self.changed.add(origin)
        self.settled.add(origin)

    def _plan_without(self, positions: Sequence[int]) -> FloorPlan:
        """The room as others see it who are to be placed; rugs and the shell take no place."""
        staying = [piece for position, piece in enumerate(self.pieces) if position not in positions]
        return plan_around(self.rng, self.room.size, staying, self.room.lighting.lamp_in_world)

    # ---------------------------------------------------------------------------------------------------------------- changes

    def move(self) -> bool:
        """Carries a piece with all that stands on it to another place, or turns it where it stands."""
        choices = self._choices(lambda piece: not is_pendant(piece, self.room))
        if not choices:
            return False
        group = self._group(pick(self.rng, choices))
        things = [self.pieces[position] for position in group]
        moved = self._elsewhere(group, things)
        if moved is None or any(not _is_change(before, after) for before, after in zip(things, moved)):
            return False
        for position, thing in zip(group, moved):
            self.pieces[position] = thing
            self._settle(position)
        return True

    def _elsewhere(self, group: Sequence[int], things: Sequence[RoomObject]) -> list[RoomObject] | None:
        """The pieces of a group in another place, in the same order; None where none was found."""
        rng, thing, plan = self.rng, things[0], self._plan_without(group)
        piece = as_furniture(things)
        if thing.class_name in _HAVE_FRONTS and rng.random() < 0.35:
            turn = float(rng.choice([-1.0, 1.0]) * rng.uniform(LEAST_TURN + 0.1, math.pi))
            x, y, z = foot_of(thing)
            fits = plan.parts_fit(piece, (x, y, z), thing.yaw + turn)
            return [_carried(each, thing, (x, y, z), thing.yaw + turn) for each in things] if fits else None
        if self.host[group[0]] is not None:
            placed = self._on_some_host(plan, piece)
        elif thing.class_name == "picture":
            placed = plan.against_wall(piece, bottom=foot_of(thing)[2])
        elif rng.random() < 0.5:
            placed = _nudged(plan, piece, thing)
        elif thing.class_name in BACKED:
            placed = plan.against_wall(piece)
        else:
            placed = plan.anywhere(piece)
        if placed is None:
            return None
        x, y, z = placed.center[0], placed.center[1], placed.center[2] - placed.size[2] / 2
        return [_carried(each, thing, (x, y, z), placed.yaw) for each in things]

    def _on_some_host(self, plan: FloorPlan, piece: Furniture) -> RoomObject | None:
        hosts = [position for position, each in enumerate(self.pieces) if is_host(each)]
        if not hosts:
            return None
        chosen = pick(self.rng, hosts)
        self.settled.add(self.origin[chosen])  # stays, whether or not there is room on it
        return plan.on_top(self.pieces[chosen], piece, float(self.rng.normal(0.0, 0.3)))

    def add(self) -> bool:
        """A new piece on the floor, at a wall or on a piece."""
        rng, plan = self.rng, self._plan_without(())
        kind = pick(rng, tuple(_MAKERS))
        piece = _MAKERS[kind](rng)
        if kind == "picture":
            placed = plan.against_wall(piece, bottom=rng.uniform(1.15, 1.5))
        elif kind in ("monitor", "table lamp", "small plant"):
            placed = self._on_some_host(plan, piece)
        elif piece.class_name in BACKED:
            placed = plan.against_wall(piece)
        else:
            placed = plan.anywhere(piece)
        if placed is None:
            return False
        self.pieces.append(placed)
        self.origin.append(None)
        self.host.append(None)
        return True

    def remove(self) -> bool:
        """A piece with all that stands on it."""
        choices = self._choices(lambda piece: True)
        if not choices:
            return False
        for position in sorted(self._group(pick(self.rng, choices)), reverse=True):
            self._settle(position)
            for entries in (self.pieces, self.origin, self.host):
                del entries[position]
        return True

    def result(self, lighting: Lighting) -> ChangedRoom:
        """The changed room with the list of its changes."""
        after_of_before = np.full(len(self.room.objects), -1, dtype=np.int64)
        for after, origin in enumerate(self.origin):
            if origin is not None:
                after_of_before[origin] = after
        changes = []
        for before in sorted(self.changed):
            after = int(after_of_before[before])
            if after < 0:
                changes.append(Change("removed", before, None))
                continue
            distance, turn = _motion(self.room.objects[before], self.pieces[after])
            changes.append(Change("moved", before, after, distance, turn))
        changes += [Change("added", None, after) for after, origin in enumerate(self.origin) if origin is None]
        room = Room(self.room.seed, self.room.size, tuple(self.pieces), lighting)
        return ChangedRoom(self.room, room, tuple(changes), after_of_before)


_MAKERS: dict[str, Callable[[np.random.Generator], Furniture]] = {
    "chair": furniture.chair,
    "table": lambda rng: furniture.table(rng, is_low=bool(rng.random() < 0.5)),
    "cabinet": lambda rng: furniture.cabinet(rng, is_tall=bool(rng.random() < 0.5)),
    "bookshelf": furniture.bookshelf,
    "sofa": furniture.sofa,
    "plant": lambda rng: furniture.plant(rng, rng.uniform(0.85, 1.2)),
    "floor lamp": furniture.floor_lamp,
    "picture": furniture.picture,
    "monitor": furniture.monitor,
    "table lamp": furniture.table_lamp,
    "small plant": lambda rng: furniture.plant(rng, rng.uniform(0.4, 0.55)),
}


def _nudged(plan: FloorPlan, piece: Furniture, thing: RoomObject) -> RoomObject | None:
    """A little further along the wall, or anywhere near by."""
    rng = plan.rng
    x, y, z = foot_of(thing)
    for _ in range(_TRIES):
        distance, turn = rng.uniform(LEAST_DISTANCE + 0.02, 0.9), rng.normal(0.0, 0.3)
        heading = rng.uniform(-math.pi, math.pi)
        if thing.class_name in BACKED:
            heading, turn = thing.yaw + math.pi * int(rng.integers(2)), 0.0
        position = (x + distance * math.cos(heading), y + distance * math.sin(heading), z)
        if plan.parts_fit(piece, position, thing.yaw + turn):
            return plan.put(piece, position, thing.yaw + turn)
    return None


def _carried(thing: RoomObject, leader: RoomObject, position: tuple[float, float, float], yaw: float) -> RoomObject:
    """A thing moved as rigidly with its leader as if they were one, when the leader's middle comes to stand over ``position``.

    Args:
        thing: the leader itself or what stands on it.
        leader: where it was.
        position: new place of the middle of the leader's underside.
        yaw: the leader's new one.
    """
    turn = yaw - leader.yaw
    x, y, z = leader.center[0], leader.center[1], leader.center[2] - leader.size[2] / 2
    c, s = math.cos(turn), math.sin(turn)
    dx, dy, dz = thing.center[0] - x, thing.center[1] - y, thing.center[2] - z
    center = (position[0] + c * dx - s * dy, position[1] + s * dx + c * dy, position[2] + dz)
    parts = tuple(part.moved((-x, -y, -z), 0.0).moved(position, turn) for part in thing.parts)
    return replace(thing, center=center, yaw=thing.yaw + turn, parts=parts)


def _motion(before: RoomObject, after: RoomObject) -> tuple[float, float]:
    """Metres between the middles, radians about +Z."""
    turn = math.remainder(after.yaw - before.yaw, 2 * math.pi)
    return math.dist(before.center, after.center), turn


def _is_change(before: RoomObject, after: RoomObject) -> bool:
    distance, turn = _motion(before, after)
    return distance >= LEAST_DISTANCE or (before.class_name in _HAVE_FRONTS and abs(turn) >= LEAST_TURN)
