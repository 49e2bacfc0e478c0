"""Rooms: parts of the floor that walls enclose.

A plan of the scene in cells of 5 cm: where anything at all was seen, and where something upright reaches from knee height to
nearly the ceiling.  What is left of the first without the second is free; a free place narrower than a doorway joins no rooms.
Where walls do not tell, everything is one room.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.parts.graphs.outlines import outline_of
from scenewise.parts.graphs.things import CEILING, WALL, Things

# Lengths in metres.
_CELL = 0.05
_MOST_CELLS = 1_200  # to each side
_KNEE, _BELOW_CEILING = 0.3, 0.3
_USUAL_HEIGHT = 2.4
_LAYERS = 6  # of a wall, from knee height upwards
_WALL_LAYERS = 5  # of them that must be filled
_CLOSED = 0.3  # gaps in what was seen, and niches that an outline does not follow
_LARGEST_PIECE = 4.0  # square metres that a piece of furniture covers
_DOORWAY = 0.9
_CORNER = 0.15  # that a wall is longer than what was seen of it, at each end
_SMALLEST_ROOM = 2.0  # square metres
_ENCLOSED = 0.6  # share of a room's border that is wall
_BEYOND = 0.6  # from a room, to what still belongs to it
_MARGIN = 8  # cells around the plan: more than gaps are closed by, whatever their size
_HEAD = 2.0  # above it a wall goes on over openings
_AROUND = 0.1  # furniture that is cleared away


@dataclass(frozen=True)
class FloorRoom:
    """A part of the floor.

    Attributes:
        outline: its corners in order, upright, metres, at the floor's height.
        area: square metres.
    """

    outline: Float64[np.ndarray, "corners 3"]
    area: float


@dataclass(frozen=True)
class FloorPlan:
    """Rooms and what is in them.

    Attributes:
        rooms: the largest first; at least one where there are things.
        room_of_thing: position in ``rooms`` of each thing, −1 = none.
    """

    rooms: tuple[FloorRoom, ...]
    room_of_thing: Int64[np.ndarray, "n"]


def floor_plan(things: Things, points: Float64[np.ndarray, "m 3"]) -> FloorPlan:
    """The rooms of a scene.

    Args:
        things: of the scene.
        points: all its points or solid splats, upright, metres.
    """
    if not len(things):
        return FloorPlan((), np.zeros(0, dtype=np.int64))
    every = np.concatenate([points[np.isfinite(points).all(axis=1)], things.points.reshape(-1, 3)])
    grid = _Grid.around(every)
    floor = things.floor_height
    wall = _walls(grid, things, every, floor)
    seen = _seen(grid, every, floor, _ceiling_height(things, floor))
    labels = _rooms(seen, wall, grid.cell)
    count = int(labels.max(initial=0))
    if not count:
        labels, count = np.where(seen, 1, 0), 1
    rooms = tuple(_room(grid, labels == number, floor) for number in range(1, count + 1))
    if count == 1:
        return FloorPlan(rooms, np.zeros(len(things), dtype=np.int64))
    return FloorPlan(rooms, _assigned(grid, labels, things))


@dataclass(frozen=True)
class _Grid:
    """Cells on the floor.

    Attributes:
        low: corner of the first.
        cell: side in metres.
        shape: how many there are along x and y.
    """

    low: Float64[np.ndarray, "2"]
    cell: float
    shape: tuple[int, int]

    @staticmethod
    def around(points: Float64[np.ndarray, "m 3"]) -> "_Grid":
        """All but the few points furthest out."""
        low, high = np.quantile(points[:, :2], [0.002, 0.998], axis=0)
        cell = max(_CELL, float((high - low).max()) / _MOST_CELLS)
        size = np.ceil((high - low) / cell).astype(np.int64) + 1 + 2 * _MARGIN
        return _Grid(low - _MARGIN * cell, cell, (int(size[0]), int(size[1])))

    def cells(self, points: Float64[np.ndarray, "m 2"]) -> tuple[Int64[np.ndarray, "m 2"], Bool[np.ndarray, "m"]]:
        """Cell of each point, and whether there is one."""
        cell = np.floor((points - self.low) / self.cell).astype(np.int64)
        return cell, ((cell >= 0) & (cell < np.array(self.shape))).all(axis=1)


def _ceiling_height(things: Things, floor: float) -> float:
    ceilings = np.flatnonzero(things.kinds == CEILING)
    if len(ceilings):
        return float(things.low[ceilings].min())
    walls = np.flatnonzero(things.kinds == WALL)
    return float(np.median(things.high[walls])) if len(walls) else floor + _USUAL_HEIGHT


def _walls(grid: _Grid, things: Things, points: Float64[np.ndarray, "m 3"], floor: float) -> Bool[np.ndarray, "x y"]:
    """Cells that something upright fills from knee height to below the ceiling, and the outlines of things that are walls.

    Tall furniture is no wall: it stands in a room.
    """
    bottom, top = floor + _KNEE, _ceiling_height(things, floor) - _BELOW_CEILING
    cell, inside = grid.cells(points[:, :2])
    height = (points[:, 2] - bottom) / max(top - bottom, 1e-6) * _LAYERS
    tall = inside & (height >= 0) & (height < _LAYERS)
    layers = np.zeros((*grid.shape, _LAYERS), dtype=bool)
    layers[cell[tall, 0], cell[tall, 1], height[tall].astype(np.int64)] = True
    wall = layers.sum(axis=2) >= _WALL_LAYERS
    is_furniture = things.is_piece & (4 * things.half[:, 0] * things.half[:, 1] <= _LARGEST_PIECE)
    for index in np.flatnonzero(is_furniture):
        rows, columns, covered, _ = _covered(grid, things, int(index), (_AROUND, _AROUND))
        wall[rows, columns] &= ~covered
    for index in np.flatnonzero(things.kinds == WALL):
        rows, columns, covered, along = _covered(grid, things, int(index), (_CORNER, 0.0))
        for low, high in _openings(things, int(index), floor):
            covered &= (along <= low) | (along >= high)
        wall[rows, columns] |= covered
    return wall


def _openings(things: Things, index: int, floor: float) -> list[tuple[float, float]]:
    """Where a wall has a gap wider than a doorway below people's heads: from and to, along it, from its middle."""
    points = things.points[index]
    low = points[points[:, 2] < floor + _HEAD]
    along = np.sort((low[:, :2] - things.box_centers[index, :2]) @ things.along[index])
    wide = np.flatnonzero(np.diff(along) > _DOORWAY + 2 * _AROUND)
    return [(float(along[place]) + _AROUND, float(along[place + 1]) - _AROUND) for place in wide]


