"""Depth seen through a lens of its own, brought onto the pixels of the colour image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from scenewise.geometry.depth_registration import registered_depth
from scenewise.io.depth_files import distances_of
from scenewise.io.images import read_codes_u16
from scenewise.io.sens import SensFrame, SensHeader, read_sens_depth_codes
from scenewise.scenes.frames import DepthMap

_MISSING_CODE = 65535  # stored where nothing was measured, as 0 is
_CODES_PER_METRE = 1000.0  # of depth in exported folders: millimetres


@dataclass(frozen=True)
class ScannetDepthLoader:
    """Decodes depth onto the pixels of the colour image, through the depth camera's own intrinsics.

    Attributes:
        source: the PNG, or the ``.sens`` stream.
        K_depth: at the depth map's size.
        K_color: at the colour image's size.
        size: width, height of the colour image.
        codes_per_metre: of the depth codes.
        in_stream: the frame and header in a ``.sens`` stream; None for a PNG.
        color_from_depth: rigid, metres, where the cameras stand apart; None where they share a centre and axes.
    """

    source: Path
    K_depth: Float64[np.ndarray, "3 3"]
    K_color: Float64[np.ndarray, "3 3"]
    size: tuple[int, int]
    codes_per_metre: float = _CODES_PER_METRE
    in_stream: tuple[SensFrame, SensHeader] | None = None
    color_from_depth: Float64[np.ndarray, "4 4"] | None = None

    def __call__(self) -> DepthMap:
        """Depth along +Z in metres, 0 = no measurement.

        Raises:
            DataFormatError: missing or damaged.
        """
        codes: UInt16[np.ndarray, "rows columns"] = (
            read_codes_u16(self.source) if self.in_stream is None else read_sens_depth_codes(self.source, *self.in_stream)
        )
        width, height = self.size
        if self.color_from_depth is not None:
            measured = distances_of(codes, 1.0 / self.codes_per_metre, _MISSING_CODE)
            return registered_depth(measured, self.K_depth, self.color_from_depth, self.K_color, width, height)
        across = self._places(0, width, codes.shape[1])
        down = self._places(1, height, codes.shape[0])
        seen = codes[down.clip(0)[:, None], across.clip(0)[None, :]]
        seen = np.where((down < 0)[:, None] | (across < 0)[None, :], 0, seen)
        return distances_of(seen, 1.0 / self.codes_per_metre, _MISSING_CODE)

    def _places(self, axis: int, count: int, available: int) -> Int64[np.ndarray, "pixels"]:
        """Depth column (or row) of each colour column (or row); −1 outside."""
        slope = (np.arange(count) + 0.5 - self.K_color[axis, 2]) / self.K_color[axis, axis]
        place = np.floor(slope * self.K_depth[axis, axis] + self.K_depth[axis, 2]).astype(np.int64)
        return np.where((place >= 0) & (place < available), place, -1)
