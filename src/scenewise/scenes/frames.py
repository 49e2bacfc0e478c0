"""One photograph (or RGB-D frame) behind decode callables, and a bounded cache of decoded pixels."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

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
            training may put another background behind it.  None when all pixels are opaque.
    """

    name: str
    camera: Cameras
    load_image: Callable[[], ImageU8] | None
    load_depth: Callable[[], DepthMap] | None = None
    load_mask: Callable[[], PixelMask] | None = None
    image_path: Path | None = None
    load_coverage: Callable[[], CoverageU8] | None = None

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

    def resized(self, width: int, height: int) -> "Frame":
        """The same frame at another resolution: area filter for colour, nearest valid sample for depth, all-covered for masks."""
        load_image, load_depth, load_mask, load_coverage = self.load_image, self.load_depth, self.load_mask, self.load_coverage
        return replace(
            self,
            camera=self.camera.resized(width, height),
            load_image=None if load_image is None else lambda: _resize_image(load_image(), width, height),
            load_depth=None if load_depth is None else lambda: _resize_nearest(load_depth(), width, height),
            load_mask=None if load_mask is None else lambda: _resize_nearest(load_mask(), width, height),
            load_coverage=None if load_coverage is None else lambda: _resize_image(load_coverage(), width, height),
        )

    def downscaled(self, factor: int) -> "Frame":
        """The frame at 1/``factor`` of its size, rounded down, at least one pixel."""
        if factor == 1:
            return self
        return self.resized(max(1, self.camera.width // factor), max(1, self.camera.height // factor))


def _resize_image(image_u8: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    if image_u8.shape[:2] == (height, width):
        return image_u8
    return np.asarray(Image.fromarray(image_u8).resize((width, height), Image.Resampling.BOX))


def _resize_nearest(values: np.ndarray, width: int, height: int) -> np.ndarray:
    source_height, source_width = values.shape
    if (source_height, source_width) == (height, width):
        return values
    rows = ((np.arange(height) + 0.5) * source_height / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * source_width / width).astype(np.int64)
    return np.ascontiguousarray(values[rows[:, None], columns[None, :]])


class DecodeCache:
    """Keeps recently decoded arrays up to a fixed number of bytes; the least recently used go first.

    Memory is bounded by ``max_bytes`` plus one array, whatever the number of frames.  Safe to call from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes_used = 0
        self._arrays: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, str], decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The cached array under ``key``, or ``decode()``, which is then kept if it fits."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        array = decode()
        with self._lock:
            if key not in self._arrays and array.nbytes <= self.max_bytes:
                self._arrays[key] = array
                self.bytes_used += array.nbytes
                while self.bytes_used > self.max_bytes:
                    _, oldest = self._arrays.popitem(last=False)
                    self.bytes_used -= oldest.nbytes
        return array

    def image(self, frame: Frame) -> ImageU8:
        """Pixels of ``frame`` (decoded now or earlier).  The frame must have an image."""
        assert frame.load_image is not None
        return self.get((f"{frame.name}@{frame.camera.width}x{frame.camera.height}", "image"), frame.load_image)

    def depth(self, frame: Frame) -> DepthMap | None:
        """Depth of ``frame`` or None where there is none."""
        if frame.load_depth is None:
            return None
        return self.get((f"{frame.name}@{frame.camera.width}x{frame.camera.height}", "depth"), frame.load_depth)

    def mask(self, frame: Frame) -> PixelMask | None:
        """Usable pixels of ``frame`` or None for all."""
        if frame.load_mask is None:
            return None
        return self.get((f"{frame.name}@{frame.camera.width}x{frame.camera.height}", "mask"), frame.load_mask)
