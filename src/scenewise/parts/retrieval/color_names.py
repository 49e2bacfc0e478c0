"""Names of colours as a person would say them who stands in the room: of surfaces, whatever light they are in."""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from scenewise.parts.graphs.phrases import COLORS
from scenewise.scenes.class_colors import linear_from_srgb, oklab_from_linear, oklab_from_srgb

COLOR_NAMES = tuple(COLORS)
_BRIGHTEST = 0.1  # share of a scene's points that are taken for white surfaces in full light
_WHITE = 0.9  # linear light that these would have
_LIGHTNESS = 0.45  # how much lightness counts beside the two colour axes: shadows change it most
_SHARPNESS = 0.004  # squared distance in Oklab at which a name is 1/e as likely


def white_of(colors_u8: UInt8[np.ndarray, "n 3"]) -> Float64[np.ndarray, "3"]:
    """Linear light of what is taken for white: the mean of the brightest tenth of a scene.

    Source: the white-patch rule (Land and McCann 1971), over many points as one may be a lamp.
    """
    if not len(colors_u8):
        return np.ones(3)
    linear = linear_from_srgb(colors_u8 / 255.0)
    brightness = linear.mean(axis=1)
    bright = linear[brightness >= np.quantile(brightness, 1.0 - _BRIGHTEST)]
    return np.maximum(bright.mean(axis=0), 1e-3)


def name_shares(srgb: Float64[np.ndarray, "n 3"], white: Float64[np.ndarray, "3"]) -> Float32[np.ndarray, "n names"]:
    """How likely each colour is called each of :data:`COLOR_NAMES`; rows sum to 1.

    Args:
        srgb: in [0, 1], as seen.
        white: linear light of white surfaces there.
    """
    weights = np.array([_LIGHTNESS, 1.0, 1.0])
    seen = oklab_from_linear(np.clip(linear_from_srgb(srgb) * (_WHITE / white), 0.0, 1.0)) * weights
    named = oklab_from_srgb(np.array(list(COLORS.values()))) * weights
    squared = np.square(seen[:, None] - named[None]).sum(axis=2)
    likely = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / _SHARPNESS)
    shares: Float32[np.ndarray, "n names"] = (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
