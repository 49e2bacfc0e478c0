"""The few places of a scene or a picture that are worth remembering: local maxima of the key-point score."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64, Int64

from scenewise.errors import ShapeError
from scenewise.teachers.consistent import CloudFeatures, PictureFeatures

MOST_OF_SCENE, MOST_OF_PICTURE = 512, 256
APART = 0.10
"""Metres between two key points of a scene at least."""
_CANDIDATES = 8  # times as many places are looked at as are wanted


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


def scene_keypoints(cloud: CloudFeatures, most: int = MOST_OF_SCENE, apart: float = APART) -> KeyPoints:
    """The voxels of highest score of which no surer one is nearer than ``apart`` metres, ``most`` at most."""
    rows = spread_maxima(cloud.centers.astype(np.float64), cloud.scores, most, apart)
    return KeyPoints(cloud.centers[rows], cloud.features[rows], cloud.scores[rows])


def spread_maxima(
    positions: Float64[np.ndarray, "n axes"], scores: Float32[np.ndarray, "n"], most: int, apart: float
) -> Int64[np.ndarray, "kept"]:
    """Rows by falling score of which no kept one before is nearer than ``apart``, ``most`` at most (greedy suppression)."""
    from scipy.spatial import cKDTree

    order = np.argsort(-scores, kind="stable")
    wanted = _CANDIDATES * most
    while True:
        looked_at = order[:wanted]
        pairs = cKDTree(positions[looked_at]).query_pairs(apart, output_type="ndarray")
        kept = _greedy(len(looked_at), pairs)
        if len(kept) >= most or wanted >= len(order):
            return looked_at[kept[:most]]
        wanted *= 4


def _greedy(count: int, pairs: Int64[np.ndarray, "pairs 2"]) -> Int64[np.ndarray, "kept"]:
    """Of 0 … count − 1, those that no kept smaller one is paired with."""
    ordered = np.sort(pairs, axis=1)
    ordered = ordered[np.argsort(ordered[:, 0], kind="stable")]
    begins = np.searchsorted(ordered[:, 0], np.arange(count + 1))
    stays = np.ones(count, dtype=bool)
    for index in range(count):
        if stays[index]:
            stays[ordered[begins[index] : begins[index + 1], 1]] = False
    return np.flatnonzero(stays)


def picture_keypoints(seen: PictureFeatures, most: int = MOST_OF_PICTURE) -> KeyPoints:
    """The cells that are surer than all eight around them, ``most`` at most."""
    scores = torch.from_numpy(seen.scores)[None, None]
    is_peak = (scores == F.max_pool2d(scores, 3, 1, 1))[0, 0].numpy()
    rows, columns = np.nonzero(is_peak)
    chosen = np.argsort(-seen.scores[rows, columns], kind="stable")[:most]
    rows, columns = rows[chosen], columns[chosen]
    pixels = seen.pixels()[rows, columns].astype(np.float32)
    return KeyPoints(pixels, seen.features[rows, columns], seen.scores[rows, columns])
