"""ScanObjectNN; the layout stands in the package's text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from scenewise.errors import DataFormatError
from scenewise.io.classification.cloud_files import ClassificationSplit, Points, checked_points, z_up_from_y_up
from scenewise.io.classification.hdf5_numbers import numbers_in, open_hdf5
from scenewise.io.listed_files import visible
from scenewise.scenes.classified_clouds import ClassifiedCloud

SCAN_OBJECT_NN_CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door",
    "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet",
)  # fmt: skip
"""Names in the order of the labels in the files."""
_PREFIX = {"train": "training_objectdataset", "test": "test_objectdataset"}
_PLACES = (".", "main_split", "h5_files/main_split")
_BACKGROUND = -1


def find_scan_object_nn(path: Path) -> Path | None:
    """The folder with the files: ``path``, or ``main_split`` or ``h5_files/main_split`` in it; None where there is none."""
    return next((path / place for place in _PLACES if any((path / place).glob("*_objectdataset*.h5"))), None)


def scan_object_nn_variants(folder: Path, split: ClassificationSplit) -> tuple[str, ...]:
    """What the variants of a split are called that are there: "" is the plain one, "augmentedrot_scale75" the hardest."""
    names = [path.stem for path in visible(folder.glob(f"{_PREFIX[split]}*.h5"))]
    return tuple(name.removeprefix(_PREFIX[split]).removeprefix("_") for name in names)


def read_scan_object_nn(
    path: Path, split: ClassificationSplit, *, variant: str | None = None, with_background: bool = True
) -> "ScanObjectNN":
    """The objects of a split; labels are read, clouds are not yet.

    Args:
        path: the folder of the files, or one above it; name ``main_split_nobg`` for clouds that were cut out more closely.
        split: which file.
        variant: end of the file's name, such as "augmentedrot_scale75"; None takes the plain one, else the only one there is.
        with_background: keep the points around an object; False leaves them out by the file's mask.

    Raises:
        DataFormatError: no such file, or one of another layout.
        MissingDependencyError: h5py is not installed.
    """
    folder = find_scan_object_nn(path)
    there = () if folder is None else scan_object_nn_variants(folder, split)
    chosen = variant if variant is not None else "" if "" in there else there[0] if len(there) == 1 else None
    if folder is None or chosen is None or chosen not in there:
        stem = _PREFIX[split] + (f"_{variant}" if variant else "")
        raise DataFormatError(
            folder or path,
            expected=f"{stem}.h5",
            got=f"the variants {', '.join(name or 'plain' for name in there)}" if there else "no file of this split",
            fix="name a variant that is there" if there else "unpack h5_files.zip and name the folder main_split",
        )
    return ScanObjectNN(folder / (_PREFIX[split] + (f"_{chosen}" if chosen else "") + ".h5"), split, with_background)


@final
class ScanObjectNN:
    """One file of ScanObjectNN; see :class:`~scenewise.scenes.classified_clouds.ClassifiedClouds`.

    Args:
        path: of the file.
        split: "train" or "test".
        with_background: keep the points around an object.

    Raises:
        DataFormatError: arrays are missing or of other shapes, or labels of no known class.
        MissingDependencyError: h5py is not installed.
    """

    class_names = SCAN_OBJECT_NN_CLASSES

    def __init__(self, path: Path, split: ClassificationSplit, with_background: bool = True) -> None:
        self.path, self.with_background = path, with_background
        self.split: str = split
        with open_hdf5(path) as file:
            count, points = numbers_in(path, file, "data", (None, None, 3)).shape[:2]
            label = file.get("label")
            shape = (count, 1) if getattr(label, "ndim", 1) == 2 else (count,)
            ids = numbers_in(path, file, "label", shape)[...].reshape(-1)
            if not with_background:
                numbers_in(path, file, "mask", (count, points))
        wrong = (ids < 0) | (ids >= len(self.class_names)) | (ids != np.floor(ids))
        if not count or wrong.any():
            row = int(wrong.argmax()) if count else 0
            raise DataFormatError(
                path,
                f"label of object {row}" if count else "data",
                expected=f"0 … {len(self.class_names) - 1}" if count else "objects",
                got=ids[row].item() if count else "none",
                fix="take the file as published",
            )
        self._class_ids = ids.astype(np.int64)

    @property
    def class_ids(self) -> Int64[np.ndarray, "n"]:
        """Of every object."""
        return self._class_ids

    def __len__(self) -> int:
        return len(self._class_ids)

    def __getitem__(self, index: int) -> ClassifiedCloud:
        """One object.

        Raises:
            DataFormatError: its points cannot be read, or none of them is of the object.
        """
        row = range(len(self))[index]
        with open_hdf5(self.path) as file:
            return self._object(file, row)

    def __iter__(self) -> Iterator[ClassifiedCloud]:
        with open_hdf5(self.path) as file:
            for row in range(len(self)):
                yield self._object(file, row)

    def _object(self, file: Any, row: int) -> ClassifiedCloud:
        values: Points = file["data"][row].astype(np.float32)
        if not self.with_background:
            values = values[file["mask"][row] != _BACKGROUND]
        points = checked_points(self.path, f"object {row}", z_up_from_y_up(values))
        return ClassifiedCloud(f"{self.split}_{row:05d}", points, int(self._class_ids[row]))
