"""Graph segmentation: the same scenarios for the readable and the compiled implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels.graph_segmentation import segment_graph
from scenewise.kernels.native import library

BACKENDS = ["reference", *(["native"] if library.load() is not None else [])]
needs_native = pytest.mark.skipif(library.load() is None, reason="the compiled library was not built")


def _edges(*rows):
    return np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2), np.array([row[2] for row in rows], dtype=float)


def _random_graph(seed, vertices=300, edges=900, levels=40):
    rng = np.random.default_rng(seed)
    return rng.integers(0, vertices, (edges, 2)), rng.integers(0, levels, edges) / levels, vertices


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_merge_needs_both_sides_to_allow_it(backend):
    # k = 1.  (0,1) at 0.2 makes a pair with τ = 0.2 + 1/2 = 0.7.  Vertex 2 alone has τ = 1.  The edge at 0.75 is light enough for
    # vertex 2 but not for the pair.
    edges, weights = _edges((0, 1, 0.2), (1, 2, 0.75))
    assert segment_graph(edges, weights, 3, k=1.0, backend=backend).tolist() == [0, 0, 1]
    # At exactly 0.7 it merges: the rule is ≤.
    edges, weights = _edges((0, 1, 0.25), (1, 2, 0.75))
    assert segment_graph(edges, weights, 3, k=1.0, backend=backend).tolist() == [0, 0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_threshold_falls_with_the_size_of_the_whole_component(backend):
    # {0,1} and {2,3} at 0.1 have τ = 0.6 each (k = 1); the edge at 0.5 merges them, then τ = 0.5 + 1/4 = 0.75, not 0.5 + 1/2.
    edges, weights = _edges((0, 1, 0.1), (2, 3, 0.1), (1, 2, 0.5), (3, 4, 0.8))
    assert segment_graph(edges, weights, 5, k=1.0, backend=backend).tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_weights_are_visited_in_the_order_given(backend):
    # k = 0.1 merges nothing at weight 1; the minimum size of 2 then joins whoever is met first.
    chain, weights = _edges((0, 1, 1.0), (2, 3, 1.0), (1, 2, 1.0))
    assert segment_graph(chain, weights, 4, k=0.1, min_size=2, backend=backend).tolist() == [0, 0, 1, 1]
    assert segment_graph(chain[[2, 0, 1]], weights, 4, k=0.1, min_size=2, backend=backend).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_follow_first_vertices(backend):
    edges, weights = _edges((4, 1, 0.0), (3, 2, 0.0))
    assert segment_graph(edges, weights, 5, k=1.0, backend=backend).tolist() == [0, 1, 2, 2, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_k_leaves_singletons_and_infinite_k_leaves_connected_components(backend):
    edges, weights, vertices = _random_graph(1, edges=250)
    weights = weights + 0.01
    assert segment_graph(edges, weights, vertices, k=0.0, backend=backend).tolist() == list(range(vertices))
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(edges)), edges.T), (vertices, vertices))
    count, truth = connected_components(links, directed=False)
    got = segment_graph(edges, weights, vertices, k=np.inf, backend=backend)
    assert got.max() + 1 == count > 1
    assert len(np.unique(np.stack([got, truth]), axis=1).T) == count


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_components_survive_only_without_neighbours(backend):
    edges, weights, vertices = _random_graph(2, edges=400)
    labels = segment_graph(edges, weights, vertices, k=0.05, min_size=7, backend=backend)
    whole = segment_graph(edges, weights, vertices, k=np.inf, backend=backend)
    sizes = np.bincount(labels)
    for label in np.flatnonzero(sizes < 7):
        assert (whole == whole[labels == label][0]).sum() == sizes[label]
    assert (segment_graph(edges, weights, vertices, k=0.05, backend=backend).max() > labels.max()) and sizes.max() >= 7


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_graphs(backend):
    none = np.empty((0, 2), np.int64), np.empty(0)
    assert segment_graph(*none, 0, k=1.0, backend=backend).tolist() == []
    assert segment_graph(*none, 3, k=1.0, min_size=2, backend=backend).tolist() == [0, 1, 2]


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_renaming_vertices_renames_the_sets(backend, seed):
    edges, weights, vertices = _random_graph(seed, 60, 150)
    new_name = np.random.default_rng(seed).permutation(vertices)
    plain = segment_graph(edges, weights, vertices, k=0.3, min_size=3, backend=backend)
    renamed = segment_graph(new_name[edges], weights, vertices, k=0.3, min_size=3, backend=backend)[new_name]
    assert len(np.unique(np.stack([plain, renamed]), axis=1).T) == plain.max() + 1 == renamed.max() + 1


@needs_native
@given(seed=st.integers(0, 10**6), k=st.sampled_from([0.0, 0.02, 0.3, 5.0, np.inf]), min_size=st.integers(0, 30))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_both_implementations_agree_to_the_last_label(seed, k, min_size):
    edges, weights, vertices = _random_graph(seed)
    both = [segment_graph(edges, weights, vertices, k=k, min_size=min_size, backend=name) for name in BACKENDS]
    assert np.array_equal(*both)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"edges": np.array([[0, 3]])}, ShapeError, "indices of 3 vertices"),
        ({"edges": np.array([[-1, 2]])}, ShapeError, "indices of 3 vertices"),
        ({"weights": np.array([0.1, 0.2])}, ShapeError, "one per edge"),
        ({"weights": np.array([np.nan])}, ConventionError, "finite"),
        ({"k": -1.0}, ConventionError, "k: expected 0 or more"),
        ({"k": float("nan")}, ConventionError, "k: expected 0 or more"),
        ({"min_size": -1}, ConventionError, "min_size"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"edges": np.array([[0, 1]]), "weights": np.array([0.5]), "num_vertices": 3, "k": 1.0} | change
    with pytest.raises(error, match=message):
        segment_graph(**arguments)
