"""Named colours and the materials rooms are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from scenewise.kernels.ray_casting import Texture

Color = tuple[float, float, float]

NAMED_COLORS: dict[str, Color] = {
    "red": (0.70, 0.14, 0.13),
    "blue": (0.16, 0.30, 0.63),
    "green": (0.22, 0.48, 0.24),
    "yellow": (0.86, 0.73, 0.22),
    "brown": (0.42, 0.27, 0.16),
    "white": (0.88, 0.88, 0.86),
    "black": (0.11, 0.11, 0.12),
    "gray": (0.49, 0.49, 0.50),
    "orange": (0.84, 0.46, 0.15),
    "beige": (0.79, 0.69, 0.54),
    "purple": (0.44, 0.24, 0.54),
    "pink": (0.85, 0.54, 0.60),
}
"""sRGB-like values (square them for linear light)."""

FABRIC_COLORS = tuple(NAMED_COLORS)
WOOD_COLORS = ("brown", "beige", "white", "black", "gray", "orange")
METAL_COLORS = ("gray", "black", "white", "yellow")

_Item = TypeVar("_Item")


def pick(rng: np.random.Generator, items: Sequence[_Item]) -> _Item:
    """One of the items, each as likely as often as it is listed."""
    return items[int(rng.integers(len(items)))]


@dataclass(frozen=True)
class Material:
    """How a surface looks; see :class:`scenewise.kernels.ray_casting.MaterialTable` for the fields.

    Attributes:
        texture: pattern.
        color: first colour, linear in [0, 1].
        second_color: what the pattern mixes in, linear in [0, 1].
        feature_size: size of one stripe, tile … in metres.
        contrast: how far the pattern goes towards the second colour.
        grain: amplitude of the fine brightness noise.
        emission: share of the look that does not depend on the light.
        seed: decorrelates materials of the same kind.
    """

    texture: Texture
    color: Color
    second_color: Color
    feature_size: float = 0.1
    contrast: float = 0.0
    grain: float = 0.1
    emission: float = 0.0
    seed: int = 0


def jittered(rng: np.random.Generator, color_name: str, spread: float = 1.0) -> Color:
    """A linear colour near the named one: brightness ± 13 %, each channel ± 0.04."""
    base = np.array(NAMED_COLORS[color_name]) * (1.0 + spread * rng.normal(0.0, 0.13)) + spread * rng.normal(0.0, 0.04, 3)
    return _linear(np.clip(base, 0.04, 0.96))


def _linear(srgb: np.ndarray) -> Color:
    red, green, blue = (float(value) ** 2 for value in srgb)
    return red, green, blue


def _scaled(color: Color, factor: float) -> Color:
    red, green, blue = (min(1.0, channel * factor) for channel in color)
    return red, green, blue


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 1 << 20))


def paint(rng: np.random.Generator, color_name: str) -> Material:
    """Even colour with slight grain: plastic, lacquer, metal."""
    color = jittered(rng, color_name)
    return Material(Texture.PLAIN, color, color, grain=rng.uniform(0.07, 0.17), seed=_seed(rng))


def wood(rng: np.random.Generator, color_name: str) -> Material:
    """Visible grain, or (one in five) lacquer of the same colour."""
    if rng.random() < 0.2:
        return paint(rng, color_name)
    color = jittered(rng, color_name)
    return Material(
        Texture.WOOD,
        color,
        _scaled(color, rng.uniform(0.25, 0.55)),
        feature_size=rng.uniform(0.03, 0.08),
        contrast=rng.uniform(0.5, 0.95),
        grain=rng.uniform(0.08, 0.18),
        seed=_seed(rng),
    )


def fabric(rng: np.random.Generator, color_name: str) -> Material:
    """Woven, striped, checked or ornamented cloth."""
    texture = pick(rng, (Texture.NOISE, Texture.NOISE, Texture.STRIPES, Texture.CHECKER, Texture.ORNAMENT))
    color = jittered(rng, color_name)
    own = rng.random() < 0.55
    second = _scaled(color, rng.uniform(0.3, 0.6)) if own else jittered(rng, pick(rng, FABRIC_COLORS))
    contrast = rng.uniform(0.4, 0.9) if own or texture is Texture.NOISE else rng.uniform(0.25, 0.6)
    size = rng.uniform(0.015, 0.05) if texture is Texture.NOISE else rng.uniform(0.04, 0.12)
    return Material(texture, color, second, size, contrast, grain=rng.uniform(0.15, 0.35), seed=_seed(rng))


def wall_surface(rng: np.random.Generator, color_name: str) -> Material:
    """Light plaster or wallpaper; half of the walls of the world are papered."""
    tint = np.sqrt(np.array(jittered(rng, color_name)))
    color = _linear(np.clip(0.5 * tint + 0.42, 0.0, 0.95))
    texture = pick(rng, (Texture.NOISE, Texture.NOISE, Texture.STRIPES, Texture.ORNAMENT, Texture.CHECKER))
    size = rng.uniform(0.08, 0.3) if texture is Texture.NOISE else rng.uniform(0.06, 0.16)
    contrast = rng.uniform(0.5, 0.9) if texture is Texture.NOISE else rng.uniform(0.2, 0.6)
    second = _scaled(color, rng.uniform(0.62, 0.82))
    return Material(texture, color, second, size, contrast, grain=rng.uniform(0.1, 0.2), seed=_seed(rng))


def floor_surface(rng: np.random.Generator) -> tuple[str, Material]:
    """Planks, tiles or carpet; the colour's name comes first."""
    kind = rng.random()
    if kind < 0.5:
        name = pick(rng, ("brown", "brown", "beige", "beige", "orange", "gray"))
        color = jittered(rng, name)
        size = rng.uniform(0.09, 0.16)
        return name, Material(
            Texture.PLANKS,
            color,
            _scaled(color, 0.3),
            size,
            rng.uniform(0.6, 0.95),
            grain=rng.uniform(0.1, 0.25),
            seed=_seed(rng),
        )
    if kind < 0.75:
        name = pick(rng, ("white", "gray", "beige", "brown", "orange"))
        color = jittered(rng, name)
        joint = jittered(rng, pick(rng, ("gray", "black", "brown")))
        return name, Material(
            Texture.TILES,
            color,
            joint,
            rng.uniform(0.2, 0.4),
            rng.uniform(0.6, 0.9),
            grain=rng.uniform(0.1, 0.25),
            seed=_seed(rng),
        )
    name = pick(rng, FABRIC_COLORS)
    carpet = fabric(rng, name)
    return name, replace(carpet, contrast=0.7 * carpet.contrast, feature_size=2.0 * carpet.feature_size)


