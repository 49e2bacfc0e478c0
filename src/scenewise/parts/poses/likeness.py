"""How much pictures look alike: aggregated descriptors, with words that are learned from the collection itself.

Source: Jégou et al. 2010, "Aggregating local descriptors into a compact image representation" (VLAD), with the normalisations of
Arandjelović and Zisserman 2013, "All about VLAD": per word, then of the whole.  Nothing is downloaded.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.parts.poses.feature_files import PictureFeatures

_SAMPLE_PER_PICTURE = 256
_MOST_SAMPLES = 40_000
_ROUNDS = 12
_BLOCK = 4096


def picture_signatures(features: Sequence[PictureFeatures | None], *, words: int, seed: int) -> Float32[np.ndarray, "n d"]:
    """A unit vector per picture; the more two pictures look alike, the larger their product.

    Pictures without features, and those that cannot be used (None), have the zero vector.

    Args:
        features: of each picture, those of the largest scale first.
        words: clusters, at most as many as there are samples.
        seed: of the sample and of the first centres.
    """
    rows = [np.zeros((0, 128), np.float32) if one is None else one.unit_descriptors() for one in features]
    generator = np.random.default_rng(seed)
    most = max(1, min(_SAMPLE_PER_PICTURE, _MOST_SAMPLES // max(1, len(features))))
    samples = np.concatenate(
        [np.zeros((0, 128), np.float32)] + [one[np.sort(generator.permutation(len(one))[:most])] for one in rows]
    )
    if len(samples) == 0:
        return np.zeros((len(features), 128), np.float32)
    centres = _centres(samples, min(words, len(samples)), generator)
    return np.stack([_signature(one, centres) for one in rows])


def _centres(samples: Float32[np.ndarray, "s 128"], words: int, generator: np.random.Generator) -> Float32[np.ndarray, "w 128"]:
    """Lloyd's k-means from randomly drawn samples; a centre that nothing falls to stays where it is."""
    centres = samples[np.sort(generator.permutation(len(samples))[:words])].copy()
    for _ in range(_ROUNDS):
        nearest = _nearest(samples, centres)
        counts = np.bincount(nearest, minlength=words)
        order = np.argsort(nearest, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        used = counts > 0
        sums = np.add.reduceat(samples[order].astype(np.float64), starts[used], axis=0)
        centres[used] = (sums / counts[used, None]).astype(np.float32)
    return centres


def _nearest(rows: Float32[np.ndarray, "r 128"], centres: Float32[np.ndarray, "w 128"]) -> Int64[np.ndarray, "r"]:
    """Index of the nearest centre of each row."""
    half_squares = 0.5 * (centres**2).sum(axis=1)
    found = [np.zeros(0, np.int64)]
    for first in range(0, len(rows), _BLOCK):
        found.append(np.argmax(rows[first : first + _BLOCK] @ centres.T - half_squares, axis=1))
    return np.concatenate(found)


def _signature(rows: Float32[np.ndarray, "f 128"], centres: Float32[np.ndarray, "w 128"]) -> Float32[np.ndarray, "d"]:
    total = np.zeros(centres.shape, np.float64)
    if len(rows):
        nearest = _nearest(rows, centres)
        np.add.at(total, nearest, (rows - centres[nearest]).astype(np.float64))
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    flat = total.reshape(-1)
    return (flat / max(float(np.linalg.norm(flat)), 1e-12)).astype(np.float32)
