"""Decoding photographs, depth maps and masks, and undoing the lens while doing so.

EXIF orientation is ignored: COLMAP and the tools around it compute poses for the pixels as stored, so a turned image would no
longer fit its camera.
"""

import importlib
import io
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8, UInt16

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.undistortion import PinholeImage, sampling_map, undistorted_camera
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap, ImageU8, PixelMask

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
_MAX_PIXELS = 400_000_000
_MAP_CACHE_BYTES = 64 * 2**20
_STRIP_PIXELS = 2**15


@dataclass(frozen=True)
class ImageHeader:
    """What a picture file says before its pixels are decoded.

    Attributes:
        width: in pixels.
        height: in pixels.
        has_alpha: whether pixels may be transparent.
    """

    width: int
    height: int
    has_alpha: bool


@cache
def supported_formats() -> tuple[str, ...]:
    """The formats this Pillow can read; it registers some decoders only when asked."""
    from PIL import Image

    for module in _FORMATS.values():
        importlib.import_module(f"PIL.{module}")
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _opened(path: Path, use: Callable[["Image.Image"], Decoded]) -> Decoded:
    """``use(image)``; whatever the decoder raises becomes an error that names the file."""
    from PIL import Image

    try:
        if path.stat().st_size == 0:
            raise DataFormatError(path, expected="an image", got="an empty file", fix="copy the file again")
        with Image.open(path, formats=supported_formats()) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DataFormatError(
                    path, "header", expected=f"at most {_MAX_PIXELS:,} pixels", got=f"{image.width}×{image.height}"
                )
            return use(image)
    except DataFormatError:
        raise
    except FileNotFoundError as error:
        raise DataFormatError(
            path, expected="an image", got="no such file", fix="restore it, or remove it from the list"
        ) from error
    # Decoders meet broken files with OSError, SyntaxError, ValueError, struct.error, zlib.error, OverflowError, MemoryError …
    except Exception as error:
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
    return _opened(
        path, lambda image: ImageHeader(image.width, image.height, "A" in image.getbands() or "transparency" in image.info)
    )


def match_lens_to_image(lens_camera: LensCamera, width: int, height: int, path: Path) -> LensCamera:
    """The lens at the resolution of an image file: the same, or rescaled when the file is a smaller or larger copy.

    Args:
        lens_camera: as calibrated.
        width: of the file, pixels.
        height: of the file, pixels.
        path: the file, for the message.

    Raises:
        DataFormatError: the proportions differ by more than the rounding of a resize.
    """
    if (width, height) == (lens_camera.width, lens_camera.height):
        return lens_camera
    ratio_x, ratio_y = width / lens_camera.width, height / lens_camera.height
    # A resize rounds each side to a pixel (some tools round down), so sides may disagree by one pixel of the smaller image.
    smaller = min(1.0, ratio_x, ratio_y)
    if abs(ratio_x - ratio_y) * min(lens_camera.width, lens_camera.height) * (smaller / max(ratio_x, ratio_y)) > 1.0:
        turned = (height, width) == (lens_camera.width, lens_camera.height)
        raise DataFormatError(
            path,
            "image size",
            expected=f"{lens_camera.width}×{lens_camera.height} or a copy of it at another scale",
            got=f"{width}×{height}",
            fix="store the image unrotated, as it was calibrated"
            if turned
            else "use the images that the poses were computed from",
        )
    return lens_camera.resized(width, height)


def lens_camera_or_error(path: Path, place: str, model: str, params: tuple[float, ...], width: int, height: int) -> LensCamera:
    """A lens record whose complaints name the file they come from.

    Raises:
        DataFormatError: see :class:`~scenewise.geometry.lens_cameras.LensCamera`.
    """
    try:
        lens_camera = LensCamera(model, params, width, height)
        undistorted_camera(lens_camera)
    except ConventionError as error:
        raise DataFormatError(path, f"{place}: {error}") from error
    return lens_camera


