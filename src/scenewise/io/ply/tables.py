"""The vertex table of PLY files, whatever its columns are."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.ply.header import TYPE_NAMES, PlyElement, PlyHeader, read_ply_header


@dataclass(frozen=True)
class PlyTable:
    """The vertex table of a PLY file, or a block of its rows.

    Attributes:
        columns: values by property name, in the file's order and types (native byte order), all of length ``count``.
        comments: header lines ``comment …`` without that word.
        count: number of rows.
        first_row: row of the file that row 0 is.
        file_rows: rows of the whole table.
    """

    columns: Mapping[str, np.ndarray]
    comments: tuple[str, ...]
    count: int
    first_row: int
    file_rows: int


def read_ply_table(path: str | Path) -> PlyTable:
    """The vertex table of an ASCII or binary PLY file; elements after it (faces) are not read.

    Raises:
        DataFormatError: not a PLY file, a damaged header, more rows promised than the file holds, list properties in or before
            the vertex table, or text that is not a number.
    """
    (table,) = _blocks(Path(path), None)
    return table


def read_ply_table_blocks(path: str | Path, rows: int) -> Iterator[PlyTable]:
    """The vertex table in blocks of ``rows`` rows (the last one may have fewer), one of them in memory at a time.

    An empty table is one block without rows.  Errors as in :func:`read_ply_table`, when the first block or the damaged one is
    asked for.
    """
    return _blocks(Path(path), rows)


def _blocks(path: Path, rows: int | None) -> Iterator[PlyTable]:
    with open_bounded(path) as (file, size):
        header = read_ply_header(path, file)
        position = _vertex_position(path, header)
        before, vertex = header.elements[:position], header.elements[position]
        step = max(1, vertex.count) if rows is None else rows
        if header.is_text:
            parts = _read_text(path, file, size, before, vertex, step)
        else:
            parts = _read_binary(path, file, size, header, position, step)
        for index, columns in enumerate(parts):
            count = min(step, vertex.count - index * step) if vertex.properties else vertex.count
            yield PlyTable(columns, header.comments, count, index * step, vertex.count)


def _vertex_position(path: Path, header: PlyHeader) -> int:
    """Which element the vertices are; refuses what stands in the way of reading them."""
    names = [element.name for element in header.elements]
    if "vertex" not in names:
        got = ", ".join(names[:8]) or "no elements"
        raise DataFormatError(path, "header", expected="an element vertex", got=got, fix="name a file with points")
    position = names.index("vertex")
    vertex = header.elements[position]
    if vertex.has_list:
        name = next(name for name, kind in vertex.properties if kind == "list")
        raise DataFormatError(
            path,
            "header",
            expected="vertex properties with one value",
            got=f"the list {name}",
            fix="write the points without it, for example with CloudCompare",
        )
    if not header.is_text and any(element.has_list for element in header.elements[:position]):
        raise DataFormatError(
            path, "header", expected="vertex before elements with lists", got="lists first", fix="write the vertices first"
        )
    return position


def check_fits(path: Path, element: PlyElement, bytes_needed: int, bytes_left: int) -> None:
    """Refuses an element that promises more bytes than are left in the file.

    Raises:
        DataFormatError: it does.
    """
    if bytes_needed > bytes_left:
        raise DataFormatError(
            path,
            f"element {element.name}",
            expected=f"{element.count:,} rows ({bytes_needed:,} bytes)",
            got=f"{bytes_left:,} bytes in the file",
            fix="the file was cut short or its header is damaged; copy or export it again",
        )


def _row_counts(count: int, step: int) -> list[int]:
    return [min(step, count - start) for start in range(0, count, step)] or [0]


def _read_binary(
    path: Path, file: BinaryIO, size: int, header: PlyHeader, position: int, step: int
) -> Iterator[dict[str, np.ndarray]]:
    for element in header.elements[:position]:
        row_bytes = sum(np.dtype(kind).itemsize for _, kind in element.properties)
        check_fits(path, element, row_bytes * element.count, size - file.tell())
        file.seek(row_bytes * element.count, 1)
    vertex = header.elements[position]
    if not vertex.properties:
        yield {}
        return
    row = np.dtype([(name, header.byte_order + kind) for name, kind in vertex.properties])
    check_fits(path, vertex, row.itemsize * vertex.count, size - file.tell())
    found = 0
    for count in _row_counts(vertex.count, step):
        rows = np.fromfile(file, dtype=row, count=count)
        found += len(rows)
        if len(rows) != count:  # the file shrank while it was read
            raise DataFormatError(path, "element vertex", expected=f"{vertex.count:,} rows", got=f"{found:,}")
        yield {name: rows[name].astype(kind, copy=False) for name, kind in vertex.properties}


def _read_text(
    path: Path, file: BinaryIO, size: int, before: tuple[PlyElement, ...], vertex: PlyElement, step: int
) -> Iterator[dict[str, np.ndarray]]:
    width = len(vertex.properties)
    if width == 0:
        yield {}
        return
    check_fits(path, vertex, max(0, 2 * width * vertex.count - 1), size - file.tell())
    lines = (text for line in file if (text := line.decode("latin-1").strip()))
    for element in before:
        check_fits(path, element, element.count, size - file.tell())
        for _ in islice(lines, element.count):
            pass
    if vertex.count == 0:
        yield {name: np.empty(0, kind) for name, kind in vertex.properties}
        return
    first = 0
    for count in _row_counts(vertex.count, step):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "input contained no data": told by the row count below
            try:
                values = np.loadtxt(islice(lines, count), dtype=np.float64, comments=None, ndmin=2)
            except (ValueError, OverflowError) as error:
                reason = str(error).splitlines()[0][:120]
                raise DataFormatError(
                    path, "element vertex", expected=f"rows of {width} numbers", got=reason, fix="write the file again"
                ) from error
        if values.shape != (count, width):
            got = (
                f"{first + len(values):,} rows of {values.shape[1]}" if values.size else f"{first:,} rows" if first else "no rows"
            )
            expected = f"{vertex.count:,} rows of {width} numbers"
            fix = "copy the file again, or write it again"
            raise DataFormatError(path, "element vertex", expected=expected, got=got, fix=fix)
        yield {
            name: _stored_as(path, name, kind, values[:, index], first) for index, (name, kind) in enumerate(vertex.properties)
        }
        first += count


def _stored_as(path: Path, name: str, kind: str, column: np.ndarray, first_row: int) -> np.ndarray:
    """Numbers that were read from text, in the type that the header names."""
    if kind[0] != "f":
        limits = np.iinfo(kind)
        wrong = ~((column >= limits.min) & (column <= limits.max) & (column == np.floor(column)))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataFormatError(
                path, f"vertex {first_row + row}, {name}", expected=f"an integer {TYPE_NAMES.get(kind, kind)}", got=column[row]
            )
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32 becomes Inf, which readers refuse by name
        return column.astype(kind)
