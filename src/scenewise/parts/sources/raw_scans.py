"""A scan before anything was prepared: its points, and the pictures that show them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64

from scenewise.errors import ShapeError
from scenewise.scenes.captures import Capture
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition
from scenewise.scenes.point_clouds import PointCloud

Truth = Int64[np.ndarray, "n"]
FrameTruth = Int64[np.ndarray, "height width"]
FrameTruths = Callable[[str], FrameTruth | None]


def unknown_truth(name: str) -> FrameTruth | None:
    """Of pixels nobody has labelled."""
    return None


@dataclass(frozen=True)
class RawScan:
    """What a source gives when it is opened.

    Attributes:
        name: of the scan.
        cloud: its points in the world frame, in the order in which they are named in the end.
        cloud_source: where they come from, one phrase.
        capture: pictures and poses; None for a bare cloud.
        mesh: triangles between the points, or None.
        intensity: of the points' returned light, where they have no colour.
        sensor_in_world: where a LiDAR stood, or None.
        shipped_segments: segments that came with the scan, or None.
        segments_from: "shipped", or "file" where a person brought them.
    """

    name: str
    cloud: PointCloud
    cloud_source: str
    capture: Capture | None = None
    mesh: TriangleMesh | None = None
    intensity: Float32[np.ndarray, "n"] | None = None
    sensor_in_world: Float64[np.ndarray, "3"] | None = None
    shipped_segments: Callable[[], Partition] | None = None
    segments_from: Literal["shipped", "file"] = "shipped"

    def __post_init__(self) -> None:
        if self.mesh is not None and len(self.mesh.vertices_in_world) != len(self.cloud):
            raise ShapeError("mesh", expected=f"{len(self.cloud)} vertices", got=len(self.mesh.vertices_in_world))
        if self.intensity is not None and len(self.intensity) != len(self.cloud):
            raise ShapeError("intensity", expected=f"{len(self.cloud)} numbers", got=len(self.intensity))


@runtime_checkable
class ScanSource(Protocol):
    """Where a scan can be read from.  Nothing is kept between calls."""

    @property
    def name(self) -> str:
        """Unique in the data set."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the truth; empty where there is none."""
        ...

    def open(self) -> RawScan:
        """Points and pictures; no pixel is decoded yet, unless points have to be made of them."""
        ...

    def capture(self) -> Capture | None:
        """Pictures and poses; None for a bare cloud."""
        ...

    def points(self) -> PointCloud:
        """The points alone."""
        ...

    def truth(self) -> Truth | None:
        """Index into ``class_names`` per point, −1 = not scored; None where nobody knows."""
        ...

    def frame_truths(self) -> FrameTruths:
        """Of each pixel by a frame's name, read when it is asked for; None where nobody knows."""
        ...