def camera_of(lens_camera: LensCamera, camera_from_world: torch.Tensor) -> Cameras:
    """The camera of the undistorted image.

    Raises:
        ConventionError: see :class:`~scenewise.scenes.cameras.Cameras`.
    """
    pinhole = undistorted_camera(lens_camera)
    # One K per lens, shared by all its frames: records of thousands of frames then stay small.
    return Cameras(camera_from_world, _shared_K(lens_camera, pinhole), pinhole.width, pinhole.height)


_K_cache: OrderedDict[LensCamera, torch.Tensor] = OrderedDict()


def _shared_K(lens_camera: LensCamera, pinhole: PinholeImage) -> torch.Tensor:
    K = _K_cache.get(lens_camera)
    if K is None:
        K = _K_cache[lens_camera] = torch.tensor(pinhole.K, dtype=torch.float64)
        while len(_K_cache) > 64:
            _K_cache.popitem(last=False)
    return K


@dataclass(frozen=True)
class ImageLoader:
    """Decodes one photograph as the undistorted pinhole image of its lens.

    Attributes:
        path: the file.
        lens_camera: the lens at the file's resolution.
        background: colour put behind transparent pixels, in [0, 1]; white when None.
    """

    path: Path
    lens_camera: LensCamera
    background: Background | None = None

    def __call__(self) -> ImageU8:
        """sRGB pixels of exactly the undistorted camera's size.

        Raises:
            DataFormatError: missing, truncated, not an image, or of another size than the camera.
        """
        image_u8 = _opened(self.path, lambda image: _rgb(_of_size(image, self.path, self.lens_camera), self.background))
        if self.lens_camera.is_pinhole:
            return image_u8
        return resample_bilinear(image_u8, _map_cache.get(self.lens_camera))


@dataclass(frozen=True)
class DepthLoader:
    """Decodes a 16-bit depth map onto the pixel grid of the undistorted image.

    The map may have another resolution than the photograph; it is taken to cover the same field.  Values are read, never
    interpolated: between two surfaces there is nothing.

    Attributes:
        path: the file.
        lens_camera: the lens at the photograph's resolution.
        units_per_code: world units per stored step (0.001 for millimetres in a metric world).
        missing_code: value that, like 0, stands for "no measurement".
    """

    path: Path
    lens_camera: LensCamera
    units_per_code: float = 0.001
    missing_code: int = 65535

    def __call__(self) -> DepthMap:
        """Depth along +Z in world units, 0 = no measurement.

        Raises:
            DataFormatError: missing, truncated, or not 16-bit.
        """
        codes = read_codes_u16(self.path)
        depth = np.where(codes == self.missing_code, 0, codes).astype(np.float32) * np.float32(self.units_per_code)
        return sample_nearest(depth, self.lens_camera)


@dataclass(frozen=True)
class MaskLoader:
    """Decodes a mask (0 = leave out, anything else = use) onto the pixel grid of the undistorted image.

    Attributes:
        path: the file.
        lens_camera: the lens at the photograph's resolution.
    """

    path: Path
    lens_camera: LensCamera

    def __call__(self) -> PixelMask:
        """True where a pixel may be used.

        Raises:
            DataFormatError: missing or truncated.
        """
        values = _opened(self.path, lambda image: np.asarray(image.convert("L")))
        return sample_nearest(values > 0, self.lens_camera)


def read_codes_u16(path: Path) -> np.ndarray:
    """Unsigned 16-bit codes of a one-channel picture (depth, ids) [height, width].

    Raises:
        DataFormatError: missing, truncated, more than one channel or only 8 bits.
    """

    def decode(image: "Image.Image") -> np.ndarray:
        if image.mode not in {"I;16", "I;16B", "I;16L", "I"}:
            raise DataFormatError(path, "pixel format", expected="one 16-bit channel", got=image.mode, fix="write a 16-bit PNG")
        return np.asarray(image)

    codes = _opened(path, decode)
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) > 65535):
        raise DataFormatError(path, "pixels", expected="0 … 65535", got=f"{int(codes.min())} … {int(codes.max())}")
    return codes.astype(np.uint16)


