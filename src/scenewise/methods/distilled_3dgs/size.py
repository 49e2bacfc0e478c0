"""The size dial: how many Gaussians fit what a person asks for, and files that keep to it."""

from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.io.ply.gaussians import gaussians_ply_bytes
from scenewise.io.spz import spz_bytes
from scenewise.parts.splats.importance import least_important_first
from scenewise.scenes.gaussians import Gaussians

FileFormat = Literal["spz", "ply"]

_FEWEST = 100
"""Gaussians below which nothing can be recognised."""
_ROOM = 0.98
"""Part of a size that is planned for: a student's numbers compress a little differently from its teacher's."""


@dataclass(frozen=True)
class SizeDial:
    """What a person asks for; at most one of the three, none for the method's own size.

    Attributes:
        max_gaussians: at most so many Gaussians.
        keep_ratio: this part of the vanilla teacher's Gaussians.
        target_bytes: a file of at most so many bytes.
        file_format: of that file.
    """

    max_gaussians: int | None = None
    keep_ratio: float | None = None
    target_bytes: int | None = None
    file_format: FileFormat = "spz"

    def __post_init__(self) -> None:
        asked = [name for name in ("max_gaussians", "keep_ratio", "target_bytes") if getattr(self, name) is not None]
        if len(asked) > 1:
            raise ConventionError("size", expected="one of max_gaussians, keep_ratio and target_bytes", got=" and ".join(asked))
        if self.keep_ratio is not None and not 0.0 < self.keep_ratio <= 1.0:
            raise ConventionError("keep_ratio", expected="a part in (0, 1]", got=self.keep_ratio)


def file_bytes(gaussians: Gaussians, file_format: FileFormat) -> int:
    """Exact size of the file that these Gaussians make."""
    match file_format:
        case "ply":
            return gaussians_ply_bytes(len(gaussians), gaussians.sh_degree)
        case "spz":
            return len(spz_bytes(gaussians))
        case _:
            assert_never(file_format)


def gaussians_for(dial: SizeDial, teacher: Gaussians, sh_degree: int) -> int | None:
    """How many Gaussians a student may have; None where nothing is asked for.

    Bytes become a count by what one Gaussian of the teacher takes in such a file at the student's degree of colour.

    Args:
        dial: what is asked for.
        teacher: the vanilla teacher.
        sh_degree: of the student's colour.

    Raises:
        ConventionError: so little is asked for that nothing could be recognised.
    """
    if dial.max_gaussians is not None:
        count = dial.max_gaussians
    elif dial.keep_ratio is not None:
        count = max(1, round(dial.keep_ratio * len(teacher)))
    elif dial.target_bytes is not None:
        plain = teacher.with_sh_degree(sh_degree)
        empty = file_bytes(plain.select(torch.arange(0, device=plain.means.device)), dial.file_format)
        each = (file_bytes(plain, dial.file_format) - empty) / max(1, len(plain))
        # A PLY row has a fixed size; only what compresses needs room.
        room = 1.0 if dial.file_format == "ply" else _ROOM
        count = int(room * (dial.target_bytes - empty) / each)
    else:
        return None
    if count < _FEWEST and dial.max_gaussians is None:
        raise ConventionError(
            "size", expected=f"room for {_FEWEST} Gaussians", got=f"room for {max(0, count)}", fix="ask for a larger one"
        )
    return count


def fitted(gaussians: Gaussians, importances: Float[Tensor, "n"], target_bytes: int, file_format: FileFormat) -> Gaussians:
    """The most important Gaussians, as many as the file has room for, in their order; all where they fit.

    Raises:
        ConventionError: not even a hundred fit.
    """
    if file_bytes(gaussians, file_format) <= target_bytes:
        return gaussians
    order = least_important_first(importances).flip(0)

    def first(count: int) -> Gaussians:
        return gaussians.select(order[:count].sort().values)

    fits, too_many = 0, len(gaussians)
    while too_many - fits > max(1, fits // 1000):  # to a thousandth: every try compresses a whole file
        middle = (fits + too_many) // 2
        if file_bytes(first(middle), file_format) <= target_bytes:
            fits = middle
        else:
            too_many = middle
    if fits < min(_FEWEST, len(gaussians)):
        raise ConventionError(
            "target size", expected=f"room for {_FEWEST} Gaussians", got=f"{target_bytes:,} bytes", fix="ask for a larger one"
        )
    return first(fits)
