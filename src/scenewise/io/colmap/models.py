"""The files of a COLMAP model, in whichever format they are."""

from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.colmap.binary import read_cameras_binary, read_images_binary, read_points_binary
from scenewise.io.colmap.records import ColmapImage
from scenewise.io.colmap.text import read_cameras_text, read_images_text, read_points_text
from scenewise.io.views import is_file
from scenewise.scenes.point_clouds import PointCloud

MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse")
"""Where a model may lie in a capture."""


def find_colmap_model(path: Path) -> Path | None:
    """The folder with the model's files: ``path`` itself, or ``sparse/0``, ``sparse`` … below it."""
    for folder in MODEL_FOLDERS:
        candidate = path / folder if folder != "." else path
        if any(is_file(candidate / f"cameras{suffix}") and is_file(candidate / f"images{suffix}") for suffix in (".bin", ".txt")):
            return candidate
    return None


def read_cameras(path: Path) -> dict[int, LensCamera]:
    """Lenses by camera id from ``cameras.bin`` or ``cameras.txt``.

    Raises:
        DataFormatError: broken file or unknown model.
    """
    return read_cameras_text(path) if path.suffix == ".txt" else read_cameras_binary(path)


def read_images(path: Path) -> list[ColmapImage]:
    """Registered photographs in the order of ``images.bin`` or ``images.txt``; their feature points are skipped.

    Raises:
        DataFormatError: broken file.
    """
    return read_images_text(path) if path.suffix == ".txt" else read_images_binary(path)


def read_points(path: Path) -> PointCloud:
    """Coloured points of ``points3D.bin`` or ``points3D.txt``; tracks are skipped.

    Raises:
        DataFormatError: broken file or a position that is not finite.
    """
    positions, colors = read_points_text(path) if path.suffix == ".txt" else read_points_binary(path)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise DataFormatError(path, f"point {int(bad[0])}", expected="a finite position", got=positions[bad[0]].tolist())
    return PointCloud(positions, colors)
