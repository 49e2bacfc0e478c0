"""Which way a thing looks, as far as its shape and its place tell."""

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.parts.graphs.things import WALL, Things

_AT_WALL = 0.35  # metres between a thing and the wall at its back
_TALL = 0.7  # share of its height above which a thing's back is looked for
_LOPSIDED = 1 / 3  # of half its shorter side: how far the tall part must be off the middle


def own_yaws(things: Things) -> Float64[np.ndarray, "n"]:
    """Which way each thing looks, for relations as it would tell them itself: angle from +Y about +Z.

    One of the four sides of its box is its front: the one away from where it is tallest, as with a chair, a sofa or a bed; else
    the one away from the nearest wall it stands at; else the one towards the middle of everything.
    """
    yaws = np.zeros(len(things))
    walls = np.flatnonzero(things.kinds == WALL)
    middle = things.box_centers[:, :2].mean(axis=0) if len(things) else np.zeros(2)
    for index in range(len(things)):
        wanted = _away_from_back(things, index)
        if wanted is None and len(walls):
            wanted = _away_from_wall(things, index, walls)
        if wanted is None:
            wanted = middle - things.box_centers[index, :2]
        sides = np.stack([things.along[index], things.across[index], -things.along[index], -things.across[index]])
        front = sides[int((sides @ wanted).argmax())]
        yaws[index] = np.arctan2(-front[0], front[1])
    return yaws


def _away_from_back(things: Things, index: int) -> Float64[np.ndarray, "2"] | None:
    """From the middle of the tall part to that of the box, where they differ by a sixth of the shorter side."""
    points = things.points[index]
    tall = points[points[:, 2] > things.low[index] + 2 * _TALL * things.half[index, 2]]
    if not len(tall):
        return None
    offset: np.ndarray = things.box_centers[index, :2] - tall[:, :2].mean(axis=0)
    return offset if float(np.linalg.norm(offset)) > things.half[index, 1] * _LOPSIDED else None


def _away_from_wall(things: Things, index: int, walls: Int64[np.ndarray, "walls"]) -> Float64[np.ndarray, "2"] | None:
    offset = things.box_centers[index, :2] - things.box_centers[walls, :2]
    away = (offset * things.across[walls]).sum(axis=1)
    beyond = np.abs((offset * things.along[walls]).sum(axis=1)) > things.half[walls, 0]
    distance = np.where(beyond, np.inf, np.abs(away))
    nearest = int(distance.argmin())
    if distance[nearest] > things.half[index, :2].max() + _AT_WALL:
        return None
    return np.asarray(things.across[walls[nearest]] * np.sign(away[nearest]))
