"""Annotated objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.geometry.transforms import transform_points
from scenewise.io.nuscenes.tables import linked_record, read_records, records_by_token, target_from_source
from scenewise.io.views import is_file


@dataclass(frozen=True)
class NuscenesBox:
    """An annotated object.

    Attributes:
        category: name, for example "vehicle.car".
        center_in_world: metres.
        size: width, length, height, metres.
        world_from_box: rotation; the box's +X is its length.
        instance: token of the object, the same in all keyframes.
    """

    category: str
    center_in_world: Float64[np.ndarray, "3"]
    size: tuple[float, float, float]
    world_from_box: Float64[np.ndarray, "3 3"]
    instance: str


def read_boxes(tables: Path, sample: str, world_from_global: Float64[np.ndarray, "4 4"]) -> tuple[NuscenesBox, ...]:
    """The annotations of a sample; none where the tables have none.

    Raises:
        DataFormatError: links that lead nowhere, damaged records.
    """
    if not is_file(tables / "sample_annotation.json"):
        return ()
    annotations = list(read_records(tables / "sample_annotation.json", ("sample_token", {sample})))
    instances = records_by_token(tables / "instance.json", {record.text("instance_token") for record in annotations})
    categories = records_by_token(tables / "category.json", {record.text("category_token") for record in instances.values()})
    boxes = []
    for record in annotations:
        instance = linked_record(record, "instance_token", instances)
        global_from_box = target_from_source(record)
        size: Any = record.array("size", (3,)).tolist()
        boxes.append(
            NuscenesBox(
                category=linked_record(instance, "category_token", categories).text("name"),
                center_in_world=transform_points(world_from_global, global_from_box[:3, 3]),
                size=(size[0], size[1], size[2]),
                world_from_box=world_from_global[:3, :3] @ global_from_box[:3, :3],
                instance=instance.text("token"),
            )
        )
    return tuple(boxes)
