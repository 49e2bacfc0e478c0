"""A small town from a seed: a grid of streets, busy in one corner, empty in the opposite one."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from scenewise.errors import ConventionError
from scenewise.kernels.ray_casting import Lighting, PrimitiveScene
from scenewise.worlds import facades, outdoors, plots
from scenewise.worlds.materials import pick
from scenewise.worlds.plots import Parts, Plot, placed
from scenewise.worlds.primitives import Primitive, box, pack

District = Literal["busy", "mixed", "open"]

_LEAST, _MOST = 60.0, 600.0  # metres of a side
_PITCH = 30.0  # from street to street
_STREET, _PAVEMENT = 7.0, 1.5
_KERB, _COBBLES, _MARK = 0.12, 0.03, 0.05  # heights
_SUN_DISTANCE = 8.0  # in sides of the town
_REACH = 5.0  # how far the land goes on around the town, in sides
_SLOT = 6.5  # metres of kerb for one parked car
_CARS: dict[District, float] = {"busy": 0.8, "mixed": 0.35, "open": 0.08}
_PARASOLS: dict[District, float] = {"busy": 0.5, "mixed": 0.0, "open": 0.0}
_STREET_TREES: dict[District, float] = {"busy": 0.15, "mixed": 0.3, "open": 0.0}


@dataclass(frozen=True)
class Town:
    """Streets, houses and land around them.  Frame: x in [0, width] to the east, y in [0, length] to the north, z up, metres.

    Streets lie at z = 0.  The quarter at ``busy_corner`` is full of small things (old houses, a market, a church), the opposite
    one is nearly empty (halls, parking, lawns), the other two lie between.

    Attributes:
        seed: what it was made from.
        size: width and length, metres.
        busy_corner: 0 or 1 along x and y: the corner of [0, width] × [0, length] around which it is busy.
        parts: all solids; row i of the ray caster's table.
        lighting: a sun with shadows (the lamp, far away) and light from the sky.
    """

    seed: int
    size: tuple[float, float]
    busy_corner: tuple[int, int]
    parts: tuple[Primitive, ...]
    lighting: Lighting

    @cached_property
    def scene(self) -> PrimitiveScene:
        """The town as the ray caster reads it."""
        primitives, looks = pack(self.parts)
        return PrimitiveScene(primitives, looks, self.lighting)

    @cached_property
    def height(self) -> float:
        """Height of the highest point, metres."""
        return max(part.center[2] + part.half_size[2] for part in self.parts)

    @property
    def land(self) -> tuple[float, float, float, float]:
        """Least x, least y, largest x, largest y of the ground; beyond is sky."""
        reach = _REACH * max(self.size)
        return -reach, -reach, self.size[0] + reach, self.size[1] + reach

    def district(self, x: float, y: float) -> District:
        """How busy it is at a place."""
        return _district(self.busy_corner, self.size, x, y)


def town(seed: int, *, size: tuple[float, float] = (120.0, 120.0)) -> Town:
    """The town of a seed: always the same, different from every other.

    Args:
        seed: 0 or more.
        size: width and length, 60 … 600 m each.

    Raises:
        ConventionError: a side out of range.
    """
    if not all(_LEAST <= side <= _MOST for side in size):
        raise ConventionError("size", expected=f"{_LEAST:.0f} … {_MOST:.0f} metres a side", got=size)
    rng = np.random.Generator(np.random.PCG64(seed))
    corner = (int(rng.integers(2)), int(rng.integers(2)))
    lines = (_street_lines(rng, size[0]), _street_lines(rng, size[1]))
    parts = _land(rng, size, lines)
    parts.append(_old_streets(rng, size, corner))
    parts += _blocks(rng, size, corner, lines)
    for axis in (0, 1):
        parts += _streets(rng, size, corner, lines, axis)
    return Town(seed, size, corner, tuple(parts), _lighting(rng, size))


def _district(corner: tuple[int, int], size: tuple[float, float], x: float, y: float) -> District:
    """By quarters: the one at the corner, its two neighbours, the one across."""
    away = [abs(place / side - end) >= 0.5 for place, side, end in zip((x, y), size, corner)]
    return "open" if all(away) else "mixed" if any(away) else "busy"


def _street_lines(rng: np.random.Generator, side: float) -> list[float]:
    """Middles of the streets across one axis, both ends included; those between are off an even grid by up to 5 %."""
    count = max(2, 2 * round(side / _PITCH / 2))  # even, so that a street runs between the quarters
    pitch = side / count
    shifts = [0.0 if 2 * i in (0, count, 2 * count) else rng.uniform(-0.05, 0.05) * pitch for i in range(count + 1)]
    return [i * pitch + shift for i, shift in enumerate(shifts)]


def _lighting(rng: np.random.Generator, size: tuple[float, float]) -> Lighting:
    """Only the lamp casts shadows, so it is the sun: so far away and so strong that it is the same all over the town."""
    azimuth, climb = rng.uniform(-math.pi, math.pi), rng.uniform(0.9, 1.15)
    toward = (math.cos(azimuth) * math.cos(climb), math.sin(azimuth) * math.cos(climb), math.sin(climb))
    distance = _SUN_DISTANCE * max(size)
    warmth = rng.uniform(0.01, 0.05)
    return Lighting(
        ambient=rng.uniform(0.26, 0.32),
        lamp_in_world=(size[0] / 2 + distance * toward[0], size[1] / 2 + distance * toward[1], distance * toward[2]),
        lamp_radius=0.004 * distance,
        lamp_strength=rng.uniform(0.75, 0.85) * (1.0 + 0.1 * distance**2),  # undoes the lamp's falloff
        sun_direction=(-0.6 * math.cos(azimuth), -0.6 * math.sin(azimuth), 0.8),  # the bright sky across from the sun
        sun_strength=0.14,
        tint=(1.0 + warmth, 1.0, 1.0 - warmth),
    )


def _land(rng: np.random.Generator, size: tuple[float, float], lines: tuple[list[float], list[float]]) -> Parts:
    """Meadow to the horizon, fields, the town's own ground of asphalt, two country roads, woods."""
    side, (w, d) = max(size), size
    reach = 2 * _REACH * side
    asphalt = facades.asphalt(rng)
    rim = _STREET / 2 + 1.0
    parts = [
        box(w / 2, d / 2, -2.0, w + reach, d + reach, 1.6, facades.lawn(rng)),
        box(w / 2, d / 2, -1.0, w + 2 * rim, d + 2 * rim, 1.0, asphalt),
    ]
    middle = (lines[0][len(lines[0]) // 2], lines[1][len(lines[1]) // 2])
    for end in (-1, 1):
        parts.append(box(middle[0], d / 2 + end * (d / 2 + 1.5 * side), -1.0, _STREET, 3 * side, 0.94, asphalt))
        parts.append(box(w / 2 + end * (w / 2 + 1.5 * side), middle[1], -1.0, 3 * side, _STREET, 0.95, asphalt))
    count = 8
    xs = np.linspace(w / 2 - 2 * side, w / 2 + 2 * side, count + 1)
    ys = np.linspace(d / 2 - 2 * side, d / 2 + 2 * side, count + 1)
    for i in range(count):
        for j in range(count):
            x, y = (xs[i] + xs[i + 1]) / 2, (ys[j] + ys[j + 1]) / 2
            wide, deep = xs[i + 1] - xs[i] - 3.0, ys[j + 1] - ys[j] - 3.0
            look = facades.field(rng)
            if abs(x - w / 2) + wide / 2 < w / 2 and abs(y - d / 2) + deep / 2 < d / 2:
                continue  # under the town
            parts.append(box(x, y, -1.0, wide, deep, 0.85 + 0.01 * ((i + j) % 2), look))
    for _ in range(40):
        angle = rng.uniform(-math.pi, math.pi)
        far = rng.uniform(0.62, 1.3) * side
        x, y = w / 2 + far * math.cos(angle) * math.sqrt(2), d / 2 + far * math.sin(angle) * math.sqrt(2)
        if not (-9.0 < x < w + 9.0 and -9.0 < y < d + 9.0) and min(abs(x - middle[0]), abs(y - middle[1])) > 8.0:
            parts += placed(outdoors.tree(rng, rng.uniform(5.0, 9.0)), x, y, z=-0.2)
    return parts


def _old_streets(rng: np.random.Generator, size: tuple[float, float], corner: tuple[int, int]) -> Primitive:
    """Cobbles between all houses of the busy quarter, up to the streets that divide the quarters."""
    inner, outer = _STREET / 2 - 0.3, -_STREET / 2 - 0.5
    spans = [(outer, side / 2 - inner) if end == 0 else (side / 2 + inner, side - outer) for side, end in zip(size, corner)]
    (left, right), (low, high) = spans
    return box((left + right) / 2, (low + high) / 2, -0.5, right - left, high - low, 0.5 + _COBBLES, facades.cobbles(rng))


def _blocks(
    rng: np.random.Generator, size: tuple[float, float], corner: tuple[int, int], lines: tuple[list[float], list[float]]
) -> Parts:
    """Pavements and what is within them.  The busy quarter has a market, a church and houses; each quarter some of its kinds."""
    cells: dict[District, list[tuple[float, float, float, float]]] = {"busy": [], "mixed": [], "open": []}
    for left, right in zip(lines[0], lines[0][1:]):
        for low, high in zip(lines[1], lines[1][1:]):
            x, y = (left + right) / 2, (low + high) / 2
            cells[_district(corner, size, x, y)].append((x, y, right - left - _STREET, high - low - _STREET))
    parts: Parts = []
    kinds: tuple[tuple[District, tuple[Plot, ...]], ...] = (
        ("busy", (plots.market, plots.church_yard, *plots.BUSY)),
        ("mixed", plots.MIXED),
        ("open", plots.OPEN),
    )
    for district, uses in kinds:
        for k, index in enumerate(rng.permutation(len(cells[district]))):
            # Every kind in turn first, so that no quarter lacks one; then as chance has it.
            use = uses[k] if k < len(uses) else pick(rng, plots.BUSY if district == "busy" else uses)
            x, y, width, depth = cells[district][int(index)]
            pavement = facades.plain(rng, "concrete") if district == "open" else facades.paving(rng)
            parts.append(box(x, y, -0.5, width, depth, 0.5 + _KERB, pavement))
            quarter_turns = int(rng.integers(4))
            inner = (width - 2 * _PAVEMENT, depth - 2 * _PAVEMENT)
            inner = inner if quarter_turns % 2 == 0 else inner[::-1]
            parts += placed(use(rng, *inner), x, y, quarter_turns * math.pi / 2, _KERB)
    return parts


def _streets(
    rng: np.random.Generator,
    size: tuple[float, float],
    corner: tuple[int, int],
    lines: tuple[list[float], list[float]],
    axis: int,
) -> Parts:
    """Marks, crossings, parked cars and trees of the streets along one axis."""
    parts: Parts = []
    marks, crossing = facades.road_marks(rng, 1.5), facades.road_marks(rng, 0.55)
    yaw = axis * math.pi / 2
    for k, across in enumerate(lines[1 - axis]):
        # Along the rim only one side has a pavement; +Y of a street along Y points west.
        low, high = (k > 0, k < len(lines[1 - axis]) - 1) if axis == 0 else (k < len(lines[1 - axis]) - 1, k > 0)
        sides = (-1,) * low + (1,) * high
        for start, end in zip(lines[axis], lines[axis][1:]):
            middle, length = (start + end) / 2, end - start - _STREET
            x, y = (middle, across) if axis == 0 else (across, middle)
            district = _district(corner, size, x, y)
            segment = _kerbside(rng, length - 6.0, district, sides)
            if district == "mixed":
                segment.append(box(0.0, 0.0, -0.1, length - 5.0, 0.3, 0.1 + _MARK, marks))
            if district != "open":
                across_it = [box(0.0, 0.0, -0.1, _STREET - 0.8, 2.2, 0.1 + _MARK, crossing)]
                segment += placed(across_it, length / 2 - 1.2, 0.0, math.pi / 2)
            parts += placed(segment, x, y, yaw)
    return parts


def _kerbside(rng: np.random.Generator, length: float, district: District, pavements: tuple[int, ...]) -> Parts:
    """Cars parked along X on both sides of a street; trees and parasols on its pavements, of which there may be one (±1)."""
    parts: Parts = []
    slots = int(length / _SLOT)
    for side in (-1, 1):
        for i in range(slots):
            along = ((i + 0.5) / slots - 0.5) * length
            if rng.random() < _CARS[district]:
                facing = 0.0 if side < 0 else math.pi
                parts += placed(outdoors.car(rng), along + rng.uniform(-0.5, 0.5), side * (_STREET / 2 - 1.1), facing)
            if side not in pavements:
                continue
            beside = side * (_STREET / 2 + 0.7)
            if rng.random() < _PARASOLS[district]:
                parts += placed(outdoors.parasol(rng), along + rng.uniform(-2.0, 2.0), beside)
            if rng.random() < _STREET_TREES[district]:
                parts += placed(outdoors.tree(rng, rng.uniform(4.0, 5.5)), along + _SLOT / 2, beside)
    return parts
