"""Colours that tell classes apart."""

from functools import cache

import numpy as np
from jaxtyping import Float64

from scenewise.scenes.vocabularies import Color

_LEVELS = (0, 36, 73, 109, 146, 182, 219, 255)  # eight per channel: 512 candidates
_DARKEST, _LIGHTEST = 0.35, 0.9  # OKLab lightness: visible on black and on white


def class_colors(count: int) -> tuple[Color, ...]:
    """One sRGB colour per class, each as far as possible from those before it.

    Colours are picked one after another from a lattice, always the one whose distance in OKLab to the nearest colour already
    picked is largest, so the first n colours stay the same however many follow.  A list longer than the lattice repeats it.
    """
    picked = _all_colors()
    return tuple(picked[i % len(picked)] for i in range(count))


@cache
def _all_colors() -> tuple[Color, ...]:
    lattice = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = oklab_from_srgb(lattice / 255.0)
    usable = (lab[:, 0] >= _DARKEST) & (lab[:, 0] <= _LIGHTEST)
    lattice, lab = lattice[usable], lab[usable]
    first = int(np.argmax(np.hypot(lab[:, 1], lab[:, 2])))  # the most vivid one
    order = [first]
    nearest = np.linalg.norm(lab - lab[first], axis=1)
    while len(order) < len(lattice):
        following = int(np.argmax(nearest))
        order.append(following)
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[following], axis=1))
    return tuple((int(r), int(g), int(b)) for r, g, b in lattice[order])


def linear_from_srgb(srgb: Float64[np.ndarray, "*batch 3"]) -> Float64[np.ndarray, "*batch 3"]:
    """Linear light of sRGB colours in [0, 1].  Source: IEC 61966-2-1."""
    return np.asarray(np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4))


def oklab_from_srgb(srgb: Float64[np.ndarray, "*batch 3"]) -> Float64[np.ndarray, "*batch 3"]:
    """:func:`oklab_from_linear` of sRGB colours in [0, 1]."""
    return oklab_from_linear(linear_from_srgb(srgb))


def oklab_from_linear(linear: Float64[np.ndarray, "*batch 3"]) -> Float64[np.ndarray, "*batch 3"]:
    """Lightness and two colour axes in which equal distances look about equally different.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020, whose two matrices are used.

    Args:
        linear: light of the primaries of sRGB, in [0, 1].
    """
    cones = linear @ np.array(
        [[0.4122214708, 0.2119034982, 0.0883024619], [0.5363325363, 0.6806995451, 0.2817188376],
         [0.0514459929, 0.1073969566, 0.6299787005]]
    )  # fmt: skip
    return np.cbrt(cones) @ np.array(
        [[0.2104542553, 1.9779984951, 0.0259040371], [0.7936177850, -2.4285922050, 0.7827717662],
         [-0.0040720468, 0.4505937099, -0.8086757660]]
    )  # fmt: skip
