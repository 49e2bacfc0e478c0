"""What a learner may know of a scan.  Truth is not among it: it is read by evaluation alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Int32

from scenewise.errors import ShapeError
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.label_fields import LabelField


@dataclass(frozen=True)
class ScanView:
    """One picture of a scan at the size it is learned from.

    Attributes:
        name: of the frame.
        labels: what the teacher says of each pixel [height, width].
        image_u8: the picture; None where no 2D student needs it.
        regions: set of each pixel (SAM masks, SLIC …), −1 = none; None where nothing votes in pixels.
        targets: frozen features on a grid over the whole picture (SAM's encoder, the teacher's values); None where nothing is
            matched.
    """

    name: str
    labels: LabelField
    image_u8: ImageU8 | None = None
    regions: Int32[np.ndarray, "height width"] | None = None
    targets: Float16[np.ndarray, "rows columns channels"] | None = None

    @property
    def height(self) -> int:
        """Of the picture in pixels."""
        return int(self.labels.class_ids.shape[0])

    @property
    def width(self) -> int:
        """Of the picture in pixels."""
        return int(self.labels.class_ids.shape[1])


@dataclass(frozen=True)
class TrainingScan:
    """A scan with everything that was prepared once.

    Attributes:
        name: of the scene.
        points_in_scan: metres; the scan's own axes (+Z up where known), origin near its middle, so that float32 suffices.
        inputs: per point: sRGB colour / 127.5 − 1, or intensity.
        segments: geometric set of each point, −1 = none.
        views: pictures with the teacher's answers, in the order of ``pixels.view``.
        pixels: which pixel of which view shows which point; rows and columns are of the pictures in ``views``.
    """

    name: str
    points_in_scan: Float32[np.ndarray, "n 3"]
    inputs: Float32[np.ndarray, "n channels"]
    segments: Int32[np.ndarray, "n"]
    views: tuple[ScanView, ...]
    pixels: Correspondence

    def __post_init__(self) -> None:
        n = len(self.points_in_scan)
        for name in ("inputs", "segments"):
            if len(getattr(self, name)) != n:
                raise ShapeError(name, expected=f"{n} rows, one per point", got=len(getattr(self, name)))
        if self.pixels.num_elements != n or self.pixels.num_views != len(self.views):
            raise ShapeError(
                "pixels",
                expected=f"{n} points and {len(self.views)} views",
                got=f"{self.pixels.num_elements} and {self.pixels.num_views}",
            )

    def __len__(self) -> int:
        return len(self.points_in_scan)
