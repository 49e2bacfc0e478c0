"""Neural anchors in the layout of Scaffold-GS.

Columns: ``x y z nx ny nz``, ``f_offset_*`` (all children's x, then y, then z), ``f_anchor_feat_*``, ``opacity``, ``scale_0`` …
``scale_5`` (logarithms), ``rot_0`` … ``rot_3``; normals are zeros, opacity and rotation are never used.  Source: released code of
Lu et al. 2024, arXiv 2312.00109.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_path
from scenewise.io.ply.columns import require_columns, rows_to_keep, stacked_columns
from scenewise.io.ply.header import ply_header_text
from scenewise.io.ply.tables import read_ply_table
from scenewise.scenes.anchors import Anchors

_ROWS_PER_WRITE = 1 << 15
_UNUSED_OPACITY = math.log(0.1 / 0.9)


def _column_names(slots: int, channels: int) -> list[str]:
    return [
        *("x", "y", "z", "nx", "ny", "nz"),
        *(f"f_offset_{index}" for index in range(3 * slots)),
        *(f"f_anchor_feat_{index}" for index in range(channels)),
        "opacity",
        *(f"scale_{index}" for index in range(6)),
        *(f"rot_{index}" for index in range(4)),
    ]


def anchors_ply_bytes(count: int, slots: int, channels: int) -> int:
    """Exact size of the file that :func:`write_anchors_ply` makes of so many anchors."""
    names = _column_names(slots, channels)
    return len(ply_header_text(count, [(name, "f4") for name in names], ())) + 4 * count * len(names)


def write_anchors_ply(path: str | Path, parts: Iterable[Anchors], count: int) -> None:
    """Anchors to a PLY file, part by part, so that only one part needs to be in memory.

    Args:
        path: the file.
        parts: sets of anchors with as many children and channels each; at least one.
        count: how many anchors they have together.

    Raises:
        ConventionError: a value is NaN or infinite, or the parts do not fit.
        ResourceError: the disk is full or the folder cannot be written; an old file stays as it was.
    """
    written, shape = 0, None
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            if shape is None:
                shape = (part.slots, part.channels)
                names = _column_names(*shape)
                file.write(ply_header_text(count, [(name, "f4") for name in names], ()))
            if (part.slots, part.channels) != shape:
                raise ConventionError("anchors", expected=f"children and channels {shape}", got=(part.slots, part.channels))
            for start in range(0, len(part), _ROWS_PER_WRITE):
                file.write(_rows(part.select(torch.arange(start, min(len(part), start + _ROWS_PER_WRITE)))).data)
            written += len(part)
        if shape is None or written != count:
            raise ConventionError("anchors", expected=f"{count:,} in at least one part", got=f"{written:,}")


def _rows(part: Anchors) -> np.ndarray:
    values = {name: getattr(part, name).detach().cpu().to(torch.float32).numpy() for name in vars(part)}
    for name, array in values.items():
        if not np.isfinite(array).all():
            raise ConventionError(f"{name} of anchors", expected="finite values", got="NaN or Inf")
    n, slots, channels = len(part), part.slots, part.channels
    block = np.zeros((n, len(_column_names(slots, channels))), dtype="<f4")
    block[:, :3] = values["positions"]
    block[:, 6 : 6 + 3 * slots] = values["offsets"].transpose(0, 2, 1).reshape(n, -1)
    after = 6 + 3 * slots + channels
    block[:, 6 + 3 * slots : after] = values["features"]
    block[:, after] = _UNUSED_OPACITY
    block[:, after + 1 : after + 7] = values["log_scales"]
    block[:, after + 7] = 1.0
    return block


def read_anchors_ply(path: str | Path) -> Anchors:
    """Anchors from a PLY file, in the file's order; children and channels follow from its columns.

    Raises:
        DataFormatError: a column is missing, values are not finite, or see :func:`read_ply_table`.
    """
    path = Path(path)
    table = read_ply_table(path)
    offsets = sum(1 for name in table.columns if re.fullmatch(r"f_offset_\d+", name))
    channels = sum(1 for name in table.columns if re.fullmatch(r"f_anchor_feat_\d+", name))
    if offsets == 0 or offsets % 3:
        raise DataFormatError(path, "header", expected="f_offset columns, three for each child", got=offsets)
    names = [name for name in _column_names(offsets // 3, channels) if name not in ("nx", "ny", "nz")]
    require_columns(path, table, names)
    kept = rows_to_keep(path, table, names, "refuse")

    def stored(columns: list[str]) -> torch.Tensor:
        return torch.from_numpy(stacked_columns(table, columns, kept, np.float32))

    flat = stored([f"f_offset_{index}" for index in range(offsets)])
    anchors = Anchors(
        positions=stored(["x", "y", "z"]),
        offsets=flat.reshape(len(flat), 3, offsets // 3).transpose(1, 2).contiguous(),
        features=stored([f"f_anchor_feat_{index}" for index in range(channels)]).reshape(len(flat), channels),
        log_scales=stored([f"scale_{index}" for index in range(6)]),
    )
    for name, value in vars(anchors).items():  # a float64 file may overflow float32
        if not bool(torch.isfinite(value).all()):
            raise DataFormatError(path, name, expected="numbers that float32 can hold", got="larger ones")
    return anchors
