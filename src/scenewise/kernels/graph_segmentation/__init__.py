"""Felzenszwalb's graph segmentation: merge along light edges as long as both sides are no more uneven inside than the edge."""

from typing import Literal

import numpy as np
from jaxtyping import Float64, Int32, Int64

from scenewise.errors import ConventionError, MissingDependencyError, ShapeError
from scenewise.kernels.graph_segmentation import native, reference

Backend = Literal["auto", "reference", "native"]

__all__ = ["Backend", "segment_graph"]

_MAX_VERTICES = 2**31 - 1  # ids are int32


def segment_graph(
    edges: Int64[np.ndarray, "m 2"],
    weights: Float64[np.ndarray, "m"],
    num_vertices: int,
    *,
    k: float,
    min_size: int = 0,
    backend: Backend = "auto",
) -> Int32[np.ndarray, "n"]:
    """Components of a weighted graph.

    Edges are visited from light to heavy (equal weights in the order given).  An edge of weight w between two components merges
    them when w ≤ τ of both; τ is k for a single vertex and w + k/size after a merge.  A second walk over the same order merges
    components smaller than ``min_size`` with whatever the edge leads to.
    Source: Felzenszwalb & Huttenlocher, "Efficient graph-based image segmentation", IJCV 2004, §3.1.

    Args:
        edges: vertex indices; either direction, duplicates and loops are allowed.
        weights: one per edge, finite; dissimilarity of its ends.
        num_vertices: vertices in all.
        k: preference for larger components, in units of weight, ≥ 0; infinity merges whatever is connected.
        min_size: vertices that a component with a neighbour has at least.
        backend: "auto" takes the compiled library where it was built.

    Returns:
        Component per vertex, numbered from 0 in the order of their first vertices.

    Raises:
        ShapeError: an edge names a vertex that is not there, or edges and weights differ in number.
        ConventionError: a weight is not finite, or ``k`` or ``min_size`` is negative.
    """
    if len(edges) != len(weights):
        raise ShapeError("weights", expected=f"{len(edges)}, one per edge", got=len(weights))
    if not 0 <= num_vertices <= _MAX_VERTICES:
        raise ShapeError("num_vertices", expected=f"0 to {_MAX_VERTICES}", got=num_vertices)
    if len(edges) and not (int(edges.min()) >= 0 and int(edges.max()) < num_vertices):
        raise ShapeError("edges", expected=f"indices of {num_vertices} vertices", got=f"{edges.min()} to {edges.max()}")
    if not np.isfinite(weights).all():
        raise ConventionError("weights", expected="finite numbers", got="NaN or infinity", fix="check the normals for NaN")
    if not k >= 0:
        raise ConventionError("k", expected="0 or more", got=k)
    if min_size < 0:
        raise ConventionError("min_size", expected="0 or more", got=min_size)
    if backend == "native" and not native.is_available():
        raise MissingDependencyError("a C++ compiler at installation", needed_for='backend="native"')
    order = np.argsort(weights, kind="stable")
    run = native if backend != "reference" and native.is_available() else reference
    return run.segment_sorted(edges[order], weights[order], num_vertices, k, min_size)
