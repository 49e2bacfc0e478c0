"""How much what is asked for is like each of many scenes."""

import numpy as np
import torch
from jaxtyping import Float32, Int64

from scenewise.parts.retrieval.keypoints import KeyPoints

_CHUNK = 1 << 17  # rows of references that are compared at once


def best_in_each(
    asked: Float32[np.ndarray, "asked dim"], held: Float32[np.ndarray, "rows dim"], starts: Int64[np.ndarray, "groups"]
) -> Float32[np.ndarray, "asked groups"]:
    """Largest inner product of each asked vector with the rows of each group; −1 for groups without rows.

    Args:
        asked: unit vectors.
        held: unit vectors, group after group.
        starts: first row of each group, ascending.
    """
    found = np.full((len(asked), len(starts)), -1.0, dtype=np.float32)
    ends = np.append(starts[1:], len(held))
    query = torch.from_numpy(np.ascontiguousarray(asked))
    group = 0
    while group < len(starts):
        last = max(group + 1, int(np.searchsorted(ends, ends[group - 1] + _CHUNK if group else _CHUNK, side="right")))
        begin, end = int(starts[group]), int(ends[last - 1])
        if end > begin:
            products = (query @ torch.from_numpy(held[begin:end]).T).numpy()
            members = [index for index in range(group, last) if ends[index] > starts[index]]
            found[:, members] = np.maximum.reduceat(products, [int(starts[index]) - begin for index in members], axis=1)
        group = last
    return found


def set_likeness(
    asked: KeyPoints, held: Float32[np.ndarray, "rows dim"], starts: Int64[np.ndarray, "groups"]
) -> Float32[np.ndarray, "groups"]:
    """S(Q, R) = Σ s_q · max_r cos(q, r) / Σ s_q for each group of references; arguments as in :func:`best_in_each`."""
    if not len(asked):
        return np.zeros(len(starts), dtype=np.float32)
    best = best_in_each(asked.features, held, starts)
    weights = asked.scores / max(float(asked.scores.sum()), 1e-12)
    likeness: Float32[np.ndarray, " groups"] = (weights @ best).astype(np.float32)
    return likeness


def mean_vector(features: Float32[np.ndarray, "n dim"], weights: Float32[np.ndarray, "n"] | None = None) -> np.ndarray:
    """Unit vector along the weighted mean; zeros where there is nothing."""
    if not len(features):
        return np.zeros(features.shape[1], dtype=np.float32)
    mean = features.mean(axis=0) if weights is None else (features * weights[:, None]).sum(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
