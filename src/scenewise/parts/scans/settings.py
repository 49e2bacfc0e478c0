"""What decides how scans are prepared, and who is asked."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scenewise.errors import ConventionError
from scenewise.parts.scans.feature_targets import FeatureTarget
from scenewise.parts.words.pixel_classes import ClassQuestion
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.regions.protocol import RegionSource

SegmentKind = Literal["auto", "mesh", "neighbours", "supervoxels", "shipped"]


@dataclass(frozen=True)
class PreparationSettings:
    """What decides how a scan is prepared.

    Attributes:
        picture_width: of the pictures that are learned from, pixels; height in proportion.  Wider ones are not enlarged.
        most_views: views of a scan, spread evenly over its frames.
        depth_tolerance: metres between a point and the measured depth; None takes 0.05, or 2 % of the median depth where the
            scale is arbitrary.
        facing: leave out vertices of a mesh that look away from the camera; needs faces that are counter-clockwise from outside.
        segments: "auto": of the mesh where there are faces, else of nearest neighbours; "shipped": those of ScanNet's files,
            which know the borders of its truth and must be named wherever a figure is.
        segment_k: of mesh segments; ScanNet's.
        segment_min_size: vertices of a mesh segment at least; ScanNet's.
        denoising_threshold: classes that are nowhere in a picture so probable are left out of it; None leaves none out.
        regions: 2D sets of each picture: "slic", "felzenszwalb", "sam:NAME"; None for none.
        targets: frozen features; see :mod:`scenewise.parts.scans.feature_targets`; None for none.
        pictures: keep the pictures for a 2D student.
    """

    picture_width: int = 320
    most_views: int = 100
    depth_tolerance: float | None = None
    facing: bool = False
    segments: SegmentKind = "auto"
    segment_k: float = 0.01
    segment_min_size: int = 20
    denoising_threshold: float | None = None
    regions: str | None = None
    targets: str | None = None
    pictures: bool = True

    def __post_init__(self) -> None:
        for name in ("picture_width", "most_views", "segment_min_size"):
            if getattr(self, name) < 1:
                raise ConventionError(name, expected="at least 1", got=getattr(self, name))
        if self.depth_tolerance is not None and not 0 < self.depth_tolerance < np.inf:
            raise ConventionError("depth_tolerance", expected="metres above 0", got=self.depth_tolerance)
        if not self.segment_k >= 0:
            raise ConventionError("segment_k", expected="0 or more", got=self.segment_k)


@dataclass(frozen=True)
class Instruments:
    """Whoever is asked during preparation.

    Attributes:
        teacher: names pixels.
        question: the classes in its words.
        regions: cuts pictures; None for none.
        target: frozen features; None for none.
    """

    teacher: Teacher
    question: ClassQuestion
    regions: RegionSource | None = None
    target: FeatureTarget | None = None
