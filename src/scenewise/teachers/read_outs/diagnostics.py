"""What a figure of anomalous tokens needs: norms and attention per layer, similarity before and after repair."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.teachers.read_outs.aggregation import similarity_map
from scenewise.teachers.read_outs.anomalies import anomaly_scores, flag_highest, neighbour_mean_fill
from scenewise.teachers.read_outs.attention import attention_received, patch_tokens
from scenewise.teachers.read_outs.sc_clip import layers_of
from scenewise.teachers.read_outs.settings import ScClipSettings
from scenewise.teachers.towers import TokenPass, TransparentTower, VisionTower


@dataclass(frozen=True)
class Diagnostics:
    """How anomalous the patches of a batch are.

    Attributes:
        rows: of the patch grid.
        columns: of the patch grid.
        norms: length of every patch where it enters block 1, 2, …, last.
        attention: attention each patch receives from all patches, 1 = an equal share, for the blocks listed in
            ``attention_blocks``.
        attention_blocks: indices of those blocks, from 0; the last block alone for towers that do not show the others.
        scores: of the detector, on the tokens that enter the last block.
        anomalous: patches the detector flags.
        similarity_before: cosines at the layer ``pre`` as they are.
        similarity_after: the same after repair.
    """

    rows: int
    columns: int
    norms: Float[Tensor, "blocks batch patches"]
    attention: Float[Tensor, "shown batch patches"]
    attention_blocks: tuple[int, ...]
    scores: Float[Tensor, "batch patches"]
    anomalous: Bool[Tensor, "batch patches"]
    similarity_before: Float[Tensor, "batch patches patches"]
    similarity_after: Float[Tensor, "batch patches patches"]


@torch.no_grad()
def diagnose_pass(tower: VisionTower, tower_pass: TokenPass, settings: ScClipSettings | None = None) -> Diagnostics:
    """:func:`diagnose` of a pass that is already there."""
    settings = ScClipSettings() if settings is None else settings
    rows, columns, hidden = tower_pass.rows, tower_pass.columns, tower_pass.hidden
    blocks = list(tower.blocks) if isinstance(tower, TransparentTower) else [tower.last_block]
    shown = tuple(range(len(hidden) - len(blocks), len(hidden)))
    attention = [attention_received(block, hidden[at], tower_pass) for block, at in zip(blocks, shown, strict=True)]

    scores = anomaly_scores(patch_tokens(hidden[-1], tower_pass), settings.detector, settings.neighbours)
    anomalous = flag_highest(scores, settings.contamination)
    middle = patch_tokens(hidden[layers_of(settings, len(hidden) - 1).pre + 1], tower_pass)
    repaired = neighbour_mean_fill(middle, anomalous, rows, columns)
    return Diagnostics(
        rows=rows,
        columns=columns,
        norms=torch.stack([patch_tokens(tokens, tower_pass).norm(dim=-1) for tokens in hidden]),
        attention=torch.stack(attention),
        attention_blocks=shown,
        scores=scores,
        anomalous=anomalous,
        similarity_before=similarity_map(middle, centred=settings.centred),
        similarity_after=similarity_map(repaired, centred=settings.centred),
    )


def diagnose(
    tower: VisionTower, images: Float[Tensor, "batch 3 height width"], settings: ScClipSettings | None = None
) -> Diagnostics:
    """Norms, attention, anomalies and similarity of the patches of normalised images.

    Attention of all layers needs a tower with ``blocks`` (:class:`scenewise.teachers.towers.TransparentTower`).  In an injected
    pass the attention of block i is that which the injected tokens entering it would receive.
    """
    return diagnose_pass(tower, tower.tokens(images), settings)
