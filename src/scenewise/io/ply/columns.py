"""Columns that a reader needs, taken out of a table and free of NaN and Inf."""

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
    finite, near = np.ones(table.count, dtype=bool), np.ones(table.count, dtype=bool)
    for name in names:
        column_is_finite = np.isfinite(table.columns[name])
        if non_finite == "refuse" and not column_is_finite.all():
            row = int((~column_is_finite).argmax())
            raise DataFormatError(
                path,
                f"vertex {row}, {name}",
                expected="a finite number",
                got=f"{table.columns[name][row]} ({int((~column_is_finite).sum())} such rows)",
                fix="remove these points, for example in CloudCompare, or write the file again",
            )
        finite &= column_is_finite
        if non_finite == "drop" and name in ("x", "y", "z"):
            near &= is_near(table.columns[name])
    if (finite & near).all():
        return None
    warn_of_lost_rows(path, finite, near)
    return finite & near


def stacked_columns(table: PlyTable, names: list[str], kept: np.ndarray | None, dtype: type[np.floating]) -> np.ndarray:
    """Columns side by side [rows, columns], all rows or those kept."""
    count = table.count if kept is None else int(kept.sum())
    stacked = np.empty((count, len(names)), dtype=dtype)
    for index, name in enumerate(names):
        column = table.columns[name]
        with np.errstate(over="ignore"):
            stacked[:, index] = column if kept is None else column[kept]
    return stacked
