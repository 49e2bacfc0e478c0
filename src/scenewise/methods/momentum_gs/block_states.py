"""Blocks that wait on the disk: one file for each block and slot, bit for bit what was in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor

from scenewise.engine.checkpoints import Checkpoint
from scenewise.errors import DataFormatError
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import BLOCK
from scenewise.io.products import Product, files_in
from scenewise.io.products import keep as keep_product
from scenewise.io.tensor_files import read_tensors, write_tensors

_PARTS = ("parameters", "optimizer", "state")
_FIX = "start anew with --overwrite"  # the decoder has gone on; no other file can stand in


@dataclass(frozen=True)
class BlockVersion:
    """A block as it was after a slot.

    Attributes:
        block: its number.
        slot: slots of the whole run that were over.
    """

    block: int
    slot: int


@final
class BlockStates:
    """The folder of waiting blocks.

    Args:
        folder: made when the first block waits.
        run: fingerprint of what the run trains on and how.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self._run = folder, run

    def path(self, version: BlockVersion) -> Path:
        """File of a version."""
        return BLOCK.path(self.folder, f"block_{version.block:03d}", self._fingerprint(version))

    def save(self, version: BlockVersion, checkpoint: Checkpoint) -> Path:
        """Writes a block, and returns its file.

        Raises:
            ResourceError: the disk is full or read-only.
        """
        about = {"step": checkpoint.step, "details": dict(checkpoint.details), "block": version.block, "slot": version.slot}
        tensors = {f"{part}/{name}": tensor for part in _PARTS for name, tensor in getattr(checkpoint, part).items()}
        path = self.path(version)
        keep_product(path, BLOCK, self._fingerprint(version), lambda beside: write_tensors(beside, tensors, "block", about))
        return path

    def load(self, version: BlockVersion, like: Checkpoint) -> Checkpoint:
        """Reads a block.

        Args:
            version: which.
            like: gives configuration and data.

        Raises:
            DataFormatError: there is none, or it is damaged.
        """
        path = self.path(version)
        tensors, about = read_tensors(path, "block", _FIX)
        parts, details, step = _split(tensors), about.get("details"), about.get("step")
        is_it = (about.get("block"), about.get("slot")) == (version.block, version.slot)
        if not is_it or parts is None or not isinstance(details, dict) or not isinstance(step, int):
            raise DataFormatError(
                path, expected=f"block {version.block} after slot {version.slot}", got="something else", fix=_FIX
            )
        return replace(like, step=step, details=details, **parts)

    def forget(self, needed: set[BlockVersion], blocks: Iterable[int]) -> None:
        """Deletes the files of all versions but those that are needed.

        Args:
            needed: versions that stay.
            blocks: whose files are looked at; others may belong to another process, which deletes them itself.
        """
        kept = {self.path(version) for version in needed}
        for block in blocks:
            for path in sorted(self.folder.glob(f"block_{block:03d}-*{BLOCK.suffix}")):
                if path not in kept:
                    path.unlink(missing_ok=True)

    def files(self) -> list[Product]:
        """All that are there."""
        return files_in(self.folder, BLOCK)

    def _fingerprint(self, version: BlockVersion) -> str:
        return fingerprint_of({"run": self._run, "block": version.block, "slot": version.slot})


def _split(tensors: dict[str, Tensor]) -> dict[str, Any] | None:
    """The parts of a checkpoint, or None where some tensor belongs to none of them."""
    found: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in found:
            return None
        found[part][rest] = tensor
    return found
