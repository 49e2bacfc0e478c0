"""How tightly features of a class lie together, within scenes and between them, beside how far apart classes are."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Integer

from scenewise.errors import ConventionError, ShapeError

_ROWS = 1 << 14  # features made float64 and unit together: 64 MB at 512 channels


@dataclass(frozen=True)
class Compactness:
    """Of features scaled to length 1, so that a distance of two is √(2 − 2 cos).  Classes count alike, whatever their size.

    Attributes:
        intra_class_cosine: mean over classes of at least two features of the mean cosine between two of them.
        scatter_ratio: W / B with W the mean over classes of the mean squared distance to the class's mean, and B the mean over
            classes of the squared distance of that mean from the mean of all those means; smaller is better.
        cross_scene_distance: mean over classes of the mean distance between the class's means in two different scenes; classes
            that occur in at least two.
        between_class_distance: mean distance between the means of two different classes.
        cross_scene_ratio: cross_scene_distance / between_class_distance: below 1, a class in another scene is nearer than another
            class.
        by_class: intra-class cosine of each class, NaN where there are less than two features.
        count: features that were counted.
    """

    intra_class_cosine: float
    scatter_ratio: float
    cross_scene_distance: float
    between_class_distance: float
    cross_scene_ratio: float
    by_class: Float64[np.ndarray, "classes"]
    count: int


@final
class ClassSums:
    """Collects unit features per class, scene by scene; memory does not grow with the number of features.

    Args:
        num_classes: classes in all.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise ConventionError("num_classes", expected="at least 1", got=num_classes)
        self.num_classes = num_classes
        self._sums: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def add(self, features: Float[np.ndarray, "n dim"], class_ids: Integer[np.ndarray, "n"]) -> None:
        """The features of one scene.

        Args:
            features: of any length; those of length 0 do not count.
            class_ids: −1 = not labelled, such features do not count.

        Raises:
            ShapeError: other channels than before, or as many ids as features are needed.
            ConventionError: a class that does not exist.
        """
        if len(class_ids) != len(features):
            raise ShapeError("class_ids", expected=f"{len(features)} rows, as features", got=len(class_ids))
        if self._sums and features.shape[1] != self._sums[0].shape[1]:
            raise ShapeError("features", expected=f"{self._sums[0].shape[1]} channels", got=features.shape[1])
        if len(class_ids) and not (int(class_ids.min()) >= -1 and int(class_ids.max()) < self.num_classes):
            raise ConventionError(
                "class_ids", expected=f"−1 … {self.num_classes - 1}", got=f"{class_ids.min()} … {class_ids.max()}"
            )
        sums, counts = np.zeros((self.num_classes, features.shape[1])), np.zeros(self.num_classes, dtype=np.int64)
        for begin in range(0, len(features), _ROWS):
            block = features[begin : begin + _ROWS].astype(np.float64)
            ids = class_ids[begin : begin + _ROWS].astype(np.int64)
            length = np.linalg.norm(block, axis=1)
            known = (ids >= 0) & (length > 0)
            unit, ids = block[known] / length[known, None], ids[known]
            counts += np.bincount(ids, minlength=self.num_classes)
            for number in np.unique(ids):
                sums[number] += unit[ids == number].sum(axis=0)
        self._sums.append(sums)
        self._counts.append(counts)

    def result(self) -> Compactness:
        """Figures of everything added so far; NaN where there is nothing to compare."""
        dim = self._sums[0].shape[1] if self._sums else 1
        sums = np.stack(self._sums) if self._sums else np.zeros((0, self.num_classes, dim))
        counts = np.stack(self._counts) if self._counts else np.zeros((0, self.num_classes), dtype=np.int64)
        n, total = counts.sum(axis=0), sums.sum(axis=0)
        # Σ_{i≠j} ⟨x_i, x_j⟩ = |Σ x|² − n for unit x.
        pairs = np.maximum(n * (n - 1), 1)
        by_class = np.where(n > 1, ((total**2).sum(axis=1) - n) / pairs, math.nan)
        present = n > 0
        means = total[present] / n[present, None]
        within = (1.0 - (means**2).sum(axis=1)).mean() if len(means) else math.nan
        between = ((means - means.mean(axis=0)) ** 2).sum(axis=1).mean() if len(means) > 1 else math.nan
        cross = [
            _mean_distance(sums[seen, number] / counts[seen, number, None])
            for number in range(self.num_classes)
            if (seen := counts[:, number] > 0).sum() > 1
        ]
        cross_scene, between_class = float(np.mean(cross)) if cross else math.nan, _mean_distance(means)
        return Compactness(
            intra_class_cosine=float(by_class[n > 1].mean()) if (n > 1).any() else math.nan,
            scatter_ratio=float(within / between) if between > 0 else math.nan,
            cross_scene_distance=cross_scene,
            between_class_distance=between_class,
            cross_scene_ratio=cross_scene / between_class if between_class > 0 else math.nan,
            by_class=by_class,
            count=int(n.sum()),
        )


def _mean_distance(means: Float64[np.ndarray, "n dim"]) -> float:
    """Between two different rows; NaN with less than two."""
    n = len(means)
    if n < 2:
        return math.nan
    first, second = np.triu_indices(n, k=1)
    return float(np.linalg.norm(means[first] - means[second], axis=1).mean())
