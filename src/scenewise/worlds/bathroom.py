"""Bathtubs, toilets and sinks; frames and rules are those of :mod:`scenewise.worlds.furniture`.

Solids cannot be hollowed out, so basins have walls of several boxes around a bottom.
"""

import numpy as np

from scenewise.worlds import materials
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.materials import METAL_COLORS, WOOD_COLORS, Material, pick
from scenewise.worlds.primitives import Primitive, box, cylinder, ellipsoid, oval, oval_wall

_ENAMEL = ("white", "white", "white", "white", "beige", "pink", "green", "gray", "blue")


def bathtub(rng: np.random.Generator) -> Furniture:
    """Built in behind a panel, or oval on a plinth or on feet; taps, sometimes water."""
    width, depth, height = rng.uniform(1.45, 1.8), rng.uniform(0.68, 0.85), rng.uniform(0.5, 0.64)
    color = pick(rng, _ENAMEL)
    enamel, tap = materials.paint(rng, color), materials.paint(rng, pick(rng, METAL_COLORS))
    water = materials.paint(rng, "blue") if rng.random() < 0.4 else enamel
    level = rng.uniform(0.5, 0.7) * height if water is not enamel else 0.18
    end = pick(rng, (-1.0, 1.0))
    if rng.random() < 0.5:
        panel = enamel if rng.random() < 0.5 else materials.wood(rng, pick(rng, WOOD_COLORS))
        rim = rng.uniform(0.06, 0.1)
        parts = [
            box(0.0, 0.0, 0.0, width - 0.02, depth - 0.02, 0.15, panel),
            box(0.0, 0.0, 0.1, width - 2 * rim, depth - 2 * rim, level - 0.1, water),
        ]
        parts += [box(0.0, sy * (depth - rim) / 2, 0.02, width, rim, height - 0.02, panel) for sy in (-1, 1)]
        parts += [box(sx * (width - rim) / 2, 0.0, 0.021, rim, depth - 2 * rim, height - 0.021, panel) for sx in (-1, 1)]
        parts += [box(0.0, sy * (depth - rim) / 2, height, width + 0.01, rim + 0.01, 0.025, enamel) for sy in (-1, 1)]
        parts += [box(sx * (width - rim) / 2, 0.0, height + 0.001, rim + 0.01, depth - rim, 0.022, enamel) for sx in (-1, 1)]
        parts += _rounded_corners(width / 2 - rim, depth / 2 - rim, 0.1, height - 0.104, enamel)
        spout = (end * (width / 2 - rim / 2), 0.0)
    else:
        foot = rng.uniform(0.08, 0.15) if rng.random() < 0.5 else 0.0
        radii = (width / 2 - 0.03, depth / 2 - 0.03)
        lean = rng.uniform(0.8, 0.93)
        parts = [oval(0.0, 0.0, foot, (0.98 * radii[0] * lean, 0.98 * radii[1] * lean), 0.12, enamel, (0.8, 1.0))]
        rings = 4
        tall = (height - foot - 0.08) / rings
        for i in range(rings):
            share = lean + (1 - lean) * i / (rings - 1)
            at = foot + 0.08 + i * tall
            parts += oval_wall((0.0, 0.0), (share * radii[0], share * radii[1]), at, 0.035, tall + 0.004, enamel, 32)
        parts += oval_wall((0.0, 0.0), radii, height - 0.01, 0.06, 0.025, enamel, 32)
        if water is not enamel:
            share = lean + (1 - lean) * (level - foot - 0.08) / (height - foot - 0.08)
            radii_of_water = (share * radii[0] - 0.01, share * radii[1] - 0.01)
            parts.append(oval(0.0, 0.0, level - 0.02, radii_of_water, 0.02, water))
        if foot:
            places = [(sx * 0.55 * radii[0], sy * 0.55 * radii[1]) for sx in (-1, 1) for sy in (-1, 1)]
            parts += [ellipsoid(x, y, 0.5 * foot + 0.02, (0.045, 0.045, 0.5 * foot + 0.02), tap) for x, y in places]
        else:
            parts.append(oval(0.0, 0.0, 0.0, (0.9 * radii[0] * lean, 0.9 * radii[1] * lean), 0.05, enamel))
        spout = (0.0, -depth / 2 + 0.03) if rng.random() < 0.5 else (end * (width / 2 - 0.03), 0.0)
    parts += _tap(spout[0], spout[1], height + 0.01, tap, (0.0 if spout[0] == 0.0 else -end, 1.0 if spout[0] == 0.0 else 0.0))
    return Furniture("bathtub", color, (width + 0.01, depth + 0.01, height + 0.17), tuple(parts), 0.5)


