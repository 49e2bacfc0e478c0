"""The nearest vectors by cosine: all of them compared in memory, or LanceDB's index for tables that are too large for that.

The index was chosen by measuring 100,000 clustered vectors of 128 numbers; ``docs/scene_library.md`` has the table.  IVF_SQ
(cells, one byte per number, four times as many as asked for compared again in full) found .998 of the ten nearest after 0.8 s of
building.  Graphs (IVF_HNSW_SQ) found as many after 53 s, codes of 32 bytes (IVF_PQ) .88 after 152 s.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64

from scenewise.errors import ConventionError, ShapeError

EXACT_ROWS = 200_000
"""Up to so many rows all are compared in memory: 102 MB of 128 numbers, 15–25 ms a query on one core."""
_ROWS_AT_ONCE, _QUERIES_AT_ONCE = 65_536, 64
_ROWS_PER_CELL = 4096
_CELLS_SHARE, _LEAST_CELLS, _MOST_CELLS = 8, 20, 64  # one cell in eight is looked into, within these bounds
_COMPARED_AGAIN = 4  # times k


def unit_queries(queries: Float[np.ndarray, "q d"], dim: int) -> Float32[np.ndarray, "q d"]:
    """Queries of length 1.

    Raises:
        ShapeError: of another dimension than the library's vectors.
        ConventionError: zero, NaN or infinite.
    """
    if queries.shape[1] != dim:
        raise ShapeError("queries", expected=f"vectors of {dim} numbers, as in this library", got=queries.shape[1])
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ConventionError("queries", expected="finite vectors that are not zero", got="others")
    return (queries / lengths).astype(np.float32)


def compared(
    queries: Float32[np.ndarray, "q d"],
    vectors: Float32[np.ndarray, "n d"],
    k: int,
    rows: Int64[np.ndarray, "m"] | None = None,
) -> tuple[Int64[np.ndarray, "q k"], Float32[np.ndarray, "q k"]]:
    """The k most similar of all vectors, the most similar first, of equal ones the first.

    Args:
        queries: unit vectors.
        vectors: unit vectors; those that are zero are none and not found.
        k: how many.
        rows: which of the vectors to compare; None = all.

    Returns:
        Their rows, −1 where there are no more, and cosines, −∞ likewise.
    """
    indices = np.full((len(queries), k), -1, dtype=np.int64)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    count = len(vectors) if rows is None else len(rows)
    for first in range(0, count, _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE, count)
        here = np.arange(first, last) if rows is None else rows[first:last]
        part = vectors[first:last] if rows is None else vectors[here]
        is_none = ~part.any(axis=1)
        for query in range(0, len(queries), _QUERIES_AT_ONCE):
            asked = slice(query, query + _QUERIES_AT_ONCE)
            similar = queries[asked] @ part.T
            similar[:, is_none] = -np.inf
            found = _largest(similar, k)
            merged = np.concatenate([best[asked], np.take_along_axis(similar, found, axis=1)], axis=1)
            names = np.concatenate([indices[asked], here[found]], axis=1)
            order = np.lexsort((names, -merged), axis=1)[:, :k]
            best[asked], indices[asked] = np.take_along_axis(merged, order, axis=1), np.take_along_axis(names, order, axis=1)
    indices[np.isneginf(best)] = -1
    return indices, best


def _largest(values: Float32[np.ndarray, "q n"], k: int) -> Int64[np.ndarray, "q m"]:
    """Columns of the k largest of each row, in no order."""
    if k >= values.shape[1]:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(-values, k - 1, axis=1)[:, :k]


def looked_up(
    handle: Any, column: str, queries: Float32[np.ndarray, "q d"], k: int, where: str | None
) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"], Int32[np.ndarray, "m"], Float32[np.ndarray, "m"]]:
    """The k most similar rows of a table by its index, or by comparing all on the disk where it has none.

    Rows that the index does not know yet are compared one by one.

    Args:
        handle: of the table.
        column: its vectors.
        queries: unit vectors.
        k: how many.
        where: which rows count, in LanceDB's SQL; None = all.

    Returns:
        Number of the query, revision, row within its scene, and cosine of all that was found, by query, the most similar first.
    """
    cells = cells_of(handle.count_rows())
    probed = min(max(cells // _CELLS_SHARE, _LEAST_CELLS), _MOST_CELLS)
    nothing = np.zeros(0, dtype=np.int64)
    answers = [(nothing, nothing, nothing, nothing.astype(np.float32))]
    for first in range(0, len(queries), _QUERIES_AT_ONCE):
        asked = queries[first : first + _QUERIES_AT_ONCE]
        found = _asked(handle, column, asked, k, where, probed)
        if len(found) < k * len(asked):  # few of the rows in those cells count, or there are no more
            found = _asked(handle, column, asked, k, where, None)
        number = found.column("query_index").to_numpy() if "query_index" in found.column_names else np.zeros(len(found))
        revision, row, distance = (found.column(name).to_numpy() for name in ("revision", "row", "_distance"))
        order = np.lexsort((row, revision, distance, number))
        answers.append((number[order].astype(np.int64) + first, revision[order], row[order], (1 - distance[order])))
    numbers, revisions, rows, similar = (np.concatenate(parts) for parts in zip(*answers))
    return numbers, revisions, rows.astype(np.int32), similar.astype(np.float32)


def _asked(handle: Any, column: str, queries: Float32[np.ndarray, "q d"], k: int, where: str | None, cells: int | None) -> Any:
    """What LanceDB finds in so many cells, None = in all."""
    query = handle.search(queries[0] if len(queries) == 1 else list(queries), vector_column_name=column).distance_type("cosine")
    query = query.minimum_nprobes(_LEAST_CELLS).maximum_nprobes(0) if cells is None else query.nprobes(cells)
    query = query.refine_factor(_COMPARED_AGAIN).select(["revision", "row", "_distance"]).limit(k)
    return (query if where is None else query.where(where, prefilter=True)).to_arrow()


def cells_of(num_rows: int) -> int:
    """Cells of the index of so many rows."""
    return max(1, round(num_rows / _ROWS_PER_CELL))


def build_index(column: str, handle: Any) -> None:
    """Puts the files of a table together and builds the index of its vectors, and one of its revisions, anew."""
    from lancedb.index import BTree, IvfSq

    handle.optimize()
    handle.create_index(column, config=IvfSq(distance_type="cosine", num_partitions=cells_of(handle.count_rows())), replace=True)
    if not any(index.columns == ["revision"] for index in handle.list_indices()):
        handle.create_index("revision", config=BTree())


def num_unindexed_rows(handle: Any, column: str) -> int | None:
    """Rows that the index of a column does not know; None where there is no index."""
    found = next((index for index in handle.list_indices() if index.columns == [column]), None)
    return None if found is None else int(found.num_unindexed_rows)
