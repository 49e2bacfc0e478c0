"""Buildings of a town: from a random generator to solids in the building's own frame.

Frame: origin under the middle, +X along the width, +Y out of the front, +Z up, metres.  Solids overlap or stand clear of each
other by centimetres; no two that are seen share a plane, so nothing flickers.
"""

import numpy as np

from scenewise.worlds import facades
from scenewise.worlds.facades import WALLS
from scenewise.worlds.materials import Material, pick
from scenewise.worlds.primitives import Primitive, box, cylinder, frustum

Parts = list[Primitive]
STOREY = 3.0
_BAND = 1.5  # height of a row of windows
_STEPS = 4  # of a roof that climbs
_OLD = 1.0  # wear of an old town; the rest is newer
_PROUD = 0.05  # metres that windows, cornices and roofs stand out from what they sit on


def town_house(rng: np.random.Generator, width: float, depth: float, storeys: int) -> Parts:
    """A narrow house of an old town: shops or a door below, rows of windows, a tiled or a flat roof.

    Args:
        rng: source of the choice.
        width: along the street.
        depth: away from it.
        storeys: above the ground floor's ceiling there are one fewer.
    """
    color = pick(rng, WALLS)
    wall = facades.half_timber(rng) if rng.random() < 0.2 else facades.masonry(rng, color, _OLD)
    height = STOREY * storeys + rng.uniform(0.4, 0.8)
    parts = [box(0.0, 0.0, 0.0, width, depth, height, wall), *_window_rows(rng, width, depth, storeys, wall)]
    if rng.random() < 0.65:
        parts += tiled_roof(rng, width, depth, height, pick(rng, ("terracotta", "terracotta", "brick", "slate")), _OLD)
        parts += [_chimney(rng, width, depth, height + 1.2), *_dormers(rng, width, depth, height)]
    else:
        parts += flat_roof(rng, width, depth, height)
        parts.append(_chimney(rng, width, depth, height))
    return parts


def _window_rows(rng: np.random.Generator, width: float, depth: float, storeys: int, wall: Material) -> Parts:
    """One thin box around the house per storey, striped with panes; shops on the ground."""
    spacing = rng.uniform(0.75, 1.1)
    panes = facades.windows(rng, wall, spacing)
    ground = facades.shop_fronts(rng) if rng.random() < 0.6 else panes
    out = 2 * _PROUD
    rows = [box(0.0, 0.0, 0.5, width + out, depth + out, 2.2, ground)]
    rows += [box(0.0, 0.0, STOREY * i + 0.9, width + out, depth + out, _BAND, panes) for i in range(1, storeys)]
    return rows


def tiled_roof(rng: np.random.Generator, width: float, depth: float, bottom: float, color: str, wear: float = 0.5) -> Parts:
    """A roof that climbs towards its ridge along the longer side, in steps as a solid has no slope."""
    look = facades.roof_tiles(rng, color, wear)
    rise = rng.uniform(0.4, 0.6)
    parts = []
    for i in range(_STEPS):
        across = 1.0 - i / (_STEPS + 0.4)
        along = 1.0 - 0.12 * i / _STEPS
        x, y = (along, across) if width >= depth else (across, along)
        reach = 0.5 if i == 0 else 0.0
        parts.append(box(0.0, 0.0, bottom + rise * i - 0.02, width * x + reach, depth * y + reach, rise + 0.02, look))
    return parts


def flat_roof(rng: np.random.Generator, width: float, depth: float, bottom: float) -> Parts:
    """A cornice, gravel within it, and a skylight or a hut of the stairs on top."""
    rim = facades.plain(rng, pick(rng, ("white", "concrete", "slate")))
    parts = [
        box(0.0, 0.0, bottom - 0.3, width + 0.3, depth + 0.3, 0.45, rim),
        box(0.0, 0.0, bottom, width - 0.5, depth - 0.5, 0.2, facades.flat_roof(rng)),
    ]
    for _ in range(int(rng.integers(2, 5))):  # air conditioning
        x, y = rng.uniform(-0.36, 0.36) * width, rng.uniform(-0.36, 0.36) * depth
        parts.append(
            box(x, y, bottom + 0.1, 0.9, 0.9, rng.uniform(0.7, 1.0), facades.plain(rng, pick(rng, ("white", "steel", "slate"))))
        )
    x, y = rng.uniform(-0.2, 0.2) * width, rng.uniform(-0.2, 0.2) * depth
    if rng.random() < 0.5:
        parts.append(box(x, y, bottom + 0.1, 1.6, 2.2, 0.5, facades.plain(rng, "glass")))
    else:
        parts.append(box(x, y, bottom + 0.1, 2.2, 2.6, 2.0, facades.plain(rng, pick(rng, ("white", "brick", "concrete")))))
    return parts