def ceiling_surface(rng: np.random.Generator) -> tuple[str, Material]:
    """White or nearly so: plaster, panels."""
    name = pick(rng, ("white", "white", "white", "gray", "beige"))
    color = _linear(np.clip(0.6 * np.sqrt(np.array(jittered(rng, name))) + 0.36, 0.0, 0.97))
    texture = pick(rng, (Texture.NOISE, Texture.NOISE, Texture.TILES, Texture.PLANKS))
    size = {Texture.NOISE: 0.25, Texture.TILES: 0.6, Texture.PLANKS: 0.2}[texture]
    return name, Material(
        texture, color, _scaled(color, 0.7), size, rng.uniform(0.3, 0.7), grain=rng.uniform(0.08, 0.16), seed=_seed(rng)
    )


def book_row(rng: np.random.Generator) -> Material:
    """Spines of many colours; one in four has the first colour."""
    first, titles = jittered(rng, pick(rng, FABRIC_COLORS)), jittered(rng, pick(rng, ("white", "yellow", "beige")))
    return Material(Texture.BOOKS, first, titles, rng.uniform(0.025, 0.045), 1.0, grain=0.12, seed=_seed(rng))


def window_view(rng: np.random.Generator) -> Material:
    """Sky over hills, bright whatever the room's light."""
    sky = _linear(np.clip(np.array([0.58, 0.75, 0.94]) + rng.normal(0.0, 0.05, 3), 0.0, 1.0))
    hills = jittered(rng, pick(rng, ("green", "green", "brown", "gray")))
    return Material(
        Texture.WINDOW, sky, hills, rng.uniform(0.35, 0.9), 1.0, grain=0.03, emission=rng.uniform(0.7, 0.95), seed=_seed(rng)
    )


def screen_image(rng: np.random.Generator) -> Material:
    """Text on a screen that is switched on."""
    dark = rng.random() < 0.5
    paper = jittered(rng, pick(rng, ("black", "blue", "green", "purple") if dark else ("white", "beige", "gray")))
    ink = jittered(rng, pick(rng, ("white", "yellow", "green", "orange") if dark else ("black", "blue", "red")))
    return Material(
        Texture.SCREEN, paper, ink, rng.uniform(0.025, 0.05), 1.0, grain=0.02, emission=rng.uniform(0.5, 0.85), seed=_seed(rng)
    )


def painting(rng: np.random.Generator, color_name: str) -> Material:
    """An abstract picture, a landscape or a pattern, the named colour foremost."""
    texture = pick(rng, (Texture.PICTURE, Texture.PICTURE, Texture.WINDOW, Texture.NOISE, Texture.ORNAMENT))
    first, second = jittered(rng, color_name), jittered(rng, pick(rng, FABRIC_COLORS))
    size = rng.uniform(0.2, 0.4) if texture is Texture.WINDOW else rng.uniform(0.05, 0.16)
    return Material(texture, first, second, size, 1.0, grain=0.15, seed=_seed(rng))


def foliage(rng: np.random.Generator) -> Material:
    """Leaves, green first."""
    red, green, blue = jittered(rng, "green")
    color = (min(red, 0.8 * green), green, min(blue, 0.7 * green))
    return Material(Texture.LEAVES, color, _scaled(color, 0.25), rng.uniform(0.025, 0.05), 1.0, grain=0.25, seed=_seed(rng))


def lamp_shade(rng: np.random.Generator, color_name: str) -> Material:
    """Cloth or paper that glows."""
    color = jittered(rng, color_name)
    texture = pick(rng, (Texture.PLAIN, Texture.STRIPES, Texture.NOISE))
    return Material(texture, color, _scaled(color, 0.7), 0.03, 0.6, grain=0.08, emission=rng.uniform(0.35, 0.75), seed=_seed(rng))
