"""What a 2D teacher says about every element of a scene, so that later questions need no images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32

from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.dense_fields import FieldKind


@dataclass(frozen=True)
class ElementFeatures:
    """Lifted teacher outputs; row i belongs to element i (a splat or a point).

    Attributes:
        values: "features": unit vectors in the teacher's text space.  "probabilities": a column per class.  A row of zeros was
            never seen.
        weight: how much was seen of the element: views for points, Σα·T for splats.
        kind: what the columns are.
        teacher: the name it is opened by.
        read_out: of the teacher, or None where it has no choice.
        text_from: the teacher whose text tower understands the features, where theirs has none.
        fingerprint: of the teacher that made them; text from another one does not fit.
        classes: names of the columns of "probabilities"; empty for "features".
        key_smoothing: whether the teacher was opened with it.
        read_out_settings: which of the read-out's published settings were changed, and to what.
    """

    values: Float16[np.ndarray, "n dim"]
    weight: Float32[np.ndarray, "n"]
    kind: FieldKind
    teacher: str
    read_out: str | None
    fingerprint: str
    text_from: str | None = None
    classes: tuple[str, ...] = ()
    key_smoothing: bool = False
    read_out_settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.weight) != len(self.values):
            raise ShapeError("weight", expected=f"{len(self.values)} numbers, one per element", got=len(self.weight))
        if self.kind == "probabilities" and len(self.classes) != self.values.shape[1]:
            raise ConventionError("classes", expected=f"{self.values.shape[1]} names, one per column", got=len(self.classes))

    def __len__(self) -> int:
        return len(self.values)
