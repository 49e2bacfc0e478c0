"""Splats in the layout every 3D Gaussian Splatting viewer opens."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.atomic import atomic_path
from scenewise.io.bounded import open_bounded
from scenewise.io.finite_points import warn_of_lost_rows
from scenewise.io.ply.columns import NonFinite, finite_and_near, refuse_non_finite_rows, require_columns, stacked_columns
from scenewise.io.ply.header import ply_header_text, read_ply_header
from scenewise.io.ply.tables import PlyTable, check_fits, read_ply_table_blocks
from scenewise.scenes.gaussians import SH_COEFFICIENTS, GaussianRows, Gaussians

ROWS_PER_BLOCK = 1 << 16
"""Rows of a splat file that are in memory at a time where not all need to be."""

_FIELDS = tuple(field.name for field in fields(Gaussians))
_DIGITS = 19  # of the largest count that our reader takes


def read_gaussians_ply(path: str | Path, *, non_finite: NonFinite = "refuse") -> Gaussians:
    """Splats from a PLY file, float32, in the file's order and frame.

    The SH degree follows from the number of f_rest columns; columns may come in any order, further ones are ignored.  Beside the
    splats one block of the file's rows is in memory.

    Args:
        path: the file.
        non_finite: what to do with rows that hold NaN or Inf: refuse the file, or drop them with a warning that counts them.

    Raises:
        DataFormatError: a column is missing, the number of f_rest columns belongs to no degree from 0 to 3, or see
            :func:`read_ply_table`.
    """
    path = Path(path)
    parts = _kept_rows(path, ROWS_PER_BLOCK, non_finite)
    table, kept = next(parts)  # an empty table is one block too
    blocks = (_gaussians_of(path, table, kept) for table, kept in chain([(table, kept)], parts))
    return _in_memory(blocks, table.file_rows)


def _in_memory(blocks: Iterable[Gaussians], most: int) -> Gaussians:
    """Blocks, of which there is at least one and which have ``most`` rows at most, one after another; none is there twice."""
    whole: Gaussians | None = None
    filled = 0
    for block in blocks:
        if whole is None:
            whole = Gaussians(**{name: torch.empty(most, *getattr(block, name).shape[1:]) for name in _FIELDS})
        for name in _FIELDS:
            getattr(whole, name)[filled : filled + len(block)] = getattr(block, name)
        filled += len(block)
    assert whole is not None
    return whole if filled == most else Gaussians(**{name: getattr(whole, name)[:filled].clone() for name in _FIELDS})


@dataclass(frozen=True)
class GaussiansOnDisk:
    """Splats of a PLY file that are read block by block, as often as asked, and never all at once.

    Attributes:
        path: the file.
        count: number of splats.
        sh_degree: of what is read; coefficients that the file has beyond it are left out.
    """

    path: Path
    count: int
    sh_degree: int

    def __len__(self) -> int:
        return self.count

    def with_sh_degree(self, degree: int) -> "GaussiansOnDisk":
        """The same with another degree: higher coefficients dropped, or zeros added."""
        return replace(self, sh_degree=degree)

    def in_memory(self) -> Gaussians:
        """All of them, read now; errors as in :func:`read_gaussians_ply`."""
        return _in_memory(self.blocks(ROWS_PER_BLOCK), self.count)

    def blocks(self, rows: int) -> Iterator[Gaussians]:
        """``rows`` consecutive splats at a time; errors as in :func:`read_gaussians_ply`, when the damaged block is reached."""
        for table, kept in _kept_rows(self.path, rows, "refuse"):
            yield _gaussians_of(self.path, table, kept).with_sh_degree(self.sh_degree)


def open_gaussians_ply(path: str | Path) -> GaussiansOnDisk:
    """The splats of a PLY file without reading them; errors as in :func:`gaussians_ply_size`."""
    return GaussiansOnDisk(Path(path), *gaussians_ply_size(path))


def _kept_rows(path: Path, rows: int, non_finite: NonFinite) -> Iterator[tuple[PlyTable, np.ndarray | None]]:
    """Blocks of a splat file, each with the mask of the rows that stay (None for all)."""
    tables = read_ply_table_blocks(path, rows)
    masks = []
    for table in tables:
        names = _column_names(_rest_count(path, table), with_normals=False)
        require_columns(path, table, names)
        if non_finite == "refuse":
            refuse_non_finite_rows(path, table, names, following=tables)
            yield table, None
            continue
        finite, near = finite_and_near(table, names)
        masks.append((finite, near))
        yield table, None if (finite & near).all() else finite & near
    finite, near = (np.concatenate(parts) for parts in zip(*masks)) if masks else (np.ones(0, bool), np.ones(0, bool))
    if not (finite & near).all():
        warn_of_lost_rows(path, finite, near)


def _rest_count(path: Path, table: PlyTable) -> int:
    rest_count = sum(1 for name in table.columns if re.fullmatch(r"f_rest_\d+", name))
    if rest_count not in {3 * (count - 1) for count in SH_COEFFICIENTS.values()}:
        raise DataFormatError(path, "header", expected="0, 9, 24 or 45 f_rest columns (SH degree 0 to 3)", got=rest_count)
    return rest_count


def _gaussians_of(path: Path, table: PlyTable, kept: np.ndarray | None) -> Gaussians:
    """The rows of a block that stay."""
    rest_count = _rest_count(path, table)

    def stored(field: str, *columns: str) -> torch.Tensor:
        values = stacked_columns(table, list(columns), kept, np.float32)
        if not np.isfinite(values).all():  # a float64 file may overflow float32
            raise DataFormatError(path, field, expected="numbers that float32 can hold", got="larger ones")
        return torch.from_numpy(values)

    rest = stored("shN", *[f"f_rest_{index}" for index in range(rest_count)])
    return Gaussians(
        means=stored("means", "x", "y", "z"),
        log_scales=stored("log_scales", "scale_0", "scale_1", "scale_2"),
        quats=stored("quats", "rot_0", "rot_1", "rot_2", "rot_3"),
        logit_opacities=stored("logit_opacities", "opacity")[:, 0],
        sh0=stored("sh0", "f_dc_0", "f_dc_1", "f_dc_2")[:, None, :],
        shN=rest.reshape(len(rest), 3, rest_count // 3).transpose(1, 2).contiguous(),
    )


def gaussians_ply_size(path: str | Path) -> tuple[int, int]:
    """Number of splats in a PLY file and their SH degree, from its header alone.

    Raises:
        DataFormatError: not a PLY file of splats, or a binary file too short for what its header says.
    """
    path = Path(path)
    with open_bounded(path) as (file, size):
        header = read_ply_header(path, file)
        vertex = next((element for element in header.elements if element.name == "vertex"), None)
        names = [] if vertex is None else [name for name, _ in vertex.properties]
        degrees = {3 * (count - 1): degree for degree, count in SH_COEFFICIENTS.items()}
        degree = degrees.get(sum(1 for name in names if re.fullmatch(r"f_rest_\d+", name)))
        if vertex is None or degree is None or "f_dc_0" not in names or vertex.has_list:
            raise DataFormatError(path, "header", expected="the columns of splats", got=", ".join(names[:12]) or "no vertices")
        if not header.is_text:
            row_bytes = sum(np.dtype(kind).itemsize for _, kind in vertex.properties)
            check_fits(path, vertex, row_bytes * vertex.count, size - file.tell())
    return vertex.count, degree


def gaussians_ply_bytes(count: int, sh_degree: int) -> int:
    """Exact size of the file that :func:`write_gaussians_ply` makes of so many splats."""
    names = _column_names(3 * (SH_COEFFICIENTS[sh_degree] - 1))
    return len(ply_header_text(count, [(name, "f4") for name in names], ())) + 4 * count * len(names)


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


def float32_array(tensor: torch.Tensor) -> np.ndarray:
    """Values as files hold them; the tensor's own memory where it is float32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32).numpy()


