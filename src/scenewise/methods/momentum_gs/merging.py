"""Blocks become one scene, one after the other.

Source: Fan et al. 2024 (Momentum-GS), released code: of each block the anchors whose contracted position lies in its cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scenewise.io.ply.anchors import write_anchors_ply
from scenewise.io.ply.gaussians import GaussiansOnDisk
from scenewise.io.tensor_files import write_tensors
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.methods.momentum_gs.blocks import is_in_block
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.parts.splats.anchors.decoder import HEADS, copied
from scenewise.parts.splats.anchors.field import AnchorField, decoded_anchors
from scenewise.parts.splats.trainer import SplatTrainer
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


def merged_view(parts: Sequence[BlockPart], device: torch.device | str = "cpu") -> Callable[[Cameras], Gaussians]:
    """What a camera sees of all blocks together, each decoded by its own decoder."""
    there = [(part.anchors.to(device), copied(part.heads, device)) for part in parts]

    def seen_by(camera: Cameras) -> Gaussians:
        decoded = [decoded_anchors(anchors, heads, camera).gaussians for anchors, heads in there]
        return joined_gaussians(decoded)

    return seen_by


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


def write_city(folder: Path, parts: Callable[[], Iterator[BlockPart]], counts: Sequence[int]) -> None:
    """Anchors of all blocks and their decoder, for who has a program that decodes them.

    Args:
        folder: of the scene.
        parts: the blocks in their order; one at a time is in memory.
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
