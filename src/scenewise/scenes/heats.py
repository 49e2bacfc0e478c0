"""How well every element of a scene answers a question."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class Heat:
    """The answer to a question, per element.

    Attributes:
        text: what was asked, with the name of a picture that belongs to it.
        splats: relevancy in [0, 1] per splat, or None where the scene has no lifted features of splats; 0 = never seen.
        points: the same per point of ``points.ply``.
    """

    text: str
    splats: Float32[np.ndarray, "splats"] | None
    points: Float32[np.ndarray, "points"] | None
