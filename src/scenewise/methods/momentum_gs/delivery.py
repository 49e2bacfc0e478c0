"""Files that one process has made and others need: brought to them where they do not see the same disk."""

import hashlib
from pathlib import Path

from scenewise.engine.distribution import Ranks
from scenewise.io.atomic import atomic_write_bytes


def deliver(ranks: Ranks, path: Path, source: int = 0, *, to_first_only: bool = False) -> None:
    """Sees to it that a file is there on all ranks; all of them call this together.

    Args:
        ranks: the processes.
        path: of the file, the same below everybody's folder.
        source: who has made it.
        to_first_only: only the first rank needs it.
    """
    if ranks.size == 1:
        return
    own = _digest(path)
    wanted = ranks.shared_bytes(own if ranks.rank == source else None, source)
    lacks_it = own != wanted and (ranks.is_first or not to_first_only)
    if ranks.total([float(lacks_it)])[0] == 0.0:
        return
    data = ranks.shared_bytes(path.read_bytes() if ranks.rank == source else None, source)
    if lacks_it:
        atomic_write_bytes(path, data)


def _digest(path: Path) -> bytes:
    """SHA-256 of a file; empty without one."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
