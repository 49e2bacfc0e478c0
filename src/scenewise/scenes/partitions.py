"""A division of pixels, points or splats into sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from scenewise.errors import ConventionError


@dataclass(frozen=True)
class Partition:
    """The set each element belongs to.

    Attributes:
        ids: set per element, 0 … count − 1, or −1 = none.  [n] for points and splats, [height, width] for pixels.
        count: number of sets; every id from 0 to count − 1 occurs.
        source: what made it: "felzenszwalb-mesh", "felzenszwalb-knn", "vccs", "slic", "felzenszwalb-image", "sam", "file" …
        parameters: the settings it was made with, JSON values only.
    """

    ids: Int32[np.ndarray, "*shape"]
    count: int
    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        present = np.unique(self.ids)
        present = present[present >= 0] if len(present) and present[0] >= -1 else present
        if len(present) != self.count or (self.count and (present[0] != 0 or present[-1] != self.count - 1)):
            raise ConventionError(
                "Partition.ids",
                expected=f"−1 and every number from 0 to {self.count - 1}",
                got=f"{len(present)} different ids",
                fix="Partition.from_any_ids numbers them anew",
            )

    @staticmethod
    def from_any_ids(
        ids: Int32[np.ndarray, "*shape"] | Int64[np.ndarray, "*shape"], source: str, parameters: Mapping[str, Any] | None = None
    ) -> "Partition":
        """The same sets numbered from 0 in ascending order of the given ids; negative ids mean none."""
        present, inverse = np.unique(ids, return_inverse=True)
        negative = int((present < 0).sum())
        dense = np.maximum(inverse.reshape(ids.shape).astype(np.int32) - negative, -1)
        return Partition(dense, len(present) - negative, source, {} if parameters is None else parameters)

    @property
    def sizes(self) -> Int64[np.ndarray, "sets"]:
        """Elements per set."""
        return np.bincount(self.ids[self.ids >= 0].ravel(), minlength=self.count).astype(np.int64)
