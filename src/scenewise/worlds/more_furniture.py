"""Kinds of furniture beyond those of furnished rooms; frames and rules are those of :mod:`scenewise.worlds.furniture`."""

import math

import numpy as np

from scenewise.worlds import materials
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.materials import FABRIC_COLORS, METAL_COLORS, WOOD_COLORS, Material, pick
from scenewise.worlds.primitives import Primitive, box, cylinder, ellipsoid, frustum, oval, oval_wall


def stool(rng: np.random.Generator) -> Furniture:
    """A seat without back, low or as high as a bar: three or four legs, or a post on a foot."""
    seat = rng.uniform(0.4, 0.52) if rng.random() < 0.5 else rng.uniform(0.6, 0.8)
    radius, thick = rng.uniform(0.15, 0.2), rng.uniform(0.03, 0.06)
    kind, is_padded, is_round = rng.random(), rng.random() < 0.4, rng.random() < 0.65
    color = pick(rng, FABRIC_COLORS if is_padded else WOOD_COLORS)
    cover = materials.fabric(rng, color) if is_padded else materials.wood(rng, color)
    frame = materials.paint(rng, pick(rng, METAL_COLORS)) if is_padded or rng.random() < 0.3 else cover
    under = seat - thick
    parts = [
        cylinder(0.0, 0.0, under, radius, thick, cover)
        if is_round
        else box(0.0, 0.0, under, 2 * radius, 2 * radius, thick, cover)
    ]
    if is_padded:
        parts.append(ellipsoid(0.0, 0.0, seat - 0.005, (0.97 * radius, 0.97 * radius, 0.035), cover))
    size = (2 * radius, 2 * radius, seat + 0.03 * is_padded)
    if kind < 0.3:
        foot = rng.uniform(0.17, 0.22)
        parts += [frustum(0.0, 0.0, 0.0, foot, 0.7 * foot, 0.03, frame), cylinder(0.0, 0.0, 0.03, 0.028, under - 0.03, frame)]
        if seat > 0.6:
            parts += oval_wall((0.0, 0.0), (0.15, 0.15), 0.3 * seat, 0.02, 0.02, frame, 16)
            parts.append(box(0.0, 0.0, 0.3 * seat + 0.004, 0.3, 0.018, 0.012, frame))
        widest = 2 * max(radius, foot)
        return Furniture("stool", color, (widest, widest, size[2]), tuple(parts))
    leg = rng.uniform(0.028, 0.042)
    if kind < 0.5:
        places = [(0.72 * radius * math.sin(a), 0.72 * radius * math.cos(a)) for a in (2 * math.pi * i / 3 for i in range(3))]
        parts += [frustum(x, y, 0.0, 0.4 * leg, 0.6 * leg, under, frame) for x, y in places]
        parts += oval_wall((0.0, 0.0), (0.66 * radius, 0.66 * radius), 0.4 * seat, 0.018, 0.016, frame, 14)
        return Furniture("stool", color, size, tuple(parts))
    inset = (0.6 if is_round else 0.85) * radius
    parts += [box(sx * inset, sy * inset, 0.0, leg, leg, under, frame) for sx in (-1, 1) for sy in (-1, 1)]
    low = rng.uniform(0.25, 0.5) * seat
    parts += [box(0.0, sy * inset, low, 2 * inset, 0.6 * leg, 0.025, frame) for sy in (-1, 1)]
    parts += [box(sx * inset, 0.0, low + 0.04, 0.55 * leg, 2 * inset, 0.024, frame) for sx in (-1, 1)]
    return Furniture("stool", color, size, tuple(parts))


