"""``points.ply`` of a scene whose points have names: painted in the colours of their classes, their own colours kept beside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from scenewise.io.ply.points import read_points_ply_with_extra, write_points_ply
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud

PHOTO_COLUMNS = ("photo_red", "photo_green", "photo_blue")
"""Columns that keep a point's own colour once the colour is that of its class."""


def write_named_points(path: Path, cloud: PointCloud, labels: ElementLabels, painted_u8: UInt8[np.ndarray, "n 3"]) -> None:
    """Points in the colours of their classes; their own colours, classes, objects and confidences in further columns.

    Args:
        path: of the file.
        cloud: positions and own colours.
        labels: class, object and confidence of each point.
        painted_u8: the colour of each point's class.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    extra: dict[str, np.ndarray] = {"label": labels.class_ids, "instance": labels.instance_ids, "confidence": labels.confidence}
    if cloud.colors_u8 is not None:
        extra |= {name: np.ascontiguousarray(cloud.colors_u8[:, channel]) for channel, name in enumerate(PHOTO_COLUMNS)}
    write_points_ply(path, replace(cloud, colors_u8=np.ascontiguousarray(painted_u8)), extra=extra)


def read_named_points(path: Path) -> PointCloud:
    """Points with the colours of the photographs: those kept beside where there are any, else the file's own.

    Raises:
        DataFormatError: the file cannot be read.
    """
    cloud, extra = read_points_ply_with_extra(path)
    if all(name in extra and extra[name].dtype == np.uint8 for name in PHOTO_COLUMNS):
        return replace(cloud, colors_u8=np.stack([extra[name] for name in PHOTO_COLUMNS], axis=1))
    return cloud
