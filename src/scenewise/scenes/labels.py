"""A class, an instance and a confidence for every element of a scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from scenewise.errors import ConventionError, ShapeError


@dataclass(frozen=True)
class ElementLabels:
    """Row i belongs to element i (a splat or a point).

    Attributes:
        class_ids: index into the scene's class names, −1 = unknown.
        instance_ids: which object, −1 = none.
        confidence: in [0, 1].
    """

    class_ids: Int32[np.ndarray, "n"]
    instance_ids: Int32[np.ndarray, "n"]
    confidence: Float32[np.ndarray, "n"]

    def __post_init__(self) -> None:
        for name in ("instance_ids", "confidence"):
            if getattr(self, name).shape != self.class_ids.shape:
                raise ShapeError(name, expected=f"{self.class_ids.shape}", got=f"{getattr(self, name).shape}")
        if len(self.class_ids) and min(int(self.class_ids.min()), int(self.instance_ids.min())) < -1:
            raise ConventionError("class_ids, instance_ids", expected="−1 (unknown) or an index", got="a number below −1")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():  # false for NaN too
            raise ConventionError("confidence", expected="numbers in [0, 1]", got="others")

    def __len__(self) -> int:
        return len(self.class_ids)
