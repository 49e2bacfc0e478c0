"""Which cameras train which block.

Source: Fan et al. 2024 (Momentum-GS), released code: a camera whose contracted centre lies in a block belongs to it, and so does
one whose view changes by more than a threshold, 1 − SSIM, when the block's anchors are left out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32

from scenewise.engine.progress import Progress
from scenewise.methods.momentum_gs.coarse import CoarseModel
from scenewise.methods.momentum_gs.config import AssignmentSettings
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.metrics.ssim import ssim
from scenewise.parts.splats.anchors.field import decoded_anchors
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras

_NOTHING_SHOWN = 1e-3
"""Blocks whose children fill a smaller part of the picture are not left out to see: nothing would change."""


def cameras_inside(partition: Partition, cameras: Sequence[Cameras]) -> Bool[np.ndarray, "cameras blocks"]:
    """Cameras by the block that their centre lies in."""
    centers = torch.stack([camera.centers_in_world for camera in cameras]).numpy()
    return partition.block_of(centers)[:, None] == np.arange(partition.num_blocks)


@torch.no_grad()
def visible_change(
    partition: Partition,
    model: CoarseModel,
    cameras: Sequence[Cameras],
    downscale: int,
    progress: Progress,
    blocks: Sequence[int] | None = None,
) -> Float32[np.ndarray, "cameras blocks"]:
    """1 − SSIM of each view with and without each block's anchors; 0 where none of them is seen.

    Args:
        partition: of the scene.
        model: what is rendered.
        cameras: at the size that is trained with.
        downscale: views are compared at 1/N of that.
        progress: told about cameras.
        blocks: that are asked about, None for all; columns of the result.
    """
    block_of_anchor = torch.from_numpy(partition.block_of(model.anchors.positions.numpy()))
    asked = range(partition.num_blocks) if blocks is None else blocks
    change = np.zeros((len(cameras), len(asked)), dtype=np.float32)
    with progress.stage("assign cameras", len(cameras)) as stage:
        for index, camera in enumerate(cameras):
            small = camera.resized(max(16, camera.width // downscale), max(16, camera.height // downscale))
            decoded = decoded_anchors(model.anchors, model.heads, small)
            assert decoded.row_of is not None, "anchors were decoded"
            whole = render(decoded.gaussians, small, contribution=True)
            assert whole.contribution is not None, "contributions were asked for"
            owner = block_of_anchor[decoded.row_of]
            share = torch.zeros(partition.num_blocks).index_add_(0, owner, whole.contribution.weight_sum)
            for column, block in enumerate(asked):
                if float(share[block]) > _NOTHING_SHOWN * small.width * small.height:
                    rest = render(decoded.gaussians.select(owner != block), small).color
                    change[index, column] = 1.0 - ssim(rest.clamp(0.0, 1.0), whole.color.clamp(0.0, 1.0))
            stage.advance()
    return change


def with_cameras(
    partition: Partition, model: CoarseModel, cameras: Sequence[Cameras], settings: AssignmentSettings, progress: Progress
) -> tuple[Partition, Bool[np.ndarray, "cameras blocks"], list[str]]:
    """The partition with blocks that have too little to learn from given to a neighbour, which cameras belong to which blocks
    then, by place and by what they see, and what was done in words.

    Args:
        partition: as planned.
        model: of the whole scene.
        cameras: training cameras at the size that is trained with.
        settings: how few are too few.
        progress: told about cameras.
    """
    said: list[str] = []
    anchors = model.anchors.positions.numpy()
    change = visible_change(partition, model, cameras, settings.downscale, progress)
    while True:
        belongs = cameras_inside(partition, cameras) | (change > settings.threshold)
        held = np.bincount(partition.block_of(anchors), minlength=partition.num_blocks)
        seen = belongs.sum(axis=0)
        starved = [
            block
            for block in range(partition.num_blocks)
            if seen[block] < settings.fewest_cameras or held[block] < settings.fewest_anchors
        ]
        if not starved or partition.num_blocks == 1:
            return partition, belongs, said
        block = min(starved, key=lambda each: (seen[each], held[each], each))
        into = partition.touching(block)[0]
        said.append(f"a block with {seen[block]} cameras and {held[block]:,} coarse anchors was given to a neighbour")
        partition = partition.joined(block, into)
        grown = into - int(into > block)  # what is seen of all others is as before
        change = np.delete(change, block, axis=1)
        change[:, grown] = visible_change(partition, model, cameras, settings.downscale, progress, [grown])[:, 0]
