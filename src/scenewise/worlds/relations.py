"""What holds between the things of a procedural room, from the room's own solids.

Two kinds of predicates.  Those of geometry ("standing on", "left", "higher than") follow from the boxes of the two
things.  Those of meaning ("belonging to", "facing", "lighting", "decorating", "opposite", "build in", "reading seat of" …)
follow from what the things are and from what else is there: a lamp lights the nearest seat, so the same pair of boxes is a
pair of "lighting" or not, depending on the class and on a third thing.  Frequencies fall steeply from the first kind to the
second, as in 3DSSG.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.worlds.layout import RoomObject, boxes_of
from scenewise.worlds.rooms import Room

ROOM_PREDICATES = (
    "left",
    "right",
    "front",
    "behind",
    "close by",
    "standing on",
    "attached to",
    "same as",
    "higher than",
    "lower than",
    "bigger than",
    "smaller than",
    "leaning against",
    "hanging on",
    "build in",
    "belonging to",
    "lit by",
    "decorating",
    "facing",
    "opposite",
    "lighting",
    "bedside of",
    "reading seat of",
)
"""Position in this tuple = predicate id."""

_NEAR = 1.5  # metres between centres, for directions
_CONE = math.cos(math.radians(60.0))
_CLOSE = 0.35  # metres between boxes
_TOUCH = 0.03
_WALL_GAP = 0.12
_COMPARED = 1.3  # ratio of volumes or heights
_SEATS = frozenset({"chair", "sofa", "bed"})
_HUNG = frozenset({"door", "window", "picture"})
_BACKED = frozenset({"bed", "sofa", "table", "cabinet", "bookshelf"})


def nodes_of(room: Room) -> tuple[int, ...]:
    """Instances that are things of their own: all but rugs, which lie on the floor and count as a part of it."""
    return tuple(index for index, thing in enumerate(room.objects) if index == 0 or thing.class_name != "floor")


def node_of_instance(room: Room) -> Int64[np.ndarray, "instances"]:
    """Position in :func:`nodes_of` of each instance; a rug's is that of the floor."""
    position = {instance: node for node, instance in enumerate(nodes_of(room))}
    return np.array([position.get(instance, 0) for instance in range(len(room.objects))], dtype=np.int64)


def hosts_of(room: Room) -> tuple[int | None, ...]:
    """The instance that each instance stands on, other than the floor; None where it stands on none."""
    things = _Things(room.objects)
    return tuple(things.host(index) for index in range(len(things)))


def true_relations(room: Room, frame_yaw: float = 0.0) -> Int64[np.ndarray, "m 3"]:
    """All relations of a room.

    Args:
        room: where.
        frame_yaw: direction somebody looks in who tells left from right, as an angle from the room's +Y axis about +Z, radians.

    Returns:
        Rows (subject, object, predicate): positions in :func:`nodes_of` and in ``ROOM_PREDICATES``, sorted.
    """
    things = _Things([room.objects[index] for index in nodes_of(room)])
    found: set[tuple[int, int, int]] = set()

    def add(subject: int, predicate: str, thing: int) -> None:
        found.add((subject, thing, ROOM_PREDICATES.index(predicate)))

    for a, b in permutations(range(len(things)), 2):
        for predicate in _of_pair(things, a, b, frame_yaw):
            add(a, predicate, b)
    for tell in _TELLERS:
        for subject, predicate, thing in tell(things):
            add(subject, predicate, thing)
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 3)


