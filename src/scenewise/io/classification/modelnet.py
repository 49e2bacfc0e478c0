"""ModelNet40 and ModelNet10, resampled or as meshes; the layouts stand in the package's text."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.surface_sampling import points_on_triangles
from scenewise.io.classification.cloud_files import (
    ClassificationSplit,
    CloudFile,
    CloudFiles,
    Points,
    checked_points,
    z_up_from_y_up,
)
from scenewise.io.listed_files import visible
from scenewise.io.meshes import read_mesh
from scenewise.io.rgbd.number_files import read_text
from scenewise.io.views import is_file

ModelNetClasses = Literal[10, 40]
RESAMPLED_POINTS = 10_000
"""Points an object has where it was resampled; as many are sampled on a mesh."""


def is_modelnet_texts(path: Path, classes: ModelNetClasses = 40) -> bool:
    """Whether a folder holds the resampled objects; they may still be incomplete."""
    return is_file(path / f"modelnet{classes}_shape_names.txt")


def is_modelnet_meshes(path: Path) -> bool:
    """Whether a folder holds a folder for each class, with meshes to train with and to test with."""
    return path.is_dir() and any(_split_folders(entry) for entry in path.iterdir())


def read_modelnet_texts(path: Path, split: ClassificationSplit, *, classes: ModelNetClasses = 40) -> CloudFiles:
    """The resampled objects of a split; no object is read yet.

    Args:
        path: ``modelnet40_normal_resampled``.
        split: which of the lists.
        classes: of ModelNet40 or of its part ModelNet10, whose lists lie in the same folder.

    Raises:
        DataFormatError: lists or files are missing, or an object is of no listed class.
    """
    class_names = _lines(path / f"modelnet{classes}_shape_names.txt")
    listing = path / f"modelnet{classes}_{split}.txt"
    id_of_class = {name: class_id for class_id, name in enumerate(class_names)}
    files = []
    for number, name in enumerate(_lines(listing), start=1):
        class_name = name.rpartition("_")[0]
        if class_name not in id_of_class:
            raise DataFormatError(
                listing,
                f"object {number}",
                expected=f"a class of modelnet{classes}_shape_names.txt and a number, such as {class_names[0]}_0001",
                got=repr(name[:60]),
                fix="take all lists from one archive",
            )
        files.append(CloudFile(name, id_of_class[class_name], path / class_name / f"{name}.txt"))
    return CloudFiles(path, split, class_names, files, _resampled_points)


def read_modelnet_meshes(path: Path, split: ClassificationSplit, *, points: int = RESAMPLED_POINTS, seed: int = 0) -> CloudFiles:
    """The meshes of a split, sampled evenly over their surface when an object is read.

    An object's points follow from its name and the seed alone, not from what was read before.

    Args:
        path: ``ModelNet40`` or ``ModelNet10``.
        split: which of the folders.
        points: of each object.
        seed: of the sampling.

    Raises:
        DataFormatError: no meshes of this split.
    """
    if points < 1:
        raise ConventionError("points", expected="at least 1", got=points)
    folders = [folder for folder in visible(path.iterdir()) if folder.is_dir() and _split_folders(folder)]
    files = [
        CloudFile(mesh.stem, class_id, mesh)
        for class_id, folder in enumerate(folders)
        for mesh in (visible((folder / split).iterdir()) if (folder / split).is_dir() else [])
        if mesh.suffix.lower() == ".off"
    ]
    return CloudFiles(path, split, tuple(folder.name for folder in folders), files, _SampledMesh(points, seed))


def _split_folders(folder: Path) -> list[Path]:
    """``train`` and ``test`` of a class, those that hold meshes."""
    folders = [folder / split for split in ("train", "test") if (folder / split).is_dir()]
    return [each for each in folders if any(entry.suffix.lower() == ".off" for entry in each.iterdir())]


def _lines(path: Path) -> tuple[str, ...]:
    """Names, one a line."""
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    wrong = next((name for name in names if name != Path(name).name or name.startswith(".")), None)
    twice = None if len(set(names)) == len(names) else next(name for name in names if names.count(name) > 1)
    if not names or wrong is not None or twice is not None:
        got = "an empty list" if not names else f"{wrong or twice!r}"[:60] + ("" if wrong is not None else " twice")
        raise DataFormatError(path, expected="names, one a line, each once", got=got, fix="take the list of the archive")
    return names


def _resampled_points(file: CloudFile) -> Points:
    text = read_text(file.path)
    if not text.strip():
        raise DataFormatError(file.path, expected="x,y,z,nx,ny,nz in each line", got="an empty file", fix="copy the file again")
    try:
        values = np.loadtxt(io.StringIO(text), dtype=np.float32, delimiter=",", usecols=(0, 1, 2), ndmin=2, comments=None)
    except ValueError as error:
        raise DataFormatError(
            file.path, expected="x,y,z,nx,ny,nz in each line", got=str(error)[:120], fix="copy the file again"
        ) from error
    return checked_points(file.path, "", z_up_from_y_up(values))


@dataclass(frozen=True)
class _SampledMesh:
    points: int
    seed: int

    def __call__(self, file: CloudFile) -> Points:
        mesh = read_mesh(file.path)
        generator = np.random.default_rng([self.seed, zlib.crc32(file.name.encode())])
        try:
            found = points_on_triangles(mesh.vertices_in_world, mesh.faces, self.points, generator)
        except ConventionError as error:
            raise DataFormatError(file.path, expected="a surface with an area", got="none", fix="copy the file again") from error
        return checked_points(file.path, "", found.astype(np.float32))