def bench(rng: np.random.Generator) -> Furniture:
    """A long seat: of planks or slats, upholstered, or with a slatted back and arms as in a garden."""
    width, depth, seat = rng.uniform(0.95, 1.7), rng.uniform(0.3, 0.44), rng.uniform(0.41, 0.48)
    kind = rng.random()
    color = pick(rng, FABRIC_COLORS if kind < 0.25 else WOOD_COLORS)
    cover = materials.fabric(rng, color) if kind < 0.25 else materials.wood(rng, color)
    frame = materials.paint(rng, pick(rng, METAL_COLORS)) if rng.random() < 0.5 else materials.wood(rng, pick(rng, WOOD_COLORS))
    half, thick, top = width / 2, rng.uniform(0.03, 0.05), seat
    under = seat - thick
    if kind < 0.25:
        parts = [box(0.0, 0.0, under - 0.07, width, depth, thick + 0.07, cover)]
        under -= 0.07
        parts += [
            box(sx * (half - 0.08), sy * (depth / 2 - 0.06), 0.0, 0.045, 0.045, under, frame) for sx in (-1, 1) for sy in (-1, 1)
        ]
    elif kind < 0.45:
        parts = [box(0.0, 0.0, under, width, depth, thick, cover)]
        parts += [box(sx * (half - 0.12), 0.0, 0.0, 0.05, depth - 0.05, under, frame) for sx in (-1, 1)]
        parts.append(box(0.0, 0.0, 0.4 * seat, width - 0.29, 0.03, 0.09, frame))
    else:
        slats = int(rng.integers(3, 6))
        pitch = depth / slats
        parts = [box(0.0, (i + 0.5) * pitch - depth / 2, under, width, 0.8 * pitch, thick, cover) for i in range(slats)]
        places = [sx * (half - 0.12) for sx in (-1, 1)] + ([0.0] if width > 1.45 else [])
        for x in places:
            parts.append(box(x, 0.0, under - 0.045, 0.04, depth - 0.04, 0.045, frame))
            parts += [box(x, sy * (depth / 2 - 0.045), 0.0, 0.041, 0.042, under - 0.045, frame) for sy in (-1, 1)]
    if kind >= 0.6:
        top = seat + rng.uniform(0.33, 0.45)
        back = -depth / 2
        parts += [box(sx * (half - 0.12), back + 0.012, seat - 0.02, 0.042, 0.024, top - seat, frame) for sx in (-1, 1)]
        rows = int(rng.integers(2, 5))
        for i in range(rows):
            bottom = seat + 0.09 + i * (top - seat - 0.1) / rows
            parts.append(box(0.0, back + 0.035, bottom, width, 0.022, 0.75 * (top - seat - 0.1) / rows, cover))
        if rng.random() < 0.6:
            arm = seat + 0.2
            parts += [box(sx * (half - 0.12), 0.02, arm, 0.06, depth - 0.03, 0.03, frame) for sx in (-1, 1)]
            parts += [box(sx * (half - 0.12), depth / 2 - 0.045, seat, 0.038, 0.04, arm - seat, frame) for sx in (-1, 1)]
    return Furniture("bench", color, (width, depth, top), tuple(parts), 0.4)


def fridge(rng: np.random.Generator) -> Furniture:
    """A box on feet with one door, with a freezer above or below, or with two doors side by side; bars for handles."""
    kind = rng.random()
    width = rng.uniform(0.85, 0.95) if kind < 0.25 else rng.uniform(0.5, 0.72)
    depth = rng.uniform(0.6, 0.72)
    height = rng.uniform(0.82, 1.0) if kind > 0.85 else rng.uniform(1.45, 1.95)
    color = pick(rng, ("white", "white", "white", "gray", "gray", "black", "red", "beige", "blue"))
    case, seal, bar = materials.paint(rng, color), materials.paint(rng, "gray"), materials.paint(rng, pick(rng, METAL_COLORS))
    front = case if rng.random() < 0.7 else materials.paint(rng, color)
    foot, leaf, back = rng.uniform(0.03, 0.08), 0.06, -depth / 2
    body = depth - leaf - 0.045
    parts = [
        box(0.0, back + body / 2, foot, width, body, height - foot, case),
        box(0.0, back + body + 0.005, foot + 0.02, width - 0.04, 0.012, height - foot - 0.04, seal),
        box(0.0, back + 0.45 * body, 0.0, width - 0.08, 0.8 * body, foot, seal),
    ]
    split = rng.uniform(0.28, 0.4) if rng.random() < 0.5 else rng.uniform(0.6, 0.72)
    share = rng.uniform(0.4, 0.5)
    if kind < 0.25:  # x from, x to, z from, z to as shares, and on which side the handle is
        doors = [(0.0, share, 0.0, 1.0, 1), (share, 1.0, 0.0, 1.0, -1)]
    elif kind < 0.75:
        doors = [(0.0, 1.0, 0.0, split, 1), (0.0, 1.0, split, 1.0, 1)]
    else:
        doors = [(0.0, 1.0, 0.0, 1.0, 1)]
    mirrored, is_lying = pick(rng, (-1, 1)), rng.random() < 0.25
    for x_from, x_to, z_from, z_to, side in doors:
        wide, tall = (x_to - x_from) * width - 0.008, (z_to - z_from) * (height - foot) - 0.01
        x, bottom = mirrored * ((x_from + x_to) / 2 - 0.5) * width, foot + z_from * (height - foot) + 0.005
        y = back + body + 0.008 + leaf / 2
        parts.append(box(x, y, bottom, wide, leaf, tall, front))
        grip = min(0.5, 0.55 * tall)
        at = bottom + tall - grip - 0.06 if z_from < 0.5 and z_to < 1.0 else bottom + min(0.06, 0.1 * tall)
        if kind < 0.25:
            at = bottom + 0.4 * tall
        hand, front_y = x + mirrored * side * (wide / 2 - 0.05), y + leaf / 2 + 0.018
        if is_lying and kind >= 0.25:
            parts.append(box(x, front_y, bottom + (tall - 0.06 if z_from < 0.5 else 0.04), 0.6 * wide, 0.022, 0.02, bar))
        else:
            parts.append(box(hand, front_y, at, 0.022, 0.024, grip, bar))
    if kind < 0.15:
        x = mirrored * (share / 2 - 0.5) * width
        parts.append(box(x, back + body + 0.008 + leaf, 0.55 * height, 0.2, 0.012, 0.3, materials.paint(rng, "black")))
    return Furniture("fridge", color, (width, depth, height), tuple(parts), 0.6)


