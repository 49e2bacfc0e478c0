"""Objects as clouds of points that are of one class each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class ClassifiedCloud:
    """One object.

    Attributes:
        name: unique in its data set.
        points_in_object: positions in the object's own frame, +Z up where the data set knows what is up; origin and unit are the
            data set's.
        class_id: position in the data set's class names.
        colors_u8: sRGB, or None.
    """

    name: str
    points_in_object: Float32[np.ndarray, "n 3"]
    class_id: int
    colors_u8: UInt8[np.ndarray, "n 3"] | None = None

    def __post_init__(self) -> None:
        if self.colors_u8 is not None and self.colors_u8.shape != self.points_in_object.shape:
            raise ShapeError("colors_u8", expected=f"{self.points_in_object.shape}", got=f"{self.colors_u8.shape}")


@runtime_checkable
class ClassifiedClouds(Protocol):
    """The objects of a split, read or made when they are asked for."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Position = class id."""
        ...

    @property
    def split(self) -> str:
        """ "train" or "test"."""
        ...

    @property
    def class_ids(self) -> Int64[np.ndarray, "n"]:
        """Of every object, known before any is read."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ClassifiedCloud: ...

    def __iter__(self) -> Iterator[ClassifiedCloud]: ...
