"""Labels and heat as pictures."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image, ImageDraw, ImageFont

from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Color
from scenewise.show.colors import UNKNOWN_COLOR, luma

_OVERLAY = 0.55  # of the class colour; the rest is the photograph
_ROW = 18
_MARGIN = 6
_MOST_ROWS = 40


def class_palette(colors: Sequence[Color]) -> np.ndarray:
    """A row per class and a last one for "unknown", so that −1 picks it."""
    return np.array([*colors, UNKNOWN_COLOR], dtype=np.uint8)


def overlay_picture(image_u8: ImageU8, class_ids: Int32[np.ndarray, "height width"], colors: Sequence[Color]) -> ImageU8:
    """The photograph tinted with the colours of its classes; unknown pixels are only dimmed."""
    tint = class_palette(colors)[class_ids].astype(np.float32)
    mixed = (1 - _OVERLAY) * image_u8 + np.where((class_ids >= 0)[..., None], _OVERLAY * tint, 0.15 * tint)
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def with_legend(
    picture: ImageU8, names: Sequence[str], colors: Sequence[Color], shares: Sequence[float]
) -> UInt8[np.ndarray, "taller width 3"]:
    """The picture with a strip below that names the classes in it, the largest first.

    Args:
        picture: any size.
        names: of the classes.
        colors: of the classes.
        shares: of the picture that is of each class; classes without any are left out.
    """
    shown = [number for number in np.argsort([-share for share in shares], kind="stable").tolist() if shares[number] > 0]
    shown = shown[:_MOST_ROWS]
    if not shown:
        return picture
    font = ImageFont.load_default()
    texts = [f"{names[number]} {shares[number]:.0%}" for number in shown]
    column = max(int(font.getlength(text)) for text in texts) + _ROW + 2 * _MARGIN
    columns = max(1, picture.shape[1] // column)
    rows = -(-len(shown) // columns)
    strip = Image.new("RGB", (picture.shape[1], rows * _ROW + 2 * _MARGIN), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    for place, (number, text) in enumerate(zip(shown, texts)):
        left, top = _MARGIN + (place % columns) * column, _MARGIN + (place // columns) * _ROW
        draw.rectangle((left, top + 2, left + _ROW - 6, top + _ROW - 4), fill=colors[number], outline=(60, 60, 60))
        draw.text((left + _ROW, top + 2), text, fill=(20, 20, 20), font=font)
    return np.concatenate([picture, np.asarray(strip)], axis=0)


def heat_picture(
    heat: Float32[np.ndarray, "height width"], heat_colors_u8: np.ndarray, under_u8: ImageU8 | None, visible: float = 0.75
) -> ImageU8:
    """Heat over a grey picture, stronger where it is hotter.

    Args:
        heat: in [0, 1].
        heat_colors_u8: its colours, [height, width, 3].
        under_u8: what lies under it; None for nothing.
        visible: part of the colour where it is hottest.
    """
    if under_u8 is None:
        return heat_colors_u8
    grey = luma(under_u8.astype(np.float32))[..., None]
    share = (visible * np.clip(heat, 0.0, 1.0))[..., None]
    return np.clip((1 - share) * (0.9 * grey) + share * heat_colors_u8 + 0.5, 0, 255).astype(np.uint8)


def label_codes(class_ids: Int32[np.ndarray, "height width"], classes: int) -> np.ndarray:
    """Class ids as the pixels of a picture: 8 bits where they suffice, else 16; the largest number is "unknown"."""
    kind = np.uint8 if classes <= np.iinfo(np.uint8).max else np.uint16
    return np.where(class_ids >= 0, class_ids, np.iinfo(kind).max).astype(kind)
