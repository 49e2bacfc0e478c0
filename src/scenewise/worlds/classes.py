"""What can stand in a room."""

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
"""Position in this tuple = class id.  New names go to the end, so that ids in files keep their meaning."""

STUFF_NAMES = frozenset({"wall", "floor", "ceiling"})
"""Classes that make up the room itself."""


def class_id(name: str) -> int:
    """Class id of a name in ``CLASS_NAMES``."""
    return CLASS_NAMES.index(name)
