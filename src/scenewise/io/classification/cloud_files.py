"""Objects that are a file each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
from jaxtyping import Float, Float32, Int64

from scenewise.errors import DataFormatError
from scenewise.io.views import is_file
from scenewise.scenes.classified_clouds import ClassifiedCloud

ClassificationSplit = Literal["train", "test"]
Points = Float32[np.ndarray, "n 3"]


def z_up_from_y_up(points: Float[np.ndarray, "n 3"]) -> Points:
    """Points of a frame with +Y up in one with +Z up: a quarter-turn about X, (x, y, z) to (x, −z, y)."""
    turned: Points = np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1).astype(np.float32)
    return turned


def checked_points(path: Path, place: str, points: Points) -> Points:
    """``points`` if there are any and all are somewhere.

    Raises:
        DataFormatError: none, NaN or infinity.
    """
    if not len(points):
        raise DataFormatError(path, place, expected="points", got="none", fix="copy the file again")
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise DataFormatError(
            path,
            f"{place} point {int((~finite).argmax())}".strip(),
            expected="finite numbers",
            got="NaN or infinity",
            fix="copy the file again",
        )
    return points


@dataclass(frozen=True)
class CloudFile:
    """An object as a data set lists it.

    Attributes:
        name: of the object.
        class_id: of it.
        path: where its points or triangles are.
    """

    name: str
    class_id: int
    path: Path


@final
class CloudFiles:
    """The objects of a split, read when they are asked for; see :class:`~scenewise.scenes.classified_clouds.ClassifiedClouds`.

    Args:
        root: of the data set, for messages.
        split: "train" or "test".
        class_names: position = class id.
        files: a file per object.
        read: points of an object, +Z up.

    Raises:
        DataFormatError: files that are missing, or none at all.
    """

    def __init__(
        self,
        root: Path,
        split: ClassificationSplit,
        class_names: tuple[str, ...],
        files: Sequence[CloudFile],
        read: Callable[[CloudFile], Points],
    ) -> None:
        missing = [file.path for file in files if not is_file(file.path)]
        if missing or not files:
            raise DataFormatError(
                root,
                expected=f"the {len(files)} objects of the split {split}" if files else f"objects of the split {split}",
                got=f"{len(files) - len(missing)}; missing {missing[0]}" + (" …" if len(missing) > 1 else "")
                if missing
                else "none",
                fix="unpack the data set completely",
            )
        self.class_names, self.files = class_names, tuple(files)
        self.split: str = split
        self._read = read

    @property
    def class_ids(self) -> Int64[np.ndarray, "n"]:
        """Of every object."""
        return np.array([file.class_id for file in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> ClassifiedCloud:
        """One object.

        Raises:
            DataFormatError: its file is damaged.
        """
        file = self.files[index]
        return ClassifiedCloud(file.name, self._read(file), file.class_id)

    def __iter__(self) -> Iterator[ClassifiedCloud]:
        return (self[index] for index in range(len(self)))
