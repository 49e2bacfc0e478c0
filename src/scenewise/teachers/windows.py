"""Dense features of an image of any size from windows of one size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.errors import ConventionError


@dataclass(frozen=True)
class WindowSettings:
    """Which windows a resized image is cut into, and on which grid their features are collected.

    Attributes:
        crop: height and width of a window in pixels of the resized image, a multiple of the patch size; None = one window over
            the whole image.  SC-CLIP: 224.
        stride: pixels from one window to the next, at most ``crop``.  SC-CLIP: 112.
        cell: about how many pixels of the resized image one cell of the result covers.
        batch: windows that go through the tower together.
    """

    crop: int | None = 224
    stride: int = 112
    cell: int = 8
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("stride", "cell", "batch"):
            if getattr(self, name) < 1:
                raise ConventionError(f"WindowSettings.{name}", expected="at least 1", got=getattr(self, name))
        if self.crop is not None and self.stride > self.crop:
            raise ConventionError(
                "WindowSettings.stride", expected=f"at most the crop, {self.crop}", got=self.stride, fix="or pixels are left out"
            )


@dataclass(frozen=True)
class WindowedField:
    """Features on a grid over the whole image.

    Attributes:
        values: mean over the windows that cover a cell's centre of their unit features there.
        hits: how many windows those are, at least 1.
    """

    values: Float[Tensor, "rows columns dim"]
    hits: Int64[Tensor, "rows columns"]


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """First pixels of the windows along one axis; the last one is shifted back to end with the image.

    ⌊max(length − crop + stride − 1, 0) / stride⌋ + 1 windows, as SC-CLIP and MMSegmentation cut.
    """
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride, length - crop), 0) for i in range(count)]


def windowed_features(
    image: Float[Tensor, "3 height width"],
    features_of: Callable[[Float[Tensor, "batch 3 window_height window_width"]], Float[Tensor, "batch rows columns dim"]],
    *,
    patch_size: int,
    settings: WindowSettings,
) -> WindowedField:
    """Features of overlapping windows, averaged on one grid over the image.

    The reference code upsamples each window's scores to pixels and averages where windows overlap.  Scores are inner products of
    unit features with fixed text embeddings, and upsampling and averaging are linear, so both can be done to the features first
    and only where they are wanted: at the cells' centres.  A sample at point p of a window is what bilinear upsampling
    (``align_corners=False``, edge repeated) has there.

    Args:
        image: normalised.  Where it is smaller than a window it is filled with zeros, the mean colour, to whole patches at the
            bottom and the right; no cell lies there.
        features_of: from a batch of windows to one feature per patch; normalised here.
        patch_size: sides of the windows are multiples of it.
        settings: windows and cells.

    Raises:
        ConventionError: the crop is no multiple of the patch size.
    """
    height, width = image.shape[-2:]
    crop = settings.crop
    if crop is not None and crop % patch_size:
        raise ConventionError(
            "WindowSettings.crop",
            expected=f"a multiple of the patch size {patch_size}",
            got=crop,
            fix=f"use {max(crop // patch_size, 1) * patch_size}",
        )
    window_height, window_width = (
        crop if crop is not None and length >= crop else -(-length // patch_size) * patch_size for length in (height, width)
    )
    rows, columns = (max(1, round(length / settings.cell)) for length in (height, width))
    tops = window_starts(height, min(window_height, height), settings.stride)
    lefts = window_starts(width, min(window_width, width), settings.stride)
    image = F.pad(image, (0, max(window_width - width, 0), 0, max(window_height - height, 0)))

    total: Tensor | None = None
    hits = torch.zeros(rows, columns, dtype=torch.int64, device=image.device)
    for corners in _batches(list(product(tops, lefts)), settings.batch):
        windows = torch.stack([image[:, top : top + window_height, left : left + window_width] for top, left in corners])
        features = F.normalize(features_of(windows), dim=-1).permute(0, 3, 1, 2)
        if total is None:
            total = torch.zeros(rows, columns, features.shape[1], dtype=features.dtype, device=features.device)
        for (top, left), field in zip(corners, features):
            row_part, v = _cells_inside(rows, height, top, window_height)
            column_part, u = _cells_inside(columns, width, left, window_width)
            v, u = v.to(field), u.to(field)
            points = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)[None]
            sampled = F.grid_sample(field[None], points, mode="bilinear", padding_mode="border", align_corners=False)
            total[row_part, column_part] += sampled[0].permute(1, 2, 0)
            hits[row_part, column_part] += 1
    assert total is not None and bool((hits > 0).all())
    return WindowedField(total / hits[..., None], hits)


def _cells_inside(cells: int, length: int, start: int, window: int) -> tuple[slice, Float[Tensor, "count"]]:
    """The cells whose centres lie in [start, start + window), and their places in the window in [−1, 1]."""
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) * (length / cells)
    first, end = torch.searchsorted(centres, torch.tensor([start, start + window], dtype=torch.float64)).tolist()
    return slice(first, end), (centres[first:end] - start) * (2.0 / window) - 1.0


def _batches(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
