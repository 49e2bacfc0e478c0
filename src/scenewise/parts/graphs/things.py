"""The things of a scene as their relations are read from them: a few points, a box, and whether it is a part of the shell.

Everything is in an upright frame, +Z up, in metres (:class:`~scenewise.parts.graphs.frames.UprightFrame`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64

from scenewise.errors import ShapeError
from scenewise.geometry.boxes import OrientedBox, upright_box
from scenewise.scenes.synonyms import SYNONYMS

SAMPLES = 128
"""Points of each thing that are looked at."""
TRIM = 0.02
"""Share of the points that may stick out of a box at each side."""
UP = np.array([0.0, 0.0, 1.0])

PIECE, FLOOR, CEILING, WALL, SHAPELESS = range(5)
SHELL_NAMES = {"floor": FLOOR, "ground": FLOOR, "ceiling": CEILING, "wall": WALL}
OTHER_NAMES = frozenset(word for name, words in SYNONYMS.items() if name not in SHELL_NAMES for word in words)

_FLAT = 0.25  # metres: a floor or ceiling is at most that high, and lies at most that far from the lowest or the highest there is
_SMALLEST_FLOOR = 2.0  # square metres
_LOWEST_CEILING = 1.8
_WALL_THICKNESS, _WALL_LENGTH, _WALL_HEIGHT = 0.2, 1.0, 1.5
_NAMED_THICKNESS, _NAMED_SIDE = 0.5, 0.3  # of what is called a wall
_ROWS = 64  # pairs of that many things with all others at a time


@dataclass(frozen=True)
class Things:
    """Row i of every field is one thing.

    Attributes:
        points: of each; where it has fewer, some are there several times.
        centers: mean position.
        boxes: upright, x the longer side.
        names: what they are called; "" where nobody knows.
        kinds: ``PIECE``, or which part of the shell it is: ``FLOOR``, ``CEILING``, ``WALL``, or ``SHAPELESS`` where it is called
            one and looks like none.
    """

    points: Float64[np.ndarray, "n samples 3"]
    centers: Float64[np.ndarray, "n 3"]
    boxes: tuple[OrientedBox, ...]
    names: tuple[str, ...]
    kinds: Int8[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def box_centers(self) -> Float64[np.ndarray, "n 3"]:
        return np.array([box.center_in_world for box in self.boxes]).reshape(-1, 3)

    @cached_property
    def half(self) -> Float64[np.ndarray, "n 3"]:
        """Half the sizes of the boxes."""
        return np.array([box.size for box in self.boxes]).reshape(-1, 3) / 2

    @cached_property
    def along(self) -> Float64[np.ndarray, "n 2"]:
        """Direction of the longer side on the floor."""
        return np.array([box.world_from_box[:2, 0] for box in self.boxes]).reshape(-1, 2)

    @cached_property
    def across(self) -> Float64[np.ndarray, "n 2"]:
        """Direction of the shorter side on the floor."""
        return np.stack([-self.along[:, 1], self.along[:, 0]], axis=1)

    @cached_property
    def low(self) -> Float64[np.ndarray, "n"]:
        """Heights of the undersides."""
        return self.box_centers[:, 2] - self.half[:, 2]

    @cached_property
    def high(self) -> Float64[np.ndarray, "n"]:
        return self.box_centers[:, 2] + self.half[:, 2]

    @cached_property
    def is_piece(self) -> Bool[np.ndarray, "n"]:
        return self.kinds == PIECE

    @cached_property
    def floor_height(self) -> float:
        """Of the largest floor; of the lowest thing where there is none."""
        floors = np.flatnonzero(self.kinds == FLOOR)
        if len(floors):
            largest = floors[int(np.prod(self.half[floors, :2], axis=1).argmax())]
            return float(np.median(self.points[largest, :, 2]))
        return float(self.low.min()) if len(self) else 0.0

    def local(self, points: Float64[np.ndarray, "m k 3"], of: Int64[np.ndarray, "m"]) -> Float64[np.ndarray, "m k 3"]:
        """Points in the axes of boxes, from their middles."""
        offset = points - self.box_centers[of][:, None]
        x = (offset[..., :2] * self.along[of][:, None]).sum(axis=-1)
        y = (offset[..., :2] * self.across[of][:, None]).sum(axis=-1)
        return np.stack([x, y, offset[..., 2]], axis=-1)

    @cached_property
    def gaps(self) -> tuple[Float64[np.ndarray, "n n"], Float64[np.ndarray, "n n"]]:
        """Metres between boxes as seen from above, and from a top to an underside; 0 where they overlap."""
        flat = np.zeros((len(self), len(self)))
        corners = self._corners()
        for begin in range(0, len(self), _ROWS):
            flat[begin : begin + _ROWS] = _rectangle_distances(corners[begin : begin + _ROWS], corners)
        rise = np.maximum(self.low[:, None] - self.high[None], self.low[None] - self.high[:, None])
        return flat, np.maximum(rise, 0.0)

    def _corners(self) -> Float64[np.ndarray, "n 4 2"]:
        signs = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        x = signs[:, 0] * self.half[:, None, 0]
        y = signs[:, 1] * self.half[:, None, 1]
        return self.box_centers[:, None, :2] + x[..., None] * self.along[:, None] + y[..., None] * self.across[:, None]


def things_of_points(
    points: Sequence[np.ndarray], names: Sequence[str] | None = None, boxes: Sequence[OrientedBox] | None = None
) -> Things:
    """The things that points belong to.

    Args:
        points: of each thing, [m, 3] with at least one, upright and in metres.
        names: what they are called; None where nobody knows.
        boxes: around them, upright, where they are known already.

    Raises:
        ShapeError: another number of names.
    """
    if names is not None and len(names) != len(points):
        raise ShapeError("names", expected=f"{len(points)}, one per thing", got=len(names))
    called = ("",) * len(points) if names is None else tuple(names)
    if boxes is None:
        boxes = [upright_box(np.asarray(each, dtype=np.float64), UP, TRIM) for each in points]
    chosen = [np.asarray(each[_spread(len(each))], dtype=np.float64) for each in points]
    samples = np.stack(chosen) if chosen else np.zeros((0, SAMPLES, 3))
    centers = np.array([each.mean(axis=0, dtype=np.float64) for each in points]).reshape(-1, 3)
    return Things(samples, centers, tuple(boxes), called, kinds_of_boxes(boxes, called))


def _spread(count: int) -> Int64[np.ndarray, "samples"]:
    """Evenly spaced rows of so many."""
    return (np.arange(SAMPLES, dtype=np.int64) * count) // SAMPLES


def kinds_of_boxes(boxes: Sequence[OrientedBox], names: Sequence[str]) -> Int8[np.ndarray, "n"]:
    """Which things are floors, ceilings and walls.

    By shape: a floor is flat, large and at the bottom of everything; a ceiling likewise at the top and above people's heads; a
    wall is thin, upright, as long as a door is wide and taller than a door handle, and rises from the floor.  A name only tips
    the scales: what is called a wall needs to be flat and upright, what has the shape of another part of the shell is that part,
    and what has neither is shapeless, of which rules say nothing.  What is called a picture or a bookshelf is a piece.
    """
    kinds = np.full(len(boxes), PIECE, dtype=np.int8)
    if not boxes:
        return kinds
    size = np.array([box.size for box in boxes])
    middle = np.array([box.center_in_world[2] for box in boxes])
    low, high = middle - size[:, 2] / 2, middle + size[:, 2] / 2
    bottom, top = float(low.min()), float(high.max())
    level = (size[:, 2] <= _FLAT) & (size[:, 0] * size[:, 1] >= _SMALLEST_FLOOR)
    upright = (size[:, 1] <= _WALL_THICKNESS) & (size[:, 0] >= _WALL_LENGTH) & (size[:, 2] >= _WALL_HEIGHT)
    kinds[upright & (low - bottom <= 2 * _FLAT)] = WALL
    kinds[level & (top - high <= _FLAT) & (low - bottom >= _LOWEST_CEILING)] = CEILING
    kinds[level & (low - bottom <= _FLAT)] = FLOOR
    for index, name in enumerate(map(str.lower, names)):
        if name in OTHER_NAMES:
            kinds[index] = PIECE
        elif name in SHELL_NAMES and _may_be(SHELL_NAMES[name], size[index]):
            kinds[index] = SHELL_NAMES[name]
        elif name in SHELL_NAMES and kinds[index] == PIECE:
            kinds[index] = SHAPELESS
    return kinds


def _may_be(kind: int, size: Float64[np.ndarray, "3"]) -> bool:
    if kind == WALL:
        return bool(size[1] <= max(_NAMED_THICKNESS, 0.2 * size[0]) and size[2] >= _NAMED_SIDE)
    return bool(size[2] <= _NAMED_THICKNESS)


def _rectangle_distances(first: Float64[np.ndarray, "n 4 2"], second: Float64[np.ndarray, "m 4 2"]) -> Float64[np.ndarray, "n m"]:
    """Distances of rectangles on the floor: 0 where no side of either separates them, else from corners to sides."""
    apart = _separated(first, second) | _separated(second, first).T
    distance = np.minimum(_corners_to_sides(first, second), _corners_to_sides(second, first).T)
    return np.where(apart, distance, 0.0)


def _separated(first: Float64[np.ndarray, "n 4 2"], second: Float64[np.ndarray, "m 4 2"]) -> Bool[np.ndarray, "n m"]:
    """Whether a side of the first has all corners of the second beyond it."""
    sides = np.roll(first, -1, axis=1) - first
    normals = np.stack([sides[..., 1], -sides[..., 0]], axis=-1)  # outwards: the corners run anticlockwise
    reach = np.einsum("nsk,nsk->ns", normals, first)
    others = np.einsum("nsk,mck->nmsc", normals, second)
    return np.asarray((others.min(axis=3) > reach[:, None]).any(axis=2))


def _corners_to_sides(first: Float64[np.ndarray, "n 4 2"], second: Float64[np.ndarray, "m 4 2"]) -> Float64[np.ndarray, "n m"]:
    """Shortest distance of a corner of the first to a side of the second."""
    sides = np.roll(second, -1, axis=1) - second
    length = np.maximum((sides**2).sum(axis=-1), 1e-12)
    offset = first[:, None, :, None] - second[None, :, None]
    along = np.clip(np.einsum("nmcsk,msk->nmcs", offset, sides) / length[None, :, None], 0.0, 1.0)
    nearest = offset - along[..., None] * sides[None, :, None]
    return np.sqrt((nearest**2).sum(axis=-1).min(axis=(2, 3)))
