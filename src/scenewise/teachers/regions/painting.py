"""From overlapping masks to one set per pixel."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32, Int64
from torch import Tensor


def paint_masks(
    masks: Iterable[Bool[np.ndarray, "height width"]], height: int, width: int, *, min_area: int = 0
) -> Int32[np.ndarray, "height width"]:
    """Index of the mask on top of each pixel, −1 where there is none: masks come in the order they are painted, largest first.

    Masks of fewer than ``min_area`` pixels are left out; they count all the same.
    """
    ids = np.full((height, width), -1, dtype=np.int32)
    for number, mask in enumerate(masks):
        if np.count_nonzero(mask) >= max(min_area, 1):
            ids[mask] = number
    return ids


def painting_order(areas: Int64[np.ndarray, "m"], scores: Float32[np.ndarray, "m"]) -> Int64[np.ndarray, "m"]:
    """Largest first, so that small masks win; of equal ones the one with the higher score comes later and wins."""
    return np.lexsort((scores, -areas)).astype(np.int64)


def mask_boxes(masks: Bool[Tensor, "m height width"]) -> Float32[Tensor, "m 4"]:
    """Left, top, right, bottom: indices of the outermost columns and rows; zeros for an empty mask."""
    height, width = masks.shape[1:]
    columns, rows = masks.any(dim=1), masks.any(dim=2)
    x, y = torch.arange(width, device=masks.device), torch.arange(height, device=masks.device)
    left, right = torch.where(columns, x, width).amin(dim=1), torch.where(columns, x, -1).amax(dim=1)
    top, bottom = torch.where(rows, y, height).amin(dim=1), torch.where(rows, y, -1).amax(dim=1)
    boxes = torch.stack([left, top, right, bottom], dim=1)
    return torch.where(columns.any(dim=1)[:, None], boxes, 0).float()


def suppress_boxes(boxes: Float[Tensor, "m 4"], scores: Float[Tensor, "m"], iou_threshold: float) -> Int64[Tensor, "kept"]:
    """Non-maximum suppression: indices of the boxes to keep, best score first, the earlier one among equal scores.

    A box (left, top, right, bottom) goes when its intersection over union with a better kept one is above the threshold.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    kept = []
    for index in range(len(boxes)):
        if not alive[index]:
            continue
        kept.append(index)
        later = slice(index + 1, None)
        low = torch.maximum(boxes[index, :2], boxes[later, :2])
        high = torch.minimum(boxes[index, 2:], boxes[later, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        iou = shared / (areas[index] + areas[later] - shared)  # NaN for two empty boxes, which then both stay
        alive[later] &= ~(iou > iou_threshold)
    return order[torch.tensor(kept, dtype=torch.int64, device=boxes.device)]