def _covered(
    grid: _Grid, things: Things, index: int, grown: tuple[float, float]
) -> tuple[slice, slice, Bool[np.ndarray, "x y"], Float64[np.ndarray, "x y"]]:
    """Cells in the outline of a thing, which is never thinner than the grid can show.

    Args:
        grid: the plan.
        things: of the scene.
        index: of the thing.
        grown: metres added at both ends, and at both sides.

    Returns:
        A part of the grid, which of its cells are covered, and where they lie along the thing, from its middle.
    """
    middle = things.box_centers[index, :2]
    half = np.maximum(things.half[index, :2], grid.cell) + np.array(grown)
    reach = np.abs(things.along[index]) * half[0] + np.abs(things.across[index]) * half[1]
    low = np.clip(np.floor((middle - reach - grid.low) / grid.cell).astype(np.int64), 0, grid.shape)
    high = np.clip(np.ceil((middle + reach - grid.low) / grid.cell).astype(np.int64) + 1, 0, grid.shape)
    x, y = (grid.low[axis] + (np.arange(low[axis], high[axis]) + 0.5) * grid.cell - middle[axis] for axis in (0, 1))
    along = x[:, None] * things.along[index, 0] + y[None] * things.along[index, 1]
    across = x[:, None] * things.across[index, 0] + y[None] * things.across[index, 1]
    covered = (np.abs(along) <= half[0]) & (np.abs(across) <= half[1])
    return slice(low[0], high[0]), slice(low[1], high[1]), covered, along


