"""Where pieces go: a floor plan that keeps them apart and the ways to them free."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.worlds.furniture import Furniture
from scenewise.worlds.primitives import Point, Primitive

OrientedBoxes = Float64[np.ndarray, "n 7"]
"""One upright box per row: centre x, y, z, half extents along its own axes, yaw."""

_MARGIN = 0.03  # metres between pieces


@dataclass(frozen=True)
class RoomObject:
    """A piece (or a part of the room itself) in the world frame.  Its index in the room is its instance id.

    Attributes:
        class_name: one of ``OBJECT_NAMES``.
        color_name: what a person would call its colour.
        center: middle of its bounding box, metres.
        size: width, depth, height along its own axes, metres.
        yaw: rotation of those axes about +Z, radians.
        parts: its solids.
    """

    class_name: str
    color_name: str
    center: Point
    size: Point
    yaw: float
    parts: tuple[Primitive, ...]


def boxes_of(parts: Sequence[Primitive]) -> OrientedBoxes:
    """Bounding boxes of solids, turned as the solids are."""
    return np.array([[*p.center, *p.half_size, p.yaw] for p in parts], dtype=np.float64).reshape(-1, 7)


def boxes_overlap(first: OrientedBoxes, second: Float64[np.ndarray, "m 7"], margin: float = 0.0) -> Bool[np.ndarray, "n m"]:
    """Which boxes overlap when the first are grown by ``margin`` on all sides (separating-axis test).

    A negative margin lets boxes enter each other that far.
    """
    offset = second[None, :, :3] - first[:, None, :3]
    turn = second[None, :, 6] - first[:, None, 6]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    a, b = first[:, None, 3:6] + margin, second[None, :, 3:6]
    near = np.abs(offset[..., 2]) < a[..., 2] + b[..., 2]
    # Along the axes of each of the two, the distance of the centres against both half shadows.
    for yaw, own, other in ((first[:, None, 6], a, b), (second[None, :, 6], b, a)):
        cos_yaw, sin_yaw = np.cos(yaw), np.sin(yaw)
        x, y = offset[..., 0] * cos_yaw + offset[..., 1] * sin_yaw, offset[..., 1] * cos_yaw - offset[..., 0] * sin_yaw
        near &= np.abs(x) < own[..., 0] + c * other[..., 0] + s * other[..., 1]
        near &= np.abs(y) < own[..., 1] + s * other[..., 0] + c * other[..., 1]
    return near


class FloorPlan:
    """Grows a room piece by piece.  Frame: x in [0, width], y in [0, length], z from the floor up to height, metres."""

    def __init__(self, rng: np.random.Generator, width: float, length: float, height: float) -> None:
        self.rng = rng
        self.width, self.length, self.height = width, length, height
        self.objects: list[RoomObject] = []
        self._solids = np.zeros((0, 7))
        self._kept_free = np.zeros((0, 7))
        self._openings = np.zeros((0, 7))
        self._parts = np.zeros((0, 7))

    def reserve(self, center: Point, half_size: Point) -> None:
        """Keeps a box free of everything."""
        self._solids = np.vstack([self._solids, [[*center, *half_size, 0.0]]])
        self._parts = np.vstack([self._parts, [[*center, *half_size, 0.0]]])

    def occupy(self, thing: RoomObject, free_front: float = 0.0, is_hung: bool = False) -> None:
        """Takes the place of a piece that stands in a room already; it does not become one of the plan's objects.

        Args:
            thing: the piece.
            free_front: depth in front of it that other pieces leave free, metres.
            is_hung: it hangs on a wall, and what it needs in front stays free of every solid.
        """
        c, s = math.cos(thing.yaw), math.sin(thing.yaw)
        half_x, half_y, half_z = (length / 2 for length in thing.size)
        x, y, z = thing.center
        ahead = free_front / 2
        free = [[x - s * ahead, y + c * ahead, z, half_x, half_y + ahead, half_z, thing.yaw]]
        self._solids = np.vstack([self._solids, [[x, y, z, half_x, half_y, half_z, thing.yaw]]])
        self._kept_free = np.vstack([self._kept_free, free])
        self._parts = np.vstack([self._parts, boxes_of(thing.parts)])
        if is_hung:
            self._openings = np.vstack([self._openings, free])

    def put(self, piece: Furniture, position: Point, yaw: float) -> RoomObject:
        """Places a piece without asking."""
        solid, free = _bounds(piece, position, yaw)
        parts = tuple(part.moved(position, yaw) for part in piece.parts)
        self._solids = np.vstack([self._solids, solid])
        self._kept_free = np.vstack([self._kept_free, free])
        self._parts = np.vstack([self._parts, boxes_of(parts)])
        if piece.is_hung:
            self._openings = np.vstack([self._openings, free])
        center = (float(solid[0, 0]), float(solid[0, 1]), float(solid[0, 2]))
        self.objects.append(RoomObject(piece.class_name, piece.color_name, center, piece.size, yaw, parts))
        return self.objects[-1]

    def lay_rug(self, piece: Furniture, middle: tuple[float, float], yaw: float) -> None:
        """Lays a rug, on which pieces may stand, as near to a place as the walls allow; yaw is of quarter turns or so."""
        turned = abs(math.sin(yaw)) > 0.7
        half_x, half_y = (piece.size[1] / 2, piece.size[0] / 2) if turned else (piece.size[0] / 2, piece.size[1] / 2)
        x = min(max(middle[0], half_x + 0.05), self.width - half_x - 0.05)
        y = min(max(middle[1], half_y + 0.05), self.length - half_y - 0.05)
        position = (x, y, 0.0)
        parts = tuple(part.moved(position, yaw) for part in piece.parts)
        self.objects.append(RoomObject(piece.class_name, piece.color_name, position, piece.size, yaw, parts))

    def has_room(self, piece: Furniture, position: Point, yaw: float) -> bool:
        """Whether the piece's bounding box fits and neither blocks nor is blocked."""
        solid, free = _bounds(piece, position, yaw)
        return (
            self._is_indoors(solid)
            and not boxes_overlap(solid, self._solids, _MARGIN).any()
            and not boxes_overlap(solid, self._kept_free).any()
            and not boxes_overlap(free, self._solids).any()
        )

    def parts_fit(self, piece: Furniture, position: Point, yaw: float) -> bool:
        """Whether the piece's own solids touch nothing and leave doors and windows free: a chair may stand half under a table."""
        solid, _ = _bounds(piece, position, yaw)
        parts = boxes_of([part.moved(position, yaw) for part in piece.parts])
        return (
            self._is_indoors(solid)
            and not boxes_overlap(solid, self._openings).any()
            and not boxes_overlap(parts, self._parts, 0.002).any()
        )

    def _is_indoors(self, solid: OrientedBoxes) -> bool:
        x, y, z, half_x, half_y, half_z, yaw = solid[0]
        reach_x = abs(math.cos(yaw)) * half_x + abs(math.sin(yaw)) * half_y
        reach_y = abs(math.sin(yaw)) * half_x + abs(math.cos(yaw)) * half_y
        inside = reach_x <= x + 1e-6 and x + reach_x <= self.width + 1e-6
        inside &= reach_y <= y + 1e-6 and y + reach_y <= self.length + 1e-6
        return bool(inside and z + half_z <= self.height + 1e-6)

    def against_wall(self, piece: Furniture, bottom: float = 0.0, tries: int = 30) -> RoomObject | None:
        """Puts a piece with its back on (or near) a random wall, facing the room; None when there is no place."""
        width, depth, _ = piece.size
        for _ in range(tries):
            wall = int(self.rng.integers(4))
            run = self.width if wall % 2 == 0 else self.length
            if width + 0.1 > run:
                continue
            along = self.rng.uniform(width / 2 + 0.04, run - width / 2 - 0.04)
            away = 0.0 if piece.is_hung else depth / 2 + self.rng.uniform(0.01, 0.06)
            x, y, yaw = (
                (along, away, 0.0),
                (self.width - away, along, math.pi / 2),
                (along, self.length - away, math.pi),
                (away, along, -math.pi / 2),
            )[wall]
            if self.has_room(piece, (x, y, bottom), yaw):
                return self.put(piece, (x, y, bottom), yaw)
        return None

    def anywhere(self, piece: Furniture, near_walls: bool = False, tries: int = 25) -> RoomObject | None:
        """Puts a piece on the floor at a random place and angle."""
        reach = 0.5 * max(piece.size[0], piece.size[1])
        for _ in range(tries):
            x, y = self.rng.uniform(reach, self.width - reach), self.rng.uniform(reach, self.length - reach)
            if near_walls:
                if self.rng.random() < 0.5:
                    x = reach + 0.05 if x < self.width / 2 else self.width - reach - 0.05
                else:
                    y = reach + 0.05 if y < self.length / 2 else self.length - reach - 0.05
            yaw = self.rng.uniform(-math.pi, math.pi) if piece.class_name != "table" else self._squared_yaw()
            if self.has_room(piece, (x, y, 0.0), yaw):
                return self.put(piece, (x, y, 0.0), yaw)
        return None

    def _squared_yaw(self) -> float:
        return float(int(self.rng.integers(4)) * math.pi / 2 + self.rng.normal(0.0, 0.03))

    def in_front_of(self, host: RoomObject, piece: Furniture, gap: float) -> RoomObject | None:
        """Puts a piece before another one, squared to it, ``gap`` metres away."""
        distance = (host.size[1] + piece.size[1]) / 2 + gap
        x, y = host.center[0] - math.sin(host.yaw) * distance, host.center[1] + math.cos(host.yaw) * distance
        if self.parts_fit(piece, (x, y, 0.0), host.yaw):
            return self.put(piece, (x, y, 0.0), host.yaw)
        return None

    def on_top(self, host: RoomObject, piece: Furniture, yaw: float, tries: int = 12) -> RoomObject | None:
        """Puts a small piece on a piece of furniture, all of its foot within the edge."""
        top = host.center[2] + host.size[2] / 2
        slack_x, slack_y = (max(0.0, (host.size[i] - piece.size[i]) / 2) for i in (0, 1))
        c, s = math.cos(host.yaw), math.sin(host.yaw)
        for _ in range(tries):
            u, v = self.rng.uniform(-slack_x, slack_x), self.rng.uniform(-slack_y, slack_y)
            position = (host.center[0] + c * u - s * v, host.center[1] + s * u + c * v, top + 0.003)
            if self.parts_fit(piece, position, host.yaw + yaw):
                return self.put(piece, position, host.yaw + yaw)
        return None

    def at_side(self, host: RoomObject, piece: Furniture, side: int) -> RoomObject | None:
        """Pushes a seat as far under one of four sides of a table as it goes, facing the table."""
        width, depth = host.size[:2]
        shift = self.rng.uniform(-0.28, 0.28) * (width if side in (0, 1) else depth)
        turn = self.rng.normal(0.0, 0.12)
        c, s = math.cos(host.yaw), math.sin(host.yaw)
        for out in np.arange(-0.15, 0.3, 0.05) + self.rng.uniform(0.0, 0.1):
            reach_x, reach_y = width / 2 + float(out) + 0.2, depth / 2 + float(out) + 0.2
            u, v, yaw = (
                (shift, reach_y, math.pi),
                (shift, -reach_y, 0.0),
                (reach_x, shift, math.pi / 2),
                (-reach_x, shift, -math.pi / 2),
            )[side]
            position = (host.center[0] + c * u - s * v, host.center[1] + s * u + c * v, 0.0)
            if self.parts_fit(piece, position, host.yaw + yaw + turn):
                return self.put(piece, position, host.yaw + yaw + turn)
        return None


def _bounds(piece: Furniture, position: Point, yaw: float) -> tuple[OrientedBoxes, OrientedBoxes]:
    """The box a piece takes, and that box with the free space in front of it."""
    width, depth, height = piece.size
    back = 0.0 if piece.is_hung else -depth / 2
    fronts = (back + depth, back + depth + piece.free_front)
    own, with_free_space = (_box_between(back, front, width, height, position, yaw) for front in fronts)
    return own, with_free_space


def _box_between(back: float, front: float, width: float, height: float, position: Point, yaw: float) -> OrientedBoxes:
    """The box from ``back`` to ``front`` along a piece's own y-axis."""
    middle = (back + front) / 2
    x, y = position[0] - math.sin(yaw) * middle, position[1] + math.cos(yaw) * middle
    return np.array([[x, y, position[2] + height / 2, width / 2, (front - back) / 2, height / 2, yaw]])
