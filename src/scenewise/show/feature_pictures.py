"""Features as colours: one basis for all that is shown, so that the same colour means the same feature everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from scenewise.errors import ConventionError
from scenewise.scenes.frames import ImageU8

_WIDTH = 240  # pixels of a picture on the sheet
_TITLE, _GAP = 18, 4
_LOW, _HIGH = 2.0, 98.0  # percentiles that get the darkest and the brightest colour
_INK, _PAPER = (22, 26, 33), (255, 255, 255)
_UNKNOWN = (208, 211, 217)
_TITLES = ("photograph", "2D features", "3D features, rendered")


@dataclass(frozen=True)
class PrincipalColors:
    """Features along three axes as red, green and blue.

    Attributes:
        mean: of what the axes were found on.
        axes: of the largest, second and third variance; unit length, their largest entry positive.
        low: of each axis, where the colour is darkest.
        high: where it is brightest.
    """

    mean: Float64[np.ndarray, "dim"]
    axes: Float64[np.ndarray, "dim 3"]
    low: Float64[np.ndarray, "3"]
    high: Float64[np.ndarray, "3"]

    def __call__(self, features: Float32[np.ndarray, "*grid dim"]) -> UInt8[np.ndarray, "*grid 3"]:
        """Colours of features."""
        along = (features - self.mean) @ self.axes
        shares = (along - self.low) / np.maximum(self.high - self.low, 1e-12)
        return (255.0 * np.clip(shares, 0.0, 1.0) + 0.5).astype(np.uint8)


def principal_colors(features: Float32[np.ndarray, "rows dim"]) -> PrincipalColors:
    """The three principal axes of features, and the range that 96 % of them cover.

    Raises:
        ConventionError: no features, or of fewer than three numbers.
    """
    if not len(features) or features.shape[1] < 3:
        raise ConventionError("features", expected="rows of at least three numbers", got=f"{features.shape}")
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    axes = np.linalg.eigh((rows - mean).T @ (rows - mean))[1][:, :-4:-1]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), range(3)] < 0, -1.0, 1.0)  # else the sign is the library's choice
    along = (rows - mean) @ axes
    return PrincipalColors(mean, axes, np.percentile(along, _LOW, axis=0), np.percentile(along, _HIGH, axis=0))


@dataclass(frozen=True)
class FeatureRow:
    """A picture and the features of both branches on cells that cover it.

    Attributes:
        picture_u8: the photograph.
        image: 2D features.
        volume: rendered 3D features.
        is_rendered: where there are any of these.
    """

    picture_u8: ImageU8
    image: Float32[np.ndarray, "rows columns dim"]
    volume: Float32[np.ndarray, "rows columns dim"]
    is_rendered: Bool[np.ndarray, "rows columns"]


def feature_sheet(rows: Sequence[FeatureRow]) -> ImageU8:
    """A line for each picture: the photograph, its 2D features and the 3D features rendered into it, in the colours of one basis.

    Both kinds of features count alike for the basis.  Cells in which nothing is rendered are grey.

    Raises:
        ConventionError: no picture.
    """
    if not rows:
        raise ConventionError("pictures", expected="at least one", got="none")
    seen = np.concatenate([each for row in rows for each in (row.image[row.is_rendered], row.volume[row.is_rendered])])
    colors = principal_colors(seen if len(seen) else np.concatenate([row.image.reshape(-1, row.image.shape[2]) for row in rows]))
    heights = [max(1, round(_WIDTH * row.picture_u8.shape[0] / row.picture_u8.shape[1])) for row in rows]
    size = (3 * _WIDTH + 2 * _GAP, _TITLE + sum(heights) + _GAP * (len(rows) - 1))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for column, title in enumerate(_TITLES):
        draw.text((column * (_WIDTH + _GAP) + 2, 2), title, fill=_INK, font=font)
    top = _TITLE
    for row, height in zip(rows, heights):
        volume = np.where(row.is_rendered[..., None], colors(row.volume), np.array(_UNKNOWN, dtype=np.uint8))
        for column, picture in enumerate((row.picture_u8, colors(row.image), volume)):
            way = Image.Resampling.BOX if picture.shape[1] > _WIDTH else Image.Resampling.NEAREST
            sheet.paste(Image.fromarray(picture).resize((_WIDTH, height), way), (column * (_WIDTH + _GAP), top))
        top += height + _GAP
    return np.asarray(sheet)
