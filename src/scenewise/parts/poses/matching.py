"""Which features of two pictures show the same spot, before any geometry is known."""

import numpy as np
from jaxtyping import Float32, UInt32

from scenewise.parts.poses.settings import PoseSettings

_BLOCK = 128  # rows at a time: their products with all of the other picture stay in the processor's cache


def match_pictures(
    descriptors: Float32[np.ndarray, "a 128"], other_descriptors: Float32[np.ndarray, "b 128"], settings: PoseSettings
) -> UInt32[np.ndarray, "m 2"]:
    """Mutual best matches that pass the ratio test; none where the features of the largest scale have too little in common.

    Source: Lowe 2004, section 7.1, for the ratio; Wu 2013, section 4, for the probe.

    Args:
        descriptors: unit vectors of the first picture, those of the largest scale first.
        other_descriptors: the same of the second.
        settings: thresholds.

    Returns:
        Rows (feature, other feature), ordered by feature.
    """
    few = settings.probe_features
    if min(len(descriptors), len(other_descriptors)) > 2 * few:
        probed = mutual_matches(descriptors[:few], other_descriptors[:few], settings)
        if len(probed) < settings.probe_matches:
            return probed[:0]
    return mutual_matches(descriptors, other_descriptors, settings)


def mutual_matches(
    descriptors: Float32[np.ndarray, "a 128"], other_descriptors: Float32[np.ndarray, "b 128"], settings: PoseSettings
) -> UInt32[np.ndarray, "m 2"]:
    """Features that are each other's nearest, near enough, and clearly nearer than the next."""
    if len(descriptors) < 2 or len(other_descriptors) < 2:
        return np.zeros((0, 2), np.uint32)
    columns = np.ascontiguousarray(other_descriptors.T)
    best_for_other = np.full(len(other_descriptors), -1.0, np.float32)
    owner_for_other = np.zeros(len(other_descriptors), np.int64)
    best, second = np.empty(len(descriptors), np.float32), np.empty(len(descriptors), np.float32)
    partner = np.empty(len(descriptors), np.int64)
    for first in range(0, len(descriptors), _BLOCK):
        similarity = descriptors[first : first + _BLOCK] @ columns
        rows = np.arange(len(similarity))
        highest = similarity.max(axis=0)
        better = highest > best_for_other
        owner_for_other[better] = first + similarity[:, better].argmax(axis=0)
        best_for_other[better] = highest[better]
        where = similarity.argmax(axis=1)
        here = slice(first, first + len(rows))
        partner[here], best[here] = where, similarity[rows, where]
        similarity[rows, where] = -1.0
        second[here] = similarity.max(axis=1)
    distance, rival = _distance(best), _distance(second)
    good = (distance <= settings.max_distance) & (distance <= settings.ratio * rival)
    good &= owner_for_other[partner] == np.arange(len(descriptors))
    mine = np.flatnonzero(good)
    return np.stack([mine, partner[mine]], axis=1).astype(np.uint32)


def _distance(similarity: Float32[np.ndarray, "a"]) -> Float32[np.ndarray, "a"]:
    """Of unit vectors."""
    return np.sqrt(np.maximum(2.0 - 2.0 * similarity, 0.0)).astype(np.float32)
