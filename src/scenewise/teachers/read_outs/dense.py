"""One function for all read-outs."""

from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.teachers.read_outs.attention import patch_tokens
from scenewise.teachers.read_outs.sc_clip import sc_clip_tokens
from scenewise.teachers.read_outs.settings import (
    ClearClipSettings,
    ClipSettings,
    MaskClipSettings,
    NaclipSettings,
    ReadOutSettings,
    ScClipSettings,
    SclipSettings,
)
from scenewise.teachers.read_outs.surgery import clearclip_tokens, clip_tokens, maskclip_tokens, naclip_tokens, sclip_tokens
from scenewise.teachers.towers import TokenPass, VisionTower


def _last_block(tower: VisionTower, tower_pass: TokenPass, settings: ReadOutSettings) -> Float[Tensor, "batch tokens width"]:
    match settings:
        case ClipSettings():
            return clip_tokens(tower, tower_pass)
        case MaskClipSettings():
            return maskclip_tokens(tower, tower_pass, settings)
        case ClearClipSettings():
            return clearclip_tokens(tower, tower_pass, settings)
        case SclipSettings():
            return sclip_tokens(tower, tower_pass, settings)
        case NaclipSettings():
            return naclip_tokens(tower, tower_pass, settings)
        case ScClipSettings():
            return sc_clip_tokens(tower, tower_pass, settings)
        case _:
            assert_never(settings)


@torch.no_grad()
def dense_tokens_from_pass(
    tower: VisionTower, tower_pass: TokenPass, settings: ReadOutSettings
) -> Float[Tensor, "batch rows columns dim"]:
    """:func:`dense_tokens` from a pass through the tower that is already there; the pass is left as it is."""
    out = tower.head(patch_tokens(_last_block(tower, tower_pass, settings), tower_pass))
    return out.unflatten(1, (tower_pass.rows, tower_pass.columns))


@torch.no_grad()
def dense_tokens(
    tower: VisionTower, images: Float[Tensor, "batch 3 height width"], settings: ReadOutSettings
) -> Float[Tensor, "batch rows columns dim"]:
    """Patch features in the space of the texts, not normalised; no gradient is recorded.

    Args:
        tower: vision transformer.
        images: normalised by the tower's mean and std; sides are multiples of its patch size.
        settings: which read-out, and its options.

    Raises:
        ShapeError: a side of the images is no multiple of the patch size.
        ConventionError: sc_clip on a tower of a single block.
    """
    height, width = images.shape[-2:]
    if height % tower.patch_size or width % tower.patch_size or min(height, width) < 1:
        raise ShapeError(
            "images", expected=f"sides that are multiples of the patch size {tower.patch_size}", got=f"{height}×{width}"
        )
    return dense_tokens_from_pass(tower, tower.tokens(images), settings)
