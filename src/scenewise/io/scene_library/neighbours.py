"""Nearest rows of a library: which way of searching, and what the rows found are called."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.errors import ConventionError
from scenewise.io.scene_library.reading import Snapshot, vectors_of_scenes
from scenewise.io.scene_library.records import Neighbours, VectorTable
from scenewise.io.scene_library.schema import SCENES, VECTOR_COLUMNS, RowTable
from scenewise.io.scene_library.searching import compared, looked_up, num_unindexed_rows
from scenewise.io.scene_library.tables import LibraryTables

_STALE_AT_MOST = 1000  # revisions in one condition


def nearest_rows(
    tables: LibraryTables,
    snapshot: Snapshot,
    table: VectorTable,
    queries: Float32[np.ndarray, "q d"],
    k: int,
    *,
    scenes: Collection[str] | None,
    exact_rows: int,
    all_vectors: Callable[[], Float32[np.ndarray, "n d"]],
) -> Neighbours:
    """See :meth:`scenewise.io.scene_library.store.SceneLibrary.nearest`.

    Args:
        tables: of the library.
        snapshot: its list of scenes.
        table: what is searched.
        queries: unit vectors.
        k: how many of each.
        scenes: names of those to search; None = all.
        exact_rows: up to so many are compared one by one.
        all_vectors: the table's unit vectors, in the order of the scenes.
    """
    name, column = VECTOR_COLUMNS[table]
    starts = np.arange(len(snapshot.scenes) + 1, dtype=np.int64) if name == SCENES else snapshot.starts(name)
    chosen = _chosen(snapshot, scenes)
    rows = None if chosen is None else np.concatenate([np.arange(starts[s], starts[s + 1]) for s in chosen] or [starts[:0]])
    is_exact = True
    if name == SCENES or int(starts[-1]) <= exact_rows:
        indices, similarities = compared(queries, all_vectors(), k, rows)
    elif rows is not None and len(rows) <= exact_rows:
        part = Snapshot(snapshot.version, tuple(snapshot.scenes[s] for s in chosen or ()))
        vectors = vectors_of_scenes(tables.rows(name), part, table, tables.about) if len(rows) else np.zeros_like(queries[:0])
        within, similarities = compared(queries, vectors, k)
        indices = np.where(within >= 0, rows[within] if len(rows) else -1, -1)
    else:
        handle = tables.rows(name)
        assert handle is not None, "there are more rows than are compared in memory"
        where = _condition(tables, handle, name, snapshot, chosen)
        found = looked_up(handle, column, queries, k, where)
        indices, similarities = _placed(snapshot, name, found, (len(queries), k))
        is_exact = num_unindexed_rows(handle, column) is None
    owner = np.searchsorted(starts, indices, side="right") - 1
    owner = np.where(indices >= 0, owner, -1).astype(np.int32)
    return Neighbours(indices, owner, similarities, snapshot.scenes, is_exact)


def _chosen(snapshot: Snapshot, names: Collection[str] | None) -> list[int] | None:
    """Numbers of the named scenes; None = all."""
    if names is None:
        return None
    number = {scene.name: index for index, scene in enumerate(snapshot.scenes)}
    unknown = sorted(set(names) - set(number))
    if unknown:
        raise ConventionError("scenes", expected="names of scenes of this library", got=repr(unknown[0]))
    return sorted({number[name] for name in names})


def _condition(tables: LibraryTables, handle: Any, name: RowTable, snapshot: Snapshot, chosen: list[int] | None) -> str | None:
    """Which rows of a table count; None = all."""
    if chosen is not None:
        return f"revision IN ({', '.join(str(snapshot.scenes[s].revision) for s in chosen)})"
    stale = tables.stale_revisions(name, handle, snapshot)
    if len(stale) <= _STALE_AT_MOST:
        return f"revision NOT IN ({', '.join(map(str, stale))})" if stale else None
    return f"revision IN ({', '.join(map(str, snapshot.revisions.tolist()))})"


def _placed(
    snapshot: Snapshot, table: RowTable, found: tuple[np.ndarray, ...], shape: tuple[int, int]
) -> tuple[Int64[np.ndarray, "q k"], Float32[np.ndarray, "q k"]]:
    """Rows that were looked up, as rows of the whole, in a line per query."""
    numbers, revisions, rows, similar = found
    places = snapshot.places(table, revisions, rows)
    is_live = places >= 0  # a writer may have begun since the condition was made
    numbers, places, similar = numbers[is_live], places[is_live], similar[is_live]
    rank = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
    indices = np.full(shape, -1, dtype=np.int64)
    similarities = np.full(shape, -np.inf, dtype=np.float32)
    indices[numbers, rank], similarities[numbers, rank] = places, similar
    return indices, similarities
