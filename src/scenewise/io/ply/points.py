"""Coloured points with any further columns."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.atomic import atomic_path
from scenewise.io.ply.columns import NonFinite, require_columns, rows_to_keep, stacked_columns
from scenewise.io.ply.header import TYPE_NAMES, ply_header_text
from scenewise.io.ply.tables import PlyTable, read_ply_table
from scenewise.scenes.point_clouds import PointCloud

_FLOAT32_ROUNDING = 2.0**-24  # largest relative error of storing a number as float32
_MAX_POSITION_ERROR = 1e-4  # world units; beyond it positions are stored as float64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def write_points_ply(
    path: str | Path,
    cloud: PointCloud,
    *,
    extra: Mapping[str, np.ndarray] | None = None,
    offset: Float64[np.ndarray, "3"] | None = None,
) -> None:
    """Points to a binary PLY file: x y z, nx ny nz if known, red green blue as uchar if known, then ``extra``.

    Positions are float32 where that keeps them to 0.1 mm (in metres), else float64.  With ``offset`` they are float32 relative to
    it, and a header line ``comment offset X Y Z`` holds it; our reader adds it back, other programs show local coordinates.

    Args:
        path: the file.
        cloud: the points.
        extra: one value per point by column name, e.g. ``{"label": ids}``; integers of 64 bits are stored as 32.
        offset: what to subtract from every position.

    Raises:
        ConventionError: a position, normal or extra value is NaN or infinite, or an integer does not fit 32 bits.
        ShapeError: an extra column has another length or an unusable name.
    """
    positions = cloud.points_in_world if offset is None else cloud.points_in_world - offset
    largest = float(np.abs(positions).max(initial=0.0))
    position_type = "f8" if offset is None and largest * _FLOAT32_ROUNDING > _MAX_POSITION_ERROR else "f4"
    columns = [(name, position_type, positions[:, axis]) for axis, name in enumerate("xyz")]
    if cloud.normals_in_world is not None:
        columns += [(f"n{name}", "f4", cloud.normals_in_world[:, axis]) for axis, name in enumerate("xyz")]
    if cloud.colors_u8 is not None:
        columns += [(name, "u1", cloud.colors_u8[:, axis]) for axis, name in enumerate(("red", "green", "blue"))]
    taken = {name for name, _, _ in columns}
    for name, values in (extra or {}).items():
        if not _NAME.fullmatch(name) or name in taken:
            raise ShapeError(f"extra column {name!r}", expected="a new name of letters, digits and _", got=name)
        if values.shape != (len(cloud),):
            raise ShapeError(f"extra column {name}", expected=f"({len(cloud)},)", got=f"{values.shape}")
        columns.append((name, *_storable(name, values)))
    for name, _, values in columns:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ConventionError(
                f"{name} of point {int((~np.isfinite(values)).argmax())}", expected="a finite number", got="NaN or Inf"
            )
    rows = np.empty(len(cloud), dtype=[(name, "<" + kind) for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    comments = () if offset is None else ("offset " + " ".join(repr(float(value)) for value in offset),)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(ply_header_text(len(cloud), [(name, kind) for name, kind, _ in columns], comments))
        file.write(rows.data)


def _storable(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """The PLY type that holds ``values`` exactly."""
    kind = values.dtype.kind + str(values.dtype.itemsize)
    if kind in TYPE_NAMES:
        return kind, values
    if kind == "b1":
        return "u1", values
    if kind == "f2":
        return "f4", values
    if kind in {"i8", "u8"}:
        limits = np.iinfo(np.int32)
        if len(values) and (values.min() < limits.min or values.max() > limits.max):
            raise ConventionError(f"extra column {name}", expected="integers of 32 bits", got=f"{values.min()} to {values.max()}")
        return "i4", values
    raise ShapeError(f"extra column {name}", expected="numbers", got=f"dtype {values.dtype}")


def read_points_ply(path: str | Path, *, non_finite: NonFinite = "refuse") -> PointCloud:
    """Points of a PLY file with colours and normals where it has them; see :func:`read_points_ply_with_extra`."""
    return read_points_ply_with_extra(path, non_finite=non_finite)[0]


def read_points_ply_with_extra(path: str | Path, *, non_finite: NonFinite = "refuse") -> tuple[PointCloud, dict[str, np.ndarray]]:
    """Points of a PLY file and its further columns by name.

    Colours are red green blue (or diffuse_red …) as uchar, ushort, or floats in [0, 1].

    Raises:
        DataFormatError: no positions, colours outside their range, a damaged offset line, or see :func:`read_ply_table`.
    """
    path = Path(path)
    table = _in_small_letters(read_ply_table(path))
    require_columns(path, table, ["x", "y", "z"])
    normals = [name for name in ("nx", "ny", "nz") if name in table.columns]
    normals = normals if len(normals) == 3 else []
    kept = rows_to_keep(path, table, ["x", "y", "z", *normals], non_finite)
    positions = stacked_columns(table, ["x", "y", "z"], kept, np.float64)
    offset = _offset(path, table.comments)
    if offset is not None:
        positions += offset
    prefix = next((prefix for prefix in ("", "diffuse_") if f"{prefix}red" in table.columns), None)
    colour_names = [] if prefix is None else [f"{prefix}{name}" for name in ("red", "green", "blue")]
    require_columns(path, table, colour_names)
    cloud = PointCloud(
        positions,
        _colours_u8(path, table, colour_names, kept) if colour_names else None,
        stacked_columns(table, normals, kept, np.float64) if normals else None,
        None if kept is None else np.flatnonzero(kept),
    )
    used = {"x", "y", "z", *normals, *colour_names}
    extra = {name: values if kept is None else values[kept] for name, values in table.columns.items() if name not in used}
    return cloud, extra


def _in_small_letters(table: PlyTable) -> PlyTable:
    """The table with positions, normals and colours under their usual names where a tool wrote X, Y, Z or Red, Green, Blue."""
    known = {"x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"}
    names = {name: name.lower() for name in table.columns if name.lower() in known and name.lower() not in table.columns}
    if not names or len(set(names.values())) < len(names):
        return table
    return replace(table, columns={names.get(name, name): values for name, values in table.columns.items()})


def _colours_u8(path: Path, table: PlyTable, names: list[str], kept: np.ndarray | None) -> np.ndarray:
    columns = [table.columns[name] if kept is None else table.columns[name][kept] for name in names]
    kinds = {column.dtype.kind + str(column.dtype.itemsize) for column in columns}
    if kinds == {"u1"}:
        return np.stack(columns, axis=1)
    if kinds == {"u2"}:
        return (np.stack(columns, axis=1) // 257).astype(np.uint8)
    values = np.stack(columns, axis=1).astype(np.float64)
    are_floats = all(kind[0] == "f" for kind in kinds)
    # Some tools store bytes as floats: whole numbers beyond 1 are such.
    are_bytes = len(values) > 0 and bool(values.max() > 1) and bool((values == np.rint(values)).all())
    limit = 1.0 if are_floats and not are_bytes else 255.0
    if len(values) and not (values.min() >= 0 and values.max() <= limit):  # false for NaN too
        raise DataFormatError(
            path, ", ".join(names), expected=f"colours from 0 to {limit:g}", got=f"{values.min():g} to {values.max():g}"
        )
    return (values * (255.0 / limit) + 0.5).astype(np.uint8)


def _offset(path: Path, comments: tuple[str, ...]) -> np.ndarray | None:
    lines = [comment for comment in comments if comment.split()[:1] == ["offset"]]
    if not lines:
        return None
    try:
        offset = np.array([float(word) for word in lines[0].split()[1:]])
    except ValueError:
        offset = np.empty(0)
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise DataFormatError(path, "comment offset", expected="three finite numbers", got=lines[0][:80])
    return offset
