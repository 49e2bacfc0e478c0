"""The pixels of a photograph, a depth map or a mask, taken to the pixel grid of the undistorted image."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.undistortion import sampling_map, undistorted_camera

if TYPE_CHECKING:
    pass


_MAP_CACHE_BYTES = 64 * 2**20
_STRIP_PIXELS = 2**15


@dataclass(frozen=True)
class _Strip:
    """Some rows of an undistorted image, and where they come from in the photograph.

    Attributes:
        top: first row of the strip.
        first: first row of the photograph that is needed.
        last: row after the last one needed.
        grid: positions in rows first … last of the photograph, scaled to [−1, 1] as torch's ``grid_sample`` wants them.
    """

    top: int
    first: int
    last: int
    grid: Float32[torch.Tensor, "1 rows width 2"]


@dataclass(frozen=True)
class SamplingStrips:
    """A sampling map cut into strips whose float temporaries stay in the processor's cache (three times faster than at once).

    Attributes:
        source_width: of the photograph, pixels.
        source_height: of the photograph, pixels.
        width: of the undistorted image, pixels.
        height: of the undistorted image, pixels.
        strips: from top to bottom.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    strips: tuple[_Strip, ...]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(strip.grid.nbytes for strip in self.strips)


def sampling_strips(pixels: Float32[np.ndarray, "height width 2"], source_width: int, source_height: int) -> SamplingStrips:
    """Cuts a map of positions (u, v), centre of the first pixel at (0.5, 0.5), for :func:`resample_bilinear`."""
    height, width = pixels.shape[:2]
    rows = max(1, _STRIP_PIXELS // width)
    strips = []
    for top in range(0, height, rows):
        part = pixels[top : top + rows].astype(np.float64)
        first = max(0, int(part[..., 1].min() - 0.5))
        last = min(source_height, int(part[..., 1].max() + 0.5) + 1)
        scaled = (part - [0.0, float(first)]) * [2.0 / source_width, 2.0 / (last - first)] - 1.0
        strips.append(_Strip(top, first, last, torch.from_numpy(scaled.astype(np.float32))[None]))
    return SamplingStrips(source_width, source_height, width, height, tuple(strips))


class _MapCache:
    """Sampling maps by lens, bounded in bytes; the newest is always kept."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._maps: OrderedDict[LensCamera, SamplingStrips] = OrderedDict()
        self._lock = Lock()

    def get(self, lens_camera: LensCamera) -> SamplingStrips:
        with self._lock:
            if lens_camera in self._maps:
                self._maps.move_to_end(lens_camera)
                return self._maps[lens_camera]
        pixels = sampling_map(lens_camera, undistorted_camera(lens_camera))
        computed = sampling_strips(pixels, lens_camera.width, lens_camera.height)
        with self._lock:
            self._maps[lens_camera] = computed
            while len(self._maps) > 1 and sum(kept.nbytes for kept in self._maps.values()) > self.max_bytes:
                self._maps.popitem(last=False)
        return computed


SAMPLING_MAPS = _MapCache(_MAP_CACHE_BYTES)
"""Of the lenses used last, shared by all loaders."""


def resample_bilinear(
    image_u8: UInt8[np.ndarray, "source_height source_width 3"], sampling: SamplingStrips
) -> UInt8[np.ndarray, "height width 3"]:
    """Colours at the sampled positions by bilinear interpolation; beyond the outermost pixel centres that pixel's own.

    Args:
        image_u8: the photograph, of the size the map was made for.
        sampling: see :func:`sampling_strips`.
    """
    result = np.empty((sampling.height, sampling.width, 3), dtype=np.uint8)
    source = torch.from_numpy(image_u8 if image_u8.flags.writeable else image_u8.copy())
    target = torch.from_numpy(result)
    for strip in sampling.strips:
        rows = source[strip.first : strip.last].to(torch.float32).permute(2, 0, 1)[None].contiguous()
        sampled = torch.nn.functional.grid_sample(rows, strip.grid, mode="bilinear", padding_mode="border", align_corners=False)[
            0
        ]
        target[strip.top : strip.top + strip.grid.shape[1]] = sampled.add_(0.5).to(torch.uint8).permute(1, 2, 0)
    return result


def sample_nearest(values: np.ndarray, lens_camera: LensCamera) -> np.ndarray:
    """Values of a map that covers the photograph, of any resolution, at the pixels of the undistorted image."""
    map_height, map_width = values.shape
    if lens_camera.is_pinhole:
        if (map_width, map_height) == (lens_camera.width, lens_camera.height):
            return values
        u, v = np.arange(lens_camera.width)[None, :] + 0.5, np.arange(lens_camera.height)[:, None] + 0.5
        return np.ascontiguousarray(values[_cells(v, map_height, lens_camera.height), _cells(u, map_width, lens_camera.width)])
    sampling = SAMPLING_MAPS.get(lens_camera)
    result = np.empty((sampling.height, sampling.width), dtype=values.dtype)
    for strip in sampling.strips:
        grid = (strip.grid[0].numpy() + 1.0) / 2.0
        u, v = grid[..., 0] * sampling.source_width, grid[..., 1] * (strip.last - strip.first) + strip.first
        rows, columns = _cells(v, map_height, lens_camera.height), _cells(u, map_width, lens_camera.width)
        result[strip.top : strip.top + grid.shape[0]] = values[rows, columns]
    return result


def _cells(positions: np.ndarray, cells: int, pixels: int) -> np.ndarray:
    """Which of the cells along an axis of a map a position along that of the photograph lies in."""
    return (positions * (cells / pixels)).astype(np.int64).clip(0, cells - 1)
