"""Columns that a reader needs, taken out of a table and free of NaN and Inf."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.io.finite_points import is_near, warn_of_lost_rows
from scenewise.io.ply.tables import PlyTable

NonFinite = Literal["refuse", "drop"]
"""What to do with rows that hold NaN or Inf: refuse the file, or drop them with a warning that counts them."""


def require_columns(path: Path, table: PlyTable, names: list[str]) -> None:
    """Refuses a table that lacks one of these columns.

    Raises:
        DataFormatError: one is missing.
    """
    missing = [name for name in names if name not in table.columns]
    if not missing:
        return
    if any(name.startswith("packed_") for name in table.columns):
        raise DataFormatError(
            path,
            "header",
            expected="plain splat columns",
            got="a compressed PLY",
            fix="convert it to a plain .ply with splat-transform",
        )
    raise DataFormatError(
        path,
        "header",
        expected=f"the vertex property {missing[0]}",
        got=", ".join(list(table.columns)[:12]) or "none",
        fix="name a file that has it",
    )


def rows_to_keep(path: Path, table: PlyTable, names: list[str], non_finite: NonFinite) -> np.ndarray | None:
    """None when all rows can stay, else (for ``drop``) the mask of those that do: finite, and positions not beyond every scene.

    Raises:
        DataFormatError: with ``refuse``, a row that is not finite.
    """
    if non_finite == "refuse":
        refuse_non_finite_rows(path, table, names)
        return None
    finite, near = finite_and_near(table, names)
    if (finite & near).all():
        return None
    warn_of_lost_rows(path, finite, near)
    return finite & near


def refuse_non_finite_rows(path: Path, table: PlyTable, names: list[str], following: Iterable[PlyTable] = ()) -> None:
    """Refuses a table with a row that is not finite in one of these columns.

    Args:
        path: the file, for the message.
        table: the table, or a block of its rows.
        names: columns to look at.
        following: blocks after this one, whose rows the message counts too; not asked for where this one is finite.

    Raises:
        DataFormatError: there is one; the message names the first row and counts them.
    """
    for name in names:
        is_finite = np.isfinite(table.columns[name])
        if is_finite.all():
            continue
        row = int((~is_finite).argmax())
        count = int((~is_finite).sum()) + sum(int((~np.isfinite(later.columns[name])).sum()) for later in following)
        raise DataFormatError(
            path,
            f"vertex {table.first_row + row}, {name}",
            expected="a finite number",
            got=f"{table.columns[name][row]} ({count} such rows)",
            fix="remove these points, for example in CloudCompare, or write the file again",
        )


def finite_and_near(table: PlyTable, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows that are finite in these columns, and of those whose position is not beyond every scene."""
    finite, near = np.ones(table.count, dtype=bool), np.ones(table.count, dtype=bool)
    for name in names:
        finite &= np.isfinite(table.columns[name])
        if name in ("x", "y", "z"):
            near &= is_near(table.columns[name])
    return finite, near


def stacked_columns(table: PlyTable, names: list[str], kept: np.ndarray | None, dtype: type[np.floating]) -> np.ndarray:
    """Columns side by side [rows, columns], all rows or those kept."""
    count = table.count if kept is None else int(kept.sum())
    stacked = np.empty((count, len(names)), dtype=dtype)
    for index, name in enumerate(names):
        column = table.columns[name]
        with np.errstate(over="ignore"):
            stacked[:, index] = column if kept is None else column[kept]
    return stacked