def piano(rng: np.random.Generator) -> Furniture:
    """Upright or grand: white and black keys, pedals, a desk for music."""
    color = pick(rng, ("black", "black", "brown", "brown", "white", "orange"))
    case = materials.paint(rng, color) if color in ("black", "white") else materials.wood(rng, color)
    brass = materials.paint(rng, "yellow")
    width, bed = rng.uniform(1.38, 1.52), rng.uniform(0.6, 0.66)
    if rng.random() < 0.6:
        depth, height = rng.uniform(0.56, 0.64), rng.uniform(1.05, 1.3)
        back, deep = -depth / 2, depth - 0.27
        parts = [
            box(0.0, back + deep / 2, 0.0, width - 0.04, deep, height - 0.03, case),
            box(0.0, back + deep / 2 + 0.01, height - 0.03, width, deep + 0.03, 0.03, case),
            box(0.0, back + deep + 0.013, bed + 0.22, 0.5 * width, 0.025, height - bed - 0.3, case),
        ]
        parts += [box(sx * (width / 2 - 0.045), depth / 2 - 0.05, 0.0, 0.06, 0.06, bed, case) for sx in (-1, 1)]
        parts += [box(x, back + deep + 0.04, 0.05, 0.05, 0.1, 0.015, brass) for x in (-0.09, 0.0, 0.09)]
        parts.append(box(0.0, back + deep + 0.02, 0.1, 0.8 * width, 0.03, bed - 0.15, case))
    else:
        depth, height = rng.uniform(1.45, 2.0), bed + rng.uniform(0.32, 0.38)
        back, deep = -depth / 2, depth - 0.27
        rim, low = height - bed + 0.04, bed - 0.04
        tail = rng.uniform(0.24, 0.3) * width
        # The player looks along −y: the long strings are on their left, at +x.
        parts = [
            box(0.0, depth / 2 - 0.27 - 0.2 * deep, low, width, 0.4 * deep, rim, case),
            box(width / 2 - tail, back + (deep + tail) / 2, low + 0.001, 2 * tail, deep - tail, rim + 0.003, case),
            oval(width / 2 - tail, back + tail, low + 0.002, (tail, tail), rim + 0.001, case),
            oval(0.0, depth / 2 - 0.27 - 0.38 * deep, low + 0.003, (width / 2 - 0.02, 0.3 * deep), rim - 0.002, case),
            box(0.0, depth / 2 - 0.36, height + 0.005, 0.6 * width, 0.025, 0.24, case),
        ]
        legs = [(-0.44 * width, 0.32 * depth), (0.44 * width, 0.32 * depth), (width / 2 - tail, 0.2 * deep + back)]
        parts += [frustum(x, y, 0.0, 0.035, 0.06, low, case) for x, y in legs]
        parts.append(box(0.0, 0.3 * depth, 0.12, 0.16, 0.05, low - 0.12, case))
        parts += [box(x, 0.3 * depth + 0.05, 0.1, 0.03, 0.14, 0.015, brass) for x in (-0.05, 0.0, 0.05)]
        height += 0.245
    parts += [
        box(0.0, depth / 2 - 0.14, bed - 0.05, width - 0.02, 0.28, 0.06, case),
        *(box(sx * (width / 2 - 0.04), depth / 2 - 0.145, bed - 0.03, 0.075, 0.26, 0.17, case) for sx in (-1, 1)),
        *_keys(rng, width - 0.18, depth / 2 - 0.02, bed + 0.01),
    ]
    return Furniture("piano", color, (width, depth, height), tuple(parts), 0.7)


