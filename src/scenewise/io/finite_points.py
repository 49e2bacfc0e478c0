"""Points that other programs wrote at no place: NaN, infinity, or so far away that no scene reaches there."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from scenewise.errors import CaptureWarning
from scenewise.scenes.point_clouds import PointCloud

FARTHEST = 1e10
"""Coordinates from here on are no place: projected ones end at 10⁷ m, which is 10¹⁰ mm."""


def is_near(values: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Whether coordinates are numbers and below :data:`FARTHEST`."""
    with np.errstate(invalid="ignore"):
        return np.abs(values) < FARTHEST


def warn_of_lost_rows(path: Path, finite: Bool[np.ndarray, "n"], near: Bool[np.ndarray, "n"]) -> None:
    """A CaptureWarning that counts the rows that are not finite, and those of the others that are not near."""
    lost = int((~finite).sum()), int((finite & ~near).sum())
    what = [f"{count:,} {said}" for count, said in zip(lost, ("with NaN or infinity", f"beyond {FARTHEST:.0e}")) if count]
    first = int((~(finite & near)).argmax())
    message = f"{path}: left out {' and '.join(what)} of {len(finite):,} points, the first in row {first:,} (rows count from 0)"
    warnings.warn(CaptureWarning(message, "remove them from the file if you did not know of them"), stacklevel=4)


def only_near(path: Path, cloud: PointCloud) -> PointCloud:
    """The points that are somewhere, with the rows they had; a CaptureWarning counts the others.  All are: the cloud itself."""
    near = np.asarray(is_near(cloud.points_in_world).all(axis=1))
    if near.all():
        return cloud
    warn_of_lost_rows(path, np.isfinite(cloud.points_in_world).all(axis=1), near)
    colors, normals = cloud.colors_u8, cloud.normals_in_world
    return PointCloud(
        cloud.points_in_world[near],
        None if colors is None else colors[near],
        None if normals is None else normals[near],
        np.flatnonzero(near),
    )