def _seen(grid: _Grid, points: Float64[np.ndarray, "m 3"], floor: float, ceiling: float) -> Bool[np.ndarray, "x y"]:
    """Cells where anything is, small gaps and holes filled."""
    from scipy.ndimage import binary_fill_holes

    cell, inside = grid.cells(points[:, :2])
    low = inside & (points[:, 2] > floor - _KNEE) & (points[:, 2] < ceiling - _BELOW_CEILING / 2)
    seen = np.zeros(grid.shape, dtype=bool)
    seen[cell[low, 0], cell[low, 1]] = True
    closed = _eroded(_dilated(seen, _CLOSED / grid.cell), _CLOSED / grid.cell)
    return np.asarray(binary_fill_holes(closed | seen), dtype=bool)


def _dilated(region: Bool[np.ndarray, "x y"], radius: float) -> Bool[np.ndarray, "x y"]:
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~region) <= radius) if region.any() else region


def _eroded(region: Bool[np.ndarray, "x y"], radius: float) -> Bool[np.ndarray, "x y"]:
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(region) > radius) if not region.all() else region


def _rooms(seen: Bool[np.ndarray, "x y"], wall: Bool[np.ndarray, "x y"], cell: float) -> Int64[np.ndarray, "x y"]:
    """Number from 1 of each cell that belongs to a room, the largest first; 0 elsewhere."""
    from scipy.ndimage import label

    free = seen & ~wall
    cores, count = label(_eroded(free, _DOORWAY / 2 / cell))
    if not count:
        return np.zeros(seen.shape, dtype=np.int64)
    grown = _grown(cores.astype(np.int64), free, round(0.75 * _DOORWAY / cell))
    sizes = np.bincount(grown.ravel(), minlength=count + 1)
    near_wall = _dilated(wall, 2.0)
    kept = []
    for number in range(1, count + 1):
        region = grown == number
        border = region & ~_eroded(region, 1.0)
        enclosed = float(near_wall[border].mean()) if border.any() else 0.0
        if sizes[number] * cell * cell >= _SMALLEST_ROOM and enclosed >= _ENCLOSED:
            kept.append(number)
    kept.sort(key=lambda number: (-sizes[number], number))
    answer = np.zeros(seen.shape, dtype=np.int64)
    for position, number in enumerate(kept, start=1):
        answer[grown == number] = position
    return answer


def _grown(cores: Int64[np.ndarray, "x y"], free: Bool[np.ndarray, "x y"], steps: int) -> Int64[np.ndarray, "x y"]:
    """Regions grown over what is free, a cell to all sides at a time, so that none gets behind a wall."""
    from scipy.ndimage import grey_dilation

    for _ in range(steps):
        cores = np.where(free & (cores == 0), grey_dilation(cores, size=(3, 3)), cores)
    return cores


def _room(grid: _Grid, region: Bool[np.ndarray, "x y"], floor: float) -> FloorRoom:
    smooth = _eroded(_dilated(region, _CLOSED / grid.cell), _CLOSED / grid.cell)
    corners = grid.low + outline_of(smooth | region) * grid.cell
    outline = np.concatenate([corners, np.full((len(corners), 1), floor)], axis=1)
    return FloorRoom(outline, float(region.sum()) * grid.cell**2)


def _assigned(grid: _Grid, labels: Int64[np.ndarray, "x y"], things: Things) -> Int64[np.ndarray, "n"]:
    """The room that most points of each thing are in or next to; walls between two rooms belong to the one they show more of."""
    from scipy.ndimage import distance_transform_edt

    distance, nearest = distance_transform_edt(labels == 0, return_indices=True)
    reached = np.where(distance * grid.cell <= _BEYOND, labels[nearest[0], nearest[1]], 0)
    answer = np.full(len(things), -1, dtype=np.int64)
    for index in range(len(things)):
        cell, inside = grid.cells(things.points[index, :, :2])
        votes = np.bincount(reached[cell[inside, 0], cell[inside, 1]], minlength=2)[1:]
        if votes.any():
            answer[index] = int(votes.argmax())
    return answer
