"""The numbers in ScanNet's text files: intrinsics, poses and the alignment of the axes."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.registered_depth import require_rigid
from scenewise.io.views import is_file

_MAX_TEXT_BYTES = 1 << 20


def intrinsics_path(root: Path, kind: str) -> Path | None:
    """The first file there is of a kind (``color``, ``depth``) of intrinsics, under the names that tools give it."""
    names = (
        f"intrinsic/intrinsic_{kind}.txt",
        f"intrinsics_{kind}.txt",
        f"intrinsic_{kind}.txt",
        f"intrinsic/intrinsics_{kind}.txt",
    )
    return next((root / name for name in names if is_file(root / name)), None)


def read_base_transforms(root: Path) -> tuple[Float64[np.ndarray, "4 4"], Float64[np.ndarray, "4 4"]]:
    """base_from_color and base_from_depth: ``extrinsic_color.txt`` and ``extrinsic_depth.txt``, the identity where there is none.

    The poses place the base: the camera whose file holds the identity.

    Raises:
        DataFormatError: damaged, or no rigid transform.
    """
    found = []
    for kind in ("color", "depth"):
        names = (f"intrinsic/extrinsic_{kind}.txt", f"extrinsic_{kind}.txt")
        path = next((root / name for name in names if is_file(root / name)), None)
        if path is None:
            found.append(np.eye(4))
            continue
        matrix = np.array(numbers_of(path, read_text(path), (16,))).reshape(4, 4)
        try:
            require_rigid(f"base_from_{kind}", matrix)
        except ConventionError as error:
            raise DataFormatError(path, str(error)) from error
        found.append(matrix)
    return found[0], found[1]


def read_text(path: Path) -> str:
    """A small text in UTF-8.

    Raises:
        DataFormatError: unreadable, too large or not UTF-8.
    """
    with open_bounded(path) as (file, size):
        if size > _MAX_TEXT_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_TEXT_BYTES:,} bytes of text", got=f"{size:,}")
        try:
            return file.read(size).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataFormatError(path, expected="text in UTF-8", got=str(error)) from error


def numbers_of(path: Path, text: str, counts: tuple[int, ...]) -> list[float]:
    """Numbers of a text, one of some allowed counts; NaN and Inf pass.

    Raises:
        DataFormatError: another count, or something that is no number.
    """
    fields = text.replace(",", " ").split()
    if len(fields) not in counts:
        raise DataFormatError(path, expected=" or ".join(f"{count} numbers" for count in counts), got=f"{len(fields)} fields")
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise DataFormatError(path, expected=f"{counts[0]} numbers", got=str(error)) from error


def read_intrinsics(path: Path) -> Float64[np.ndarray, "3 3"]:
    """K of a 3×3 or 4×4 file, its pixel centres moved from integers to half-integers.

    Raises:
        DataFormatError: other numbers, no focal length, or skew.
    """
    values = numbers_of(path, read_text(path), (16, 9))
    K = np.array(values).reshape(4 if len(values) == 16 else 3, -1)[:3, :3].copy()
    fits = np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0 and np.abs(K[2] - [0, 0, 1]).max() < 1e-6
    if not fits or abs(K[0, 1]) > 1e-6 or abs(K[1, 0]) > 1e-6:
        raise DataFormatError(path, expected="fx 0 cx / 0 fy cy / 0 0 1", got=K.tolist(), fix="restore the file")
    K[:2, 2] += 0.5
    return K


def usable_pose(path: Path, place: str, pose: Float64[np.ndarray, "4 4"]) -> bool:
    """False where all of it is non-finite: tracking was lost.

    Raises:
        DataFormatError: non-finite in part, or no affine transform.
    """
    if not np.isfinite(pose[:3]).any():
        return False
    if not np.isfinite(pose).all() or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-4:
        raise DataFormatError(
            path, place, expected="a rigid 4×4 pose, or one that is all −inf", got=pose.tolist(), fix="delete the frame"
        )
    return True


def read_axis_alignment(path: Path) -> Float64[np.ndarray, "4 4"] | None:
    """aligned_from_world of a scene's ``.txt``; None without the file or the line.

    Raises:
        DataFormatError: no 16 finite numbers.
    """
    if not is_file(path):
        return None
    for line in read_text(path).splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            matrix = np.array(numbers_of(path, value, (16,))).reshape(4, 4)
            if not np.isfinite(matrix).all():
                raise DataFormatError(path, "axisAlignment", expected="finite numbers", got=value[:80])
            return matrix
    return None