def parapet(width: float, depth: float, bottom: float, look: Material, height: float = 0.9) -> Parts:
    """Four low walls around a roof."""
    thick = 0.35
    sides = [box(side * (width - thick) / 2, 0.0, bottom, thick, depth, height, look) for side in (-1, 1)]
    # The other two end inside these, a little lower, so that their tops do not coincide.
    return sides + [box(0.0, side * (depth - thick) / 2, bottom, width - 0.1, thick, height - 0.03, look) for side in (-1, 1)]


def _dormers(rng: np.random.Generator, width: float, depth: float, bottom: float) -> Parts:
    """Small gables with a pane that stand out of both sides of a tiled roof."""
    look, pane = facades.plain(rng, pick(rng, ("white", "cream", "timber"))), facades.plain(rng, "glass")
    long, across = max(width, depth), min(width, depth)
    parts: Parts = []
    for side in (-1, 1):
        for i in range(int(rng.integers(1, 3))):
            along, out = (i - 0.25) * 0.3 * long + rng.uniform(-0.5, 0.5), side * (0.36 * across)
            for look_here, size, shift in ((look, 1.3, 0.0), (pane, 0.9, 0.23)):
                x, y = along, out + side * shift
                x, y = (x, y) if width >= depth else (y, x)
                parts.append(box(x, y, bottom + 0.3, size, size, 1.2 if look_here is look else 1.0, look_here))
    return parts


def _chimney(rng: np.random.Generator, width: float, depth: float, bottom: float) -> Primitive:
    x, y = rng.uniform(-0.3, 0.3) * width, rng.uniform(-0.3, 0.3) * depth
    return box(x, y, bottom - 0.5, 0.8, 0.8, 2.2, facades.plain(rng, "brick"))


def round_tower(rng: np.random.Generator, radius: float, height: float) -> Parts:
    """Stone, a row of windows near the top, and a pointed roof."""
    wall = facades.masonry(rng, pick(rng, ("sand", "gravel", "rose", "cream")), _OLD)
    roof = facades.roof_tiles(rng, pick(rng, ("slate", "terracotta", "green")), _OLD)
    return [
        cylinder(0.0, 0.0, 0.0, radius, height, wall),
        cylinder(0.0, 0.0, height - 2.6, radius + _PROUD, 1.6, facades.windows(rng, wall, 0.8)),
        frustum(0.0, 0.0, height - 0.02, radius + 0.5, 0.0, rng.uniform(1.5, 2.1) * radius, roof),
    ]


