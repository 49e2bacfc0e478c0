"""Features of elements: sampled from the fields of views and averaged."""

from typing import final

import numpy as np
from jaxtyping import Float32, Int, Int64

from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.dense_fields import DenseField

_ROWS = 1 << 14  # pairs whose features are sampled together: 32 MB at 512 channels


def sample_field(field: DenseField, rows: Int[np.ndarray, "n"], columns: Int[np.ndarray, "n"]) -> Float32[np.ndarray, "n dim"]:
    """Values of a field at the centres of pixels, by bilinear interpolation between the centres of its cells.

    The centre (row + ½, column + ½) of a pixel lies at ((row + ½)·rows/height − ½, (column + ½)·columns/width − ½) in the grid
    of cell centres; beyond the outermost centres the field is constant.

    Args:
        field: of an image.
        rows: pixel rows, 0 … height − 1.
        columns: pixel columns, 0 … width − 1.
    """
    values = field.values
    height, width, dim = values.shape
    y = ((rows + 0.5) * (height / field.height) - 0.5).clip(0, height - 1)
    x = ((columns + 0.5) * (width / field.width) - 0.5).clip(0, width - 1)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[:, None]
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    flat = values.reshape(-1, dim)
    upper = flat[top * width + left] * (1 - right) + flat[top * width + beside] * right
    lower = flat[below * width + left] * (1 - right) + flat[below * width + beside] * right
    return upper * (1 - down) + lower * down


@final
class FeatureSums:
    """Collects features view by view.

    Args:
        num_elements: elements in all.
    """

    def __init__(self, num_elements: int) -> None:
        self.num_elements = num_elements
        self.counts = np.zeros(num_elements, dtype=np.int32)
        self._sums: np.ndarray | None = None

    def add(self, element: Int64[np.ndarray, "pairs"], field: DenseField, row: np.ndarray, column: np.ndarray) -> None:
        """One view's features, sampled at pixels.  An element may occur once.

        Raises:
            ShapeError: another number of channels than before.
        """
        dim = field.values.shape[2]
        if self._sums is None:
            self._sums = np.zeros((self.num_elements, dim), dtype=np.float32)
        if self._sums.shape[1] != dim:
            raise ShapeError("field.values", expected=f"{self._sums.shape[1]} channels", got=dim)
        for begin in range(0, len(element), _ROWS):
            some = slice(begin, begin + _ROWS)
            self._sums[element[some]] += sample_field(field, row[some], column[some])
        self.counts[element] += 1

    def mean(self, unit: bool = False) -> Float32[np.ndarray, "elements dim"]:
        """Mean over the views; zeros where there was none.  The sums are given up.

        Args:
            unit: scale each row to length 1.

        Raises:
            ConventionError: nothing was added.
        """
        if self._sums is None:
            raise ConventionError("features", expected="at least one view with features", got="none")
        sums, self._sums = self._sums, None
        for begin in range(0, len(sums), _ROWS):
            rows = sums[begin : begin + _ROWS]
            divisor = np.linalg.norm(rows, axis=1) if unit else self.counts[begin : begin + _ROWS].astype(np.float32)
            rows /= np.where(divisor > 0, divisor, 1.0)[:, None]
        return sums
