"""Graph segmentation by the compiled library."""

import ctypes
from functools import cache

import numpy as np
from jaxtyping import Float64, Int32, Int64

from scenewise.kernels.native import library


@cache
def _function() -> "ctypes._NamedFuncPointer | None":
    lib = library.load()
    if lib is None or not hasattr(lib, "sw_segment_graph"):
        return None
    function = lib.sw_segment_graph
    function.argtypes = [ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 2, ctypes.c_double, ctypes.c_int64]
    function.argtypes += [ctypes.c_void_p] * 4
    function.restype = None
    return function


def is_available() -> bool:
    """Whether the compiled library was loaded."""
    return _function() is not None


def segment_sorted(
    edges: Int64[np.ndarray, "m 2"], weights: Float64[np.ndarray, "m"], num_vertices: int, k: float, min_size: int
) -> Int32[np.ndarray, "n"]:
    """See :func:`scenewise.kernels.graph_segmentation.segment_graph`; edges come sorted by weight."""
    function = _function()
    assert function is not None
    edges, weights = np.ascontiguousarray(edges), np.ascontiguousarray(weights)
    parents, sizes = np.empty(num_vertices, np.int32), np.empty(num_vertices, np.int32)
    limits, labels = np.empty(num_vertices, np.float64), np.empty(num_vertices, np.int32)
    work = [array.ctypes.data for array in (parents, sizes, limits, labels)]
    function(num_vertices, len(weights), edges.ctypes.data, weights.ctypes.data, k, min_size, *work)
    return labels
