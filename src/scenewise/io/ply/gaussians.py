"""Splats in the layout every 3D Gaussian Splatting viewer opens."""

import re
from pathlib import Path

import numpy as np
import torch

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_path
from scenewise.io.bounded import open_bounded
from scenewise.io.ply.columns import NonFinite, require_columns, rows_to_keep, stacked_columns
from scenewise.io.ply.header import ply_header_text, read_ply_header
from scenewise.io.ply.tables import check_fits, read_ply_table
from scenewise.scenes.gaussians import SH_COEFFICIENTS, Gaussians

_ROWS_PER_WRITE = 1 << 16


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
    require_columns(path, table, names)
    kept = rows_to_keep(path, table, names, non_finite)

    def stored(*columns: str) -> torch.Tensor:
        return torch.from_numpy(stacked_columns(table, list(columns), kept, np.float32))

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
        file.write(ply_header_text(count, [(name, "f4") for name in names], ()))
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
