"""One function per kind of furniture: from a random generator to a piece in its own frame.

Frame: +X along the width, +Y out of the front, +Z up.  Pieces that stand or lie have the origin under their middle and their
back at y = −depth/2; pieces that hang on a wall have their back at y = 0.  No piece's solids share a face in the same plane,
so nothing flickers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewise.worlds import materials
from scenewise.worlds.materials import FABRIC_COLORS, METAL_COLORS, WOOD_COLORS, Material, pick
from scenewise.worlds.primitives import Primitive, box, cylinder, ellipsoid, frustum


@dataclass(frozen=True)
class Furniture:
    """A piece in its own frame.

    Attributes:
        class_name: one of ``OBJECT_NAMES``.
        color_name: the name of the colour a person would use for it.
        size: width, depth, height of the room it takes, metres.
        parts: its solids.
        free_front: depth in front of it that other pieces leave free, metres.
        is_hung: it hangs on a wall, so its own frame starts at its back and not in its middle.
    """

    class_name: str
    color_name: str
    size: tuple[float, float, float]
    parts: tuple[Primitive, ...]
    free_front: float = 0.0
    is_hung: bool = False


def _top(parts: Sequence[Primitive]) -> float:
    return max(part.center[2] + part.half_size[2] for part in parts)


def bed(rng: np.random.Generator) -> Furniture:
    """Frame, mattress, blanket, pillows, often a headboard."""
    width, depth = rng.uniform(0.95, 1.8), rng.uniform(1.95, 2.15)
    color = pick(rng, FABRIC_COLORS)
    blanket, frame = materials.fabric(rng, color), materials.wood(rng, pick(rng, WOOD_COLORS))
    sheet = materials.fabric(rng, pick(rng, ("white", "white", "beige", "blue", "pink")))
    base, foot, thick = rng.uniform(0.16, 0.3), rng.uniform(0.05, 0.14), rng.uniform(0.16, 0.24)
    top = foot + base + thick
    back = -depth / 2
    parts = [
        box(0.0, 0.03, foot, width, depth - 0.06, base, frame),
        box(0.0, 0.035, foot + base, width - 0.06, depth - 0.13, thick, sheet),
    ]
    parts += [
        box(sx * (width / 2 - 0.06), sy * (depth / 2 - 0.1), 0.0, 0.07, 0.07, foot, frame) for sx in (-1, 1) for sy in (-1, 1)
    ]
    covered = rng.uniform(0.55, 0.72) * depth
    parts.append(box(0.0, depth / 2 - covered / 2 - 0.005, foot + base - 0.04, width + 0.02, covered, thick + 0.07, blanket))
    if rng.random() < 0.5:  # folded edge of the blanket
        parts.append(box(0.0, depth / 2 - covered, top - 0.02, width - 0.02, 0.25, 0.065, sheet))
    pillows = 1 if width < 1.3 else 2
    for i in range(pillows):
        x = (i - (pillows - 1) / 2) * width / 2
        half = (min(0.34, 0.4 * width / pillows), 0.19, 0.085)
        parts.append(ellipsoid(x, back + 0.33, top + 0.055, half, sheet, rng.normal(0.0, 0.06)))
    head = 0.0
    if rng.random() < 0.8:
        head = top + rng.uniform(0.25, 0.6)
        parts.append(box(0.0, back + 0.03, 0.0, width + 0.06, 0.055, head, frame))
    return Furniture("bed", color, (width + 0.08, depth, max(head, top + 0.15)), tuple(parts), 0.5)


def sofa(rng: np.random.Generator) -> Furniture:
    """Seat, back, arms, cushions; two or three places."""
    width, depth = rng.uniform(1.3, 2.3), rng.uniform(0.8, 0.98)
    color = pick(rng, FABRIC_COLORS)
    cover = materials.fabric(rng, color)
    cushion = materials.fabric(rng, color if rng.random() < 0.6 else pick(rng, FABRIC_COLORS))
    leg = materials.paint(rng, pick(rng, METAL_COLORS))
    foot, seat, back = rng.uniform(0.04, 0.13), rng.uniform(0.3, 0.36), rng.uniform(0.72, 0.95)
    arm, arm_top = rng.uniform(0.14, 0.24), rng.uniform(0.52, 0.66)
    parts = [
        box(0.0, 0.01, foot, width - 0.02, depth - 0.03, seat - foot, cover),
        box(0.0, -depth / 2 + 0.1, foot + 0.01, width, 0.2, back - foot, cover),
    ]
    parts += [box(side * (width - arm) / 2, 0.0, foot - 0.005, arm, depth, arm_top - foot, cover) for side in (-1, 1)]
    parts += [cylinder(sx * (width / 2 - 0.1), sy * (depth / 2 - 0.1), 0.0, 0.025, foot, leg) for sx in (-1, 1) for sy in (-1, 1)]
    places = 2 if width < 1.75 else 3
    inner = (width - 2 * arm) / places
    for i in range(places):
        x = (i - (places - 1) / 2) * inner
        parts.append(box(x, 0.1, seat, inner - 0.015, depth - 0.22, 0.13, cushion))
        parts.append(box(x, -depth / 2 + 0.27, seat + 0.12, inner - 0.04, 0.14, rng.uniform(0.32, 0.4), cushion))
    if rng.random() < 0.6:
        throw = materials.fabric(rng, pick(rng, FABRIC_COLORS))
        x = pick(rng, (-1, 1)) * (width / 2 - arm - 0.2)
        parts.append(ellipsoid(x, -depth / 2 + 0.4, seat + 0.3, (0.2, 0.08, 0.17), throw, rng.normal(0.0, 0.2)))
    return Furniture("sofa", color, (width, depth, _top(parts)), tuple(parts), 0.55)


def chair(rng: np.random.Generator) -> Furniture:
    """Four-legged with slats or a board as back, or a swivel chair with arms."""
    width, seat, top = rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.48), rng.uniform(0.82, 1.05)
    kind = rng.random()
    color = pick(rng, WOOD_COLORS if kind < 0.45 else FABRIC_COLORS)
    cover = materials.wood(rng, color) if kind < 0.45 else materials.fabric(rng, color)
    frame = cover if kind < 0.45 else materials.paint(rng, pick(rng, ("black", "gray", "brown", "white")))
    half, thick = width / 2, rng.uniform(0.03, 0.08)
    parts = [box(0.0, 0.0, seat - thick, width, width, thick, cover)]
    if kind < 0.8:
        inset = half - 0.03
        parts += [box(sx * inset, sy * inset, 0.0, 0.04, 0.04, seat - thick, frame) for sx in (-1, 1) for sy in (-1, 1)]
        parts += [box(sx * inset, -half + 0.03, seat, 0.038, 0.036, top - seat, frame) for sx in (-1, 1)]
        if rng.random() < 0.5:
            count = int(rng.integers(2, 5))
            for i in range(count):
                height = seat + (top - seat) * (0.35 + 0.6 * (i + 0.5) / count)
                parts.append(box(0.0, -half + 0.03, height - 0.03, width - 0.1, 0.02, 0.06, cover))
        else:
            parts.append(box(0.0, -half + 0.034, seat + 0.1, width - 0.1, 0.03, top - seat - 0.12, cover))
        if rng.random() < 0.4:
            parts += [box(sx * inset, 0.0, seat * 0.45, 0.025, width - 0.1, 0.03, frame) for sx in (-1, 1)]
    else:
        parts.append(cylinder(0.0, 0.0, 0.05, 0.03, seat - thick - 0.05, frame))
        parts += [box(0.0, 0.0, 0.003 * i, 1.1 * width, 0.05, 0.05, frame, math.pi * i / 3) for i in range(3)]
        parts.append(box(0.0, -half + 0.02, seat + 0.12, width - 0.06, 0.06, top - seat - 0.1, cover))
        parts.append(box(0.0, -half + 0.01, seat - 0.02, 0.06, 0.03, 0.3, frame))
        for side in (-1, 1):
            parts.append(box(side * (half - 0.02), 0.02, seat + 0.2, 0.05, 0.3, 0.03, frame))
            parts.append(box(side * (half - 0.02), 0.02, seat, 0.03, 0.04, 0.2, frame))
    return Furniture("chair", color, (1.05 * width, 1.05 * width, top + 0.03), tuple(parts))


def table(rng: np.random.Generator, *, is_low: bool) -> Furniture:
    """Rectangular on legs or side panels, or round on a foot; a coffee table when low."""
    width, depth = rng.uniform(0.9, 1.7), rng.uniform(0.6, 0.9)
    height = rng.uniform(0.36, 0.48) if is_low else rng.uniform(0.7, 0.77)
    color = pick(rng, WOOD_COLORS)
    board = materials.wood(rng, color)
    frame = board if rng.random() < 0.5 else materials.wood(rng, pick(rng, WOOD_COLORS))
    thick, kind = rng.uniform(0.025, 0.05), rng.random()
    under = height - thick
    if kind < 0.25:
        radius = rng.uniform(0.4, 0.6)
        parts = [
            cylinder(0.0, 0.0, under, radius, thick, board),
            cylinder(0.0, 0.0, 0.03, 0.05, under - 0.03, frame),
            frustum(0.0, 0.0, 0.0, 0.6 * radius, 0.1, 0.045, frame),
        ]
        return Furniture("table", color, (2 * radius, 2 * radius, height), tuple(parts))
    parts = [box(0.0, 0.0, under, width, depth, thick, board)]
    corners = [(sx * (width / 2 - 0.07), sy * (depth / 2 - 0.07)) for sx in (-1, 1) for sy in (-1, 1)]
    leg = rng.uniform(0.05, 0.08)
    if kind < 0.55:
        parts += [box(x, y, 0.0, leg, leg, under, frame) for x, y in corners]
        parts += [box(0.0, sy * (depth / 2 - 0.07), under - 0.08, width - 0.2, 0.02, 0.075, frame) for sy in (-1, 1)]
    elif kind < 0.8:
        parts += [frustum(x, y, 0.0, 0.35 * leg, 0.6 * leg, under, frame) for x, y in corners]
    else:
        parts += [box(sx * (width / 2 - 0.05), 0.0, 0.0, 0.04, depth - 0.05, under, frame) for sx in (-1, 1)]
        if is_low:
            parts.append(box(0.0, 0.0, 0.12, width - 0.15, depth - 0.08, 0.02, frame))
    return Furniture("table", color, (width, depth, height), tuple(parts))


def cabinet(rng: np.random.Generator, *, is_tall: bool) -> Furniture:
    """Carcass on a plinth with doors or drawers and their handles."""
    width, depth = rng.uniform(0.7, 1.6), rng.uniform(0.4, 0.58)
    height = rng.uniform(1.6, 2.05) if is_tall else rng.uniform(0.6, 1.05)
    color = pick(rng, WOOD_COLORS)
    carcass = materials.wood(rng, color)
    front = carcass if rng.random() < 0.5 else materials.wood(rng, color)
    handle = materials.paint(rng, pick(rng, METAL_COLORS))
    plinth, body = 0.06, depth - 0.03
    back = -depth / 2
    parts = [
        box(0.0, back + body / 2 - 0.02, 0.0, width - 0.06, body - 0.06, plinth, handle),
        box(0.0, back + body / 2, plinth, width, body, height - plinth, carcass),
    ]
    columns = max(1, round(width / 0.5)) if is_tall or rng.random() < 0.5 else 1
    rows = pick(rng, (1, 1, 2)) if is_tall else int(rng.integers(2, 5))
    cell_w, cell_h = (width - 0.04) / columns, (height - plinth - 0.04) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -width / 2 + 0.02 + (i + 0.5) * cell_w, plinth + 0.02 + j * cell_h
            parts.append(box(x, back + body + 0.008, z + 0.01, cell_w - 0.02, 0.016, cell_h - 0.02, front))
            y = back + body + 0.027
            if cell_h > 0.7:
                hinge = 1 if i % 2 == 0 else -1
                parts.append(box(x + hinge * (cell_w / 2 - 0.07), y, z + cell_h / 2 - 0.1, 0.022, 0.022, 0.2, handle))
            else:
                parts.append(box(x, y, z + 0.62 * cell_h, min(0.16, 0.5 * cell_w), 0.022, 0.022, handle))
    return Furniture("cabinet", color, (width, depth + 0.02, height), tuple(parts), 0.6)


def bookshelf(rng: np.random.Generator) -> Furniture:
    """Open shelves with rows of books of different heights, gaps and the odd vase."""
    width, depth, height = rng.uniform(0.7, 1.4), rng.uniform(0.28, 0.36), rng.uniform(1.2, 2.15)
    color = pick(rng, WOOD_COLORS)
    board = materials.wood(rng, color)
    back, thick, shelves = -depth / 2, 0.025, int(rng.integers(3, 6))
    parts = [box(0.0, back + 0.008, 0.02, width - 0.03, 0.012, height - 0.04, board)]
    parts += [box(side * (width / 2 - thick / 2), 0.0, 0.0, thick, depth, height, board) for side in (-1, 1)]
    gap = (height - 0.08 - thick) / shelves
    inner = width - 2 * thick
    for i in range(shelves + 1):
        bottom = 0.05 + i * gap
        parts.append(box(0.0, 0.008, bottom, inner - 0.002, depth - 0.03, thick, board))
        if i < shelves:
            parts += _shelf_content(rng, inner, depth, bottom + thick, gap - thick)
    return Furniture("bookshelf", color, (width, depth, height), tuple(parts), 0.6)


def _shelf_content(rng: np.random.Generator, width: float, depth: float, bottom: float, room: float) -> list[Primitive]:
    """Two to four rows of books side by side, some places left empty or given to a vase."""
    parts = []
    x, end = -width / 2 + 0.01, width / 2 - 0.01
    while end - x > 0.12:
        length = min(end - x, rng.uniform(0.14, 0.45))
        choice = rng.random()
        if choice < 0.8:
            tall, deep = room * rng.uniform(0.6, 0.92), depth * rng.uniform(0.55, 0.75)
            parts.append(
                box(x + length / 2, -depth / 2 + 0.03 + deep / 2, bottom, length - 0.004, deep, tall, materials.book_row(rng))
            )
        elif choice < 0.9:
            look = materials.paint(rng, pick(rng, FABRIC_COLORS))
            parts.append(frustum(x + length / 2, 0.0, bottom, 0.035, 0.055, room * rng.uniform(0.4, 0.8), look))
        x += length
    return parts


def door(rng: np.random.Generator) -> Furniture:
    """Leaf in a frame, with panels and a handle; hangs on a wall from the floor up."""
    width, height = rng.uniform(0.8, 1.0), rng.uniform(1.95, 2.1)
    color = pick(rng, WOOD_COLORS)
    leaf = materials.wood(rng, color)
    frame = materials.wood(rng, pick(rng, WOOD_COLORS)) if rng.random() < 0.6 else leaf
    panel = materials.wood(rng, color)
    handle = materials.paint(rng, pick(rng, METAL_COLORS))
    parts = [box(0.0, 0.015, 0.01, width, 0.03, height - 0.01, leaf)]
    parts += [box(side * (width / 2 + 0.04), 0.025, 0.0, 0.08, 0.05, height + 0.08, frame) for side in (-1, 1)]
    parts.append(box(0.0, 0.024, height, width, 0.048, 0.08, frame))
    style = rng.random()
    if style < 0.6:
        for low, high in ((0.08, 0.42), (0.52, 0.93)) if style < 0.35 else ((0.06, 0.32), (0.37, 0.63), (0.68, 0.94)):
            parts.append(box(0.0, 0.035, low * height, 0.68 * width, 0.018, (high - low) * height, panel))
    side = pick(rng, (-1, 1))
    parts.append(box(side * (width / 2 - 0.08), 0.06, 1.0, 0.025, 0.06, 0.025, handle))
    parts.append(box(side * (width / 2 - 0.13), 0.08, 0.995, 0.13, 0.02, 0.03, handle))
    return Furniture("door", color, (width + 0.16, 0.1, height + 0.08), tuple(parts), 0.8, is_hung=True)


def window(rng: np.random.Generator, room_height: float) -> Furniture:
    """Pane with a view, frame, bars, sill; the origin is at the height of its underside."""
    width, height = rng.uniform(0.9, 1.8), rng.uniform(0.9, min(1.4, room_height - 1.2))
    color = pick(rng, ("white", "white", "brown", "gray", "black"))
    frame, view = materials.paint(rng, color), materials.window_view(rng)
    bar = rng.uniform(0.05, 0.08)
    parts = [box(0.0, 0.01, 0.02, width - 0.02, 0.02, height - 0.04, view)]
    parts += [box(side * (width - bar) / 2, 0.03, 0.0, bar, 0.06, height, frame) for side in (-1, 1)]
    parts += [box(0.0, 0.029, bottom, width - 2 * bar, 0.058, bar, frame) for bottom in (0.0, height - bar)]
    upright = int(rng.integers(0, 3))
    parts += [
        box(((i + 1) / (upright + 1) - 0.5) * width, 0.02, bar, 0.6 * bar, 0.04, height - 2 * bar, frame) for i in range(upright)
    ]
    if rng.random() < 0.5:
        parts.append(box(0.0, 0.018, rng.uniform(0.45, 0.7) * height, width - 2 * bar, 0.035, 0.6 * bar, frame))
    if rng.random() < 0.6:
        parts.append(box(0.0, 0.08, -0.035, width + 0.1, 0.16, 0.035, frame))
    return Furniture("window", color, (width + 0.1, 0.16, height), tuple(parts), 0.5, is_hung=True)


def picture(rng: np.random.Generator) -> Furniture:
    """A framed painting; the origin is at its lower edge."""
    width, height = rng.uniform(0.4, 1.1), rng.uniform(0.35, 0.8)
    color = pick(rng, FABRIC_COLORS)
    canvas, frame = materials.painting(rng, color), materials.paint(rng, pick(rng, ("black", "brown", "white", "yellow", "gray")))
    edge = rng.uniform(0.02, 0.05)
    parts = [
        box(0.0, 0.012, 0.0, width, 0.024, height, frame),
        box(0.0, 0.02, edge, width - 2 * edge, 0.024, height - 2 * edge, canvas),
    ]
    return Furniture("picture", color, (width, 0.035, height), tuple(parts), 0.4, is_hung=True)


def _shade_and_stand(rng: np.random.Generator) -> tuple[str, Material, Material]:
    color = pick(rng, ("white", "yellow", "beige", "orange", "red", "gray"))
    return color, materials.lamp_shade(rng, color), materials.paint(rng, pick(rng, ("black", "gray", "brown", "white")))


def floor_lamp(rng: np.random.Generator) -> Furniture:
    """Foot, pole and a conical, cylindrical or round shade."""
    color, shade, stand = _shade_and_stand(rng)
    pole, radius, tall = rng.uniform(1.2, 1.6), rng.uniform(0.16, 0.26), rng.uniform(0.24, 0.36)
    parts = [frustum(0.0, 0.0, 0.0, 0.15, 0.12, 0.03, stand), cylinder(0.0, 0.0, 0.03, 0.015, pole, stand)]
    if rng.random() < 0.25:
        parts.append(ellipsoid(0.0, 0.0, pole + 0.5 * tall, (radius, radius, 0.5 * tall), shade))
    else:
        parts.append(frustum(0.0, 0.0, pole, radius, radius * rng.uniform(0.45, 1.0), tall, shade))
    return Furniture("lamp", color, (2 * radius, 2 * radius, pole + tall), tuple(parts))


def table_lamp(rng: np.random.Generator) -> Furniture:
    """A small lamp with a bellied foot, to stand on something."""
    color, shade, stand = _shade_and_stand(rng)
    body, radius, tall = rng.uniform(0.16, 0.26), rng.uniform(0.1, 0.15), rng.uniform(0.14, 0.2)
    parts = [
        cylinder(0.0, 0.0, 0.0, 0.06, 0.015, stand),
        ellipsoid(0.0, 0.0, 0.5 * body, (0.055, 0.055, 0.48 * body), stand),
        frustum(0.0, 0.0, body, radius, radius * rng.uniform(0.5, 0.9), tall, shade),
    ]
    return Furniture("lamp", color, (2 * radius, 2 * radius, body + tall), tuple(parts))


def pendant_lamp(rng: np.random.Generator) -> Furniture:
    """Hangs from the ceiling: the origin is at its lowest point, the cord ends at its height."""
    color, shade, stand = _shade_and_stand(rng)
    radius, tall, cord = rng.uniform(0.16, 0.28), rng.uniform(0.18, 0.32), rng.uniform(0.12, 0.3)
    body = (
        ellipsoid(0.0, 0.0, tall / 2, (radius, radius, tall / 2), shade)
        if rng.random() < 0.5
        else frustum(0.0, 0.0, 0.0, radius, radius * rng.uniform(0.25, 0.7), tall, shade)
    )
    parts = (body, cylinder(0.0, 0.0, tall - 0.01, 0.012, cord + 0.01, stand))
    return Furniture("lamp", color, (2 * radius, 2 * radius, tall + cord), parts)


def plant(rng: np.random.Generator, scale: float = 1.0) -> Furniture:
    """A pot that widens upwards, soil, stem and a crown of balls or of long leaves."""
    pot = materials.paint(rng, pick(rng, ("brown", "orange", "white", "black", "gray", "beige")))
    leaves, stem, soil = materials.foliage(rng), materials.wood(rng, "brown"), materials.paint(rng, "black")
    radius, pot_height, crown = rng.uniform(0.14, 0.2) * scale, rng.uniform(0.22, 0.38) * scale, rng.uniform(0.5, 1.1) * scale
    parts = [
        frustum(0.0, 0.0, 0.0, 0.7 * radius, radius, pot_height, pot),
        cylinder(0.0, 0.0, pot_height - 0.01, 0.88 * radius, 0.018, soil),
        cylinder(0.0, 0.0, pot_height, 0.016 * max(scale, 0.6), 0.62 * crown, stem),
    ]
    is_bushy = rng.random() < 0.6
    count = int(rng.integers(6, 11)) if is_bushy else int(rng.integers(9, 15))
    for i in range(count):
        angle, height = 2.4 * i + rng.normal(0.0, 0.3), rng.uniform(0.35, 1.0)
        reach = rng.uniform(0.05, 0.2) * scale
        x, y, z = reach * math.cos(angle), reach * math.sin(angle), pot_height + crown * height
        if is_bushy:
            ball = rng.uniform(0.09, 0.17) * scale
            half = (ball, ball * rng.uniform(0.7, 1.0), ball * rng.uniform(0.6, 1.1))
        else:
            half = (rng.uniform(0.12, 0.2) * scale, rng.uniform(0.03, 0.05) * scale, rng.uniform(0.015, 0.03) * scale)
        parts.append(ellipsoid(x, y, z, half, leaves, angle))
    return Furniture("plant", "green", (0.76 * scale, 0.76 * scale, _top(parts)), tuple(parts))


def monitor(rng: np.random.Generator) -> Furniture:
    """A flat screen on a foot, to stand on something."""
    width = rng.uniform(0.5, 0.95)
    height = width * rng.uniform(0.54, 0.64)
    color = pick(rng, ("black", "black", "gray", "white"))
    case, screen = materials.paint(rng, color), materials.screen_image(rng)
    neck, edge = rng.uniform(0.06, 0.12), rng.uniform(0.012, 0.025)
    parts = (
        frustum(0.0, 0.0, 0.0, 0.13, 0.11, 0.02, case),
        box(0.0, -0.03, 0.02, 0.05, 0.02, neck + 0.1, case),
        box(0.0, 0.0, neck, width, 0.035, height, case),
        box(0.0, 0.006, neck + edge, width - 2 * edge, 0.027, height - 2 * edge, screen),
    )
    return Furniture("monitor", color, (width, 0.26, neck + height), parts)


def rug(rng: np.random.Generator) -> Furniture:
    """A carpet on the floor; it counts as floor."""
    width, depth = rng.uniform(1.4, 2.4), rng.uniform(1.0, 1.7)
    color = pick(rng, FABRIC_COLORS)
    inner, border = materials.fabric(rng, color), materials.fabric(rng, pick(rng, FABRIC_COLORS))
    edge = rng.uniform(0.08, 0.2)
    parts = (
        box(0.0, 0.0, -0.01, width, depth, 0.016, border),
        box(0.0, 0.0, -0.01, width - 2 * edge, depth - 2 * edge, 0.019, inner),
    )
    return Furniture("floor", color, (width, depth, 0.01), parts)
