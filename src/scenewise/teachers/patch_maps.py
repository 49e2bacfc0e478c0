"""What a vision transformer makes of each patch on its way, as maps."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.teachers.read_outs.attention import patch_tokens
from scenewise.teachers.read_outs.surgery import clip_tokens
from scenewise.teachers.towers import VisionTower

PatchMap = Float[Tensor, "batch rows columns channels"]


@torch.no_grad()
def patch_maps(
    tower: VisionTower, images: Float[Tensor, "batch 3 rows_px columns_px"], layers: Sequence[int]
) -> tuple[PatchMap, ...]:
    """Hidden states of the patches after some of a tower's blocks; class token and registers are left out.

    One pass through the tower, without gradients.  The last block's are what enters ``tower.head``: for a DINOv2,
    ``tower.head(map.flatten(1, 2))`` are the patches of ``last_hidden_state`` in ``transformers``.

    Args:
        tower: any vision transformer with a class token; of one that pools by attention, layers below its depth.
        images: normalised by the tower's mean and std; sides are multiples of its patch size.
        layers: 0 is what enters the first block, i what leaves block i, ``tower.depth`` what leaves the last; −1 is that too, −2
            the one before, and so on.

    Returns:
        A map per layer, in the order asked for.

    Raises:
        ConventionError: no such layer, or the last of a tower whose last block pools.
        ShapeError: a side of the images is no multiple of the patch size.
    """
    wanted = [layer + tower.depth + 1 if layer < 0 else layer for layer in layers]
    last = tower.depth if tower.has_class_token else tower.depth - 1
    for layer, asked in zip(wanted, layers):
        if not 0 <= layer <= last:
            fix = None if tower.has_class_token else "its last block pools the patches: ask for one below"
            raise ConventionError("layers", expected=f"0 … {last}", got=asked, fix=fix)
    tower_pass = tower.tokens(images)
    hidden = (*tower_pass.hidden, *([clip_tokens(tower, tower_pass)] if tower.depth in wanted else []))
    grid = tower_pass.rows, tower_pass.columns
    return tuple(patch_tokens(hidden[layer], tower_pass).unflatten(1, grid) for layer in wanted)
