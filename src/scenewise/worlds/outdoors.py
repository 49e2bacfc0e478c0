"""What stands between the buildings of a town: trees, hedges, cars, stalls, parasols, a fountain.

From a random generator to solids in the thing's own frame: origin on the ground under its middle, +Z up, metres.
"""

import numpy as np

from scenewise.worlds import facades
from scenewise.worlds.facades import CARS
from scenewise.worlds.materials import Material, pick
from scenewise.worlds.primitives import Primitive, box, cylinder, ellipsoid, frustum

Parts = list[Primitive]


def tree(rng: np.random.Generator, height: float) -> Parts:
    """A trunk under one or two round crowns; one in six is a conifer."""
    trunk = facades.plain(rng, "timber")
    leaves = facades.foliage(rng)
    wide = height * rng.uniform(0.26, 0.36)
    if rng.random() < 1 / 6:
        return [
            cylinder(0.0, 0.0, 0.0, 0.2, 0.3 * height, trunk),
            frustum(0.0, 0.0, 0.15 * height, 0.75 * wide, 0.0, 0.9 * height, leaves),
        ]
    parts = [
        cylinder(0.0, 0.0, 0.0, 0.25, 0.5 * height, trunk),
        ellipsoid(0.0, 0.0, 0.65 * height, (wide, wide * rng.uniform(0.85, 1.0), 0.38 * height), leaves, rng.uniform(0.0, 3.0)),
    ]
    if rng.random() < 0.5:
        x, y = wide * rng.uniform(-0.5, 0.5), wide * rng.uniform(-0.5, 0.5)
        parts.append(ellipsoid(x, y, 0.82 * height, (0.6 * wide, 0.6 * wide, 0.24 * height), leaves))
    return parts


def hedge(rng: np.random.Generator, length: float) -> Primitive:
    """A cut hedge along X."""
    return box(0.0, 0.0, 0.0, length, rng.uniform(0.7, 1.1), rng.uniform(1.1, 1.8), facades.foliage(rng))


def car(rng: np.random.Generator) -> Parts:
    """A body along X and a cabin with a dark window band under a roof of the body's colour; some are vans."""
    paint = facades.plain(rng, pick(rng, CARS))
    glass = facades.plain(rng, "glass")
    if rng.random() < 0.15:
        return [box(0.0, 0.0, 0.3, 5.2, 2.0, 2.0, paint), box(2.2, 0.0, 1.3, 0.9, 1.9, 0.8, glass)]
    length = rng.uniform(3.9, 4.7)
    return [
        box(0.0, 0.0, 0.25, length, 1.8, 0.65, paint),
        box(-0.25, 0.0, 0.9, 0.55 * length, 1.6, 0.45, glass),
        box(-0.3, 0.0, 1.34, 0.4 * length, 1.5, 0.08, paint),
    ]


def stall(rng: np.random.Generator) -> Parts:
    """A table of goods, half under a striped cloth."""
    wide = rng.uniform(2.6, 3.6)
    return [
        box(0.0, 0.5, 0.0, wide, 1.4, 0.95, facades.goods(rng)),
        box(0.0, -0.5, 2.1, wide + 0.3, 1.8, 0.12, facades.awning(rng)),
        box(0.0, -1.1, 0.0, wide - 0.2, 0.12, 2.1, facades.plain(rng, "timber")),
    ]


def parasol(rng: np.random.Generator) -> Parts:
    """A round cloth over a table."""
    cloth = facades.plain(rng, pick(rng, facades.AWNINGS)) if rng.random() < 0.5 else facades.awning(rng)
    return [
        frustum(0.0, 0.0, 2.0, 1.5, 0.0, 0.7, cloth),
        cylinder(0.0, 0.0, 0.0, 0.5, 0.8, facades.plain(rng, "timber")),
    ]


def fountain(rng: np.random.Generator) -> Parts:
    """A basin of water around a column."""
    stone: Material = facades.plain(rng, "concrete")
    return [
        cylinder(0.0, 0.0, 0.0, 2.6, 0.6, stone),
        cylinder(0.0, 0.0, 0.1, 2.2, 0.55, facades.plain(rng, "water")),
        cylinder(0.0, 0.0, 0.0, 0.35, 2.4, stone),
        ellipsoid(0.0, 0.0, 2.6, (0.6, 0.6, 0.5), stone),
    ]
