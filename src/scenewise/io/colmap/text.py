"""COLMAP models in the text format."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.colmap.records import ColmapImage, checked_lens
from scenewise.io.views import check_text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; comments and a byte-order mark left out, empty lines kept."""
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, start=1):
                if not line.startswith("#"):
                    yield number, line.rstrip("\n")
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DataFormatError(path, expected="text in UTF-8", got=str(error), fix="export the model again") from error


def _broken_line(path: Path, number: int, form: str, line: str) -> DataFormatError:
    return DataFormatError(path, f"line {number}", expected=form, got=repr(line[:80]), fix="export the model again")


def read_cameras_text(path: Path) -> dict[int, LensCamera]:
    """Lenses by camera id from ``cameras.txt``.

    Raises:
        DataFormatError: broken file or unknown model.
    """
    lens_cameras = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        fields = line.split()
        try:
            camera_id, model, width, height = int(fields[0]), fields[1], int(fields[2]), int(fields[3])
            params = tuple(float(field) for field in fields[4:])
        except (IndexError, ValueError) as error:
            raise _broken_line(path, number, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS…", line) from error
        lens_cameras[camera_id] = checked_lens(path, f"line {number}", model, params, width, height)
    return lens_cameras


def read_images_text(path: Path) -> list[ColmapImage]:
    """Registered photographs in the order of ``images.txt``.

    Raises:
        DataFormatError: broken file.
    """
    images = []
    after_image = False
    for number, line in _lines(path):
        # Each image is followed by its feature points, possibly none; some tools leave these lines out altogether.
        if not line.strip() or (after_image and not _is_image_line(line)):
            after_image = False
            continue
        fields = line.split(maxsplit=9)  # the name comes last and may contain spaces
        try:
            image_id, camera_id, name = int(fields[0]), int(fields[8]), fields[9].rstrip("\r")
            numbers = [float(field) for field in fields[1:8]]
        except (IndexError, ValueError) as error:
            raise _broken_line(path, number, "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", line) from error
        quat = (numbers[0], numbers[1], numbers[2], numbers[3])
        translation = (numbers[4], numbers[5], numbers[6])
        images.append(ColmapImage(image_id, quat, translation, camera_id, check_text(path, f"line {number}", name)))
        after_image = True
    return images


def _is_image_line(line: str) -> bool:
    """Whether a line that may hold features (X Y POINT3D_ID, again and again) describes an image, whose name comes tenth."""
    fields = line.split(maxsplit=10)
    if len(fields) < 10:
        return False
    try:
        float(fields[9])
    except ValueError:
        return True
    return len(fields) == 10  # features come in threes


def read_points_text(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions and colours of ``points3D.txt``.

    Raises:
        DataFormatError: broken file.
    """
    positions: list[float] = []
    colors: list[int] = []
    for number, line in _lines(path):
        if not line.strip():
            continue
        fields = line.split(maxsplit=8)
        try:
            positions += (float(fields[1]), float(fields[2]), float(fields[3]))
            color = (int(fields[4]), int(fields[5]), int(fields[6]))
        except (IndexError, ValueError) as error:
            raise _broken_line(path, number, "POINT3D_ID X Y Z R G B ERROR TRACK…", line) from error
        if min(color) < 0 or max(color) > 255:
            raise DataFormatError(
                path, f"line {number}", expected="colours 0 … 255", got=list(color), fix="export the model again"
            )
        colors += color
    return np.array(positions, dtype=np.float64).reshape(-1, 3), np.array(colors, dtype=np.uint8).reshape(-1, 3)
