"""Rows (element, class) that a student is trained on."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Int64
from torch import Tensor

from scenewise.errors import ShapeError

Modality = Literal["points", "pixels"]


@dataclass(frozen=True)
class Supervision:
    """Cross entropy is the mean over these rows; an element may occur several times, once for every view of it.

    Attributes:
        element: row of the student's output: a point of the batch, or a pixel as (view · height + row) · width + column.
        class_ids: its class in this row; never −1.
    """

    element: Int64[Tensor, "rows"]
    class_ids: Int64[Tensor, "rows"]

    def __post_init__(self) -> None:
        if self.element.shape != self.class_ids.shape:
            raise ShapeError("class_ids", expected=f"{tuple(self.element.shape)}", got=f"{tuple(self.class_ids.shape)}")

    def __len__(self) -> int:
        return len(self.element)
