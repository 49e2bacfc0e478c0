"""The text files of RGB-D folders: matrices and the intrinsics."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_text

INTRINSICS_NAME = "camera-intrinsics.txt"
COLOR_INTRINSICS_NAME = "color-intrinsics.txt"
DEPTH_INTRINSICS_NAME = "depth-intrinsics.txt"
DEPTH_FROM_COLOR_NAME = "depth_from_color.txt"
_MAX_TEXT_BYTES = 1 << 28


def write_rgbd_intrinsics(
    folder: Path, K: Float64[np.ndarray, "3 3"], width: int, height: int, *, name: str = INTRINSICS_NAME
) -> None:
    """Writes intrinsics, moving the pixel centres of ``K`` from half-integers to the file's integers.

    Args:
        folder: existing folder of the capture.
        K: intrinsics in pixels, centre of the first pixel at (0.5, 0.5).
        width: image width in pixels; checked here because the file itself has no place for the size.
        height: image height in pixels.
        name: of the file: both cameras' unless said otherwise.

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
    atomic_write_text(folder / name, matrix_text(centred))


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


def read_rgbd_intrinsics(path: Path) -> Float64[np.ndarray, "3 3"]:
    """K of a file of this family, its pixel centres moved from integers to half-integers; 4×4 as in ScanNet's files will do.

    Raises:
        DataFormatError: no matrix that a pinhole camera can have.
    """
    if len(read_text(path).replace(",", " ").split()) != 16:
        return checked_intrinsics(path, read_matrix(path, 3, 3))
    padded = read_matrix(path, 4, 4)
    if np.abs(padded[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-9 or np.abs(padded[:3, 3]).max() > 1e-9:
        raise DataFormatError(path, expected="a fourth row and column of 0 0 0 1", got=padded.tolist(), fix="write the 3×3 alone")
    return checked_intrinsics(path, padded[:3, :3])


def checked_intrinsics(path: Path, K: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """K with pixel centres at half-integers, of one with centres at integers that ``path`` holds.

    Raises:
        DataFormatError: singular, not finite, skewed, or a focal length that is not above 0.
    """
    if not np.isfinite(K).all() or abs(np.linalg.det(K)) < 1e-9 or np.abs(K[2] - [0.0, 0.0, 1.0]).max() > 1e-9:
        raise DataFormatError(
            path, expected="an invertible matrix fx 0 cx / 0 fy cy / 0 0 1", got=K.tolist(), fix="correct the calibration"
        )
    if abs(K[0, 1]) > 1e-9 or abs(K[1, 0]) > 1e-9:
        raise DataFormatError(path, expected="no skew", got=f"K[0,1] = {K[0, 1]:g}, K[1,0] = {K[1, 0]:g}")
    if min(K[0, 0], K[1, 1]) <= 0:
        raise DataFormatError(path, expected="focal lengths above 0", got=f"{min(K[0, 0], K[1, 1]):g}")
    centred: Float64[np.ndarray, "3 3"] = K + np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    return centred
