"""What pre-training does to 2D features: agreement between views, noise, edges; before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64

from scenewise.methods.condense.batches import projected
from scenewise.parts.scans.posed_scans import PosedScan

_PER_VIEW = 200  # pixels of each view that are followed into others


@dataclass(frozen=True)
class RoomPictures:
    """Features of a room's pictures with what is true of their pixels.

    Attributes:
        scan: the room.
        features: of each picture, on a grid over the whole of it.
        class_ids: truth of the pixels.
    """

    scan: PosedScan
    features: Float32[np.ndarray, "views rows columns dim"]
    class_ids: Int64[np.ndarray, "views height width"]


def at_pixels(
    features: Float32[np.ndarray, "rows columns dim"], pixels: torch.Tensor, size: tuple[int, int]
) -> Float32[np.ndarray, "m dim"]:
    """Features between the cells around pixels (u, v) of a picture of this height and width."""
    maps = torch.from_numpy(features).permute(2, 0, 1)[None]
    at = (2.0 * pixels / torch.tensor([size[1], size[0]]) - 1.0)[None, None].float()
    values = F.grid_sample(maps, at, mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].T.contiguous().numpy()


def agreement(rooms: Sequence[RoomPictures], seed: int) -> dict[str, float]:
    """How much features of one point differ between the pictures that show it.

    "noise": the variance among pairs of views of a point as a share of the variance among all points, 0 where views agree, 1
    where a point tells nothing; it does not change when features are shifted or scaled.  "cosine": of the pairs, after the
    mean of all is taken away.
    """
    pairs = [_pairs(room, seed) for room in rooms]
    first, second = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    everything = np.concatenate([first, second])
    mean = everything.mean(axis=0)
    total = float(np.square(everything - mean).sum(axis=1).mean())
    within = float(np.square(first - second).sum(axis=1).mean()) / 2
    centred = [(each - mean) / np.linalg.norm(each - mean, axis=1, keepdims=True).clip(1e-12) for each in (first, second)]
    return {"noise": within / max(total, 1e-12), "cosine": float((centred[0] * centred[1]).sum(axis=1).mean())}


def _pairs(room: RoomPictures, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of the same points in two views each."""
    scan = room.scan
    size = (scan.pictures_u8.shape[1], scan.pictures_u8.shape[2])
    rng = np.random.Generator(np.random.PCG64([seed, 41]))
    first, second = [], []
    for view in range(len(scan.pictures_u8)):
        rows, columns = np.nonzero(scan.depths[view] > 0)
        if not len(rows):
            continue
        drawn = rng.integers(len(rows), size=_PER_VIEW)
        pixels = torch.from_numpy(np.stack([columns[drawn] + 0.5, rows[drawn] + 0.5], axis=1)).float()
        points = points_of(scan, view, pixels, torch.from_numpy(scan.depths[view][rows[drawn], columns[drawn]]))
        own = at_pixels(room.features[view], pixels, size)
        for other in range(view + 1, len(scan.pictures_u8)):
            seen, there = projected(scan, other, points, size)
            if bool(seen.any()):
                first.append(own[seen.numpy()])
                second.append(at_pixels(room.features[other], there[seen], size))
    return np.concatenate(first), np.concatenate(second)


def points_of(scan: PosedScan, view: int, pixels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """What pixels show, in the scan's axes."""
    scan_from_camera = np.linalg.inv(scan.camera_from_scan[view])
    turn = torch.from_numpy(scan_from_camera[:3, :3] @ np.linalg.inv(scan.K[view])).float()
    rays = F.pad(pixels, (0, 1), value=1.0) @ turn.T
    return torch.from_numpy(scan_from_camera[:3, 3]).float() + depth[:, None] * rays


def boundary_sharpness(rooms: Sequence[RoomPictures]) -> float:
    """Change of features across true boundaries of classes, divided by the change within them.

    Between pixels four apart, in the row and in the column, features read between cells.
    """
    across, inside = [], []
    for room in rooms:
        size = room.class_ids.shape[1:]
        for features, truth in zip(room.features, room.class_ids):
            maps = torch.from_numpy(features).permute(2, 0, 1)[None]
            full = F.interpolate(maps, size, mode="bilinear", align_corners=False)[0, :, ::4, ::4].permute(1, 2, 0).numpy()
            labels = truth[::4, ::4]
            for axis in (0, 1):
                change = np.linalg.norm(np.diff(full, axis=axis), axis=2)
                differs = np.diff(labels, axis=axis) != 0
                across.append(change[differs])
                inside.append(change[~differs])
    return float(np.concatenate(across).mean() / max(float(np.concatenate(inside).mean()), 1e-12))
