"""A class and a confidence for every element of anything."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from scenewise.errors import ConventionError, ShapeError


@dataclass(frozen=True)
class LabelField:
    """Pseudo-labels: of the pixels of an image [height, width], of points or splats [n], or of (point, view) pairs.

    Attributes:
        class_ids: class, −1 = unknown.
        confidence: in [0, 1]; 0 where unknown.
    """

    class_ids: Int32[np.ndarray, "*shape"]
    confidence: Float32[np.ndarray, "*shape"]

    def __post_init__(self) -> None:
        if self.confidence.shape != self.class_ids.shape:
            raise ShapeError("confidence", expected=f"{self.class_ids.shape}", got=f"{self.confidence.shape}")
        if self.class_ids.size and int(self.class_ids.min()) < -1:
            raise ConventionError("class_ids", expected="−1 (unknown) or a class", got=int(self.class_ids.min()))
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():  # false for NaN too
            raise ConventionError("confidence", expected="numbers in [0, 1]", got="others")

    @staticmethod
    def certain(class_ids: Int32[np.ndarray, "*shape"] | Int64[np.ndarray, "*shape"]) -> "LabelField":
        """Labels that are all equally sure."""
        return LabelField(class_ids.astype(np.int32), (class_ids >= 0).astype(np.float32))

    @property
    def coverage(self) -> float:
        """Share of elements that have a label; 0 without elements."""
        return float((self.class_ids >= 0).mean()) if self.class_ids.size else 0.0