def finite_blocks(blocks: Iterable[Gaussians]) -> Iterator[Gaussians]:
    """The blocks one after another; at their end they are refused where a value was NaN or infinite.

    Raises:
        ConventionError: one was; the message names the field and the row of the first, and counts them.
    """
    first, found = dict.fromkeys(_FIELDS, -1), dict.fromkeys(_FIELDS, 0)
    start = 0
    for block in blocks:
        for name in _FIELDS:
            is_finite = np.isfinite(float32_array(getattr(block, name)))
            if is_finite.all():
                continue
            rows = (~is_finite).reshape(len(block), -1).any(axis=1)
            first[name] = start + int(rows.argmax()) if first[name] < 0 else first[name]
            found[name] += int(rows.sum())
        yield block
        start += len(block)
    for name in _FIELDS:
        if found[name]:
            raise ConventionError(
                f"{name} of Gaussian {first[name]}",
                expected="finite values",
                got=f"NaN or Inf ({found[name]} such rows)",
                fix="remove these Gaussians",
            )


def write_gaussians_ply(path: str | Path, gaussians: GaussianRows) -> None:
    """Splats to a PLY file that every 3DGS viewer opens; rows keep their order, values their float32 bits.

    Raises:
        ConventionError: a value is NaN or infinite; nothing non-finite is ever written.
        ResourceError: the disk is full or the folder cannot be written; an old file stays as it was.
    """
    for _ in finite_blocks(gaussians.blocks(ROWS_PER_BLOCK)):  # before the disk is touched
        pass
    _write_blocks(path, gaussians.blocks(ROWS_PER_BLOCK), gaussians.sh_degree, len(gaussians))


