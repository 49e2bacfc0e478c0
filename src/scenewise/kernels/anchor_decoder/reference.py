"""The decoder of neural anchors in plain torch."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.geometry.spherical_harmonics import Y00
from scenewise.kernels.anchor_decoder.interface import AnchorInput, DecodedChildren, DecoderHeads, rows_do_not_rise

SMALLEST_OPACITY = 1e-7
"""Fainter children are decoded with this opacity, so that the logit stays finite; nobody sees either."""
_SHORTEST_QUAT = 1e-12


class _Outputs(NamedTuple):
    """What the heads say of all children of the anchors: tanh, sigmoid and unit length applied, scales in world units."""

    opacity: Float[Tensor, "v slots"]
    logit: Float[Tensor, "v slots"]
    color: Float[Tensor, "v slots 3"]
    log_scale: Float[Tensor, "v slots 3"]
    quat: Float[Tensor, "v slots 4"]


def _head(x: Float[Tensor, "v inputs"], flat: Float[Tensor, " p"], hidden: int, outputs: int) -> Float[Tensor, "v outputs"]:
    inputs = x.shape[1]
    first, bias, second, last = flat.split([hidden * inputs, hidden, outputs * hidden, outputs])
    return torch.relu(x @ first.view(hidden, inputs).T + bias) @ second.view(outputs, hidden).T + last


def _outputs(
    x: Float[Tensor, "v inputs"], log_scales: Float[Tensor, "v 6"], heads: DecoderHeads, hidden: int, slots: int
) -> _Outputs:
    v = len(x)
    raw = _head(x, heads.opacity, hidden, slots)
    # tanh z / (1 − tanh z) = (e²ᶻ − 1) / 2, whose logarithm is 2z − log 2 + log(1 − e⁻²ᶻ).
    positive = raw.clamp_min(math.atanh(SMALLEST_OPACITY))
    logit = 2.0 * positive - math.log(2.0) + torch.log(-torch.expm1(-2.0 * positive))
    covariance = _head(x, heads.covariance, hidden, 7 * slots).view(v, slots, 7)
    quat = covariance[..., 3:]
    return _Outputs(
        opacity=raw.tanh(),
        logit=logit,
        color=torch.sigmoid(_head(x, heads.color, hidden, 3 * slots)).view(v, slots, 3),
        log_scale=log_scales[:, None, 3:] + torch.nn.functional.logsigmoid(covariance[..., :3]),
        quat=quat / quat.norm(dim=-1, keepdim=True).clamp_min(_SHORTEST_QUAT),
    )


def _differences(own: _Outputs, other: _Outputs, shown: Bool[Tensor, "v slots"]) -> Float[Tensor, "4"]:
    def mean_square(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().sum() / max(1, a.numel())

    return torch.stack(
        [
            mean_square(own.color[shown], other.color[shown]),
            mean_square(own.quat[shown], other.quat[shown]),
            mean_square(own.log_scale[shown].exp(), other.log_scale[shown].exp()),
            mean_square(own.opacity, other.opacity),
        ]
    )


def decode(anchors: AnchorInput) -> DecodedChildren:
    """See :func:`scenewise.kernels.anchor_decoder.decode`."""
    rows, slots, hidden = anchors.rows, anchors.slots, anchors.hidden
    if len(rows) and (rows[0] < 0 or rows[-1] >= len(anchors.positions) or (rows[1:] <= rows[:-1]).any()):
        raise rows_do_not_rise(anchors)
    positions = anchors.positions[rows].detach()
    features, log_scales = anchors.features[rows], anchors.log_scales[rows]
    towards = positions - anchors.center.detach().to(positions)
    view = towards / towards.norm(dim=1, keepdim=True).clamp_min(1e-12)
    own = _outputs(torch.cat([features, view], dim=1), log_scales, anchors.heads, hidden, slots)
    shown = own.opacity > 0.0
    differences = None
    if anchors.teacher is not None:
        seen = (features, log_scales) if anchors.teacher_passes_gradients else (features.detach(), log_scales.detach())
        fixed = DecoderHeads(*(getattr(anchors.teacher, name).detach() for name in ("opacity", "color", "covariance")))
        other = _outputs(torch.cat([seen[0], view], dim=1), seen[1], fixed, hidden, slots)
        differences = _differences(own, other, shown)
    means = positions[:, None] + anchors.offsets[rows] * log_scales[:, None, :3].exp()
    which, slot_of = shown.nonzero().unbind(1)
    return DecodedChildren(
        means=means[shown],
        log_scales=own.log_scale[shown],
        quats=own.quat[shown],
        logit_opacities=own.logit[shown],
        sh0=((own.color[shown] - 0.5) / Y00)[:, None],
        row_of=rows[which],
        slot_of=slot_of,
        opacities=own.opacity.detach(),
        differences=differences,
    )


def visible_rows(
    positions: Float[Tensor, "n 3"],
    log_scales: Float[Tensor, "n 6"],
    camera_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
    near: float,
    reach: float,
) -> Tensor:
    """See :func:`scenewise.kernels.anchor_decoder.visible_rows`."""
    width, height = size
    pose = camera_from_world.to(positions.dtype)
    x, y, z = (positions.detach() @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    radius = reach * log_scales.detach()[:, :3].amax(dim=1).exp()
    fx, fy, cx, cy = (float(K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    inside = z > near
    # Planes through the centre and the borders of the picture; the sphere may reach across by its radius.
    for along, focal, low, high in ((x, fx, -cx, width - cx), (y, fy, -cy, height - cy)):
        for slope, side in ((low / focal, 1.0), (high / focal, -1.0)):
            inside = inside & (side * (along - slope * z) > -radius * math.hypot(1.0, slope))
    return inside.nonzero()[:, 0]
