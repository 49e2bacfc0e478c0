"""One photograph (or RGB-D frame) behind decode callables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from scenewise.errors import ShapeError
from scenewise.scenes.cameras import Cameras

ImageU8 = UInt8[np.ndarray, "height width 3"]
DepthMap = Float32[np.ndarray, "height width"]
PixelMask = Bool[np.ndarray, "height width"]
CoverageU8 = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True)
class Frame:
    """One view of a capture.  Nothing is decoded until a ``load_*`` callable is called, and nothing is kept after.

    Attributes:
        name: unique in the capture; the image's path as the capture lists it (below its root, or below COLMAP's image folder),
            with forward slashes and nothing that leads out of the folder.
        camera: a record without batch axes, describing the *undistorted* image that ``load_image`` returns.
        load_image: decodes the undistorted image, sRGB u8 [height, width, 3] of exactly the camera's size (RGBA already over
            the capture's background).  None when the file is missing.
        load_depth: decodes depth along +Z in world units, 0 = no measurement, on the image's pixel grid.  None if there is none.
        load_mask: decodes the pixels to use (True), on the image's pixel grid.  None means all.
        image_path: where the image is, or where it should have been.
        load_coverage: decodes how opaque each pixel of the photograph is (255 = fully), on the image's pixel grid, so that
            training may put another background behind it.  None when all pixels are opaque, or where transparency is a mask.
        mask_path: the file behind ``load_mask``; None where there is none.
        is_undistorted: whether a lens distortion is undone on load; rendered pictures have none.
        missing_mask: a mask that the capture lists for this frame and that does not exist.
        missing_depth: a depth map likewise.
        depth_path: the file behind ``load_depth``; None where there is none of its own.
    """

    name: str
    camera: Cameras
    load_image: Callable[[], ImageU8] | None
    load_depth: Callable[[], DepthMap] | None = None
    load_mask: Callable[[], PixelMask] | None = None
    image_path: Path | None = None
    load_coverage: Callable[[], CoverageU8] | None = None
    mask_path: Path | None = None
    is_undistorted: bool = False
    missing_mask: Path | None = None
    missing_depth: Path | None = None
    depth_path: Path | None = None

    def __post_init__(self) -> None:
        if self.camera.camera_from_world.ndim != 2:
            raise ShapeError(
                f"camera of frame {self.name}",
                expected="one camera without batch axes",
                got=f"batch shape {tuple(self.camera.camera_from_world.shape[:-2])}",
            )

    @property
    def has_image(self) -> bool:
        """Whether pixels can be decoded."""
        return self.load_image is not None