@dataclass(frozen=True)
class _Things:
    """The things of a room with what their relations are read from."""

    objects: Sequence[RoomObject]

    def __len__(self) -> int:
        return len(self.objects)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.class_name for thing in self.objects)

    @cached_property
    def centers(self) -> Float64[np.ndarray, "things 3"]:
        return np.array([thing.center for thing in self.objects])

    @cached_property
    def low(self) -> Float64[np.ndarray, "things"]:
        """Heights of the undersides."""
        return np.array([min(part.center[2] - part.half_size[2] for part in thing.parts) for thing in self.objects])

    @cached_property
    def high(self) -> Float64[np.ndarray, "things"]:
        return np.array([max(part.center[2] + part.half_size[2] for part in thing.parts) for thing in self.objects])

    @cached_property
    def volumes(self) -> Float64[np.ndarray, "things"]:
        return np.array([math.prod(thing.size) for thing in self.objects])

    @cached_property
    def is_shell(self) -> Bool[np.ndarray, "things"]:
        return np.array([name in ("floor", "ceiling", "wall") for name in self.names])

    @cached_property
    def gaps(self) -> Float64[np.ndarray, "things things"]:
        """Metres between the boxes of two things, as seen from above; 0 where they overlap."""
        corners = [_corners(thing, float(yaw)) for thing, yaw in zip(self.objects, self.yaws)]
        gaps = np.zeros((len(self), len(self)))
        for a in range(len(self)):
            for b in range(a):
                gaps[a, b] = gaps[b, a] = _distance(corners[a], corners[b])
        return gaps

    @cached_property
    def yaws(self) -> Float64[np.ndarray, "things"]:
        """Directions of the things' own axes; a wall's is that of its slab."""
        return np.array([thing.parts[0].yaw if thing.class_name == "wall" else thing.yaw for thing in self.objects])

    def ahead(self, a: int, b: int) -> tuple[float, float]:
        """Where the middle of ``b`` lies as ``a`` looks out of its front: metres ahead and to the right."""
        yaw, offset = self.yaws[a], self.centers[b] - self.centers[a]
        ahead = -math.sin(yaw) * offset[0] + math.cos(yaw) * offset[1]
        right = math.cos(yaw) * offset[0] + math.sin(yaw) * offset[1]
        return float(ahead), float(right)

    def of_class(self, *names: str) -> list[int]:
        return [index for index, name in enumerate(self.names) if name in names]

    def host(self, thing: int) -> int | None:
        """What a thing stands on, other than the floor."""
        if self.is_shell[thing] or self.low[thing] < 0.2 or self.names[thing] in _HUNG:
            return None
        for other in self.of_class("table", "cabinet", "bookshelf", "bed", "sofa"):
            if (
                other != thing
                and abs(self.low[thing] - self.high[other]) < _TOUCH
                and _is_over(self.objects[thing], self.objects[other])
            ):
                return other
        return None


def _corners(thing: RoomObject, yaw: float) -> Float64[np.ndarray, "4 2"]:
    c, s = math.cos(yaw), math.sin(yaw)
    half = np.array(thing.size[:2]) / 2
    local = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return local @ np.array([[c, s], [-s, c]]) + np.array(thing.center[:2])


def _distance(first: Float64[np.ndarray, "4 2"], second: Float64[np.ndarray, "4 2"]) -> float:
    """Between two convex quadrilaterals: 0 where no axis of either separates them, else from corners to edges."""
    for polygon in (first, second):
        edges = np.roll(polygon, -1, axis=0) - polygon
        normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
        shadows = [(points @ normals.T) for points in (first, second)]
        apart = (shadows[0].min(0) > shadows[1].max(0)) | (shadows[1].min(0) > shadows[0].max(0))
        if apart.any():
            return float(min(_to_edges(first, second).min(), _to_edges(second, first).min()))
    return 0.0


def _to_edges(points: Float64[np.ndarray, "n 2"], polygon: Float64[np.ndarray, "m 2"]) -> Float64[np.ndarray, "n m"]:
    edges = np.roll(polygon, -1, axis=0) - polygon
    offset = points[:, None] - polygon[None]
    along = np.clip((offset * edges).sum(-1) / np.maximum((edges**2).sum(-1), 1e-12), 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - along[..., None] * edges, axis=-1))


def _is_over(thing: RoomObject, host: RoomObject) -> bool:
    """Whether a thing's middle lies within the outline of another."""
    c, s = math.cos(host.yaw), math.sin(host.yaw)
    x, y = thing.center[0] - host.center[0], thing.center[1] - host.center[1]
    return abs(c * x + s * y) <= host.size[0] / 2 and abs(c * y - s * x) <= host.size[1] / 2


# ------------------------------------------------------------------------------------------------------------ pairs of boxes


