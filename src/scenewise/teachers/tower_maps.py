"""What a frozen tower's blocks hold of pictures, as maps on a grid of eight pixels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scenewise.teachers.patch_maps import patch_maps
from scenewise.teachers.towers import VisionTower

CELL = 8
"""Pixels of a picture that a patch covers, whatever the tower's own patch is: the picture is enlarged or reduced to that."""


@torch.no_grad()
def tower_maps(
    tower: VisionTower, pictures: Float[Tensor, "views 3 height width"], levels: Sequence[int], *, half: bool = False
) -> list[Float[Tensor, "views width_of_tower rows columns"]]:
    """Hidden states as maps; no gradients.

    Args:
        tower: frozen.
        pictures: colours in [0, 1], of any size of at least a cell.
        levels: which hidden states; 0 enters the first block.
        half: bfloat16 inside the tower, which is faster where the processor knows it; answers are float32.
    """
    rows, columns = (max(1, round(side / CELL)) for side in pictures.shape[2:])
    size = (rows * tower.patch_size, columns * tower.patch_size)
    shown = pictures
    if tuple(pictures.shape[2:]) != size:
        shown = F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
    mean, std = (pictures.new_tensor(values)[:, None, None] for values in (tower.mean, tower.std))
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=half):
        held = patch_maps(tower, (shown - mean) / std, levels)
    return [each.float().permute(0, 3, 1, 2).contiguous() for each in held]
