"""ScanNet's class codes: the 40 of NYU that label files hold, and the 20 that the benchmark scores."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

NYU40_NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "blinds",
    "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books", "refrigerator",
    "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
"""Names of the NYU40 ids 1 … 40; id 0 is unlabelled."""

SCANNET20_NYU40 = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
"""NYU40 id of each of the 20 benchmark classes; position = class id."""

SCANNET20_NAMES = tuple(NYU40_NAMES[nyu40 - 1] for nyu40 in SCANNET20_NYU40)


def classes_of_nyu40(nyu40_ids: Int64[np.ndarray, "*shape"], nyu40_of_class: Sequence[int]) -> Int64[np.ndarray, "*shape"]:
    """Position in a list of NYU40 ids; −1 for everything that is not in it.

    Args:
        nyu40_ids: as label files have them, 0 = unlabelled.
        nyu40_of_class: the id of each class.
    """
    table = np.full(len(NYU40_NAMES) + 2, -1, dtype=np.int64)
    table[list(nyu40_of_class)] = np.arange(len(nyu40_of_class))
    known = (nyu40_ids >= 0) & (nyu40_ids <= len(NYU40_NAMES))
    classes: np.ndarray = table[np.where(known, nyu40_ids, len(NYU40_NAMES) + 1)]
    return classes
