"""The files of a COLMAP model, in whichever format they are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.colmap.binary import count_images_binary, read_cameras_binary, read_images_binary, read_points_binary
from scenewise.io.colmap.records import ColmapImage
from scenewise.io.colmap.text import read_cameras_text, read_images_text, read_points_text
from scenewise.io.finite_points import only_near
from scenewise.io.ply.points import read_points_ply
from scenewise.io.views import is_file
from scenewise.scenes.point_clouds import PointCloud

_SPARSE_FOLDERS = ("sparse", "colmap/sparse", "dense/sparse", "dense/0/sparse")
PLACES = "the folder itself, sparse/0 or sparse"
"""Where a model is looked for, for messages; COLMAP's mapper and undistorter have a few more such folders."""


@dataclass(frozen=True)
class FoundModel:
    """A folder with the files of a model.

    Attributes:
        folder: where they are.
        images: how many photographs it registers.
    """

    folder: Path
    images: int


def model_folders(path: Path) -> tuple[Path, ...]:
    """Folders with the models of a capture: ``path`` itself, else all that lie below the first folder that has any.

    COLMAP's mapper writes ``sparse/0``, ``sparse/1`` … where photographs do not all connect.  Models below ``sparse`` win over
    those below ``colmap/sparse`` and ``dense``, which are of further runs.
    """
    if _listing_in(path) is not None:
        return (path,)
    for name in _SPARSE_FOLDERS:
        sparse = path / name
        numbered = sorted((int(entry), sparse / entry) for entry in _entries(sparse) if entry.isascii() and entry.isdigit())
        found = tuple(folder for folder in [*(folder for _, folder in numbered), sparse] if _listing_in(folder) is not None)
        if found:
            return found
    return ()


def largest_first(folders: Sequence[Path]) -> tuple[FoundModel, ...]:
    """Models by their number of photographs: the first that the mapper made need not be the largest."""
    found = [FoundModel(folder, _count_images(folder)) for folder in folders]
    return tuple(sorted(found, key=lambda model: -model.images))  # stable: among equals the first stays first


def find_colmap_model(path: Path) -> Path | None:
    """The folder of the model to take: ``path`` itself, or the one with most photographs in ``sparse/0``, ``sparse/1`` …"""
    folders = model_folders(path)
    if len(folders) < 2:
        return folders[0] if folders else None
    return largest_first(folders)[0].folder


def _entries(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:  # no such folder
        return []


def _listing_in(folder: Path) -> Path | None:
    """The list of photographs, in the format in which the model is complete; the binary one where both are."""
    return next(
        (
            folder / f"images{suffix}"
            for suffix in (".bin", ".txt")
            if is_file(folder / f"cameras{suffix}") and is_file(folder / f"images{suffix}")
        ),
        None,
    )


def _count_images(folder: Path) -> int:
    """Photographs of a model, told without its features; a damaged list has none."""
    listing = _listing_in(folder)
    if listing is None:
        return 0
    try:
        return len(read_images(listing)) if listing.suffix == ".txt" else count_images_binary(listing)
    except DataFormatError:
        return 0


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
    """Coloured points of ``points3D.bin``, ``.txt`` or ``.ply``; tracks are skipped.

    Points at NaN, infinity or beyond every scene are dropped with a warning that counts them.

    Raises:
        DataFormatError: broken file.
    """
    if path.suffix == ".ply":
        return read_points_ply(path, non_finite="drop")
    positions, colors = read_points_text(path) if path.suffix == ".txt" else read_points_binary(path)
    return only_near(path, PointCloud(positions, colors))