def _rounded_corners(x: float, y: float, bottom: float, height: float, look: Material) -> list[Primitive]:
    """Boxes across the inner corners of a basin, at 45°."""
    return [
        box(sx * (x - 0.02), sy * (y - 0.02), bottom, 0.2, 0.02, height, look, -sx * sy * np.pi / 4)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def _tap(x: float, y: float, bottom: float, look: Material, ahead: tuple[float, float]) -> list[Primitive]:
    """A post, a spout that reaches ``ahead`` (a unit step along x or y), and a knob at either side."""
    u, v = ahead
    parts = [
        cylinder(x, y, bottom, 0.016, 0.13, look),
        box(x + 0.06 * u, y + 0.06 * v, bottom + 0.11, 0.028 + 0.12 * abs(u), 0.028 + 0.12 * abs(v), 0.024, look),
    ]
    parts += [ellipsoid(x + side * 0.07 * v, y + side * 0.07 * u, bottom + 0.03, (0.026, 0.026, 0.035), look) for side in (-1, 1)]
    return parts


def toilet(rng: np.random.Generator) -> Furniture:
    """A bowl on a foot or off the floor, a seat, a lid down or up, and a cistern behind, or none."""
    color = pick(rng, _ENAMEL)
    enamel = materials.paint(rng, color)
    ring = enamel if rng.random() < 0.6 else materials.wood(rng, pick(rng, ("brown", "black", "white", "beige")))
    knob, water = materials.paint(rng, "gray"), materials.paint(rng, pick(rng, ("blue", "gray", "gray")))
    half, reach, rim = rng.uniform(0.17, 0.2), rng.uniform(0.22, 0.26), rng.uniform(0.37, 0.43)
    has_cistern = rng.random() < 0.8
    is_on_foot = has_cistern or rng.random() < 0.4
    tank = rng.uniform(0.16, 0.2) if has_cistern else 0.06
    depth = tank + 2 * reach + 0.04
    back, y = -depth / 2, depth / 2 - reach
    parts = [
        oval(0.0, y, rim - 0.27, (half - 0.01, reach - 0.01), 0.15, enamel, (rng.uniform(0.5, 0.7), 1.0)),
        box(0.0, back + tank / 2 + 0.08, rim - 0.2, 1.3 * half, tank + 0.16, 0.17, enamel),
        oval(0.0, y, rim - 0.12, (half - 0.05, reach - 0.05), 0.02, water),
        *oval_wall((0.0, y), (half - 0.02, reach - 0.02), rim - 0.125, 0.035, 0.125, enamel, 24),
    ]
    if is_on_foot:
        foot = rng.uniform(0.55, 0.75)
        parts += [
            oval(0.0, y - 0.05, 0.0, (foot * half + 0.03, 0.75 * reach), rim - 0.15, enamel, (1.0, 0.8)),
            box(0.0, back + tank + 0.06, 0.002, 1.1 * foot * half, 0.2, rim - 0.2, enamel),
        ]
    if rng.random() < 0.5:
        parts += oval_wall((0.0, y), (half - 0.025, reach - 0.025), rim + 0.004, 0.06, 0.02, ring, 24)
        parts.append(ellipsoid(0.0, y - reach + 0.015, rim + reach + 0.02, (half - 0.01, 0.014, reach), ring))
        top = rim + 2 * reach + 0.02
    else:
        parts.append(oval(0.0, y, rim + 0.003, (half, reach), 0.035, ring, (1.0, 0.96)))
        top = rim + 0.04
    if has_cistern:
        tall, wide = rng.uniform(0.3, 0.42), rng.uniform(0.36, 0.46)
        parts += [
            box(0.0, back + tank / 2, rim - 0.04, wide, tank - 0.01, tall, enamel),
            box(0.0, back + tank / 2, rim - 0.04 + tall, wide + 0.02, tank, 0.03, enamel),
            cylinder(0.0, back + tank / 2, rim - 0.01 + tall, 0.022, 0.012, knob),
        ]
        width, top = max(wide + 0.02, 2 * half), max(top, rim + tall)
    else:
        parts += [
            box(
                0.0,
                back + 0.03,
                0.0,
                0.4,
                0.055,
                rim + 0.55,
                materials.wall_surface(rng, pick(rng, ("white", "gray", "beige", "blue"))),
            ),
            box(0.0, back + 0.06, rim + 0.32, 0.2, 0.014, 0.13, knob),
        ]
        width, top = max(0.4, 2 * half), max(top, rim + 0.55)
    return Furniture("toilet", color, (width, depth, top), tuple(parts), 0.5)


def sink(rng: np.random.Generator) -> Furniture:
    """An oval or a square basin with a tap: on a column, on metal legs, or on a cabinet."""
    width, depth, rim = rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.5), rng.uniform(0.78, 0.9)
    color = pick(rng, _ENAMEL)
    enamel, tap = materials.paint(rng, color), materials.paint(rng, pick(rng, METAL_COLORS))
    kind, is_oval = rng.random(), rng.random() < 0.5
    bowl, back = rng.uniform(0.13, 0.18), -depth / 2
    if is_oval:
        radii = (width / 2 - 0.015, (depth - 0.09) / 2 - 0.015)
        y = depth / 2 - radii[1] - 0.015
        parts = [
            oval(0.0, y, rim - bowl, radii, 0.55 * bowl, enamel, (0.62, 1.0)),
            *oval_wall((0.0, y), (radii[0] - 0.005, radii[1] - 0.005), rim - 0.5 * bowl, 0.03, 0.5 * bowl, enamel, 28),
            oval(0.0, y, rim - 0.45 * bowl, (0.04, 0.04), 0.008, tap),
            box(0.0, back + 0.06, rim - 0.6 * bowl, 0.62 * width, 0.115, 0.6 * bowl + 0.012, enamel),
        ]
    else:
        edge = 0.035
        parts = [
            box(0.0, 0.0, rim - bowl, width - 0.01, depth - 0.01, 0.04, enamel),
            *(box(sx * (width - edge) / 2, 0.0, rim - bowl + 0.001, edge, depth - 0.002, bowl - 0.001, enamel) for sx in (-1, 1)),
            box(0.0, (depth - edge) / 2, rim - bowl + 0.002, width - 2 * edge, edge, bowl - 0.004, enamel),
            box(0.0, back + 0.06, rim - bowl + 0.002, width - 2 * edge, 0.12, bowl, enamel),
            oval(0.0, 0.04, rim - bowl + 0.04, (0.04, 0.04), 0.006, tap),
        ]
        y = 0.0
    under = rim - bowl
    parts += _tap(0.0, back + 0.06, rim + 0.01, tap, (0.0, 1.0))
    if kind < 0.5:
        thick = rng.uniform(0.07, 0.1)
        parts += [
            oval(0.0, y - 0.02, 0.0, (1.3 * thick, 1.2 * thick), 0.06, enamel, (1.0, 0.8)),
            oval(0.0, y - 0.02, 0.06, (thick, thick), under - 0.04, enamel, (0.85, 1.0)),
        ]
    elif kind < 0.72:
        places = [(sx * (0.38 * width), sy * (0.3 * depth) + y) for sx in (-1, 1) for sy in (-1, 1)]
        parts += [cylinder(px, py, 0.0, 0.014, under + 0.03, tap) for px, py in places]
        parts += [box(sx * 0.38 * width, y, 0.2, 0.018, 0.6 * depth, 0.018, tap) for sx in (-1, 1)]
        parts.append(box(0.0, y + 0.3 * depth, 0.45, 0.76 * width, 0.018, 0.018, tap))
    else:
        wood = materials.wood(rng, pick(rng, WOOD_COLORS))
        wide, deep = (0.8 * width, 0.75 * depth) if is_oval else (width - 0.04, depth - 0.05)
        middle = back + 0.01 + deep / 2
        parts.append(box(0.0, middle, 0.08, wide, deep, under - 0.05, wood))
        parts.append(box(0.0, middle, 0.0, wide - 0.06, deep - 0.06, 0.08, tap))
        for sx in (-1, 1):
            parts.append(box(sx * wide / 4, middle + deep / 2 + 0.007, 0.1, wide / 2 - 0.012, 0.014, under - 0.09, wood))
            parts.append(box(sx * 0.04, middle + deep / 2 + 0.022, under - 0.2, 0.016, 0.018, 0.12, tap))
    return Furniture("sink", color, (width, depth, rim + 0.15), tuple(parts), 0.5)
