"""What a town is made of: masonry, windows, roofs, ground and greenery with features of half a metre to three metres.

A picture of 240×160 pixels taken from 60 m above has pixels of 0.3 m, so the centimetre patterns and the grain of
:mod:`scenewise.worlds.materials` would only alias there.  Nothing here has grain.
"""

import numpy as np

from scenewise.kernels.ray_casting import Texture
from scenewise.worlds.materials import Color, Material, pick

PALETTE: dict[str, Color] = {
    "brick": (0.58, 0.30, 0.24),
    "rose": (0.80, 0.57, 0.50),
    "sand": (0.80, 0.70, 0.54),
    "cream": (0.89, 0.84, 0.71),
    "white": (0.90, 0.90, 0.88),
    "ochre": (0.81, 0.61, 0.31),
    "mint": (0.60, 0.72, 0.62),
    "blue": (0.50, 0.62, 0.74),
    "terracotta": (0.68, 0.35, 0.24),
    "slate": (0.31, 0.34, 0.39),
    "timber": (0.36, 0.25, 0.17),
    "concrete": (0.63, 0.63, 0.61),
    "steel": (0.70, 0.72, 0.74),
    "gravel": (0.57, 0.54, 0.49),
    "asphalt": (0.36, 0.36, 0.38),
    "glass": (0.17, 0.22, 0.28),
    "grass": (0.37, 0.50, 0.25),
    "meadow": (0.47, 0.55, 0.30),
    "wheat": (0.76, 0.67, 0.41),
    "soil": (0.47, 0.37, 0.28),
    "leaf": (0.27, 0.42, 0.19),
    "blossom": (0.62, 0.45, 0.50),
    "water": (0.21, 0.34, 0.40),
    "red": (0.68, 0.16, 0.14),
    "navy": (0.18, 0.26, 0.46),
    "black": (0.13, 0.13, 0.14),
    "yellow": (0.86, 0.72, 0.22),
    "green": (0.22, 0.46, 0.30),
}
"""sRGB-like values (square them for linear light)."""

WALLS = ("brick", "rose", "sand", "cream", "white", "ochre", "mint", "blue")
CARS = ("white", "steel", "black", "slate", "red", "navy", "steel", "white", "green")
AWNINGS = ("red", "navy", "green", "yellow", "ochre")


def tinted(rng: np.random.Generator, name: str, spread: float = 1.0) -> Color:
    """A linear colour near the named one: brightness ± 7 %, each channel ± 0.015."""
    srgb = np.array(PALETTE[name]) * (1.0 + spread * rng.normal(0.0, 0.07)) + spread * rng.normal(0.0, 0.015, 3)
    red, green, blue = (float(value) ** 2 for value in np.clip(srgb, 0.05, 0.95))
    return red, green, blue


def toned(color: Color, factor: float) -> Color:
    """The linear colour made darker or lighter."""
    red, green, blue = (min(1.0, channel * factor) for channel in color)
    return red, green, blue


def _material(
    rng: np.random.Generator, texture: Texture, color: Color, second: Color, size: float, contrast: float = 1.0
) -> Material:
    return Material(texture, color, second, size, contrast, grain=0.0, seed=int(rng.integers(1, 1 << 20)))


def plain(rng: np.random.Generator, name: str) -> Material:
    """One even colour."""
    color = tinted(rng, name)
    return _material(rng, Texture.PLAIN, color, color, 1.0, 0.0)


def masonry(rng: np.random.Generator, name: str, wear: float = 0.5) -> Material:
    """Courses of brick, blocks of stone or weathered plaster; ``wear`` in [0, 1] is how much they differ from each other."""
    return _worn(rng, name, wear, (rng.uniform(0.5, 0.7), rng.uniform(0.9, 1.5), rng.uniform(1.2, 2.5)))


def _worn(rng: np.random.Generator, name: str, wear: float, sizes: tuple[float, float, float]) -> Material:
    """Boards, tiles or patches of the given sizes whose tones spread with ``wear``."""
    color, kind = tinted(rng, name), int(rng.integers(3))
    texture = (Texture.PLANKS, Texture.TILES, Texture.LEAVES if wear > 0.7 else Texture.NOISE)[kind]
    dark = toned(color, rng.uniform(0.75, 0.9) - 0.65 * wear)
    return _material(rng, texture, toned(color, 1.0 + 0.3 * wear), dark, sizes[kind], rng.uniform(0.8, 1.0))


def half_timber(rng: np.random.Generator) -> Material:
    """Dark beams that cross on light plaster."""
    return _material(rng, Texture.ORNAMENT, tinted(rng, "cream"), tinted(rng, "timber"), rng.uniform(1.3, 2.0))


def windows(rng: np.random.Generator, wall: Material, spacing: float) -> Material:
    """Panes between pieces of wall, each ``spacing`` metres wide: for a band around a storey."""
    return _material(rng, Texture.STRIPES, tinted(rng, "glass"), toned(wall.color, rng.uniform(0.9, 1.15)), spacing)


