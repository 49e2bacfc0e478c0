"""Three kinds of objects that a few steps tell apart: flat ones, upright ones, and red balls."""

import numpy as np

from scenewise.methods.condense.classification.objects import ObjectData
from scenewise.methods.condense.classification.options import ClassifierConfig, ObjectVariation
from scenewise.scenes.classified_clouds import ClassifiedCloud

NAMES = ("slab", "post", "ball")
TINY = ClassifierConfig(width=0.125, voxel=0.1, points=80, steps=4, batch_objects=4, rate=1e-2)
STILL = ObjectVariation(
    turn=False,
    mirror=False,
    **dict.fromkeys(("scale", "stretch", "jitter", "shift_voxels", "light", "tint", "gamma", "noise", "grey"), 0.0),
    least_points=1.0,
)
"""Nothing is varied."""


def tiny_object(kind: int, seed: int, points: int = 100) -> ClassifiedCloud:
    """Slabs and posts are grey of some brightness."""
    rng = np.random.default_rng([kind, seed])
    where = rng.uniform(-0.5, 0.5, (points, 3)) * [(1.2, 0.9, 0.1), (0.1, 0.1, 1.5), (0.6, 0.6, 0.6)][kind]
    colors = np.full((points, 3), rng.integers(60, 220)) if kind < 2 else np.full((points, 3), (220, 10, 10))
    return ClassifiedCloud(f"{NAMES[kind]}-{seed}", where.astype(np.float32), kind, colors.astype(np.uint8))


def tiny_objects(per_class: int = 3, first: int = 0) -> ObjectData:
    return ObjectData(NAMES, tuple(tiny_object(kind, first + seed) for seed in range(per_class) for kind in range(3)))
