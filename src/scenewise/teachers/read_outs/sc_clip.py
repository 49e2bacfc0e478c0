"""Self-calibrated CLIP: anomalies repaired, features and attention adjusted by the tower's own middle layers, two passes fused.

Source: Bai et al. 2024, arXiv 2411.15869, and its released code.  Adds no parameter, loads no second network, and works on
copies: the tower's ordinary forward pass is untouched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.teachers.read_outs.aggregation import aggregate, attend_by_similarity, unit_tokens
from scenewise.teachers.read_outs.anomalies import find_anomalies, neighbour_mean_fill
from scenewise.teachers.read_outs.attention import attend, finish_block, patch_tokens, weighted_class_token
from scenewise.teachers.read_outs.settings import ScClipSettings
from scenewise.teachers.towers import LastBlock, TokenPass, VisionTower


@dataclass(frozen=True)
class Layers:
    """Which outputs of the blocks before the last are used, counted from 0 = output of the first block.

    Attributes:
        pre: similarity of features and attention.
        post: similarity of outputs.
        multi: summed for the second pass.
    """

    pre: int
    post: int
    multi: range


def layers_of(settings: ScClipSettings, outputs: int) -> Layers:
    """Fractions of the depth as layers, rounded down.

    Args:
        settings: fractions.
        outputs: number of blocks before the last: 11 for B/16.

    Raises:
        ConventionError: the tower has a single block, so there is no middle layer.
    """
    if outputs < 1:
        raise ConventionError("read-out sc_clip", expected="a tower of at least two blocks", got=f"{outputs + 1}")

    def at(fraction: float) -> int:
        return int(fraction * outputs + 1e-9)  # 0.29 · 100 is 28.999…

    first = at(settings.multi_start)
    return Layers(at(settings.pre), at(settings.post), range(first, max(at(settings.multi_end), first + 1)))


def self_adjusted_attention(
    block: LastBlock,
    passes: Sequence[Float[Tensor, "batch patches width"]],
    unit: Float[Tensor, "batch patches channels"] | None,
    settings: ScClipSettings,
) -> list[Float[Tensor, "batch patches width"]]:
    """O(concat_h A_h V_h) with A_h = ½ (similarity attention + softmax(K_h K_hᵀ / √d_h)), for each of the passes.

    Args:
        block: the last block.
        passes: patches, not yet normalised; all share the similarity attention.
        unit: unit tokens whose cosines are the similarity, shared by heads; None for the second term alone.
        settings: ``own_attention`` "value" replaces the second term by the identity.
    """
    normed = [block.norm1(tokens) for tokens in passes]
    values = [block.value(tokens) for tokens in normed]
    if settings.own_attention == "key":
        keys = [block.key(tokens) for tokens in normed]
        mixed = [attend(key, key, value, block.num_heads) for key, value in zip(keys, values, strict=True)]
    else:
        mixed = values
    if unit is not None:
        # One matrix serves all heads and passes, so it multiplies their values side by side.
        by_similarity = attend_by_similarity(unit, settings.gain, torch.cat(values, dim=-1)).chunk(len(values), dim=-1)
        mixed = [(shared + own) / 2 for shared, own in zip(by_similarity, mixed, strict=True)]
    return [block.out(tokens) for tokens in mixed]


def anomalies_of(tower_pass: TokenPass, settings: ScClipSettings) -> Bool[Tensor, "batch patches"]:
    """Anomalous patches, found among the tokens that enter the last block."""
    x = patch_tokens(tower_pass.hidden[-1], tower_pass)
    return find_anomalies(x, settings.detector, settings.neighbours, settings.contamination)


def sc_clip_tokens(tower: VisionTower, tower_pass: TokenPass, settings: ScClipSettings) -> Float[Tensor, "batch patches width"]:
    """The patches that go into the head: X + Y of the two passes.

    With x the tokens entering the last block, F_l the outputs of block l, c the class token, S and R as below:
    (repair) anomalous x and F_pre become the mean of their neighbours; S = cosines of F_pre; (a) X = rownorm(S·[S ≥ β]) x;
    (b) X ← A(X; S) + w·c; (c) X ← R X with R = rownorm(S_post·[S_post ≥ β]); (d) Y = R (A(ΣF; S) + w·Σc).  As R is linear, it is
    applied once, to the sum of both passes.

    Raises:
        ConventionError: the tower has a single block.
    """
    block, hidden = tower.last_block, tower_pass.hidden
    layers = layers_of(settings, len(hidden) - 1)
    flagged = anomalies_of(tower_pass, settings) if settings.repair else None

    def repaired(tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch patches width"]:
        kept = patch_tokens(tokens, tower_pass)
        return kept if flagged is None else neighbour_mean_fill(kept, flagged, tower_pass.rows, tower_pass.columns)

    x = repaired(hidden[-1])
    unit = None
    if settings.feature_adjust or settings.attention_adjust:
        unit = unit_tokens(repaired(hidden[layers.pre + 1]), centred=settings.centred)
    if unit is not None and settings.feature_adjust:
        x = aggregate(unit, settings.beta, x)

    passes, with_class = [x], [hidden[-1]]
    if settings.two_pass:
        levels = torch.stack([hidden[index + 1] for index in layers.multi]).sum(0)
        passes.append(patch_tokens(levels, tower_pass))
        with_class.append(levels)
    attended = self_adjusted_attention(block, passes, unit if settings.attention_adjust else None, settings)
    out = torch.zeros_like(x)
    for tokens, whole in zip(attended, with_class, strict=True):
        class_term = weighted_class_token(whole, tower_pass, settings.class_residual)
        out = out + finish_block(block, tokens, residual=None, class_term=class_term, keep_ffn=settings.keep_ffn)

    if settings.output_adjust:
        early = unit_tokens(patch_tokens(hidden[layers.post + 1], tower_pass), centred=settings.centred)
        out = aggregate(early, settings.beta if settings.output_beta is None else settings.output_beta, out)
    return out