def _keys(rng: np.random.Generator, width: float, front: float, bottom: float) -> list[Primitive]:
    """White keys as a board with a groove between octaves, black ones in groups of two and three."""
    ivory, ebony = materials.paint(rng, "white"), materials.paint(rng, "black")
    octaves = 7
    octave = width / octaves
    parts = []
    for i in range(octaves):
        left = -width / 2 + i * octave
        parts.append(box(left + octave / 2, front - 0.085, bottom, octave - 0.004, 0.15, 0.02, ivory))
        for place in (1, 2, 4, 5, 6):
            parts.append(box(left + place * octave / 7, front - 0.11, bottom + 0.02, 0.45 * octave / 7, 0.095, 0.014, ebony))
    return parts


def radiator(rng: np.random.Generator) -> Furniture:
    """Columns side by side, a ribbed panel, or a ladder for towels; a valve and a pipe at one end."""
    kind = rng.random()
    color = pick(rng, ("white", "white", "white", "gray", "black", "beige"))
    metal, valve = materials.paint(rng, color), materials.paint(rng, pick(rng, ("gray", "white", "yellow")))
    side, foot = pick(rng, (-1, 1)), rng.uniform(0.08, 0.14)
    if kind < 0.2:
        width, depth, height = rng.uniform(0.45, 0.6), 0.07, rng.uniform(0.9, 1.7)
        parts = [cylinder(sx * (width / 2 - 0.02), 0.0, 0.0, 0.02, height, metal) for sx in (-1, 1)]
        pitch, at = rng.uniform(0.045, 0.06), foot
        while at < height - 0.05:
            if rng.random() < 0.85:  # gaps in which towels hang
                parts.append(box(0.0, 0.0, at, width - 0.045, 0.024, 0.024, metal))
            at += pitch
        return Furniture("radiator", color, (width, depth, height), tuple(parts), 0.3)
    width, height = rng.uniform(0.5, 1.4), rng.uniform(0.45, 0.85)
    if kind < 0.65:
        depth = rng.uniform(0.1, 0.18)
        count = max(5, round(width / rng.uniform(0.055, 0.075)))
        pitch, body = width / count, height - foot
        parts = []
        for i in range(count):
            x, radii = (i + 0.5) * pitch - width / 2, (0.34 * pitch, depth / 2)
            parts.append(oval(x, 0.0, foot + 0.04, radii, body - 0.08, metal))
            parts += [ellipsoid(x, 0.0, z, (0.37 * pitch, 0.51 * depth, 0.04), metal) for z in (foot + 0.04, height - 0.04)]
        parts += [box(0.0, 0.0, z, width - pitch, 0.05, 0.04, metal) for z in (foot + 0.03, height - 0.075)]
        parts += [box(sx * (width - pitch) / 2, 0.0, 0.0, 0.03, 0.8 * depth, foot + 0.01, metal) for sx in (-1, 1)]
    else:
        depth = rng.uniform(0.07, 0.12)
        count = max(8, round(width / rng.uniform(0.04, 0.06)))
        pitch, body = (width - 0.03) / count, height - foot
        front = -depth / 2 + 0.75 * depth
        parts = [box(0.0, -0.125 * depth, foot, width, 0.75 * depth, body, metal)]
        parts += [
            box((i + 0.5) * pitch - width / 2 + 0.015, front + 0.01, foot + 0.03, 0.55 * pitch, 0.02, body - 0.06, metal)
            for i in range(count)
        ]
        parts.append(box(0.0, -0.125 * depth, height, width - 0.02, 0.6 * depth, 0.01, valve))
        parts += [box(sx * (width / 2 - 0.08), -0.1 * depth, 0.0, 0.03, 0.5 * depth, foot, metal) for sx in (-1, 1)]
        height += 0.01
    end = side * (width / 2 + 0.03)
    parts += [
        cylinder(end, 0.0, 0.0, 0.01, foot + 0.05, valve),
        box(end - side * 0.02, 0.0, foot + 0.045, 0.06, 0.02, 0.02, valve),
        cylinder(end, 0.0, foot + 0.055, 0.022, 0.07, valve),
    ]
    return Furniture("radiator", color, (width + 0.11, depth, height), tuple(parts), 0.3)


