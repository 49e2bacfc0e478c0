"""Which pixel of which view shows which element."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class Correspondence:
    """A sparse table with a row per (element, view) pair in which the element is visible, ordered by view, then element.

    Attributes:
        element: index of the point.
        view: index into the views that were asked for.
        row: pixel row in that view.
        column: pixel column in that view.
        num_elements: points in all.
        num_views: views in all, skipped ones included.
        skipped_views: indices of views without a usable pose or image.
    """

    element: Int64[np.ndarray, "pairs"]
    view: Int32[np.ndarray, "pairs"]
    row: Int32[np.ndarray, "pairs"]
    column: Int32[np.ndarray, "pairs"]
    num_elements: int
    num_views: int
    skipped_views: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("view", "row", "column"):
            if getattr(self, name).shape != self.element.shape:
                raise ShapeError(name, expected=f"{self.element.shape}", got=f"{getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.element)
