"""Blocks become one scene, one after the other.

Source: Fan et al. 2024 (Momentum-GS), released code: of each block the anchors whose contracted position lies in its cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from scenewise.io.ply.anchors import write_anchors_ply
from scenewise.io.ply.gaussians import GaussiansOnDisk
from scenewise.io.product_kinds import BLOCK_PART
from scenewise.io.products import keep
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.methods.momentum_gs.blocks import is_in_block
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.parts.splats.anchors.decoder import HEADS, copied, heads_of
from scenewise.parts.splats.anchors.field import AnchorField, decoded_anchors
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians, joined_gaussians

CITY_FOLDER = "city"
ANCHORS_FILE = "anchors.ply"
DECODER_FILE = "decoder.safetensors"


@dataclass(frozen=True)
class BlockPart:
    """What a block gives to the scene.

    Attributes:
        block: its number.
        anchors: its own.
        heads: their decoder; the same for all blocks where it is shared.
    """

    block: int
    anchors: Anchors
    heads: DecoderHeads


def block_part(trainer: SplatTrainer, partition: Partition, block: int) -> BlockPart:
    """Of a finished block the anchors that it owns, on the CPU."""
    field = trainer.field
    assert isinstance(field, AnchorField), "anchors were trained"
    anchors = Anchors(**{name: value.detach().cpu() for name, value in vars(field.anchors()).items()})
    fixed = copied(field.decoder.heads(), "cpu")
    return BlockPart(block, anchors.select(is_in_block(partition, block, anchors.positions)), fixed)


BlockParts = Callable[[], Iterator[BlockPart]]
"""What all blocks give, in their order, as often as asked; one at a time need be in memory."""


def merged_view(parts: BlockParts) -> SeenBy:
    """What a camera sees of all blocks together, each decoded by its own decoder."""

    def seen(camera: Cameras) -> Gaussians:
        return joined_gaussians([decoded_anchors(part.anchors, part.heads, camera).gaussians for part in parts()])

    return seen


@final
class StoredParts:
    """What blocks give to the scene, each in a file of its own; calling it goes through them.

    Args:
        room: bytes of them that stay in memory once they were read; None for all.
        device: where they are to be.
    """

    def __init__(self, room: int | None = None, device: torch.device | str = "cpu") -> None:
        self.counts: list[int] = []
        self._paths: list[Path] = []
        self._kept: dict[Path, BlockPart] = {}
        self._room, self._device = room, device

    def add(self, path: Path, fingerprint: str, part: BlockPart) -> None:
        """The next block's, kept in a file."""
        tensors = vars(part.anchors) | {f"heads.{name}": getattr(part.heads, name) for name in HEADS}
        about = {"block": part.block}
        keep(path, BLOCK_PART, fingerprint, lambda beside: write_tensors(beside, tensors, "block_part", about))
        self._paths.append(path)
        self.counts.append(len(part.anchors))

    def __call__(self) -> Iterator[BlockPart]:
        for path in self._paths:
            yield self._kept.get(path) or self._read(path)

    def _read(self, path: Path) -> BlockPart:
        tensors, about = read_tensors(path, "block_part")
        size = sum(value.nbytes for value in tensors.values())
        on_device = {name: value.to(self._device) for name, value in tensors.items()}
        heads = heads_of({name: on_device.pop(f"heads.{name}") for name in HEADS})
        part = BlockPart(int(about["block"]), Anchors(**on_device), heads)
        if self._room is None or size <= self._room:
            self._kept[path] = part
            self._room = None if self._room is None else self._room - size
        return part


@dataclass(frozen=True)
class JoinedGaussians:
    """Gaussians of several files, one after the other.

    Attributes:
        parts: the files; all of one degree.
    """

    parts: tuple[GaussiansOnDisk, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def sh_degree(self) -> int:
        """Of all of them."""
        return max((part.sh_degree for part in self.parts), default=0)

    def blocks(self, rows: int) -> Iterator[Gaussians]:
        """At most ``rows`` rows at a time, in order."""
        for part in self.parts:
            yield from part.blocks(rows)

    def in_memory(self) -> Gaussians:
        """All of them at once."""
        return joined_gaussians([part.in_memory() for part in self.parts])


def write_city(folder: Path, parts: BlockParts, counts: Sequence[int]) -> None:
    """Anchors of all blocks and their decoder, for who has a program that decodes them.

    Args:
        folder: of the scene.
        parts: the blocks.
        counts: anchors of each.
    """
    decoders: dict[str, torch.Tensor] = {}

    def anchors() -> Iterator[Anchors]:
        for part in parts():
            decoders.update({f"{part.block}.{name}": getattr(part.heads, name) for name in HEADS})
            yield part.anchors

    write_anchors_ply(folder / CITY_FOLDER / ANCHORS_FILE, anchors(), sum(counts))
    blocks = range(len(counts))
    is_one = all(torch.equal(decoders[f"{block}.{name}"], decoders[f"0.{name}"]) for block in blocks for name in HEADS)
    kept = {name: decoders[f"0.{name}"] for name in HEADS} if is_one else decoders
    write_tensors(folder / CITY_FOLDER / DECODER_FILE, kept, "anchor_decoder", {"blocks": list(counts), "is_shared": is_one})