def _of_pair(things: _Things, a: int, b: int, frame_yaw: float) -> list[str]:
    """Predicates that follow from two boxes."""
    shell_a, shell_b = things.is_shell[a], things.is_shell[b]
    if shell_a:
        below = {"wall": "floor", "ceiling": "wall"}.get(things.names[a])
        return ["attached to"] if below == things.names[b] else []
    if shell_b:
        return _to_shell(things, a, b)
    said = []
    offset = things.centers[a] - things.centers[b]
    flat = math.hypot(offset[0], offset[1])
    if things.host(a) == b:
        said.append("standing on")
    elif things.host(b) != a and flat <= _NEAR and flat > 1e-9:
        said += _directions(offset, flat, frame_yaw)
        beside = min(things.high[a], things.high[b]) > max(things.low[a], things.low[b])
        if things.gaps[a, b] <= _CLOSE and beside:
            said.append("close by")
    if things.names[a] == things.names[b]:
        said += _comparisons(things, a, b)
    return said


def _directions(offset: Float64[np.ndarray, "3"], flat: float, frame_yaw: float) -> list[str]:
    """Where a thing is from another, for somebody who looks along the frame's +Y: "front" is nearer to them."""
    right = math.cos(frame_yaw) * offset[0] + math.sin(frame_yaw) * offset[1]
    ahead = -math.sin(frame_yaw) * offset[0] + math.cos(frame_yaw) * offset[1]
    wanted = (("left", -right), ("right", right), ("front", -ahead), ("behind", ahead))
    return [name for name, share in wanted if share / flat >= _CONE]


def _comparisons(things: _Things, a: int, b: int) -> list[str]:
    said = []
    if _is_same_make(things.objects[a], things.objects[b]):
        return ["same as"]
    if things.volumes[a] > _COMPARED * things.volumes[b]:
        said.append("bigger than")
    elif things.volumes[b] > _COMPARED * things.volumes[a]:
        said.append("smaller than")
    if things.high[a] > _COMPARED * things.high[b]:
        said.append("higher than")
    elif things.high[b] > _COMPARED * things.high[a]:
        said.append("lower than")
    return said


def _is_same_make(first: RoomObject, second: RoomObject) -> bool:
    """Whether two pieces consist of the same solids."""
    if len(first.parts) != len(second.parts) or first.color_name != second.color_name:
        return False
    sizes = boxes_of(first.parts)[:, 3:6] - boxes_of(second.parts)[:, 3:6]
    return bool(np.abs(sizes).max() < 1e-6)


def _to_shell(things: _Things, a: int, b: int) -> list[str]:
    """What holds between a piece and the floor, the ceiling or a wall."""
    name, shell = things.names[a], things.names[b]
    if shell == "floor":
        return ["standing on"] if things.low[a] < _TOUCH and name not in _HUNG else []
    if shell == "ceiling":
        return ["hanging on"] if name == "lamp" and things.high[b] - things.high[a] < 0.2 and things.low[a] > 1.0 else []
    if not _is_backed_by(things, a, b):
        return []
    if name in ("door", "window"):
        return ["build in"]
    if name == "picture":
        return ["hanging on"]
    return ["leaning against"] if name in _BACKED else []


def _is_backed_by(things: _Things, a: int, b: int) -> bool:
    """Whether the back of a piece is at a wall."""
    wall = things.objects[b]
    ahead, right = things.ahead(b, a)
    turned = abs(math.remainder(things.yaws[a] - things.yaws[b], 2 * math.pi))
    # The slab's own depth, and skirting boards, belong to the wall's box: what counts is the piece's back.
    inner = wall.parts[0].half_size[1]
    back = ahead - things.objects[a].size[1] / 2 - inner
    return turned < 0.2 and back <= _WALL_GAP and abs(right) <= wall.size[0] / 2


# ------------------------------------------------------------------------------------------- what things are, and what is near

_Said = list[tuple[int, str, int]]


