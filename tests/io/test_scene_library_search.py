"""The nearest rows of a library, in memory and by the index, beside a search that compares everything in a loop."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.library_scenes import ABOUT, DIM, OTHER_DIM, scene_rows, unit_vectors

from scenewise.errors import ConventionError, ShapeError
from scenewise.io.scene_library import searching
from scenewise.io.scene_library.records import LibraryAbout, Neighbours, SceneRows, VectorTable
from scenewise.io.scene_library.searching import compared
from scenewise.io.scene_library.store import SceneLibrary, create_library, open_library

pytest.importorskip("lancedb")
NAMES = ("attic", "bath", "cellar", "den")
TABLES: tuple[VectorTable, ...] = ("scenes", "views", "other_views", "objects", "keypoints")


def vectors_of(scene: SceneRows, table: VectorTable) -> np.ndarray:
    """What is searched of a scene, with a row of zeros where it has no vector."""
    other = scene.views.other_descriptors
    found = {
        "scenes": scene.descriptor[None],
        "views": scene.views.descriptors,
        "other_views": np.zeros((len(scene.views), OTHER_DIM)) if other is None else other,
        "objects": scene.objects.features,
        "keypoints": scene.key_points.features,
    }
    return found[table].astype(np.float16).astype(np.float64)


def nearest_by_loop(scenes: list[SceneRows], table: VectorTable, query: np.ndarray, k: int, names: tuple[str, ...]) -> list[int]:
    """Numbers of the k most similar rows; those of the scenes not named have numbers too."""
    scored, number = [], 0
    for scene in sorted(scenes, key=lambda scene: scene.facts.name):
        for vector in vectors_of(scene, table):
            if scene.facts.name in names and vector.any():
                scored.append((float(vector @ query) / float(np.linalg.norm(vector) * np.linalg.norm(query)), number))
            number += 1
    return [number for _, number in sorted(scored, key=lambda pair: -pair[0])[:k]]


@pytest.fixture(scope="module")
def scenes() -> list[SceneRows]:
    return [scene_rows(name, 1, views=4, objects=3, key_points=20 + i, other=name != "bath") for i, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, scenes: list[SceneRows]) -> Path:
    """A library with stale rows: of replaced scenes, very like those that replaced them, and of a removed one."""
    library = create_library(tmp_path_factory.mktemp("search") / "library", ABOUT)
    for scene in (*scenes[::-1], scene_rows("gone", 9)):
        library.put(replace(scene, facts=replace(scene.facts, content_hash="before")))
    for scene in scenes:
        library.put(scene)
    library.remove("gone")
    return Path(library.uri)


@pytest.fixture(scope="module", params=["in memory", "on the disk", "indexed"])
def library(request: pytest.FixtureRequest, place: Path) -> SceneLibrary:
    """The same library, searched in three ways."""
    if request.param == "in memory":
        return open_library(place)
    library = open_library(place, exact_rows=0)
    if request.param == "indexed":
        assert library.index() == ("views", "other_views", "objects", "keypoints")
        assert {state.num_unindexed_rows for what, state in library.info().tables.items() if what != "scenes"} == {0}
    return library


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("chosen", [NAMES, ("cellar", "attic"), ("bath",), ()])
def test_the_nearest_are_those_of_the_loop(
    library: SceneLibrary, scenes: list[SceneRows], table: VectorTable, chosen: tuple[str, ...]
):
    rng = np.random.Generator(np.random.PCG64(3))
    queries = 7 * unit_vectors(rng, 3, OTHER_DIM if table == "other_views" else DIM)  # any length
    found = library.nearest(table, queries, 5, scenes=None if chosen == NAMES else chosen)
    starts = np.cumsum([0, *(len(vectors_of(scene, table)) for scene in scenes)])
    for query, indices, owners, similarities in zip(queries, found.indices, found.scene_index, found.similarities):
        expected = nearest_by_loop(scenes, table, query.astype(np.float64), 5, chosen)
        assert indices.tolist() == expected + [-1] * (5 - len(expected))
        assert owners.tolist() == [int(np.searchsorted(starts, i, side="right")) - 1 if i >= 0 else -1 for i in indices]
        vectors = np.concatenate([vectors_of(scene, table) for scene in scenes])[indices[: len(expected)]]
        cosines = vectors @ query / np.linalg.norm(query) / np.linalg.norm(vectors, axis=1)
        np.testing.assert_allclose(similarities[: len(expected)], cosines, atol=2e-3)  # by the index: of float16 as it lies there
        assert np.isneginf(similarities[len(expected) :]).all()
    assert [scene.name for scene in found.scenes] == list(NAMES)


def test_no_query_has_no_answer(library: SceneLibrary):
    found = library.nearest("keypoints", np.zeros((0, DIM), np.float32), 3)
    assert found.indices.shape == (0, 3) and isinstance(found, Neighbours)


def test_many_queries_are_answered_as_one_by_one(library: SceneLibrary):
    queries = unit_vectors(np.random.Generator(np.random.PCG64(4)), 150)  # more than are asked at once
    together = library.nearest("keypoints", queries, 3)
    for number in (0, 63, 64, 149):
        alone = library.nearest("keypoints", queries[number : number + 1], 3)
        assert alone.indices[0].tolist() == together.indices[number].tolist()


def test_only_the_index_is_not_exact(place: Path):
    query = unit_vectors(np.random.Generator(np.random.PCG64(5)), 1)
    open_library(place).index(["keypoints"])
    assert open_library(place).nearest("keypoints", query, 1).is_exact
    assert open_library(place, exact_rows=70).nearest("keypoints", query, 1, scenes=["attic"]).is_exact
    assert not open_library(place, exact_rows=70).nearest("keypoints", query, 1).is_exact


def test_rows_added_after_the_index_are_found_and_swept_into_it(tmp_path: Path):
    library = create_library(tmp_path / "library", ABOUT)
    library.put(scene_rows("a", 0, key_points=300))
    small = open_library(library.uri, exact_rows=10)
    assert small.index() == ("keypoints",)
    late = scene_rows("b", 0, key_points=9)
    library.put(late)
    found = small.nearest("keypoints", late.key_points.features, 1)
    assert not found.is_exact
    assert found.indices[:, 0].tolist() == list(range(300, 309)) and found.scene_index[:, 0].tolist() == [1] * 9
    assert library.info().tables["keypoints"].num_unindexed_rows == 9
    library.compact(older_than=timedelta(0))
    assert library.info().tables["keypoints"].num_unindexed_rows == 0
    assert small.nearest("keypoints", late.key_points.features, 1).indices[:, 0].tolist() == list(range(300, 309))
    library.remove("a")  # most of what the index knows is gone
    assert small.nearest("keypoints", late.key_points.features, 2).indices[:, 0].tolist() == list(range(9))


def test_the_index_finds_nearly_all_of_the_nearest(tmp_path: Path):
    """Several cells: 9,000 vectors of 300 clusters."""
    rng = np.random.Generator(np.random.PCG64(6))
    about = LibraryAbout("random", "0", "CC0", 32)
    library = create_library(tmp_path / "library", about)
    centers = unit_vectors(rng, 300, 32)
    for number in range(3):
        cloud = centers[rng.integers(300, size=3000)] + 0.1 * rng.standard_normal((3000, 32)).astype(np.float32)
        cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
        scene = scene_rows(f"s{number}", views=0, objects=0, other=False)
        none = np.zeros((0, 32), np.float32)
        views, objects = replace(scene.views, descriptors=none), replace(scene.objects, features=none, color_shares=None)
        points = replace(
            scene.key_points,
            features=cloud,
            scores=np.ones(3000, np.float32),
            positions_in_world=np.zeros((3000, 3), np.float32),
        )
        library.put(replace(scene, fingerprint="0", descriptor=centers[0], views=views, objects=objects, key_points=points))
    library.index(["keypoints"])
    queries = centers[:60] + 0.1 * rng.standard_normal((60, 32)).astype(np.float32)
    exact = library.nearest("keypoints", queries, 10)
    indexed = open_library(library.uri, exact_rows=0).nearest("keypoints", queries, 10)
    assert exact.is_exact and not indexed.is_exact
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(exact.indices.tolist(), indexed.indices.tolist())])
    assert recall > 0.97


def test_where_few_rows_count_all_cells_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The index knows 30 cells of a scene that is gone, and one query looks into one of them."""
    for name, value in (("_ROWS_PER_CELL", 50), ("_LEAST_CELLS", 1), ("_MOST_CELLS", 1)):
        monkeypatch.setattr(searching, name, value)
    library, kept = create_library(tmp_path / "library", ABOUT), scene_rows("kept", 0, key_points=40)
    library.put(scene_rows("gone", 0, key_points=1500))
    library.put(kept)
    library.index(["keypoints"])
    queries = unit_vectors(np.random.Generator(np.random.PCG64(7)), 3)
    one_cell = open_library(library.uri, exact_rows=0).nearest("keypoints", queries, 30).indices
    assert not np.array_equal(one_cell, library.nearest("keypoints", queries, 30).indices), "the cells are as small as meant"
    library.remove("gone")
    for k in (30, 60):  # 60: there are no more
        expected, found = (from_.nearest("keypoints", queries, k) for from_ in (library, open_library(library.uri, exact_rows=0)))
        assert (found.indices >= 0).sum(axis=1).tolist() == [min(k, 40)] * 3
        np.testing.assert_allclose(found.similarities, expected.similarities, atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(0, 30),
    st.integers(1, 12),
    st.integers(1, 9),
    st.sampled_from([1, 2, 7]),
)
def test_pieces_of_any_size_give_what_sorting_gives(seed: int, q: int, n: int, k: int, at_once: int, asked: int):
    """Few different values, so that many are equal: of those the first come first."""
    rng = np.random.Generator(np.random.PCG64(seed))
    vectors = np.eye(4, dtype=np.float32)[rng.integers(4, size=n)] * rng.integers(2, size=(n, 1)).astype(np.float32)
    queries = np.round(rng.uniform(size=(q, 4)), 1).astype(np.float32)
    rows = np.sort(rng.permutation(n)[: rng.integers(n + 1)]) if rng.integers(2) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_ROWS_AT_ONCE", at_once)
        patch.setattr(searching, "_QUERIES_AT_ONCE", asked)
        indices, similarities = compared(queries, vectors, k, rows)
    for query, found, cosines in zip(queries, indices, similarities):
        among = [row for row in (range(n) if rows is None else rows) if vectors[row].any()]
        expected = sorted(among, key=lambda row: (-float(vectors[row] @ query), row))[:k]
        assert cosines[: len(expected)].tolist() == [float(vectors[row] @ query) for row in expected]
        if k >= len(among):
            assert found.tolist() == expected + [-1] * (k - len(expected))
        assert len(set(found[: len(expected)].tolist())) == len(expected) and (found[len(expected) :] == -1).all()


@pytest.mark.errors
def test_questions_that_make_no_sense_are_refused(library: SceneLibrary):
    query = np.ones((1, DIM), np.float32)
    with pytest.raises(ShapeError, match="queries: expected vectors of 8 numbers, as in this library, got 9"):
        library.nearest("keypoints", np.ones((1, DIM + 1), np.float32), 1)
    for bad in (0.0, np.nan, np.inf):
        with pytest.raises(ConventionError, match="queries: expected finite vectors that are not zero"):
            library.nearest("keypoints", np.full((1, DIM), bad, np.float32), 1)
    with pytest.raises(ConventionError, match="scenes: expected names of scenes of this library, got 'nowhere'"):
        library.nearest("keypoints", query, 1, scenes=["attic", "nowhere"])
    with pytest.raises(ConventionError, match="k: expected at least 1, got 0"):
        library.nearest("keypoints", query, 0)
    with pytest.raises(ConventionError, match="table: expected one of this library with vectors, got points"):
        library.nearest("points", query, 1)  # type: ignore[arg-type]
