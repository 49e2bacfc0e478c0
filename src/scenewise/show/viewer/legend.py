"""The class legend: which classes occur, how often, in which colour."""

from dataclasses import dataclass

import numpy as np

from scenewise.scenes.vocabularies import Color
from scenewise.show.colors import UNKNOWN_COLOR
from scenewise.show.viewer.contents import Contents
from scenewise.show.viewer.painting import sure_classes


@dataclass(frozen=True)
class LegendRow:
    """A class that occurs in the scene.

    Attributes:
        class_id: −1 = what has no class.
        name: of the class.
        color_u8: sRGB.
        count: splats that carry it, or points where the scene has no labelled splats.
        share: of all of them.
    """

    class_id: int
    name: str
    color_u8: Color
    count: int
    share: float


def legend(contents: Contents, min_confidence: float = 0.0) -> tuple[LegendRow, ...]:
    """The classes that occur, the most frequent first and what is unknown last.

    Args:
        contents: the scene.
        min_confidence: less certain elements count as unknown, as they are painted.  The classes and their order do not change
            with it.
    """
    labels = contents.splats.labels if len(contents.splats) and contents.splats.labels is not None else contents.points.labels
    if labels is None or not len(labels):
        return ()
    counts, everything = (
        np.bincount(sure_classes(labels, minimum) + 1, minlength=len(contents.names) + 1) for minimum in (min_confidence, 0.0)
    )
    present = [class_id for class_id in range(len(contents.names)) if everything[class_id + 1]]
    present.sort(key=lambda class_id: -everything[class_id + 1])
    colors = [*map(tuple, contents.palette.tolist()), UNKNOWN_COLOR]
    names = (*contents.names, "unknown")
    return tuple(
        LegendRow(
            class_id, names[class_id], colors[class_id], int(counts[class_id + 1]), float(counts[class_id + 1] / len(labels))
        )
        for class_id in [*present, -1]
    )
