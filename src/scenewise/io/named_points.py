"""``points.ply`` of a scene whose points have names: painted in the colours of their classes, their own colours kept beside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from scenewise.io.ply.columns import NonFinite
from scenewise.io.ply.points import read_points_ply_with_extra, write_points_ply
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud

PHOTO_COLUMNS = ("photo_red", "photo_green", "photo_blue")
"""Columns that keep a point's own colour once the colour is that of its class."""
SOURCE_ROW_COLUMN = "source_row"
"""Which row of the cloud's own file a point was, where some of its points could not be used and are left out."""


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
    if cloud.source_rows is not None:
        extra[SOURCE_ROW_COLUMN] = cloud.source_rows
    write_points_ply(path, replace(cloud, colors_u8=np.ascontiguousarray(painted_u8)), extra=extra)


def read_named_points(path: Path, *, non_finite: NonFinite = "refuse") -> PointCloud:
    """Points with the colours of the photographs: those kept beside where there are any, else the file's own.

    Args:
        path: of the file.
        non_finite: what to do with points at NaN or infinity; labels of a scene need all of its rows.

    Raises:
        DataFormatError: the file cannot be read.
    """
    cloud, extra = read_points_ply_with_extra(path, non_finite=non_finite)
    rows = extra.get(SOURCE_ROW_COLUMN)
    if rows is not None and cloud.source_rows is None and rows.dtype.kind in "iu":
        cloud = replace(cloud, source_rows=rows.astype(np.int64))
    if all(name in extra and extra[name].dtype == np.uint8 for name in PHOTO_COLUMNS):
        return replace(cloud, colors_u8=np.stack([extra[name] for name in PHOTO_COLUMNS], axis=1))
    return cloud


def renumber_named_points(path: Path, numbers: Int32[np.ndarray, "n"]) -> None:
    """Puts other objects' numbers into the file, and leaves all else as it is.

    Args:
        path: of the file; one without numbers stays untouched.
        numbers: of the object of each point, −1 = none.

    Raises:
        DataFormatError: the file cannot be read.
        ResourceError: the disk is full or the folder cannot be written.
    """
    cloud, extra = read_points_ply_with_extra(path, non_finite="refuse")
    if "instance" in extra:
        write_points_ply(path, cloud, extra={**extra, "instance": numbers})
