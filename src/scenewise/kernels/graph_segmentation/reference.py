"""Graph segmentation as one reads it: a forest of components in plain Python."""

import numpy as np
from jaxtyping import Float64, Int32, Int64


def segment_sorted(
    edges: Int64[np.ndarray, "m 2"], weights: Float64[np.ndarray, "m"], num_vertices: int, k: float, min_size: int
) -> Int32[np.ndarray, "n"]:
    """See :func:`scenewise.kernels.graph_segmentation.segment_graph`; edges come sorted by weight."""
    parents, sizes, limits = list(range(num_vertices)), [1] * num_vertices, [float(k)] * num_vertices

    def root(vertex: int) -> int:
        while parents[vertex] != vertex:
            parents[vertex] = parents[parents[vertex]]  # halves the way for the next visit
            vertex = parents[vertex]
        return vertex

    def merge(a: int, b: int) -> int:
        if sizes[a] < sizes[b]:
            a, b = b, a
        parents[b] = a
        sizes[a] += sizes[b]
        return a

    pairs = edges.tolist()
    for (first, second), weight in zip(pairs, weights.tolist(), strict=True):
        a, b = root(first), root(second)
        if a != b and weight <= limits[a] and weight <= limits[b]:
            merged = merge(a, b)
            limits[merged] = weight + k / sizes[merged]
    for first, second in pairs:
        a, b = root(first), root(second)
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            merge(a, b)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(vertex), len(numbers)) for vertex in range(num_vertices)], dtype=np.int32)