def _seats_at_tables(things: _Things) -> _Said:
    """A chair belongs to the table it faces from near by; two chairs with the table between them are opposite."""
    found: _Said = []
    tables = things.of_class("table")
    at: dict[int, list[int]] = {}
    for chair in things.of_class("chair"):
        near = [table for table in tables if things.gaps[chair, table] <= _CLOSE and _looks_at(things, chair, table, 0.7)]
        if near:
            table = min(near, key=lambda table: things.gaps[chair, table])
            at.setdefault(table, []).append(chair)
            found.append((chair, "belonging to", table))
    for table, chairs in at.items():
        for a, b in permutations(chairs, 2):
            turned = abs(math.remainder(things.yaws[a] - things.yaws[b], 2 * math.pi))
            if turned > 2.2 and things.ahead(a, b)[0] > things.ahead(a, table)[0]:
                found.append((a, "opposite", b))
        found += [(screen, "belonging to", table) for screen in things.of_class("monitor") if things.host(screen) == table]
    for sofa in things.of_class("sofa"):
        for table in tables:
            if things.high[table] < 0.6 and things.gaps[sofa, table] <= 0.6 and _looks_at(things, sofa, table, 0.8):
                found.append((table, "belonging to", sofa))
    return found


def _looks_at(things: _Things, a: int, b: int, cosine: float) -> bool:
    ahead, right = things.ahead(a, b)
    return ahead > cosine * math.hypot(ahead, right)


def _facing(things: _Things) -> _Said:
    """A seat faces the nearest monitor before it that shows it its front."""
    found: _Said = []
    for seat in things.of_class(*_SEATS):
        seen = [
            screen
            for screen in things.of_class("monitor")
            if _looks_at(things, seat, screen, 0.8) and _looks_at(things, screen, seat, 0.5)
        ]
        if seen:
            screen = min(seen, key=lambda screen: float(np.linalg.norm(things.centers[seat] - things.centers[screen])))
            if float(np.linalg.norm(things.centers[seat] - things.centers[screen])) < 4.0:
                found.append((seat, "facing", screen))
    return found


def _light(things: _Things) -> _Said:
    """A lamp lights the nearest seat, or the table it hangs over; what stands at a window is lit by it."""
    found: _Said = []
    for lamp in things.of_class("lamp"):
        wanted = things.of_class("table") if things.low[lamp] > 1.2 else things.of_class(*_SEATS)
        reach = 0.4 if things.low[lamp] > 1.2 else 0.9
        near = [(things.gaps[lamp, other], other) for other in wanted if things.gaps[lamp, other] <= reach]
        if near:
            found.append((lamp, "lighting", min(near)[1]))
    for window in things.of_class("window"):
        for thing in things.of_class("table", "plant", "chair"):
            if things.gaps[window, thing] <= 0.6 and things.high[thing] < things.high[window]:
                found.append((thing, "lit by", window))
    return found


def _places(things: _Things) -> _Said:
    """What stands at the head of a bed is at its bedside; a seat at a bookshelf is for reading only where a lamp lights it."""
    found: _Said = []
    for bed in things.of_class("bed"):
        for thing in things.of_class("table", "cabinet", "lamp", "plant"):
            if things.gaps[thing, bed] <= 0.4 and things.ahead(bed, thing)[0] < 0.0 and things.low[thing] < 0.2:
                found.append((thing, "bedside of", bed))
    lit = {seat for _, predicate, seat in _light(things) if predicate == "lighting"}
    for shelf in things.of_class("bookshelf"):
        for seat in things.of_class("chair", "sofa"):
            if seat in lit and things.gaps[seat, shelf] <= 1.2:
                found.append((seat, "reading seat of", shelf))
    return found


def _decoration(things: _Things) -> _Said:
    """Pictures decorate what stands below them, plants what they stand on or, on the floor, the sofa beside them."""
    found: _Said = []
    for picture in things.of_class("picture"):
        below = [
            thing
            for thing in things.of_class("bed", "sofa", "cabinet", "table")
            if things.gaps[picture, thing] <= 0.25 and things.high[thing] < things.centers[picture, 2]
        ]
        if below:
            nearest = min(below, key=lambda thing: float(np.linalg.norm(things.centers[picture, :2] - things.centers[thing, :2])))
            found.append((picture, "decorating", nearest))
    for plant in things.of_class("plant"):
        host = things.host(plant)
        if host is not None:
            found.append((plant, "decorating", host))
            continue
        beside = [sofa for sofa in things.of_class("sofa") if things.gaps[plant, sofa] <= 0.6]
        if beside:
            found.append((plant, "decorating", min(beside, key=lambda sofa: things.gaps[plant, sofa])))
    return found


_TELLERS: tuple[Callable[[_Things], _Said], ...] = (_seats_at_tables, _facing, _light, _places, _decoration)
