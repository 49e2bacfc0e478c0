"""A scene graph with what was seen when it was made: the surface, and where somebody looked and saw nothing."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from scenewise.errors import ShapeError
from scenewise.geometry.boxes import OrientedBox
from scenewise.geometry.transforms import transform_points
from scenewise.geometry.view_overlap import project_points
from scenewise.io.placing import source_from_world
from scenewise.io.scene_graphs.frames import moved_graph
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.scene_graphs import SceneGraph

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

Points = Float64[np.ndarray, "_ 3"]
Matrix4 = Float64[np.ndarray, "4 4"]

_SIDE = 12  # samples along each side of a box that has no points
_MOST_VIEWS = 48
_FINEST, _COARSEST = 12, 128  # cells along the longer side of a picture


@dataclass(frozen=True)
class ObservedGraph:
    """A graph and the capture it was made from.

    Attributes:
        graph: things with boxes.
        cloud_in_world: the surface: points, or centres of splats; may be empty.
        owners: object_id of each point, −1 = none.
        cameras: what was looked at, each a record without batch axes; may be empty.
        colors: of each point, sRGB in [0, 1], or None.
    """

    graph: SceneGraph
    cloud_in_world: Float64[np.ndarray, "n 3"]
    owners: Int64[np.ndarray, "n"]
    cameras: tuple[Cameras, ...] = ()
    colors: Float64[np.ndarray, "n 3"] | None = None

    def __post_init__(self) -> None:
        if len(self.owners) != len(self.cloud_in_world):
            raise ShapeError("owners", expected=f"{len(self.cloud_in_world)} numbers", got=len(self.owners))

    def moved(self, target_from_world: Matrix4) -> "ObservedGraph":
        """The same after a rigid transform."""
        world_from_target = torch.from_numpy(source_from_world(target_from_world))
        cameras = tuple(replace(each, camera_from_world=each.camera_from_world @ world_from_target) for each in self.cameras)
        cloud = transform_points(target_from_world, self.cloud_in_world)
        return ObservedGraph(moved_graph(self.graph, target_from_world), cloud, self.owners, cameras, self.colors)

    @cached_property
    def unit(self) -> float:
        """What stands for a metre, in units of the world: as the graph was made with, 1 where it does not say."""
        given = self.graph.provenance.get("units_per_metre")
        return float(given) if self.graph.scale != "metric" and isinstance(given, int | float) and given > 0 else 1.0

    @cached_property
    def _rows(self) -> dict[int, Int64[np.ndarray, "members"]]:
        order = np.argsort(self.owners, kind="stable")
        numbers, starts = np.unique(self.owners[order], return_index=True)
        return {int(number): rows for number, rows in zip(numbers, np.split(order, starts[1:]))}

    def points_of(self, object_id: int, cell: float) -> Points:
        """The surface of a thing, a point per cell; of its box where nothing is known but that.

        Args:
            object_id: of the graph.
            cell: edge, world units.
        """
        rows = self._rows.get(object_id)
        if rows is None:
            return box_surface(self.graph.by_id[object_id].box)
        return thinned(self.cloud_in_world[rows], cell)

    def sample_of(self, object_id: int, most: int) -> Int64[np.ndarray, "members"]:
        """Rows of some of a thing's points, evenly spread over the file; none of what has none."""
        rows = self._rows.get(object_id, np.zeros(0, dtype=np.int64))
        return rows[:: max(1, -(-len(rows) // most))]

    @cached_property
    def seen_through(self) -> "SeenThrough":
        """Where the cameras looked."""
        return SeenThrough(thinned(self.cloud_in_world, 0.04 * self.unit), self.cameras, 0.12 * self.unit)


def thinned(points: Points, cell: float) -> Points:
    """The mean of the points in each cell of a grid, in the order of the cells."""
    if not len(points):
        return points
    _, place, count = np.unique(np.floor(points / cell).astype(np.int64), axis=0, return_inverse=True, return_counts=True)
    sums = [np.bincount(place.ravel(), weights=points[:, axis], minlength=len(count)) for axis in range(3)]
    return np.stack(sums, axis=1) / count[:, None]


def box_surface(box: OrientedBox) -> Points:
    """A grid of points on the six sides of a box."""
    steps = np.linspace(-0.5, 0.5, _SIDE)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[(np.abs(grid) == 0.5).any(axis=1)]
    return box.center_in_world + (grid * box.size) @ box.world_from_box.T


class SeenThrough:
    """Tells free space from space that nobody looked at.

    Each picture is cut into cells about as large as the spacing of the points in it.  A place was looked through where the
    nearest surface in its cell lies behind it; two views have to say so, as thin things may fall between the points.

    Args:
        cloud_in_world: the surface.
        cameras: those that looked.
        margin: how far behind a place the surface has to lie, world units.
    """

    def __init__(self, cloud_in_world: Points, cameras: tuple[Cameras, ...], margin: float) -> None:
        self.margin = margin
        step = max(1, -(-len(cameras) // _MOST_VIEWS))
        self._views = [_DepthGrid(cloud_in_world, camera) for camera in cameras[::step]] if len(cloud_in_world) else []
        self._least = min(2, len(self._views))

    @property
    def is_known(self) -> bool:
        """Whether there are cameras and points to tell by."""
        return bool(self._views)

    def __call__(self, points_in_world: Points) -> Bool[np.ndarray, "_"]:
        """Which places were looked through."""
        count = np.zeros(len(points_in_world), dtype=np.int64)
        for view in self._views:
            count += view.is_before_surface(points_in_world, self.margin)
        return (count >= self._least) & (self._least > 0)


class _DepthGrid:
    """The nearest depth per cell of one picture; infinity where no point is."""

    def __init__(self, cloud: Points, camera: Cameras) -> None:
        self.K, self.camera_from_world = camera.K.numpy(), camera.camera_from_world.numpy()
        pixels, depth = project_points(self.camera_from_world, self.K, cloud)
        size = np.array([camera.width, camera.height])
        inside = (depth > camera.near) & (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)
        pixels, depth = pixels[inside], depth[inside]
        longer = float(size.max())
        # As many cells as there are points to fill them twice over, were they spread evenly.
        cells = np.sqrt(len(depth) / 3.0 * longer / float(size.min())) if len(depth) else 1.0
        self.cell = longer / float(np.clip(cells, _FINEST, _COARSEST))
        self.shape = tuple(int(n) for n in np.ceil(size / self.cell).astype(int))
        self.nearest = np.full(self.shape, np.inf)
        column, row = (pixels / self.cell).astype(np.int64).T
        np.minimum.at(self.nearest, (column, row), depth)

    def is_before_surface(self, points: Points, margin: float) -> Bool[np.ndarray, "_"]:
        pixels, depth = project_points(self.camera_from_world, self.K, points)
        with np.errstate(invalid="ignore"):
            cells = np.floor(pixels / self.cell)
        inside = (depth > 0) & np.isfinite(cells).all(axis=1) & (cells >= 0).all(axis=1) & (cells < self.shape).all(axis=1)
        found = np.zeros(len(points), dtype=bool)
        column, row = cells[inside].astype(np.int64).T
        nearest = self.nearest[column, row]
        found[inside] = np.isfinite(nearest) & (nearest > depth[inside] + margin)
        return found


def tree_of(points: Points) -> "cKDTree":
    """For nearest neighbours."""
    from scipy.spatial import cKDTree

    return cKDTree(points)
