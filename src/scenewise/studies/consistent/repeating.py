"""Whether key points of one picture are key points of another that shows the same place."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64

from scenewise.methods.condense.batches import projected
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.studies.consistent.pictures2d import points_of

WITHIN = 0.15
"""Metres between the places of two key points that are one: three voxels of 5 cm."""
KEY_POINTS = 64

Choose = Callable[[PosedScan, int], Float32[np.ndarray, "k 2"]]
"""Pixels (u, v) that are chosen of a picture."""


def repeatability(scans: Sequence[PosedScan], choose: Choose) -> float:
    """Share of a picture's key points that another picture shows and has a key point at, within 15 cm; mean over pairs of views
    of a room that share at least eight of them.
    """
    shares = []
    for scan in scans:
        size = (scan.pictures_u8.shape[1], scan.pictures_u8.shape[2])
        places = [_places(scan, view, choose(scan, view)) for view in range(len(scan.pictures_u8))]
        for first in range(len(places)):
            for second in range(len(places)):
                if first == second or not len(places[second]):
                    continue
                points = places[first]
                shown = projected(scan, second, torch.from_numpy(points).float(), size)[0].numpy()
                if int(shown.sum()) < 8:
                    continue
                apart = np.linalg.norm(points[shown][:, None] - places[second][None], axis=2).min(axis=1)
                shares.append(float((apart <= WITHIN).mean()))
    return float(np.mean(shares)) if shares else 0.0


def _places(scan: PosedScan, view: int, pixels: Float32[np.ndarray, "k 2"]) -> Float64[np.ndarray, "k 3"]:
    """What key points show; those without a depth are left out."""
    column, row = pixels.astype(np.int64).T
    depth = scan.depths[view][row, column]
    known = depth > 0
    at = torch.from_numpy(np.ascontiguousarray(pixels[known])).float()
    return points_of(scan, view, at, torch.from_numpy(depth[known])).double().numpy()


def random_pixels(seed: int) -> Choose:
    """Drawn evenly."""

    def choose(scan: PosedScan, view: int) -> Float32[np.ndarray, "k 2"]:
        rng = np.random.Generator(np.random.PCG64([seed, view, len(scan)]))
        height, width = scan.pictures_u8.shape[1:3]
        return rng.uniform([0.0, 0.0], [width, height], (KEY_POINTS, 2)).astype(np.float32)

    return choose


def grid_pixels(scan: PosedScan, view: int) -> Float32[np.ndarray, "k 2"]:
    """Eight by eight, evenly."""
    height, width = scan.pictures_u8.shape[1:3]
    side = int(np.sqrt(KEY_POINTS))
    v, u = np.meshgrid((np.arange(side) + 0.5) / side * height, (np.arange(side) + 0.5) / side * width, indexing="ij")
    return np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
