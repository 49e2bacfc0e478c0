"""What can stand in a room, and what else there is."""

CLASS_NAMES = (
    "wall",
    "floor",
    "ceiling",
    "bed",
    "chair",
    "sofa",
    "table",
    "cabinet",
    "bookshelf",
    "door",
    "window",
    "picture",
    "lamp",
    "plant",
    "monitor",
)
"""What furnished rooms consist of.  Position in this tuple = class id; ids in files keep their meaning."""

OBJECT_NAMES = (
    *CLASS_NAMES,
    "stool",
    "bench",
    "bathtub",
    "toilet",
    "sink",
    "fridge",
    "piano",
    "radiator",
    "vase",
    "fan",
)
"""All that can be made, whether or not rooms have it: the same ids, then those of more.  New names go to the end."""

STUFF_NAMES = frozenset({"wall", "floor", "ceiling"})
"""Classes that make up the room itself."""


def class_id(name: str) -> int:
    """Class id of a name in ``OBJECT_NAMES``, and so of one in ``CLASS_NAMES``."""
    return OBJECT_NAMES.index(name)
