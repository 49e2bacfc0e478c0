"""Things in a scene: what belongs together, what it is called, and where it stands."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.errors import ConventionError
from scenewise.geometry.boxes import OrientedBox


@dataclass(frozen=True)
class SceneObject:
    """One thing: a chair, a wall, or a place that answers a question.

    Attributes:
        elements: rows of the elements it is made of, ascending.
        confidence: in [0, 1]: how sure its class is, or how well it answers.
        center_in_world: mean position.
        low_in_world: lower corner of its box along the world's axes.
        high_in_world: upper corner.
        box: upright box that fits it, or None where nobody asked for one.
        class_id: its class, −1 = unknown.
        name: of its class, or None.
        instance_id: its number in the scene's labels, or None where it has none.
    """

    elements: Int64[np.ndarray, "members"]
    confidence: float
    center_in_world: Float64[np.ndarray, "3"]
    low_in_world: Float64[np.ndarray, "3"]
    high_in_world: Float64[np.ndarray, "3"]
    box: OrientedBox | None = None
    class_id: int = -1
    name: str | None = None
    instance_id: int | None = None

    def __post_init__(self) -> None:
        rows = self.elements
        if not len(rows) or int(rows[0]) < 0 or not (np.diff(rows) > 0).all():
            raise ConventionError("elements", expected="at least one row, ascending", got=f"{len(rows)} in another order")
        if not 0.0 <= self.confidence <= 1.0:  # false for NaN too
            raise ConventionError("confidence", expected="a number in [0, 1]", got=self.confidence)
        if not (self.low_in_world <= self.high_in_world).all():
            got = f"{self.low_in_world.tolist()} and {self.high_in_world.tolist()}"
            raise ConventionError("low_in_world, high_in_world", expected="a lower and an upper corner", got=got)
        if self.class_id < -1 or (self.instance_id is not None and self.instance_id < 0):
            got = f"{self.class_id} and {self.instance_id}"
            raise ConventionError("class_id, instance_id", expected="−1 or a class, None or a number from 0", got=got)
