"""The things of a room as its photographs show them: points, boxes, and which of them anything else lies on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.geometry.boxes import OrientedBox, upright_box
from scenewise.parts.graphs.observed import tree_of
from scenewise.parts.graphs.things import TRIM, UP
from scenewise.parts.points.from_depth import depth_edges, unproject
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.captures import truth
from scenewise.worlds.relations import node_of_instance, nodes_of
from scenewise.worlds.rooms import Room

_STRIDE = 2  # of the pixels that become points
_FEWEST = 40  # points of a thing that was seen
_ON = 0.1  # metres from a true point within which an element lies on its thing


@dataclass(frozen=True)
class TrueThings:
    """The truth of a capture.

    Attributes:
        room: that was photographed.
        points_in_world: of all surfaces that were seen.
        owners: position in :func:`scenewise.worlds.relations.nodes_of` of the thing of each.
    """

    room: Room
    points_in_world: Float64[np.ndarray, "n 3"]
    owners: Int64[np.ndarray, "n"]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all things, seen or not."""
        return tuple(self.room.objects[number].class_name for number in nodes_of(self.room))

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """Things that were seen, in ascending order."""
        counts = np.bincount(self.owners, minlength=len(self.names))
        return tuple(int(node) for node in np.flatnonzero(counts >= _FEWEST))

    @cached_property
    def boxes(self) -> tuple[OrientedBox, ...]:
        """Around what was seen of the things in ``seen``."""
        return tuple(upright_box(self.points_in_world[self.owners == node], UP, TRIM) for node in self.seen)

    def nodes_at(self, points_in_world: Float64[np.ndarray, "m 3"]) -> Int64[np.ndarray, "m"]:
        """The thing whose surface is nearest, −1 where none is near or it was hardly seen."""
        distance, nearest = tree_of(self.points_in_world).query(points_in_world, distance_upper_bound=_ON)
        found = np.full(len(points_in_world), -1, dtype=np.int64)
        found[np.isfinite(distance)] = self.owners[nearest[np.isfinite(distance)]]
        return np.where(np.isin(found, self.seen), found, -1)


def true_things(room: Room, cameras: Cameras) -> TrueThings:
    """What photographs show of a room, told by its exact depth; rugs are parts of the floor.

    Args:
        room: which.
        cameras: a batch with one axis.
    """
    node_of, points, owners = node_of_instance(room), [], []
    for index in range(len(cameras)):
        known = truth(room, cameras[index])
        kept = np.zeros(known.depth.shape, dtype=bool)
        kept[::_STRIDE, ::_STRIDE] = True
        rows, columns = np.nonzero(kept & (known.instance_ids >= 0) & ~depth_edges(known.depth))
        points.append(unproject(cameras[index], rows, columns, known.depth))
        owners.append(node_of[known.instance_ids[rows, columns]])
    return TrueThings(room, np.concatenate(points), np.concatenate(owners))
