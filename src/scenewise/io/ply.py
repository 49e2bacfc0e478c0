"""PLY files: splats in the layout every 3D Gaussian Splatting viewer opens, and coloured points.

Splats are one ``vertex`` table of little-endian float32 columns in this order: x y z, nx ny nz (zeros), f_dc_0..2, f_rest_0..
(channel-major: all coefficients of red, then green, then blue), opacity (before the logistic function), scale_0..2 (natural
logarithms), rot_0..3 (wxyz).  That is 62 floats at SH degree 3.  Source: the files of Kerbl et al. 2023, arXiv 2308.04079.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.atomic import atomic_path
from scenewise.io.bounded import open_bounded
from scenewise.scenes.gaussians import SH_COEFFICIENTS, Gaussians
from scenewise.scenes.point_clouds import PointCloud

NonFinite = Literal["refuse", "drop"]

_MAX_HEADER_BYTES = 1 << 18  # a splat header is 1.5 kB
_ROWS_PER_WRITE = 1 << 16
_FLOAT32_ROUNDING = 2.0**-24  # largest relative error of storing a number as float32
_MAX_POSITION_ERROR = 1e-4  # world units; beyond it positions are stored as float64
_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
_TYPE_NAMES = {
    "i1": "char",
    "u1": "uchar",
    "i2": "short",
    "u2": "ushort",
    "i4": "int",
    "u4": "uint",
    "f4": "float",
    "f8": "double",
}
_BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class PlyTable:
    """The vertex table of a PLY file.

    Attributes:
        columns: values by property name, in the file's order and types (native byte order), all of length ``count``.
        comments: header lines ``comment …`` without that word.
        count: number of rows.
    """

    columns: Mapping[str, np.ndarray]
    comments: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[tuple[str, str], ...]  # (name, numpy type without byte order); type "list" for lists

    @property
    def has_list(self) -> bool:
        return any(kind == "list" for _, kind in self.properties)


@dataclass(frozen=True)
class _Header:
    byte_order: str
    is_text: bool
    elements: tuple[_Element, ...]
    comments: tuple[str, ...]


def _bad_header(path: Path, line_number: int, *, expected: str, got: object, fix: str | None = None) -> DataFormatError:
    return DataFormatError(path, f"header line {line_number}", expected=expected, got=got, fix=fix)


def _read_header(path: Path, file: BinaryIO) -> _Header:
    form: str | None = None
    elements: list[_Element] = []
    comments: list[str] = []
    bytes_read = 0
    for line_number in range(1, _MAX_HEADER_BYTES):
        raw = file.readline(_MAX_HEADER_BYTES - bytes_read + 1)
        bytes_read += len(raw)
        if bytes_read > _MAX_HEADER_BYTES or not raw.endswith(b"\n"):
            got = f"more than {_MAX_HEADER_BYTES:,} bytes" if bytes_read > _MAX_HEADER_BYTES else "the end of the file"
            raise _bad_header(
                path, line_number, expected="a header that ends with end_header", got=got, fix="is this a PLY file?"
            )
        line = raw.decode("latin-1").strip()
        words = line.split()
        if line_number == 1:
            if line != "ply":
                raise _bad_header(path, 1, expected="ply", got=repr(line[:40]), fix="name a PLY file")
            continue
        match words:
            case []:
                continue
            case ["end_header"]:
                if form is None:
                    raise _bad_header(path, line_number, expected="a format line before it", got="none")
                return _Header(_BYTE_ORDERS[form], form == "ascii", tuple(elements), tuple(comments))
            case ["comment" | "obj_info", *_]:
                if words[0] == "comment":
                    comments.append(line[len("comment") :].strip())
            case ["format", kind, _] if kind in _BYTE_ORDERS:
                form = kind
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 19:
                elements.append(_Element(name, int(count), ()))
            case ["property", "list", size, item, name] if elements and size in _TYPES and item in _TYPES:
                elements[-1] = _with_property(elements[-1], name, "list")
            case ["property", kind, name] if elements and kind in _TYPES:
                if any(name == other for other, _ in elements[-1].properties):
                    raise _bad_header(path, line_number, expected="each property once", got=f"{name} twice")
                elements[-1] = _with_property(elements[-1], name, _TYPES[kind])
            case _:
                raise _bad_header(path, line_number, expected="a format, element, property or comment line", got=repr(line[:80]))
    raise _bad_header(path, _MAX_HEADER_BYTES, expected="end_header", got="too many lines")


def _with_property(element: _Element, name: str, kind: str) -> _Element:
    return _Element(element.name, element.count, (*element.properties, (name, kind)))


def read_ply_table(path: str | Path) -> PlyTable:
    """The vertex table of an ASCII or binary PLY file; elements after it (faces) are not read.

    Raises:
        DataFormatError: not a PLY file, a damaged header, more rows promised than the file holds, list properties in or before
            the vertex table, or text that is not a number.
    """
    path = Path(path)
    with open_bounded(path) as (file, size):
        header = _read_header(path, file)
        names = [element.name for element in header.elements]
        if "vertex" not in names:
            raise DataFormatError(path, "header", expected="an element vertex", got=", ".join(names[:8]) or "no elements")
        position = names.index("vertex")
        before, vertex = header.elements[:position], header.elements[position]
        if vertex.has_list:
            name = next(name for name, kind in vertex.properties if kind == "list")
            raise DataFormatError(path, "header", expected="vertex properties with one value", got=f"the list {name}")
        if not header.is_text and any(element.has_list for element in before):
            raise DataFormatError(
                path, "header", expected="vertex before elements with lists", got="lists first", fix="write the vertices first"
            )
        columns = (
            _read_text(path, file, size, before, vertex) if header.is_text else _read_binary(path, file, size, header, position)
        )
        return PlyTable(columns, header.comments, vertex.count)


def _check_fits(path: Path, element: _Element, bytes_needed: int, bytes_left: int) -> None:
    if bytes_needed > bytes_left:
        raise DataFormatError(
            path,
            f"element {element.name}",
            expected=f"{element.count:,} rows ({bytes_needed:,} bytes)",
            got=f"{bytes_left:,} bytes in the file",
            fix="the file was cut short or its header is damaged; copy or export it again",
        )


def _read_binary(path: Path, file: BinaryIO, size: int, header: _Header, position: int) -> dict[str, np.ndarray]:
    for element in header.elements[:position]:
        row_bytes = sum(np.dtype(kind).itemsize for _, kind in element.properties)
        _check_fits(path, element, row_bytes * element.count, size - file.tell())
        file.seek(row_bytes * element.count, 1)
    vertex = header.elements[position]
    row = np.dtype([(name, header.byte_order + kind) for name, kind in vertex.properties])
    if row.itemsize == 0:
        return {}
    _check_fits(path, vertex, row.itemsize * vertex.count, size - file.tell())
    rows = np.fromfile(file, dtype=row, count=vertex.count)
    if len(rows) != vertex.count:  # the file shrank while it was read
        raise DataFormatError(path, "element vertex", expected=f"{vertex.count:,} rows", got=f"{len(rows):,}")
    return {name: rows[name].astype(kind, copy=False) for name, kind in vertex.properties}


def _read_text(path: Path, file: BinaryIO, size: int, before: tuple[_Element, ...], vertex: _Element) -> dict[str, np.ndarray]:
    width = len(vertex.properties)
    if width == 0:
        return {}
    _check_fits(path, vertex, max(0, 2 * width * vertex.count - 1), size - file.tell())
    lines = (text for line in file if (text := line.decode("latin-1").strip()))
    for element in before:
        _check_fits(path, element, element.count, size - file.tell())
        for _ in islice(lines, element.count):
            pass
    if vertex.count == 0:
        return {name: np.empty(0, kind) for name, kind in vertex.properties}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "input contained no data": told by the row count below
        try:
            values = np.loadtxt(islice(lines, vertex.count), dtype=np.float64, comments=None, ndmin=2)
        except (ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0][:120]
            raise DataFormatError(path, "element vertex", expected=f"rows of {width} numbers", got=reason) from error
    if values.shape != (vertex.count, width):
        got = f"{values.shape[0]:,} rows of {values.shape[1]}" if values.size else "no rows"
        raise DataFormatError(path, "element vertex", expected=f"{vertex.count:,} rows of {width} numbers", got=got)
    columns = {}
    for index, (name, kind) in enumerate(vertex.properties):
        column = values[:, index]
        if kind[0] != "f":
            limits = np.iinfo(kind)
            wrong = ~((column >= limits.min) & (column <= limits.max) & (column == np.floor(column)))
            if wrong.any():
                row = int(wrong.argmax())
                raise DataFormatError(path, f"vertex {row}, {name}", expected=f"an integer {_TYPE_NAMES[kind]}", got=column[row])
        with np.errstate(over="ignore"):  # too large for float32 becomes Inf, which the readers refuse by name
            columns[name] = column.astype(kind)
    return columns


def _require(path: Path, table: PlyTable, names: list[str]) -> None:
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
        path, "header", expected=f"the vertex property {missing[0]}", got=", ".join(list(table.columns)[:12]) or "none"
    )


def _keep_finite(path: Path, table: PlyTable, names: list[str], non_finite: NonFinite) -> np.ndarray | None:
    """None when all rows are finite, else (for ``drop``) the mask of finite rows."""
    finite = np.ones(table.count, dtype=bool)
    for name in names:
        column_is_finite = np.isfinite(table.columns[name])
        if non_finite == "refuse" and not column_is_finite.all():
            row = int((~column_is_finite).argmax())
            raise DataFormatError(
                path,
                f"vertex {row}, {name}",
                expected="a finite number",
                got=f"{table.columns[name][row]} ({int((~column_is_finite).sum())} such rows)",
                fix='drop these rows (non_finite="drop")',
            )
        finite &= column_is_finite
    if finite.all():
        return None
    warnings.warn(f"{path}: dropped {int((~finite).sum())} of {table.count} rows with NaN or Inf", stacklevel=3)
    return finite


def _stacked(table: PlyTable, names: list[str], kept: np.ndarray | None, dtype: type[np.floating]) -> np.ndarray:
    count = table.count if kept is None else int(kept.sum())
    stacked = np.empty((count, len(names)), dtype=dtype)
    for index, name in enumerate(names):
        column = table.columns[name]
        with np.errstate(over="ignore"):
            stacked[:, index] = column if kept is None else column[kept]
    return stacked


def read_gaussians_ply(path: str | Path, *, non_finite: NonFinite = "refuse") -> Gaussians:
    """Splats from a PLY file, float32, in the file's order and frame.

    The SH degree follows from the number of f_rest columns; columns may come in any order, further ones are ignored.

    Args:
        path: the file.
        non_finite: what to do with rows that hold NaN or Inf: refuse the file, or drop them with a warning that counts them.

    Raises:
        DataFormatError: a column is missing, the number of f_rest columns belongs to no degree from 0 to 3, or see
            :func:`read_ply_table`.
    """
    path = Path(path)
    table = read_ply_table(path)
    rest_count = sum(1 for name in table.columns if re.fullmatch(r"f_rest_\d+", name))
    if rest_count not in {3 * (count - 1) for count in SH_COEFFICIENTS.values()}:
        raise DataFormatError(path, "header", expected="0, 9, 24 or 45 f_rest columns (SH degree 0 to 3)", got=rest_count)
    names = _column_names(rest_count, with_normals=False)
    _require(path, table, names)
    kept = _keep_finite(path, table, names, non_finite)

    def stored(*columns: str) -> torch.Tensor:
        return torch.from_numpy(_stacked(table, list(columns), kept, np.float32))

    rest = stored(*[f"f_rest_{index}" for index in range(rest_count)])
    gaussians = Gaussians(
        means=stored("x", "y", "z"),
        log_scales=stored("scale_0", "scale_1", "scale_2"),
        quats=stored("rot_0", "rot_1", "rot_2", "rot_3"),
        logit_opacities=stored("opacity")[:, 0],
        sh0=stored("f_dc_0", "f_dc_1", "f_dc_2")[:, None, :],
        shN=rest.reshape(len(rest), 3, rest_count // 3).transpose(1, 2).contiguous(),
    )
    for name in ("means", "log_scales", "quats", "logit_opacities", "sh0", "shN"):  # a float64 file may overflow float32
        if not bool(torch.isfinite(getattr(gaussians, name)).all()):
            raise DataFormatError(path, name, expected="numbers that float32 can hold", got="larger ones")
    return gaussians


def gaussians_ply_size(path: str | Path) -> tuple[int, int]:
    """Number of splats in a PLY file and their SH degree, from its header alone.

    Raises:
        DataFormatError: not a PLY file of splats, or a binary file too short for what its header says.
    """
    path = Path(path)
    with open_bounded(path) as (file, size):
        header = _read_header(path, file)
        vertex = next((element for element in header.elements if element.name == "vertex"), None)
        names = [] if vertex is None else [name for name, _ in vertex.properties]
        degrees = {3 * (count - 1): degree for degree, count in SH_COEFFICIENTS.items()}
        degree = degrees.get(sum(1 for name in names if re.fullmatch(r"f_rest_\d+", name)))
        if vertex is None or degree is None or "f_dc_0" not in names or vertex.has_list:
            raise DataFormatError(path, "header", expected="the columns of splats", got=", ".join(names[:12]) or "no vertices")
        if not header.is_text:
            row_bytes = sum(np.dtype(kind).itemsize for _, kind in vertex.properties)
            _check_fits(path, vertex, row_bytes * vertex.count, size - file.tell())
    return vertex.count, degree


def gaussians_ply_bytes(count: int, sh_degree: int) -> int:
    """Exact size of the file that :func:`write_gaussians_ply` makes of so many splats."""
    names = _column_names(3 * (SH_COEFFICIENTS[sh_degree] - 1))
    return len(_header_text(count, [(name, "f4") for name in names], ())) + 4 * count * len(names)


def _column_names(rest_count: int, *, with_normals: bool = True) -> list[str]:
    return [
        *("x", "y", "z"),
        *(("nx", "ny", "nz") if with_normals else ()),
        *(f"f_dc_{index}" for index in range(3)),
        *(f"f_rest_{index}" for index in range(rest_count)),
        "opacity",
        *(f"scale_{index}" for index in range(3)),
        *(f"rot_{index}" for index in range(4)),
    ]


def refuse_non_finite(gaussians: Gaussians) -> None:
    """Raises ConventionError naming the field and row of the first NaN or Inf; nothing non-finite is ever written."""
    for name in ("means", "log_scales", "quats", "logit_opacities", "sh0", "shN"):
        values = getattr(gaussians, name)
        if not bool(torch.isfinite(values).all()):
            rows = (~torch.isfinite(values)).reshape(len(values), -1).any(dim=1)
            raise ConventionError(
                f"{name} of Gaussian {int(rows.nonzero()[0])}",
                expected="finite values",
                got=f"NaN or Inf ({int(rows.sum())} such rows)",
                fix="remove these Gaussians before writing",
            )


def write_gaussians_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Splats to a PLY file that every 3DGS viewer opens; rows keep their order, values their float32 bits.

    Raises:
        ConventionError: a value is NaN or infinite.
        ResourceError: the disk is full or the folder cannot be written; an old file stays as it was.
    """
    refuse_non_finite(gaussians)
    count, rest = len(gaussians), gaussians.shN.shape[1]

    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().to("cpu", torch.float32).numpy()

    means, log_scales, quats = array(gaussians.means), array(gaussians.log_scales), array(gaussians.quats)
    logits, sh0, shN = array(gaussians.logit_opacities), array(gaussians.sh0), array(gaussians.shN)
    names = _column_names(3 * rest)
    after_rest = 9 + 3 * rest
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_header_text(count, [(name, "f4") for name in names], ()))
        for start in range(0, count, _ROWS_PER_WRITE):
            rows = slice(start, min(start + _ROWS_PER_WRITE, count))
            block = np.zeros((rows.stop - rows.start, len(names)), dtype="<f4")
            block[:, 0:3] = means[rows]
            block[:, 6:9] = sh0[rows, 0]
            block[:, 9:after_rest].reshape(len(block), 3, rest)[...] = shN[rows].transpose(0, 2, 1)
            block[:, after_rest] = logits[rows]
            block[:, after_rest + 1 : after_rest + 4] = log_scales[rows]
            block[:, after_rest + 4 :] = quats[rows]
            file.write(block.data)


