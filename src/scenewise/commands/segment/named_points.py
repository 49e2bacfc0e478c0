"""``points.ply`` of a scene whose points have names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from scenewise.io.ply import write_points_ply
from scenewise.parts.sources.targets import PHOTO_COLUMNS
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.vocabularies import Color
from scenewise.show.label_pictures import class_palette


def write_named_points(
    path: Path, cloud: PointCloud, labels: LabelField, objects: Int32[np.ndarray, "n"], colors_u8: tuple[Color, ...]
) -> None:
    """Points in the colours of their classes; their own colours, classes, objects and confidences in further columns.

    Args:
        path: of the file.
        cloud: positions and own colours.
        labels: class and confidence of each point.
        objects: object of each point, −1 = none.
        colors_u8: of the classes.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    extra: dict[str, np.ndarray] = {"label": labels.class_ids, "instance": objects, "confidence": labels.confidence}
    if cloud.colors_u8 is not None:
        extra |= {name: np.ascontiguousarray(cloud.colors_u8[:, channel]) for channel, name in enumerate(PHOTO_COLUMNS)}
    painted = np.ascontiguousarray(class_palette(colors_u8)[labels.class_ids])
    write_points_ply(path, replace(cloud, colors_u8=painted), extra=extra)
