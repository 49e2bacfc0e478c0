"""Blocks as one scene: in memory, in files, and as a camera sees them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.support.small_anchors import random_anchors, random_heads
from tests.support.tiny_city import ring, tiny_city

from scenewise.io.ply.anchors import read_anchors_ply
from scenewise.io.ply.gaussians import open_gaussians_ply, write_gaussians_ply
from scenewise.io.tensor_files import read_tensors
from scenewise.methods.momentum_gs.merging import BlockPart, JoinedGaussians, StoredParts, merged_view, write_city
from scenewise.parts.splats.anchors.decoder import HEADS
from scenewise.parts.splats.anchors.field import decoded_anchors
from scenewise.scenes.anchors import joined


def parts_of(seeds: Sequence[int], heads: Sequence[int]) -> list[BlockPart]:
    return [
        BlockPart(block, random_anchors(20 + block, seed), random_heads(head))
        for block, (seed, head) in enumerate(zip(seeds, heads))
    ]


def stored(parts: Sequence[BlockPart], folder: Path, room: int | None) -> StoredParts:
    found = StoredParts(room)
    for part in parts:
        found.add(folder / f"part_{part.block}.safetensors", "f" * 64, part)
    return found


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_stored_parts_are_what_was_stored(tmp_path: Path, kept: int) -> None:
    parts = parts_of((1, 2, 3), (4, 5, 6))
    size = sum(value.nbytes for value in (*vars(parts[0].anchors).values(), *vars(parts[0].heads).values()))
    found = stored(parts, tmp_path, None if kept == 3 else int(1.5 * kept * size))
    assert found.counts == [20, 21, 22]
    first, again = list(found()), list(found())
    assert sum(a is b for a, b in zip(first, again)) == kept
    for one, other in zip(parts, again, strict=True):
        assert one.block == other.block
        assert all(torch.equal(value, getattr(other.anchors, name)) for name, value in vars(one.anchors).items())
        assert all(torch.equal(getattr(one.heads, name), getattr(other.heads, name)) for name in HEADS)


def test_a_camera_sees_every_block_through_its_own_decoder(tmp_path: Path) -> None:
    parts, camera = parts_of((1, 2), (4, 5)), ring(3)[1]
    seen = merged_view(stored(parts, tmp_path, 0))(camera)
    each = [decoded_anchors(part.anchors, part.heads, camera).gaussians for part in parts]
    assert min(map(len, each)) > 5
    assert torch.equal(seen.means, torch.cat([gaussians.means for gaussians in each]))
    assert torch.equal(seen.sh0, torch.cat([gaussians.sh0 for gaussians in each]))


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_city_is_written_part_by_part(tmp_path: Path, is_shared: bool) -> None:
    parts = parts_of((1, 2), (4, 4) if is_shared else (4, 5))
    write_city(tmp_path, stored(parts, tmp_path, 0), [20, 21])
    whole = joined([part.anchors for part in parts])
    found = read_anchors_ply(tmp_path / "city" / "anchors.ply")
    assert all(torch.equal(value, getattr(found, name)) for name, value in vars(whole).items())
    tensors, about = read_tensors(tmp_path / "city" / "decoder.safetensors", "anchor_decoder")
    assert about == {"blocks": [20, 21], "is_shared": is_shared}
    assert set(tensors) == (set(HEADS) if is_shared else {f"{block}.{name}" for block in (0, 1) for name in HEADS})


def test_joined_gaussians_are_one_file_after_the_other(tmp_path: Path) -> None:
    camera = ring(3)[0]
    parts = [decoded_anchors(part.anchors, part.heads, camera).gaussians for part in parts_of((1, 2), (4, 5))]
    for index, part in enumerate(parts):
        write_gaussians_ply(tmp_path / f"{index}.ply", part)
    found = JoinedGaussians(tuple(open_gaussians_ply(tmp_path / f"{index}.ply") for index in range(2)))
    assert len(found) == sum(map(len, parts)) and found.sh_degree == 0
    assert torch.equal(found.in_memory().means, torch.cat([part.means for part in parts]))
    assert torch.equal(torch.cat([block.means for block in found.blocks(7)]), found.in_memory().means)
    assert max(len(block) for block in found.blocks(7)) == 7


def test_shared_views_are_of_all_blocks_that_have_them() -> None:
    city = tiny_city()
    city.belongs[:, 1] |= city.belongs[:, 0]  # what block 0 has, block 1 has too
    found = city.shared_views(2)
    assert set(found) == {0, 1, 2, 3} and found[2] == [] == found[3]
    own = [frame.camera for frame in city.frames(0)]
    assert found[0] and [id(camera) for camera in found[0]] == [id(camera) for camera in found[1]]
    assert {id(camera) for camera in found[0]} <= {id(camera) for camera in own}