def vase(rng: np.random.Generator) -> Furniture:
    """A turned body: bellied, slender, flaring, a bottle or an amphora with handles; sometimes with a few flowers."""
    height = rng.uniform(0.2, 0.45) if rng.random() < 0.65 else rng.uniform(0.45, 0.8)
    widest = height * rng.uniform(0.2, 0.36)
    profile = np.array(
        pick(
            rng,
            (
                (0.5, 0.95, 1.0, 0.7, 0.35, 0.45),
                (0.45, 0.7, 1.0, 0.95, 0.45, 0.5),
                (0.7, 0.5, 0.5, 0.6, 0.8, 1.0),
                (0.9, 1.0, 0.9, 0.35, 0.25, 0.3),
                (0.6, 0.55, 0.75, 1.0, 0.6, 0.75),
            ),
        )
    )
    profile = widest * profile / profile.max() * rng.uniform(0.92, 1.08, len(profile))
    color = pick(rng, FABRIC_COLORS)
    glaze = materials.fabric(rng, color) if rng.random() < 0.45 else materials.paint(rng, color)
    rings = 12
    ticks = np.linspace(0.0, len(profile) - 1.0, rings + 1)
    before = np.minimum(ticks.astype(int), len(profile) - 2)
    weight = 0.5 - 0.5 * np.cos(math.pi * (ticks - before))
    radii = [float(r) for r in (1 - weight) * profile[before] + weight * profile[before + 1]]
    step = height / rings
    parts = [frustum(0.0, 0.0, i * step, radii[i], radii[i + 1], step, glaze) for i in range(rings)]
    parts.append(cylinder(0.0, 0.0, height - 0.02, 0.85 * radii[-1], 0.022, materials.paint(rng, "black")))
    reach = max(radii)
    if rng.random() < 0.2:
        at, out = 0.72 * height, radii[round(0.72 * rings)]
        for sx in (-1, 1):
            parts.append(box(sx * (out + 0.02), 0.0, at, 0.06, 0.016, 0.014, glaze))
            parts.append(box(sx * (out + 0.045), 0.0, at - 0.16 * height, 0.014, 0.015, 0.16 * height, glaze))
            parts.append(box(sx * (out + 0.02), 0.0, at - 0.16 * height - 0.014, 0.061, 0.016, 0.014, glaze))
        reach = max(reach, out + 0.055)
    if rng.random() < 0.3:
        parts += _flowers(rng, height, radii[-1])
        reach = max(reach, radii[-1] + 0.06)
    top = max(part.center[2] + part.half_size[2] for part in parts)
    return Furniture("vase", color, (2 * reach, 2 * reach, top), tuple(parts))


def _flowers(rng: np.random.Generator, bottom: float, radius: float) -> list[Primitive]:
    """A few stalks with a blossom each."""
    stalk, parts = materials.paint(rng, "green"), []
    for i in range(int(rng.integers(3, 7))):
        angle, out, tall = 2.4 * i, rng.uniform(0.2, 0.7) * radius, rng.uniform(0.12, 0.3)
        x, y = out * math.cos(angle), out * math.sin(angle)
        parts.append(cylinder(x, y, bottom - 0.01, 0.004, tall, stalk))
        blossom, petals = rng.uniform(0.022, 0.04), materials.paint(rng, pick(rng, FABRIC_COLORS))
        parts.append(ellipsoid(1.3 * x, 1.3 * y, bottom + tall, (blossom, blossom, 0.7 * blossom), petals))
    return parts


