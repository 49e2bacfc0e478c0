"""Depth maps as files: 16-bit codes as depth cameras write them, or floating-point distances as networks and renderers do."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.images import IMAGE_SUFFIXES, MAX_PIXELS, as_u16, read_image_header, with_image
from scenewise.io.npy_headers import read_npy_header

if TYPE_CHECKING:
    from PIL import Image

_DEPTH_KINDS = "a 16-bit PNG in millimetres, or a .npy or 32-bit TIFF in the units of the poses"
_DEPTH_FIX = "write the depth maps as 16-bit PNG (millimetres, 0 where nothing was measured)"
_MILLIMETRES_FROM = 200.0
"""Whole numbers from here on are no metres: no depth camera reaches so far, and no distance is whole so often."""


def read_depth_values(path: Path) -> np.ndarray:
    """Values of a depth map as stored [height, width]: uint16 codes, or float32 distances, of which NaN, infinity and what is
    below 0 are 0, no measurement.

    Accepted are a 16-bit PNG or TIFF, a 32-bit floating-point TIFF, and a ``.npy`` of float16, float32, float64 or uint16.

    Raises:
        DataFormatError: missing, truncated, of another kind, or floats that look like millimetres.
    """
    if path.suffix.lower() == ".npy":
        values = _npy_values(path)
    elif path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataFormatError(path, "depth", expected=_DEPTH_KINDS, got=path.suffix or "no ending", fix=_DEPTH_FIX)
    else:
        values = with_image(path, lambda image: _depth_pixels(image, path))
    if values.dtype.kind != "f":
        return as_u16(path, values)
    with np.errstate(invalid="ignore"):
        distances = np.where(np.isfinite(values) & (values > 0), values, 0).astype(np.float32)
    measured = distances[distances > 0]
    if measured.size and float(np.median(measured)) >= _MILLIMETRES_FROM and bool((measured == np.rint(measured)).all()):
        raise DataFormatError(
            path,
            "depth",
            expected="floating-point distances in the units of the poses (metres)",
            got=f"whole numbers around {float(np.median(measured)):g}, which look like millimetres",
            fix="divide them by 1000, or write a 16-bit PNG in millimetres",
        )
    return distances


def distances_of(values: np.ndarray, units_per_code: float, missing_code: int = 65535) -> Float32[np.ndarray, "height width"]:
    """Distances in world units, 0 = no measurement, of what :func:`read_depth_values` gives: floats as they are, codes scaled.

    Args:
        values: float32 distances, or codes.
        units_per_code: world units per stored step.
        missing_code: that, like 0, stands for "no measurement".
    """
    if values.dtype.kind == "f":
        return values
    scaled: np.ndarray = np.where(values == missing_code, 0, values).astype(np.float32) * np.float32(units_per_code)
    return scaled


def depth_size(path: Path) -> tuple[int, int]:
    """Width and height of a depth map, by its header.

    Raises:
        DataFormatError: missing, damaged, or an array that is no picture.
    """
    if path.suffix.lower() != ".npy":
        header = read_image_header(path)
        return header.width, header.height
    with open_bounded(path) as (file, _):
        rows, columns = _npy_rows_and_columns(path, read_npy_header(path, file)[0])
    return columns, rows


def _npy_rows_and_columns(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return shape[0], shape[1]
    raise DataFormatError(path, "depth", expected=_DEPTH_KINDS, got=f"an array of shape {shape}", fix=_DEPTH_FIX)


def _depth_pixels(image: "Image.Image", path: Path) -> np.ndarray:
    if image.mode not in {"I;16", "I;16B", "I;16L", "I", "F"}:
        kind = {"L": "one 8-bit channel", "P": "a palette"}.get(image.mode, f"colours ({image.mode})")
        raise DataFormatError(path, "depth", expected=_DEPTH_KINDS, got=kind, fix=_DEPTH_FIX)
    return np.asarray(image)


def _npy_values(path: Path) -> np.ndarray:
    """The two-dimensional array of a ``.npy`` file.  Its header is read as data; objects are refused."""
    with open_bounded(path) as (file, size):
        shape, is_fortran, kind = read_npy_header(path, file)
        flat = _npy_rows_and_columns(path, shape)
        if kind.hasobject or kind.name not in {"float16", "float32", "float64", "uint16"}:
            raise DataFormatError(path, "depth", expected=_DEPTH_KINDS, got=f"{kind.name} of shape {shape}", fix=_DEPTH_FIX)
        count = flat[0] * flat[1]
        if count > MAX_PIXELS or count * kind.itemsize != size - file.tell():
            raise DataFormatError(
                path,
                expected=f"{count:,} numbers of {kind.itemsize} bytes",
                got=f"{size - file.tell():,} bytes",
                fix="copy it again",
            )
        values = np.frombuffer(file.read(count * kind.itemsize), dtype=kind)
    return values.reshape(flat, order="F" if is_fortran else "C").astype(kind.newbyteorder("="), copy=False)
