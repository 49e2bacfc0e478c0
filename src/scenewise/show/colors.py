"""Numbers and classes as colours."""

import colorsys

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, UInt8

from scenewise.geometry.spherical_harmonics import Y00
from scenewise.scenes.vocabularies import Color

RGB = Float32[np.ndarray, "n 3"]
RGBu8 = UInt8[np.ndarray, "n 3"]
Palette = UInt8[np.ndarray, "classes 3"]

# Cold to hot in the order of the rainbow but with even steps of lightness up to the yellow, after the idea of Turbo (Mikhailov
# 2019); it ends in a bright red, because what answers a question shall be the brightest thing in the picture.
_HEAT_STOPS = np.array(
    [
        [48, 18, 59],
        [65, 82, 200],
        [50, 150, 250],
        [25, 210, 200],
        [110, 250, 95],
        [200, 235, 50],
        [252, 180, 45],
        [245, 105, 25],
        [225, 35, 15],
    ],
    dtype=np.float32,
)
# Dark violet to light yellow, rising in lightness throughout.
_CONFIDENCE_STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float32)
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601

UNKNOWN_COLOR: Color = (120, 120, 128)
NEUTRAL_HEAT = 0.5
_LEAST_HOT = 0.7


def heat_colors(heat: Float32[np.ndarray, "n"]) -> RGB:
    """Colours in [0, 1] of numbers in [0, 1], dark blue over cyan, green and yellow to red."""
    return (along_stops(heat, _HEAT_STOPS) / 255.0).astype(np.float32)


def confidence_colors(confidence: Float32[np.ndarray, "n"]) -> RGB:
    """Colours in [0, 1] of numbers in [0, 1], dark violet over green to yellow."""
    return (along_stops(confidence, _CONFIDENCE_STOPS) / 255.0).astype(np.float32)


def along_stops(values: Float[np.ndarray, "*grid"], stops: Float[np.ndarray, "stops 3"]) -> Float64[np.ndarray, "*grid 3"]:
    """Numbers in [0, 1] on a scale of evenly spaced colours, in the unit of the stops."""
    positions = np.linspace(0.0, 1.0, len(stops))
    return np.stack([np.interp(values, positions, stops[:, channel]) for channel in range(3)], axis=-1)


def colors_from_sh0(sh0: Float32[np.ndarray, "n 3"]) -> RGB:
    """Colour without its view-dependent part, ½ + Y₀₀·sh0, clipped to [0, 1]."""
    return np.clip(0.5 + Y00 * sh0, 0.0, 1.0).astype(np.float32)


def luma(colors: Float32[np.ndarray, "*grid 3"]) -> Float32[np.ndarray, "*grid"]:
    """Lightness of colours, in their unit."""
    return colors @ _GREY_WEIGHTS


def grey(colors: RGB) -> RGB:
    """Luma of colours, in three equal channels."""
    return np.repeat(luma(colors)[:, None], 3, axis=1)


def class_colors(colors: RGB, class_id: Int32[np.ndarray, "n"], palette: Palette) -> RGB:
    """Each element in the colour of its class, with a quarter of its own lightness so that shapes stay readable.

    Args:
        colors: the elements' own, in [0, 1].
        class_id: −1 = unknown, which becomes a dim grey.
        palette: one colour per class.
    """
    table = np.concatenate([palette, np.array([UNKNOWN_COLOR], dtype=np.uint8)]).astype(np.float32) / 255.0
    flat = table[class_id]  # −1 is the last row
    weight = np.where(class_id < 0, np.float32(0.5), np.float32(0.75))[:, None]
    return weight * flat + np.float32(0.25) * grey(colors)


def shown_heat(heat: Float32[np.ndarray, "n"]) -> Float32[np.ndarray, "n"]:
    """Relevancy as a share of the colour scale.

    ½ means "fits as well as anything else" and is cold.  The hottest thousandth is at the top of the scale, but nothing below
    0.7 gets there, so that a question without an answer lights up nothing.

    Args:
        heat: relevancy in [0, 1]; NaN counts as never seen.
    """
    values = np.nan_to_num(heat, nan=0.0)
    top = max(_LEAST_HOT, float(np.quantile(values, 0.999))) if len(values) else _LEAST_HOT
    return np.clip((values - NEUTRAL_HEAT) / (top - NEUTRAL_HEAT), 0.0, 1.0).astype(np.float32)


def heat_over_scene(colors: RGB, shown: Float32[np.ndarray, "n"]) -> RGB:
    """The scene in dim grey, and over it the colours of what is hot.

    Args:
        colors: the elements' own, in [0, 1].
        shown: share of the colour scale, see :func:`shown_heat`.
    """
    weight = np.clip(shown / 0.35, 0.0, 1.0)[:, None]
    weight = 0.92 * weight * weight * (3.0 - 2.0 * weight)  # a soft edge
    base = 0.08 + 0.5 * (0.75 * grey(colors) + 0.25 * colors)
    return ((1.0 - weight) * base + weight * heat_colors(shown)).astype(np.float32)


def palette_for(count: int) -> Palette:
    """Distinct colours for classes that came without any: hues in steps of the golden section, three lightnesses in turn."""
    rows = [colorsys.hls_to_rgb((0.61803398875 * index) % 1.0, (0.5, 0.7, 0.35)[index % 3], 0.65) for index in range(count)]
    return (np.array(rows, dtype=np.float32).reshape(-1, 3) * 255.0 + 0.5).astype(np.uint8)


def u8(colors: RGB) -> RGBu8:
    """Colours in [0, 1] as bytes, clipped and rounded."""
    return (np.clip(colors, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def dimmed(colors: RGB, where: Bool[np.ndarray, "n"]) -> RGB:
    """The colours, and a dim grey of them ``where`` asked."""
    return np.where(where[:, None], 0.12 + 0.4 * grey(colors), colors).astype(np.float32)
