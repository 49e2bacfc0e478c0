"""Picture files: opened by the few decoders that are offered a file, decoded and written.

EXIF orientation is ignored: COLMAP and the tools around it compute poses for the pixels as stored, so a turned image would no
longer fit its camera.
"""

import importlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float, UInt16

from scenewise.errors import DataFormatError, ResourceError
from scenewise.scenes.frames import CoverageU8, ImageU8

if TYPE_CHECKING:
    from PIL import Image


Background = tuple[float, float, float]
Decoded = TypeVar("Decoded")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm")
# Only these decoders are offered the file: others (EPS, PDF, FITS …) start programs or are rarely exercised.  MPO is what many
# drones and phones write under the name .jpg.
_FORMATS = {
    "JPEG": "JpegImagePlugin",
    "MPO": "MpoImagePlugin",
    "PNG": "PngImagePlugin",
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "PPM": "PpmImagePlugin",
}
_FLOAT_TOLERANCE = 1e-3  # floats that were once bytes
MAX_PIXELS = 400_000_000
"""Pictures of more are refused before anything is allocated for them."""
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw",
)  # fmt: skip
"""Pictures of formats that are not read: whoever meets them says so."""
CONVERT_FIX = "convert the pictures to JPEG or PNG"
_PILLOW_LIMIT = threading.Lock()


@dataclass(frozen=True)
class ImageHeader:
    """What a picture file says before its pixels are decoded.

    Attributes:
        width: in pixels.
        height: in pixels.
        has_alpha: whether pixels may be transparent.
        has_floats: whether pixels are floating-point numbers, which are read as sRGB in [0, 1].
    """

    width: int
    height: int
    has_alpha: bool
    has_floats: bool = False


@cache
def supported_formats() -> tuple[str, ...]:
    """The formats this Pillow can read; it registers some decoders only when asked."""
    from PIL import Image

    for module in _FORMATS.values():
        importlib.import_module(f"PIL.{module}")
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def open_picture(path: Path) -> "Image.Image":
    """The picture in a file before its pixels are decoded, of one of our formats; what Pillow raises escapes.

    Pillow's own limit, which a drone's panorama passes, is lifted meanwhile: :func:`with_image` has one.
    """
    from PIL import Image

    with _PILLOW_LIMIT:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(path, formats=supported_formats())
        finally:
            Image.MAX_IMAGE_PIXELS = before


def with_image(path: Path, use: Callable[["Image.Image"], Decoded]) -> Decoded:
    """``use(image)``; whatever the decoder raises becomes an error that names the file.

    Raises:
        DataFormatError: missing, empty, too large or not an image that ``use`` can decode.
    """
    try:
        if not path.is_dir() and path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise DataFormatError(path, expected="an image", got="a device or pipe", fix="save it to disk first")
        if path.stat().st_size == 0:
            raise DataFormatError(path, expected="an image", got="an empty file", fix="copy the file again")
        with open_picture(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataFormatError(
                    path,
                    "header",
                    expected=f"at most {MAX_PIXELS:,} pixels",
                    got=f"{image.width}×{image.height}",
                    fix="make the picture smaller, or cut it into parts",
                )
            return use(image)
    except DataFormatError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"memory for {path}",
            expected="room for its pixels",
            got="none",
            fix="close other programs, or make the picture smaller",
        ) from error
    except FileNotFoundError as error:
        raise DataFormatError(
            path, expected="an image", got="no such file", fix="restore it, or remove it from the list"
        ) from error
    # Decoders meet broken files with OSError, SyntaxError, ValueError, struct.error, zlib.error, OverflowError, MemoryError …
    except Exception as error:
        if path.suffix.lower() in UNREAD_SUFFIXES:
            raise DataFormatError(path, expected=f"one of {', '.join(_FORMATS)}", got=path.suffix, fix=CONVERT_FIX) from error
        raise DataFormatError(
            path,
            expected=f"a readable image ({', '.join(_FORMATS)})",
            got=f"{type(error).__name__}: {error}",
            fix="open it in an image viewer; if it is damaged, copy it again or leave it out",
        ) from error


def read_image_header(path: Path) -> ImageHeader:
    """Size and transparency of a picture without decoding it.

    Raises:
        DataFormatError: missing, empty or not an image.
    """
    return with_image(
        path,
        lambda image: ImageHeader(
            image.width, image.height, "A" in image.getbands() or "transparency" in image.info, image.mode == "F"
        ),
    )


