"""Numbers as pictures: colour maps for errors and depth, and encoding."""

import base64
import re

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from scenewise.io.images import encoded_picture
from scenewise.scenes.frames import ImageU8
from scenewise.show.colors import along_stops

# Colour stops from dark to light, so that a map read in grey keeps its order.
_ERROR_STOPS = np.array([[8, 8, 20], [70, 20, 110], [180, 45, 90], [245, 125, 45], [255, 245, 180]], dtype=np.float64)
_DEPTH_STOPS = np.array([[253, 231, 120], [100, 200, 110], [35, 145, 140], [55, 90, 140], [68, 10, 85]], dtype=np.float64)

ERROR_RANGE = 0.25  # mean absolute difference of the three channels that is drawn brightest


def error_picture(truth_u8: ImageU8, render_u8: ImageU8) -> ImageU8:
    """Mean absolute difference per pixel on a dark-to-light scale from 0 to ``ERROR_RANGE``."""
    difference = np.abs(truth_u8.astype(np.float64) - render_u8.astype(np.float64)).mean(axis=2) / 255.0
    return _mapped(difference / ERROR_RANGE, _ERROR_STOPS)


def depth_picture(
    depth: Float[np.ndarray, "height width"], near: float | None = None, far: float | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Depth, near light and far dark, on an inverse scale; black where there is none (0).

    Args:
        depth: along +Z in world units.
        near, far: ends of the scale; default the 2nd and 98th percentile of this map, so a film should give its own.
    """
    valid = np.isfinite(depth) & (depth > 0)
    picture = np.zeros((*depth.shape, 3), dtype=np.uint8)
    if valid.any():
        near = float(np.percentile(depth[valid], 2)) if near is None else near
        far = float(np.percentile(depth[valid], 98)) if far is None else far
        span = max(1.0 / near - 1.0 / far, 1e-12)
        closeness = (1.0 / np.where(valid, depth, 1.0) - 1.0 / far) / span
        picture[valid] = _mapped(1.0 - closeness, _DEPTH_STOPS)[valid]
    return picture


def _mapped(values: Float[np.ndarray, "height width"], stops: Float[np.ndarray, "stops 3"]) -> ImageU8:
    return (along_stops(np.clip(values, 0.0, 1.0), stops) + 0.5).astype(np.uint8)


def thumbnail(image_u8: ImageU8, longest: int) -> UInt8[np.ndarray, "smaller_height smaller_width 3"]:
    """The picture with its longer side at most ``longest`` pixels."""
    height, width = image_u8.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1.0:
        return image_u8
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(image_u8).resize(size, Image.Resampling.BOX))


def file_stem(name: str) -> str:
    """A frame's name as one file name: folders joined by ``__``, the ending dropped, whatever a file system might mind replaced.

    >>> file_stem("images/left cam/0001.jpg"), file_stem("../../x:y.png"), file_stem("")
    ('images__left cam__0001', 'x_y', 'view')
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part.strip(".")]
    stem = re.sub(r"\.\w{1,5}$", "", "__".join(parts))
    return re.sub(r"[^\w.\- ]", "_", stem) or "view"


def jpeg_data_url(image_u8: ImageU8, quality: int = 85) -> str:
    """The picture as a ``data:`` address to put into a page."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded_picture(image_u8, "JPEG", quality=quality)).decode("ascii")