def fan(rng: np.random.Generator) -> Furniture:
    """Blades in a ring on a pole or on a foot, blades under the ceiling, or a tower with slits.

    What hangs from the ceiling has its origin at its lowest point, as hanging lamps have.
    """
    kind = rng.random()
    color = pick(rng, ("white", "white", "black", "gray", "blue", "red"))
    case, blade = materials.paint(rng, color), materials.paint(rng, pick(rng, ("white", "gray", "blue", "black")))
    if kind < 0.25:
        reach, tall, cord = rng.uniform(0.45, 0.65), rng.uniform(0.1, 0.16), rng.uniform(0.12, 0.3)
        wing = materials.wood(rng, pick(rng, WOOD_COLORS)) if rng.random() < 0.6 else blade
        count = int(rng.integers(3, 6))
        parts = [
            frustum(0.0, 0.0, 0.05, 0.1, 0.06, tall, case),
            cylinder(0.0, 0.0, tall, 0.015, cord, case),
            frustum(0.0, 0.0, tall + cord - 0.05, 0.04, 0.07, 0.05, case),
            ellipsoid(0.0, 0.0, 0.05, (0.08, 0.08, 0.05), materials.lamp_shade(rng, "white")),
        ]
        for i in range(count):
            angle, middle = 2 * math.pi * i / count, (0.12 + reach) / 2
            x, y = middle * math.cos(angle), middle * math.sin(angle)
            parts.append(box(x, y, 0.085 + 0.0015 * i, reach - 0.12, 0.13, 0.012, wing, angle))
            parts.append(box(0.3 * x, 0.3 * y, 0.09 + 0.0015 * i, 0.2, 0.04, 0.012, case, angle))
        return Furniture("fan", color, (2 * reach, 2 * reach, tall + cord), tuple(parts))
    if kind < 0.4:
        radius, height = rng.uniform(0.09, 0.13), rng.uniform(0.75, 1.1)
        parts = [
            frustum(0.0, 0.0, 0.0, 1.4 * radius, 1.1 * radius, 0.04, case),
            cylinder(0.0, 0.0, 0.04, radius, height - 0.04, case),
            *(
                box(0.0, 0.92 * radius, 0.2 + 0.025 * i, 1.1 * radius, 0.24 * radius, 0.012, blade)
                for i in range(int((height - 0.3) / 0.025))
            ),
        ]
        return Furniture("fan", color, (2.8 * radius, 2.8 * radius, height), tuple(parts))
    radius = rng.uniform(0.13, 0.24)
    pole = rng.uniform(0.75, 1.2) if rng.random() < 0.6 else rng.uniform(0.08, 0.14)
    foot, axis = rng.uniform(0.75, 1.0) * radius + 0.02, pole + radius
    parts = [
        frustum(0.0, 0.0, 0.0, foot, 0.8 * foot, 0.035, case),
        cylinder(0.0, -0.045, 0.03, 0.018, axis - 0.03, case),
        ellipsoid(0.0, -0.05, axis, (0.06, 0.09, 0.06), case),
        ellipsoid(0.0, 0.055, axis, (0.035, 0.02, 0.035), case),
        *(_blades(radius, axis, blade, rng.uniform(0.0, 1.5))),
    ]
    for distance in (1.0, 0.55):
        count = round(2 * math.pi * distance * radius / 0.028)
        for i in range(count):
            angle = 2 * math.pi * i / count
            x, z = distance * radius * math.cos(angle), axis + distance * radius * math.sin(angle)
            parts.append(
                ellipsoid(x, 0.06 if distance < 1.0 else 0.03, z, (0.017, 0.008 + 0.03 * (distance == 1.0), 0.017), case)
            )
    return Furniture("fan", color, (2 * max(radius, foot) + 0.03, 2 * foot, axis + radius + 0.017), tuple(parts))


def _blades(radius: float, axis: float, blade: Material, turn: float) -> list[Primitive]:
    """Four blades that turn about the y-axis, each a row of discs: solids can only be turned about the vertical."""
    parts = []
    for i in range(4):
        angle = turn + 0.5 * math.pi * i
        for step in range(5):
            out, wide = (0.2 + 0.15 * step) * radius, (0.1, 0.15, 0.18, 0.18, 0.14)[step] * radius
            x, z = out * math.cos(angle), axis + out * math.sin(angle)
            parts.append(ellipsoid(x, 0.015 + 0.0005 * step, z, (wide, 0.006, wide), blade))
    return parts