def read_codes_u16(path: Path) -> np.ndarray:
    """Unsigned 16-bit codes of a one-channel picture (depth, ids) [height, width].

    Raises:
        DataFormatError: missing, truncated, more than one channel or only 8 bits.
    """
    return as_u16(path, with_image(path, lambda image: _sixteen_bit_values(image, path)))


def _sixteen_bit_values(image: "Image.Image", path: Path) -> np.ndarray:
    if image.mode not in {"I;16", "I;16B", "I;16L", "I"}:
        raise DataFormatError(path, "pixel format", expected="one 16-bit channel", got=image.mode, fix="write a 16-bit PNG")
    return np.asarray(image)


def as_u16(path: Path, codes: np.ndarray) -> np.ndarray:
    """Whole numbers as codes of 16 bits.

    Raises:
        DataFormatError: one does not fit.
    """
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) > 65535):
        raise DataFormatError(path, "pixels", expected="0 … 65535", got=f"{int(codes.min())} … {int(codes.max())}")
    return codes.astype(np.uint16)


def read_image(path: Path) -> ImageU8:
    """sRGB pixels of a picture file without any camera; transparent pixels over white.

    Raises:
        DataFormatError: missing, truncated or not an image.
    """
    return with_image(path, lambda image: rgb_over(image, None))


def read_upright_image(path: Path) -> ImageU8:
    """As :func:`read_image`, turned as the camera was held (EXIF): for pictures that no pose belongs to."""
    from PIL import ImageOps

    return with_image(path, lambda image: rgb_over(ImageOps.exif_transpose(image), None))


def read_class_codes(path: Path) -> UInt16[np.ndarray, "height width"]:
    """Codes of a label map as stored: indices of a palette picture, values of an 8- or 16-bit grey one.

    Raises:
        DataFormatError: missing, truncated, or a colour picture, whose colours would first have to be turned into codes.
    """
    return as_u16(path, with_image(path, lambda image: _class_values(image, path)))


def _class_values(image: "Image.Image", path: Path) -> np.ndarray:
    if image.mode not in {"P", "L", "I;16", "I;16B", "I;16L", "I"}:
        raise DataFormatError(
            path,
            "pixel format",
            expected="class codes: one grey channel or a palette",
            got=f"{image.mode}, a picture of colours",
            fix="use the label maps as published, before any tool drew or converted them",
        )
    return np.asarray(image)


def rgb_over(image: "Image.Image", background: Background | None) -> ImageU8:
    """Eight-bit sRGB of any mode; transparent pixels over the background.  Floating-point pixels are sRGB in [0, 1].

    Raises:
        ValueError: floating-point pixels of another range.
    """
    if image.mode == "F":
        values = np.asarray(image)
        lowest, highest = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        if not (lowest >= -_FLOAT_TOLERANCE and highest <= 1 + _FLOAT_TOLERANCE):  # false for NaN too
            raise ValueError(f"floating-point pixels from {lowest:g} to {highest:g}, where [0, 1] is expected: scale them to it")
        grey = (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in {"I;16", "I;16B", "I;16L", "I"}:
        values = np.asarray(image)
        grey = (values >> 8 if values.max(initial=0) > 255 else values).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA"))
    alpha = rgba[..., 3:].astype(np.uint16)
    behind = np.rint(np.clip(background or (1.0, 1.0, 1.0), 0.0, 1.0) * np.float64(255.0)).astype(np.uint16)
    return ((rgba[..., :3] * alpha + behind * (255 - alpha) + 127) // 255).astype(np.uint8)


def alpha_of(image: "Image.Image") -> CoverageU8:
    """How opaque each pixel is; 255 everywhere in pictures without transparency."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.full((image.height, image.width), 255, dtype=np.uint8)
    return np.ascontiguousarray(np.asarray(image.convert("RGBA"))[..., 3])


def image_u8_from_color(color: Float[np.ndarray, "height width 3"]) -> ImageU8:
    """sRGB values in [0, 1], clamped and rounded to bytes; NaN becomes black."""
    return (np.clip(np.nan_to_num(color, nan=0.0), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def png_bytes(image_u8: ImageU8) -> bytes:
    """The picture as PNG."""
    return encoded_picture(image_u8, "PNG")


def encoded_picture(pixels: ImageU8 | UInt16[np.ndarray, "height width"], form: str, **parameters: int) -> bytes:
    """A picture file in memory; ``form`` and ``parameters`` are Pillow's."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **parameters)
    return buffer.getvalue()
