"""One maker per kind of thing, whichever of its variants comes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from scenewise.worlds import bathroom, furniture, more_furniture
from scenewise.worlds.classes import OBJECT_NAMES, STUFF_NAMES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.materials import pick

Maker = Callable[[np.random.Generator], Furniture]

OBJECT_CLASSES = tuple(name for name in OBJECT_NAMES if name not in STUFF_NAMES)
"""What stands, lies or hangs by itself.  Position in this tuple = class of a classifier of objects."""


def _lamp(rng: np.random.Generator) -> Furniture:
    return pick(rng, (furniture.floor_lamp, furniture.table_lamp, furniture.pendant_lamp))(rng)


def _plant(rng: np.random.Generator) -> Furniture:
    return furniture.plant(rng, rng.uniform(0.85, 1.2) if rng.random() < 0.6 else rng.uniform(0.4, 0.55))


DESIGNS: Mapping[str, Maker] = MappingProxyType(
    {
        "bed": furniture.bed,
        "chair": furniture.chair,
        "sofa": furniture.sofa,
        "table": lambda rng: furniture.table(rng, is_low=bool(rng.random() < 0.4)),
        "cabinet": lambda rng: furniture.cabinet(rng, is_tall=bool(rng.random() < 0.5)),
        "bookshelf": furniture.bookshelf,
        "door": furniture.door,
        "window": lambda rng: furniture.window(rng, rng.uniform(2.4, 2.9)),
        "picture": furniture.picture,
        "lamp": _lamp,
        "plant": _plant,
        "monitor": furniture.monitor,
        "stool": more_furniture.stool,
        "bench": more_furniture.bench,
        "bathtub": bathroom.bathtub,
        "toilet": bathroom.toilet,
        "sink": bathroom.sink,
        "fridge": more_furniture.fridge,
        "piano": more_furniture.piano,
        "radiator": more_furniture.radiator,
        "vase": more_furniture.vase,
        "fan": more_furniture.fan,
    }
)
"""By the names in ``OBJECT_CLASSES``, in the same order."""