def _header_text(count: int, properties: list[tuple[str, str]], comments: tuple[str, ...]) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments), f"element vertex {count}"]
    lines += [f"property {_TYPE_NAMES[kind]} {name}" for name, kind in properties]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


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
        file.write(_header_text(len(cloud), [(name, kind) for name, kind, _ in columns], comments))
        file.write(rows.data)


def _storable(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """The PLY type that holds ``values`` exactly."""
    kind = values.dtype.kind + str(values.dtype.itemsize)
    if kind in _TYPE_NAMES:
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
    table = read_ply_table(path)
    _require(path, table, ["x", "y", "z"])
    normals = [name for name in ("nx", "ny", "nz") if name in table.columns]
    normals = normals if len(normals) == 3 else []
    kept = _keep_finite(path, table, ["x", "y", "z", *normals], non_finite)
    positions = _stacked(table, ["x", "y", "z"], kept, np.float64)
    offset = _offset(path, table.comments)
    if offset is not None:
        positions += offset
    prefix = next((prefix for prefix in ("", "diffuse_") if f"{prefix}red" in table.columns), None)
    colour_names = [] if prefix is None else [f"{prefix}{name}" for name in ("red", "green", "blue")]
    _require(path, table, colour_names)
    cloud = PointCloud(
        positions,
        _colours_u8(path, table, colour_names, kept) if colour_names else None,
        _stacked(table, normals, kept, np.float64) if normals else None,
    )
    used = {"x", "y", "z", *normals, *colour_names}
    extra = {name: values if kept is None else values[kept] for name, values in table.columns.items() if name not in used}
    return cloud, extra


def _colours_u8(path: Path, table: PlyTable, names: list[str], kept: np.ndarray | None) -> np.ndarray:
    columns = [table.columns[name] if kept is None else table.columns[name][kept] for name in names]
    kinds = {column.dtype.kind + str(column.dtype.itemsize) for column in columns}
    if kinds == {"u1"}:
        return np.stack(columns, axis=1)
    if kinds == {"u2"}:
        return (np.stack(columns, axis=1) // 257).astype(np.uint8)
    values = np.stack(columns, axis=1).astype(np.float64)
    limit = 1.0 if all(kind[0] == "f" for kind in kinds) else 255.0
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
