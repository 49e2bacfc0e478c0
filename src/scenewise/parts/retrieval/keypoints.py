"""The few places of a scene or a picture that are worth remembering: local maxima of the key-point score."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64, Int64

from scenewise.errors import ShapeError
from scenewise.teachers.consistent import CloudFeatures, PictureFeatures

MOST_OF_SCENE, MOST_OF_PICTURE = 512, 256
_FIRST = 1.2  # times extent / √most: the distance that is tried first, right for a box of walls
_HALVINGS = 6
_ENOUGH = 1.1  # times as many as are wanted: the surest of these are taken


@dataclass(frozen=True)
class KeyPoints:
    """Decorated key points, the surest first.

    Attributes:
        positions: metres in the scene's frame; (u, v) in pixels for a picture.
        features: unit length.
        scores: in (0, 1).
    """

    positions: Float32[np.ndarray, "n axes"]
    features: Float32[np.ndarray, "n dim"]
    scores: Float32[np.ndarray, "n"]

    def __post_init__(self) -> None:
        for name in ("features", "scores"):
            if len(getattr(self, name)) != len(self.positions):
                raise ShapeError(name, expected=f"{len(self.positions)} rows", got=len(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.positions)

    def first(self, count: int) -> "KeyPoints":
        """The surest ones."""
        return KeyPoints(self.positions[:count], self.features[:count], self.scores[:count])


def scene_keypoints(cloud: CloudFeatures, most: int = MOST_OF_SCENE) -> KeyPoints:
    """``most`` voxels at most that cover the whole scene: the surest of each neighbourhood.

    The neighbourhoods are as large as leaves so many.  Taking the surest of the whole scene instead leaves most of it without
    any, and a picture of that part finds nothing to match.
    """
    rows = covering_maxima(cloud.centers.astype(np.float64), cloud.scores, most)
    return KeyPoints(cloud.centers[rows], cloud.features[rows], cloud.scores[rows])


def covering_maxima(
    positions: Float64[np.ndarray, "n axes"], scores: Float32[np.ndarray, "n"], most: int
) -> Int64[np.ndarray, "kept"]:
    """Rows by falling score, ``most`` at most, with about the largest distance between any two that allows as many."""
    if len(positions) <= most:
        return np.argsort(-scores, kind="stable")
    extent = float(np.linalg.norm(positions.max(axis=0) - positions.min(axis=0)))
    low, high = 0.0, extent
    best = np.argsort(-scores, kind="stable")[:most]
    for _ in range(_HALVINGS):
        apart = _FIRST * extent / most**0.5 if high == extent else (low + high) / 2
        kept = spread_maxima(positions, scores, apart)
        if len(kept) >= most:
            low, best = apart, kept[:most]
        else:
            high = apart
        if most <= len(kept) <= _ENOUGH * most:
            break
    return best


def spread_maxima(
    positions: Float64[np.ndarray, "n axes"], scores: Float32[np.ndarray, "n"], apart: float
) -> Int64[np.ndarray, "kept"]:
    """Rows by falling score of which no kept one before is nearer than ``apart`` (greedy suppression)."""
    from scipy.spatial import cKDTree

    order = np.argsort(-scores, kind="stable")
    tree = cKDTree(positions[order])
    stays = np.ones(len(order), dtype=bool)
    for index in range(len(order)):
        if stays[index]:
            near = np.array(tree.query_ball_point(positions[order[index]], apart))
            stays[near[near > index]] = False
    return order[stays]


def picture_keypoints(seen: PictureFeatures, most: int = MOST_OF_PICTURE) -> KeyPoints:
    """The cells that are surer than all eight around them, ``most`` at most."""
    scores = torch.from_numpy(seen.scores)[None, None]
    is_peak = (scores == F.max_pool2d(scores, 3, 1, 1))[0, 0].numpy()
    rows, columns = np.nonzero(is_peak)
    chosen = np.argsort(-seen.scores[rows, columns], kind="stable")[:most]
    rows, columns = rows[chosen], columns[chosen]
    pixels = seen.pixels()[rows, columns].astype(np.float32)
    return KeyPoints(pixels, seen.features[rows, columns], seen.scores[rows, columns])
