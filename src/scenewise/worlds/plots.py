"""How the land between the streets of a town is used: one function per kind of plot.

Each fills a rectangle of ``width`` × ``depth`` metres around the origin of its own frame, +Z up, on ground at z = 0.
"""

import math
from collections.abc import Callable

import numpy as np

from scenewise.worlds import buildings, facades, outdoors
from scenewise.worlds.materials import Material, pick
from scenewise.worlds.primitives import Primitive, box, cylinder

Parts = list[Primitive]
Plot = Callable[[np.random.Generator, float, float], Parts]
SURFACE = 0.05  # metres that the plot's own ground stands above the pavement around it


def placed(parts: Parts, x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> Parts:
    """The solids turned by ``yaw`` about their origin, which comes to (x, y, z)."""
    return [part.moved((x, y, z), yaw) for part in parts]


def _ground(width: float, depth: float, look: Material) -> Primitive:
    return box(0.0, 0.0, -0.1, width, depth, 0.1 + SURFACE, look)


def _widths(rng: np.random.Generator, total: float, about: float) -> list[float]:
    """``total`` metres divided into pieces of about the same length."""
    shares = rng.uniform(0.8, 1.2, max(1, round(total / about)))
    return [float(width) for width in total * shares / shares.sum()]


def old_block(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """Town houses wall to wall along all four streets around a courtyard."""
    parts = [_ground(width, depth, facades.paving(rng))]
    deep = min(6.5, 0.36 * depth)
    for side in (0.0, math.pi):
        left = -width / 2 + 0.2
        for wide in _widths(rng, width - 0.4, 7.0):
            back = deep + rng.uniform(-0.4, 0.4)
            house = buildings.town_house(rng, wide, back, int(rng.integers(2, 5)))
            x, y = left + wide / 2, depth / 2 - back / 2 - rng.uniform(0.1, 0.5)
            parts += placed(house, math.cos(side) * x, math.cos(side) * y, side)
            left += wide
    between = depth - 2 * (deep + 1.0)
    if between > 4.0:
        for side in (-1, 1):
            house = buildings.town_house(rng, between, 0.3 * width, int(rng.integers(2, 4)))
            parts += placed(house, side * (0.35 * width - 0.2), 0.0, -side * math.pi / 2)
    if rng.random() < 0.5:
        x, y = (pick(rng, (-1, 1)) * (half - 0.8) for half in (width / 2, depth / 2))
        parts += placed(buildings.round_tower(rng, rng.uniform(1.9, 2.4), rng.uniform(13.0, 16.0)), x, y)
    for _ in range(2):
        x, y = rng.uniform(-0.1, 0.1) * width, rng.uniform(-0.12, 0.12) * depth
        parts += placed(outdoors.tree(rng, rng.uniform(5.0, 7.0)), x, y)
    return parts


def market(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """A paved square with a fountain, rows of stalls, parasols and a few trees."""
    parts = [_ground(width, depth, facades.mosaic(rng))]
    parts += placed(outdoors.fountain(rng), 0.0, 0.0)
    rows, columns = max(2, round(depth / 3.9)), max(2, round(width / 4.2))
    for row in range(rows):
        for column in range(columns):
            x = ((column + 0.5) / columns - 0.5) * width + rng.uniform(-0.25, 0.25)
            y = ((row + 0.5) / rows - 0.5) * depth + rng.uniform(-0.25, 0.25)
            if math.hypot(x, y) < 4.2 or rng.random() < 0.08:
                continue
            on_rim = row in (0, rows - 1) and column in (0, columns - 1)
            if on_rim:
                parts += placed(outdoors.tree(rng, rng.uniform(5.5, 7.5)), x, y)
            elif rng.random() < 0.25:
                parts += placed(outdoors.parasol(rng), x - 0.9, y - 0.8) + placed(outdoors.parasol(rng), x + 1.2, y + 1.1)
            else:
                parts += placed(outdoors.stall(rng), x, y, (row % 2) * math.pi + rng.normal(0.0, 0.06))
    return parts


def church_yard(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """A church among old trees, a hedge around."""
    parts = [_ground(width, depth, facades.garden(rng))]
    parts += placed(buildings.church(rng, 0.42 * width, 0.8 * depth), 0.0, 0.02 * depth)
    parts.append(box(0.0, 0.46 * depth - 0.1, 0.0, 3.0, 0.08 * depth, SURFACE + 0.04, facades.paving(rng)))
    for side in (-1, 1):
        parts += placed([outdoors.hedge(rng, depth - 1.0)], side * (width / 2 - 0.7), 0.0, math.pi / 2)
        for i in range(3):
            x, y = side * rng.uniform(0.33, 0.39) * width, ((i + 0.5) / 3 - 0.5) * depth
            parts += placed(outdoors.tree(rng, rng.uniform(5.5, 8.0)), x, y)
    return parts


def cottages(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """Four houses with gardens: hedges between, trees, a drive with a car."""
    parts = [_ground(width, depth, facades.garden(rng))]
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * width / 4 + rng.uniform(-0.4, 0.4), sy * depth / 4 + sy * 0.6
            house = buildings.cottage(rng, min(0.34 * width, rng.uniform(6.5, 8.0)), min(0.3 * depth, rng.uniform(5.5, 6.5)))
            parts += placed(house, x, y, (0.0 if sy > 0 else math.pi) + rng.normal(0.0, 0.05))
            parts += placed(outdoors.tree(rng, rng.uniform(3.5, 6.5)), sx * 0.44 * width, sy * rng.uniform(0.06, 0.1) * depth)
            if rng.random() < 0.6:
                parts += placed(outdoors.tree(rng, rng.uniform(3.0, 4.5)), sx * 0.06 * width, sy * 0.44 * depth)
            if rng.random() < 0.5:
                parts += placed(outdoors.car(rng), sx * 0.44 * width, sy * 0.4 * depth, math.pi / 2)
    parts.append(outdoors.hedge(rng, 0.9 * width))
    parts += placed([outdoors.hedge(rng, 0.8 * depth)], 0.1, 0.0, math.pi / 2)
    return parts


def flats(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """A slab of flats on a lawn, trees before it, cars behind."""
    parts = [_ground(width, depth, facades.lawn(rng))]
    deep = 0.42 * depth
    parts += placed(buildings.apartments(rng, 0.86 * width, deep, int(rng.integers(4, 7))), 0.0, -0.04 * depth)
    parts.append(box(0.0, -0.41 * depth, 0.0, 0.94 * width, 0.15 * depth, SURFACE + 0.03, facades.asphalt(rng)))
    for i in range(6):
        if rng.random() < 0.6:
            x = ((i + 0.5) / 6 - 0.5) * 0.88 * width
            parts += placed(outdoors.car(rng), x, -0.41 * depth, math.pi / 2 + rng.normal(0.0, 0.03), SURFACE)
    for i in range(4):
        x, y = ((i + rng.uniform(0.3, 0.7)) / 4 - 0.5) * width, 0.36 * depth + rng.uniform(-0.5, 0.5)
        parts += placed(outdoors.tree(rng, rng.uniform(4.0, 7.0)), x, y)
    return parts


def park(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """Trees around a pond, with paths."""
    parts = [_ground(width, depth, facades.lawn(rng))]
    path = facades.plain(rng, "sand")
    parts.append(box(-0.32 * width, 0.0, 0.0, 1.6, depth - 0.2, SURFACE + 0.03, path))
    parts.append(box(0.0, 0.3 * depth, 0.0, width - 0.2, 1.6, SURFACE + 0.02, path))
    radius = 0.2 * min(width, depth)
    parts.append(cylinder(0.1 * width, -0.08 * depth, 0.0, radius + 0.5, SURFACE + 0.04, facades.plain(rng, "gravel")))
    parts.append(cylinder(0.1 * width, -0.08 * depth, 0.0, radius, SURFACE + 0.05, facades.plain(rng, "water")))
    for i in range(12):
        angle = 2 * math.pi * (i + rng.uniform(-0.3, 0.3)) / 12
        x, y = 0.43 * width * math.cos(angle), 0.43 * depth * math.sin(angle)
        parts += placed(outdoors.tree(rng, rng.uniform(4.5, 8.5)), x, y)
    return parts


def works(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """One hall on an empty yard."""
    parts = [_ground(width, depth, facades.cladding(rng, pick(rng, ("concrete", "gravel", "asphalt"))))]
    parts += placed(buildings.hall(rng, 0.84 * width, 0.62 * depth), 0.0, -0.13 * depth)
    if rng.random() < 0.4:
        parts += placed(buildings.tank(rng, 0.11 * width, rng.uniform(4.0, 6.0)), 0.3 * width, 0.36 * depth)
    for i in range(3):
        if rng.random() < 0.3:
            parts += placed(outdoors.car(rng), (0.2 * i - 0.35) * width, 0.38 * depth, math.pi / 2)
    return parts


def parking(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """Asphalt with marked bays, most of them free."""
    parts = [_ground(width, depth, facades.cladding(rng, "asphalt"))]
    white = facades.plain(rng, "concrete")
    for row in (-1, 1):
        parts.append(box(0.0, row * 0.24 * depth, 0.0, 0.86 * width, 0.25, SURFACE + 0.02, white))
        for i in range(6):
            if rng.random() < 0.2:
                x = ((i + 0.5) / 6 - 0.5) * 0.82 * width
                parts += placed(outdoors.car(rng), x, row * 0.38 * depth, math.pi / 2, SURFACE)
    return parts


def green(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """An open lawn, every other one with the lines of a playing field; goals would be too thin to see."""
    parts = [_ground(width, depth, facades.lawn(rng))]
    white, w, d = facades.plain(rng, "white"), 0.84 * width, 0.84 * depth
    if rng.random() < 0.5:
        parts += [box(side * w / 2, 0.0, 0.0, 0.15, d, SURFACE + 0.02, white) for side in (-1, 1)]
        parts += [box(0.0, side * d / 2, 0.0, w - 0.2, 0.15, SURFACE + 0.02, white) for side in (-1, 0, 1)]
    return parts


BUSY: tuple[Plot, ...] = (old_block, old_block, old_block, church_yard)
MIXED: tuple[Plot, ...] = (cottages, cottages, flats, park)
OPEN: tuple[Plot, ...] = (works, green, parking, works)
