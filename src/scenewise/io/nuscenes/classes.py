"""The classes of nuScenes' lidarseg challenge, and the categories that fall into each."""

from collections.abc import Mapping
from types import MappingProxyType

NUSCENES_CLASSES = (
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction vehicle",
    "motorcycle",
    "pedestrian",
    "traffic cone",
    "trailer",
    "truck",
    "driveable surface",
    "other flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
)
"""The 16 classes of the lidarseg challenge; position = class id."""

CLASS_OF_CATEGORY: Mapping[str, str] = MappingProxyType(
    {
        "movable_object.barrier": "barrier",
        "vehicle.bicycle": "bicycle",
        "vehicle.bus.bendy": "bus",
        "vehicle.bus.rigid": "bus",
        "vehicle.car": "car",
        "vehicle.construction": "construction vehicle",
        "vehicle.motorcycle": "motorcycle",
        "human.pedestrian.adult": "pedestrian",
        "human.pedestrian.child": "pedestrian",
        "human.pedestrian.construction_worker": "pedestrian",
        "human.pedestrian.police_officer": "pedestrian",
        "movable_object.trafficcone": "traffic cone",
        "vehicle.trailer": "trailer",
        "vehicle.truck": "truck",
        "flat.driveable_surface": "driveable surface",
        "flat.other": "other flat",
        "flat.sidewalk": "sidewalk",
        "flat.terrain": "terrain",
        "static.manmade": "manmade",
        "static.vegetation": "vegetation",
    }
)
"""Class of each of the 32 categories; the others are not scored.  By name, because published tables order the flat.* ones
differently."""