def church(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """A nave along Y, a square tower with a spire before it, and a round apse behind it."""
    stone = facades.masonry(rng, pick(rng, ("sand", "gravel", "brick")), _OLD)
    roof = pick(rng, ("slate", "terracotta"))
    height, tower, top = rng.uniform(7.0, 8.5), 0.48 * width, rng.uniform(13.0, 15.0)
    front = depth / 2 - tower / 2
    parts = [
        box(0.0, 0.0, 0.0, width, depth - tower, height, stone),
        box(0.0, 0.0, 2.0, width + 2 * _PROUD, depth - tower - 0.5, 3.6, facades.windows(rng, stone, 1.2)),
        *tiled_roof(rng, width, depth - tower, height, roof, _OLD),
        cylinder(0.0, -(depth - tower) / 2, 0.0, 0.36 * width, 0.7 * height, stone),
        frustum(0.0, -(depth - tower) / 2, 0.7 * height - 0.02, 0.4 * width, 0.0, 2.5, facades.roof_tiles(rng, roof)),
        box(0.0, front, 0.0, tower, tower, top, stone),
        box(0.0, front, top - 3.0, tower + 2 * _PROUD, tower + 2 * _PROUD, 1.8, facades.windows(rng, stone, 0.9)),
        box(0.0, front, top - 0.3, tower + 0.6, tower + 0.6, 0.5, facades.plain(rng, "white")),
        frustum(0.0, front, top + 0.1, 0.52 * tower, 0.0, rng.uniform(4.5, 6.0), facades.roof_tiles(rng, "slate")),
    ]
    return parts


def cottage(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """A house that stands alone: one or two storeys under a tiled roof, and a chimney."""
    storeys = int(rng.integers(1, 3))
    wall = facades.masonry(rng, pick(rng, ("white", "cream", "brick", "sand", "white")))
    panes = facades.windows(rng, wall, rng.uniform(1.0, 1.5))
    height = STOREY * storeys + 0.3
    parts = [box(0.0, 0.0, 0.0, width, depth, height, wall)]
    parts += [box(0.0, 0.0, STOREY * i + 0.9, width + 0.1, depth + 0.1, 1.3, panes) for i in range(storeys)]
    parts += tiled_roof(rng, width, depth, height, pick(rng, ("terracotta", "slate", "brick")))
    return [*parts, _chimney(rng, width, depth, height + 1.0)]


def apartments(rng: np.random.Generator, width: float, depth: float, storeys: int) -> Parts:
    """A slab of flats: long rows of windows, balconies in front, a flat roof with a parapet and a hut of the lift."""
    wall = facades.plain(rng, pick(rng, ("white", "cream", "concrete", "sand", "blue")))
    height = STOREY * storeys + 0.4
    panes = facades.windows(rng, wall, rng.uniform(1.4, 2.2))
    parts = [box(0.0, 0.0, 0.0, width, depth, height, wall)]
    parts += [box(0.0, 0.0, STOREY * i + 0.9, width + 0.1, depth + 0.1, _BAND, panes) for i in range(storeys)]
    rail = facades.plain(rng, pick(rng, ("slate", "ochre", "brick", "steel")))
    parts += [box(0.0, depth / 2 + 0.5, STOREY * i + 0.1, 0.3 * width, 1.1, 1.0, rail) for i in range(1, storeys)]
    parts.append(box(0.0, 0.0, height, width - 0.4, depth - 0.4, 0.15, facades.flat_roof(rng)))
    parts += parapet(width + 0.06, depth + 0.06, height - 0.1, wall)
    parts.append(box(rng.uniform(-0.3, 0.3) * width, 0.0, height, 3.0, 0.45 * depth, 2.4, facades.plain(rng, "concrete")))
    return parts


def hall(rng: np.random.Generator, width: float, depth: float) -> Parts:
    """A plain shed of metal sheets with a parapet and a few strips of skylight."""
    color = pick(rng, ("steel", "concrete", "white", "slate", "cream"))
    wall, height = facades.cladding(rng, color), rng.uniform(5.5, 8.0)
    parts = [
        box(0.0, 0.0, 0.0, width, depth, height, wall),
        box(0.0, 0.0, height - 0.1, width - 0.5, depth - 0.5, 0.25, facades.cladding(rng, pick(rng, ("steel", "concrete")))),
        *parapet(width + 0.06, depth + 0.06, height - 0.2, facades.plain(rng, color), 0.6),
        box(rng.uniform(-0.25, 0.25) * width, depth / 2, 0.0, 4.0, 0.2, 3.6, facades.plain(rng, "slate")),
    ]
    strips = int(rng.integers(1, 3))
    for i in range(strips):
        x = ((i + 0.5) / strips - 0.5) * 0.8 * width
        parts.append(box(x, 0.0, height, 1.6, 0.6 * depth, 0.4, facades.plain(rng, "blue")))
    return parts


def tank(rng: np.random.Generator, radius: float, height: float) -> Parts:
    """A plain round store with a low cone as lid."""
    look = facades.plain(rng, pick(rng, ("white", "steel")))
    return [
        cylinder(0.0, 0.0, 0.0, radius, height, look),
        frustum(0.0, 0.0, height - 0.02, radius + 0.1, 0.1, 0.25 * radius, look),
    ]