def read_image(path: Path) -> ImageU8:
    """sRGB pixels of a picture file without any camera; transparent pixels over white.

    Raises:
        DataFormatError: missing, truncated or not an image.
    """
    return _opened(path, lambda image: _rgb(image, None))


def read_class_codes(path: Path) -> UInt16[np.ndarray, "height width"]:
    """Codes of a label map as stored: indices of a palette picture, values of an 8- or 16-bit grey one.

    Raises:
        DataFormatError: missing, truncated, or a colour picture, whose colours would first have to be turned into codes.
    """

    def decode(image: "Image.Image") -> np.ndarray:
        if image.mode not in {"P", "L", "I;16", "I;16B", "I;16L", "I"}:
            raise DataFormatError(
                path,
                "pixel format",
                expected="class codes: one grey channel or a palette",
                got=f"{image.mode}, a picture of colours",
                fix="use the label maps as published, before any tool drew or converted them",
            )
        return np.asarray(image)

    codes = _opened(path, decode)
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) > 65535):
        raise DataFormatError(path, "pixels", expected="0 … 65535", got=f"{int(codes.min())} … {int(codes.max())}")
    return codes.astype(np.uint16)


def _of_size(image: "Image.Image", path: Path, lens_camera: LensCamera) -> "Image.Image":
    if image.size != (lens_camera.width, lens_camera.height):
        raise DataFormatError(
            path,
            "image size",
            expected=f"{lens_camera.width}×{lens_camera.height} like its camera",
            got=f"{image.width}×{image.height}",
            fix="use the images that the poses were computed from, all resized alike",
        )
    return image


def _rgb(image: "Image.Image", background: Background | None) -> ImageU8:
    """Eight-bit sRGB of any mode; transparent pixels over the background."""
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


@dataclass(frozen=True)
class _Strip:
    """Some rows of an undistorted image, and where they come from in the photograph.

    Attributes:
        top: first row of the strip.
        first: first row of the photograph that is needed.
        last: row after the last one needed.
        grid: positions in rows first … last of the photograph, scaled to [−1, 1] as torch's ``grid_sample`` wants them.
    """

    top: int
    first: int
    last: int
    grid: Float32[torch.Tensor, "1 rows width 2"]


@dataclass(frozen=True)
class SamplingStrips:
    """A sampling map cut into strips whose float temporaries stay in the processor's cache (three times faster than at once).

    Attributes:
        source_width: of the photograph, pixels.
        source_height: of the photograph, pixels.
        width: of the undistorted image, pixels.
        height: of the undistorted image, pixels.
        strips: from top to bottom.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    strips: tuple[_Strip, ...]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(strip.grid.nbytes for strip in self.strips)


def sampling_strips(pixels: Float32[np.ndarray, "height width 2"], source_width: int, source_height: int) -> SamplingStrips:
    """Cuts a map of positions (u, v), centre of the first pixel at (0.5, 0.5), for :func:`resample_bilinear`."""
    height, width = pixels.shape[:2]
    rows = max(1, _STRIP_PIXELS // width)
    strips = []
    for top in range(0, height, rows):
        part = pixels[top : top + rows].astype(np.float64)
        first = max(0, int(part[..., 1].min() - 0.5))
        last = min(source_height, int(part[..., 1].max() + 0.5) + 1)
        scaled = (part - [0.0, float(first)]) * [2.0 / source_width, 2.0 / (last - first)] - 1.0
        strips.append(_Strip(top, first, last, torch.from_numpy(scaled.astype(np.float32))[None]))
    return SamplingStrips(source_width, source_height, width, height, tuple(strips))


class _MapCache:
    """Sampling maps by lens, bounded in bytes; the newest is always kept."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._maps: OrderedDict[LensCamera, SamplingStrips] = OrderedDict()
        self._lock = Lock()

    def get(self, lens_camera: LensCamera) -> SamplingStrips:
        with self._lock:
            if lens_camera in self._maps:
                self._maps.move_to_end(lens_camera)
                return self._maps[lens_camera]
        pixels = sampling_map(lens_camera, undistorted_camera(lens_camera))
        computed = sampling_strips(pixels, lens_camera.width, lens_camera.height)
        with self._lock:
            self._maps[lens_camera] = computed
            while len(self._maps) > 1 and sum(kept.nbytes for kept in self._maps.values()) > self.max_bytes:
                self._maps.popitem(last=False)
        return computed


