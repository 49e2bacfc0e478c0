"""How a scene was cut, as a file: the same for training, merging and everybody who resumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.methods.momentum_gs.partition import Partition, partition_json

_FIX = "delete the file; it is made again"


@dataclass(frozen=True)
class Cut:
    """A partition and what follows from it.

    Attributes:
        partition: cells and their owners.
        belongs: which training cameras train which block.
        grid: cells along the axes of the partition, before some were given to neighbours.
        said: what was done about blocks that had too little to learn from, in words.
    """

    partition: Partition
    belongs: Bool[np.ndarray, "cameras blocks"]
    grid: tuple[int, int, int]
    said: tuple[str, ...] = ()


def write_cut(path: Path, cut: Cut, cameras: Sequence[str], fingerprint: str) -> None:
    """A cut to a JSON file.

    Args:
        path: the file.
        cut: what was decided.
        cameras: names of the training frames.
        fingerprint: of what decided it.
    """
    blocks = {name: np.flatnonzero(row).tolist() for name, row in zip(cameras, cut.belongs)}
    about = {"fingerprint": fingerprint, "grid": list(cut.grid), "said": list(cut.said)}
    atomic_write_json(path, about | partition_json(cut.partition) | {"blocks_of_camera": blocks})


def read_cut(path: Path, cameras: Sequence[str], fingerprint: str | None = None) -> Cut | None:
    """What :func:`write_cut` wrote, or None where there is none of this fingerprint (None: of any).

    Raises:
        DataFormatError: it is damaged, or a camera is missing.
    """
    if not path.exists():
        return None
    fields = read_json_object(path)
    if fingerprint not in (None, fields.text("fingerprint")):
        return None
    owners = np.array(fields.integers("block_of_cell"), dtype=np.int64)
    frame, cells = fields.array("partition_from_world", (4, 4)), fields.array("cells", (len(owners), 2, 3))
    try:
        partition = Partition(frame, cells, owners)
    except ConventionError as error:
        raise DataFormatError(
            path, expected="cells that fill space once, each with its block", got=str(error), fix=_FIX
        ) from error
    blocks = fields.mapping("blocks_of_camera")
    belongs = np.zeros((len(cameras), partition.num_blocks), dtype=bool)
    for row, name in zip(belongs, cameras):
        own = blocks.get(name)
        if not isinstance(own, list) or not all(type(block) is int and 0 <= block < len(row) for block in own):
            raise fields.wrong("blocks_of_camera", f"blocks of {name}", own, _FIX)
        row[own] = True
    x, y, z = (int(count) for count in fields.array("grid", (3,)))
    return Cut(partition, belongs, (x, y, z), tuple(fields.texts("said")))