def write_gaussians_ply_blocks(
    path: str | Path, blocks: Iterable[Gaussians], *, sh_degree: int | None = None, count: int | None = None
) -> None:
    """Splats that come block by block, such as those of several files, to one PLY file; one block is in memory at a time.

    Args:
        path: the file.
        blocks: gone through once.  Those of a lower degree get zeros for the coefficients that they lack.
        sh_degree: of the file; None for that of the first block, 0 where there is none.
        count: number of splats where it is known; the file is then that of :func:`write_gaussians_ply`, bit by bit.  Otherwise
            a comment in its header keeps room for the number.

    Raises:
        ShapeError: a block has a higher degree than the file, or there are not ``count`` splats.
        ConventionError: a value is NaN or infinite.
        ResourceError: the disk is full or the folder cannot be written; an old file stays as it was.
    """
    _write_blocks(path, finite_blocks(blocks), sh_degree, count)


def _write_blocks(path: str | Path, blocks: Iterable[Gaussians], sh_degree: int | None, count: int | None) -> None:
    blocks = iter(blocks)
    first = next(blocks, None)
    degree = sh_degree if sh_degree is not None else 0 if first is None else first.sh_degree
    names = _column_names(3 * (SH_COEFFICIENTS[degree] - 1))
    written = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_header(names, count or 0, is_known=count is not None))
        while first is not None:
            for block in first.blocks(ROWS_PER_BLOCK):  # however large the blocks are that come
                file.write(_rows_of(block, degree, written, len(names)).data)
                written += len(block)
            first = next(blocks, None)
        if count is None:
            file.seek(0)
            file.write(_header(names, written, is_known=False))
        elif count != written:
            raise ShapeError("blocks", expected=f"{count:,} Gaussians in all", got=f"{written:,}")


def _header(names: list[str], count: int, *, is_known: bool) -> bytes:
    """As long for every number, where it is not known from the start."""
    room = () if is_known else ("." * (1 + _DIGITS - len(str(count))),)
    return ply_header_text(count, [(name, "f4") for name in names], room)


def _rows_of(block: Gaussians, degree: int, first_row: int, width: int) -> np.ndarray:
    if block.sh_degree > degree:
        raise ShapeError(
            f"blocks (from Gaussian {first_row:,} on)",
            expected=f"SH degree {degree} or lower",
            got=block.sh_degree,
            fix="give the highest degree as sh_degree",
        )
    rest, own, after_rest = SH_COEFFICIENTS[degree] - 1, block.shN.shape[1], width - 8
    rows = np.zeros((len(block), width), dtype="<f4")
    rows[:, 0:3] = float32_array(block.means)
    rows[:, 6:9] = float32_array(block.sh0)[:, 0]
    rows[:, 9:after_rest].reshape(len(block), 3, rest)[:, :, :own] = float32_array(block.shN).transpose(0, 2, 1)
    rows[:, after_rest] = float32_array(block.logit_opacities)
    rows[:, after_rest + 1 : after_rest + 4] = float32_array(block.log_scales)
    rows[:, after_rest + 4 :] = float32_array(block.quats)
    return rows