_map_cache = _MapCache(_MAP_CACHE_BYTES)


def resample_bilinear(
    image_u8: UInt8[np.ndarray, "source_height source_width 3"], sampling: SamplingStrips
) -> UInt8[np.ndarray, "height width 3"]:
    """Colours at the sampled positions by bilinear interpolation; beyond the outermost pixel centres that pixel's own.

    Args:
        image_u8: the photograph, of the size the map was made for.
        sampling: see :func:`sampling_strips`.
    """
    result = np.empty((sampling.height, sampling.width, 3), dtype=np.uint8)
    source = torch.from_numpy(image_u8 if image_u8.flags.writeable else image_u8.copy())
    target = torch.from_numpy(result)
    for strip in sampling.strips:
        rows = source[strip.first : strip.last].to(torch.float32).permute(2, 0, 1)[None].contiguous()
        sampled = torch.nn.functional.grid_sample(rows, strip.grid, mode="bilinear", padding_mode="border", align_corners=False)[
            0
        ]
        target[strip.top : strip.top + strip.grid.shape[1]] = sampled.add_(0.5).to(torch.uint8).permute(1, 2, 0)
    return result


def sample_nearest(values: np.ndarray, lens_camera: LensCamera) -> np.ndarray:
    """Values of a map that covers the photograph, of any resolution, at the pixels of the undistorted image."""
    map_height, map_width = values.shape

    def columns(u: np.ndarray) -> np.ndarray:
        return (u * (map_width / lens_camera.width)).astype(np.int64).clip(0, map_width - 1)

    def rows(v: np.ndarray) -> np.ndarray:
        return (v * (map_height / lens_camera.height)).astype(np.int64).clip(0, map_height - 1)

    if lens_camera.is_pinhole:
        if (map_width, map_height) == (lens_camera.width, lens_camera.height):
            return values
        u, v = np.arange(lens_camera.width)[None, :] + 0.5, np.arange(lens_camera.height)[:, None] + 0.5
        return np.ascontiguousarray(values[rows(v), columns(u)])
    sampling = _map_cache.get(lens_camera)
    result = np.empty((sampling.height, sampling.width), dtype=values.dtype)
    for strip in sampling.strips:
        grid = (strip.grid[0].numpy() + 1.0) / 2.0
        u, v = grid[..., 0] * sampling.source_width, grid[..., 1] * (strip.last - strip.first) + strip.first
        result[strip.top : strip.top + grid.shape[0]] = values[rows(v), columns(u)]
    return result


def image_u8_from_color(color: Float[np.ndarray, "height width 3"]) -> ImageU8:
    """sRGB values in [0, 1], clamped and rounded to bytes; NaN becomes black."""
    return (np.clip(np.nan_to_num(color, nan=0.0), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def png_bytes(image_u8: ImageU8) -> bytes:
    """The picture as PNG."""
    return encoded_picture(image_u8, "PNG")


def encoded_picture(image_u8: ImageU8, form: str, **parameters: int) -> bytes:
    """A picture file in memory; ``form`` and ``parameters`` are Pillow's."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image_u8).save(buffer, form, **parameters)
    return buffer.getvalue()
