"""Features of an image on a grid of cells."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ShapeError

FieldKind = Literal["features", "probabilities"]


@dataclass(frozen=True)
class DenseField:
    """What a teacher says about an image, on a grid that covers the whole of it.

    Cell (row, column) has its centre at ((row + ½)·height/rows, (column + ½)·width/columns) in pixels of the image.

    Attributes:
        values: "features": a weighted mean of unit vectors in the teacher's text space, not normalised again, so that their
            inner product with unit text embeddings is the mean of cosines.  "probabilities": a column per class, each in [0, 1].
        height: of the image in pixels.
        width: of the image in pixels.
        kind: what the columns are.
    """

    values: Float32[np.ndarray, "rows columns dim"]
    height: int
    width: int
    kind: FieldKind = "features"

    def __post_init__(self) -> None:
        if min(self.values.shape) < 1 or min(self.height, self.width) < 1:
            raise ShapeError("DenseField", expected="at least one cell and one pixel", got=f"{self.values.shape}")
