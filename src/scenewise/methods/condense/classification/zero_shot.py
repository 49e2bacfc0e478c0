"""Classes of objects by words alone: a pre-trained pair's 3D branch, its translator, and the words of its tower."""

from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from scenewise.errors import ConventionError
from scenewise.parts.words.classification import class_probabilities
from scenewise.scenes.classified_clouds import ClassifiedCloud
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.consistent import ConsistentFeatures

_MOST_CELLS = 50_000
_MIDDLE = 128
"""Grey of a cloud without colours, for which the 3D branch is given nearly 0."""


def object_in_words(
    features: ConsistentFeatures,
    points: Float32[np.ndarray, "n 3"] | Float64[np.ndarray, "n 3"],
    colors_u8: UInt8[np.ndarray, "n 3"] | None,
) -> Float32[np.ndarray, "text_dim"]:
    """A cloud as one unit vector of the space of words.

    t(Σ_v s_v f_v), f_v the feature of a voxel, s_v its score of being a key point, t the translator; the pictures of
    :meth:`~scenewise.teachers.consistent.ConsistentFeatures.embed_image` are embedded likewise.

    Args:
        features: the pair.
        points: metres, +Z up.
        colors_u8: sRGB; None shows it in grey.

    Raises:
        ConventionError: no points, or more voxels along a side than a grid has.
    """
    if len(points):
        cells = float(np.ptp(points, axis=0).max()) / features.about.voxel
        if not cells < _MOST_CELLS:
            fix = "tell its true length"
            raise ConventionError("points", expected=f"fewer than {_MOST_CELLS} voxels a side", got=f"{cells:.3g}", fix=fix)
    seen = features.of_points(points, np.full(points.shape, _MIDDLE, dtype=np.uint8) if colors_u8 is None else colors_u8)
    mean = (seen.features * seen.scores[:, None]).sum(axis=0)
    return features.translated(mean / max(float(np.linalg.norm(mean)), 1e-12))


@final
class WordClassifier:
    """Names objects by comparing them with words.

    Args:
        features: a pre-trained pair.
        vocabulary: classes; of synonyms the best counts.

    Raises:
        ConventionError: words that the pair's tower does not know, or a tower without words.
    """

    def __init__(self, features: ConsistentFeatures, vocabulary: Vocabulary) -> None:
        self._features, self._vocabulary = features, vocabulary
        self._text = features.embed_text(vocabulary.queries, vocabulary.templates)

    @property
    def name(self) -> str:
        """For people."""
        return f"the words of {self._features.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Position = class id."""
        return self._vocabulary.names

    def probabilities(self, clouds: Sequence[ClassifiedCloud]) -> Float32[np.ndarray, "objects classes"]:
        """Of each object's class, summing to 1: the softmax of cosines times the tower's scale.

        Args:
            clouds: metres, +Z up; their class ids are not looked at.

        Raises:
            ConventionError: as :func:`object_in_words`.
        """
        things = [object_in_words(self._features, cloud.points_in_object, cloud.colors_u8) for cloud in clouds]
        if not things:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        cosines = (np.stack(things) @ self._text.T).astype(np.float32)
        found = class_probabilities(cosines, self._vocabulary, self._features.logit_scale)
        shares: Float32[np.ndarray, "objects classes"] = found / found.sum(axis=1, keepdims=True)
        return shares
