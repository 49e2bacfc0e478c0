"""The text files of RGB-D folders: matrices and the intrinsics."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.atomic import atomic_write_text
from scenewise.io.images import read_image_header
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.views import is_file

INTRINSICS_NAME = "camera-intrinsics.txt"
_MAX_TEXT_BYTES = 1 << 28


def write_rgbd_intrinsics(folder: Path, K: Float64[np.ndarray, "3 3"], width: int, height: int) -> None:
    """Writes ``camera-intrinsics.txt``, moving the pixel centres of ``K`` from half-integers to the file's integers.

    Args:
        folder: existing folder of the capture.
        K: intrinsics in pixels, centre of the first pixel at (0.5, 0.5).
        width: image width in pixels; checked here because the file itself has no place for the size.
        height: image height in pixels.

    Raises:
        ConventionError: the principal point lies outside the image (axes swapped, or K of another size).
    """
    if not (0 <= K[0, 2] <= width and 0 <= K[1, 2] <= height):
        raise ConventionError(
            "K",
            expected=f"a principal point within {width}×{height}",
            got=f"({K[0, 2]:g}, {K[1, 2]:g})",
            fix="pass K in pixels of the written images",
        )
    centred = K.copy()
    centred[:2, 2] -= 0.5
    atomic_write_text(folder / INTRINSICS_NAME, matrix_text(centred))


def matrix_text(matrix: Float64[np.ndarray, "rows columns"]) -> str:
    """Rows of numbers in a form that gives every float64 back."""
    return "\n".join(" ".join(f"{value:.17g}" for value in row) for row in matrix.tolist()) + "\n"


def read_text(path: Path) -> str:
    """A text in UTF-8.

    Raises:
        DataFormatError: unreadable, too large or not UTF-8.
    """
    try:
        if path.stat().st_size > _MAX_TEXT_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_TEXT_BYTES:,} bytes of text", got=f"{path.stat().st_size:,}")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DataFormatError(path, expected="text in UTF-8", got=str(error)) from error


def read_matrix(path: Path, rows: int, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """A small matrix of numbers in a text file; NaN and Inf pass.

    Raises:
        DataFormatError: another count, or something that is no number.
    """
    fields = read_text(path).replace(",", " ").split()
    if len(fields) != rows * columns:
        raise DataFormatError(path, expected=f"{rows}×{columns} numbers", got=f"{len(fields)} fields", fix="restore the file")
    try:
        return np.array([float(field) for field in fields]).reshape(rows, columns)
    except ValueError as error:
        raise DataFormatError(path, expected=f"{rows}×{columns} numbers", got=str(error)) from error


def lens_of_file(path: Path, first_image: Path | None, default: tuple[tuple[float, ...], ...] | None) -> LensCamera:
    """The pinhole camera of ``camera-intrinsics.txt`` at the size of the first colour image.

    Args:
        path: the capture's folder.
        first_image: None where no image is there; the size is then twice the principal point.
        default: K in the file's convention where there is no file; None makes that an error.

    Raises:
        DataFormatError: no intrinsics, or none that a pinhole camera can have.
    """
    file = path / INTRINSICS_NAME
    if is_file(file):
        K = read_matrix(file, 3, 3)
    elif default is not None:
        warnings.warn(f"{path}: no {INTRINSICS_NAME}; taking the TUM benchmark's default calibration", CaptureWarning, 2)
        K = np.array(default)
    else:
        raise DataFormatError(file, expected="3×3 intrinsics", got="no such file", fix="write fx 0 cx / 0 fy cy / 0 0 1")
    if not np.isfinite(K).all() or abs(np.linalg.det(K)) < 1e-9 or np.abs(K[2] - [0.0, 0.0, 1.0]).max() > 1e-9:
        raise DataFormatError(
            file, expected="an invertible matrix fx 0 cx / 0 fy cy / 0 0 1", got=K.tolist(), fix="correct the calibration"
        )
    if abs(K[0, 1]) > 1e-9 or abs(K[1, 0]) > 1e-9:
        raise DataFormatError(file, expected="no skew", got=f"K[0,1] = {K[0, 1]:g}, K[1,0] = {K[1, 0]:g}")
    # Files of this family put pixel centres at integers; ours are at half-integers.
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5)
    width, height = round(2 * params[2]), round(2 * params[3])  # only where no image can say
    if first_image is not None:
        header = read_image_header(first_image)
        width, height = header.width, header.height
    return lens_camera_or_error(file, "K", "PINHOLE", params, max(1, width), max(1, height))