def shop_fronts(rng: np.random.Generator) -> Material:
    """Ground floor of many shops in a row, each in another colour."""
    return _material(rng, Texture.BOOKS, tinted(rng, "glass"), tinted(rng, pick(rng, AWNINGS)), rng.uniform(1.4, 2.4))


def roof_tiles(rng: np.random.Generator, name: str, wear: float = 0.5) -> Material:
    """Rows of tiles, patched here and there; ``wear`` in [0, 1] is how much they differ from each other."""
    return _worn(rng, name, wear, (rng.uniform(0.45, 0.6), rng.uniform(0.7, 1.0), rng.uniform(1.2, 1.8)))


def flat_roof(rng: np.random.Generator) -> Material:
    """Gravel or sheets of bitumen."""
    color = tinted(rng, pick(rng, ("gravel", "concrete", "slate", "asphalt")))
    texture = pick(rng, (Texture.NOISE, Texture.TILES))
    return _material(rng, texture, color, toned(color, 0.6), rng.uniform(1.2, 2.5), rng.uniform(0.5, 0.8))


def cladding(rng: np.random.Generator, name: str) -> Material:
    """Sheets of metal with hardly a seam: the walls and the roof of a hall."""
    color = tinted(rng, name)
    return _material(rng, Texture.NOISE, color, toned(color, 0.85), rng.uniform(6.0, 10.0), 0.5)


def paving(rng: np.random.Generator) -> Material:
    """Large slabs of stone."""
    color = tinted(rng, pick(rng, ("concrete", "gravel", "sand")))
    return _material(rng, Texture.TILES, color, toned(color, 0.6), rng.uniform(0.9, 1.4), 0.7)


def mosaic(rng: np.random.Generator) -> Material:
    """The floor of a square: light and dark stones in a pattern."""
    color = tinted(rng, pick(rng, ("sand", "gravel", "rose")))
    texture = pick(rng, (Texture.CHECKER, Texture.ORNAMENT))
    return _material(rng, texture, color, toned(color, 0.55), rng.uniform(1.2, 1.8), 0.8)


def asphalt(rng: np.random.Generator) -> Material:
    """Worn in places."""
    color = tinted(rng, "asphalt", 0.5)
    return _material(rng, Texture.NOISE, color, toned(color, 0.65), rng.uniform(3.0, 5.0), 0.6)


def cobbles(rng: np.random.Generator) -> Material:
    """The streets of an old town, patched and worn."""
    color = tinted(rng, pick(rng, ("gravel", "concrete")), 0.5)
    return _material(rng, Texture.LEAVES, color, toned(color, 0.12), rng.uniform(1.3, 1.7))


def road_marks(rng: np.random.Generator, length: float) -> Material:
    """White dashes of ``length`` metres with as much road between."""
    return _material(rng, Texture.STRIPES, tinted(rng, "white", 0.3), tinted(rng, "asphalt", 0.3), length)


def lawn(rng: np.random.Generator) -> Material:
    """Grass that is mown and watered evenly."""
    color = tinted(rng, "grass")
    return _material(rng, Texture.NOISE, color, toned(color, 0.7), rng.uniform(3.0, 6.0), 0.6)


def garden(rng: np.random.Generator) -> Material:
    """Grass with beds and bare patches."""
    return _material(
        rng, Texture.NOISE, tinted(rng, "grass"), tinted(rng, pick(rng, ("soil", "leaf", "meadow"))), rng.uniform(1.5, 3.0)
    )


def field(rng: np.random.Generator) -> Material:
    """Farmland: a crop with broad, faint furrows, or a meadow."""
    color = tinted(rng, pick(rng, ("meadow", "meadow", "grass", "wheat", "soil")))
    texture = pick(rng, (Texture.NOISE, Texture.WOOD))
    size = rng.uniform(14.0, 24.0) if texture is Texture.NOISE else rng.uniform(8.0, 12.0)
    return _material(rng, texture, color, toned(color, 0.75), size, rng.uniform(0.4, 0.8))


def foliage(rng: np.random.Generator) -> Material:
    """The crown of a tree: leaves in the sun before dark gaps."""
    color = tinted(rng, pick(rng, ("leaf", "leaf", "leaf", "grass", "blossom")))
    return _material(rng, Texture.LEAVES, toned(color, 1.35), toned(color, 0.3), rng.uniform(0.9, 1.6))


def awning(rng: np.random.Generator) -> Material:
    """Striped cloth."""
    return _material(rng, Texture.STRIPES, tinted(rng, pick(rng, AWNINGS)), tinted(rng, "white"), rng.uniform(0.5, 0.8))


def goods(rng: np.random.Generator) -> Material:
    """Crates of fruit, flowers, cloth: a patch of every colour."""
    return _material(
        rng, Texture.PICTURE, tinted(rng, pick(rng, AWNINGS)), tinted(rng, pick(rng, AWNINGS)), rng.uniform(0.5, 0.8)
    )
