"""A bounded cache of decoded pixels."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np

from scenewise.scenes.frames import DepthMap, Frame, ImageU8, PixelMask


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
