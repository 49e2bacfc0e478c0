"""Scans cut into things with relations between them: what a network that reads graphs learns from."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.errors import ConventionError, ShapeError


@dataclass(frozen=True)
class GraphScan:
    """One scan.

    Attributes:
        name: of the scan.
        points_in_world: surface points of each thing, metres, up = +Z; every thing has at least one.
        class_ids: index into the data set's classes, −1 = unknown.
        triplets: rows (subject, object, predicate) that hold: two things of this scan and an index into the data set's
            predicates; a pair may have several rows, or none.
        object_ids: number of each thing in the data set's files; by default 0, 1, 2 …
    """

    name: str
    points_in_world: tuple[Float32[np.ndarray, "_ 3"], ...]
    class_ids: Int64[np.ndarray, "objects"]
    triplets: Int64[np.ndarray, "m 3"]
    object_ids: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        count = len(self.points_in_world)
        if self.class_ids.shape != (count,):
            raise ShapeError("class_ids", expected=f"({count},)", got=f"{self.class_ids.shape}")
        if self.object_ids and len(self.object_ids) != count:
            raise ShapeError("object_ids", expected=f"{count} numbers", got=len(self.object_ids))
        if not all(map(len, self.points_in_world)):
            raise ConventionError("points_in_world", expected="at least one point of every thing", got="none of some")
        pairs = self.triplets[:, :2]
        if len(pairs) and (int(pairs.min()) < 0 or int(pairs.max()) >= count or bool((pairs[:, 0] == pairs[:, 1]).any())):
            raise ConventionError("triplets", expected=f"two different things of {count}", got="others")
        if len(pairs) and int(self.triplets[:, 2].min()) < 0:
            raise ConventionError("triplets", expected="a predicate from 0", got=int(self.triplets[:, 2].min()))

    def __len__(self) -> int:
        return len(self.points_in_world)
