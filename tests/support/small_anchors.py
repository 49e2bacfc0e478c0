"""A few anchors and a small decoder: drawn at random, or with heads that say the same of everybody."""

from collections.abc import Mapping

import torch
from torch import Tensor

from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors.decoder import HEADS, AnchorDecoder, DecoderSettings, copied
from scenewise.scenes.anchors import Anchors

SLOTS, CHANNELS, HIDDEN = 3, 4, 8
INPUTS = CHANNELS + 3
SMALL = DecoderSettings(slots=SLOTS, channels=CHANNELS, hidden=HIDDEN)
_OUTPUTS = {"opacity": SLOTS, "color": 3 * SLOTS, "covariance": 7 * SLOTS}


def random_anchors(n: int, seed: int = 0, *, scale: float = 0.1) -> Anchors:
    """Anchors near the origin, each with scales, offsets and features of its own."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return Anchors(
        positions=(torch.rand(n, 3, generator=generator) - 0.5) * torch.tensor([2.0, 1.4, 0.6]),
        offsets=normal(n, SLOTS, 3),
        features=normal(n, CHANNELS),
        log_scales=torch.log(torch.tensor(scale)) + 0.3 * normal(n, 6),
    )


def small_decoder(seed: int = 0) -> AnchorDecoder:
    return AnchorDecoder(SMALL, torch.Generator().manual_seed(seed))


def random_heads(seed: int = 0) -> DecoderHeads:
    """Heads that no training changes."""
    return copied(small_decoder(seed).heads())


def first_layer(flat: Tensor) -> Tensor:
    """The first weights [hidden, inputs] of a head; a view, whose last three columns read the direction."""
    return flat[: HIDDEN * INPUTS].view(HIDDEN, INPUTS)


def second_layer(flat: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The last weights [outputs, hidden] and biases of a head; views."""
    outputs = _OUTPUTS[name]
    weights = flat[HIDDEN * (INPUTS + 1) :]
    return weights[: outputs * HIDDEN].view(outputs, HIDDEN), weights[outputs * HIDDEN :]


def blind_to_direction(heads: DecoderHeads) -> DecoderHeads:
    """The same heads, for which everybody stands in the same place."""
    found = copied(heads)
    for name in HEADS:
        first_layer(getattr(found, name))[:, CHANNELS:] = 0.0
    return found


def plain_heads(*, opacity: float = 2.0, color: float = 2.0, size: float = 2.0) -> DecoderHeads:
    """What all children get, before tanh and sigmoid; they are round."""
    found = DecoderHeads(*(torch.zeros(HIDDEN * (INPUTS + 1) + _OUTPUTS[name] * (HIDDEN + 1)) for name in HEADS))
    second_layer(found.opacity, "opacity")[1][:] = opacity
    second_layer(found.color, "color")[1][:] = color
    second_layer(found.covariance, "covariance")[1].view(SLOTS, 7)[:] = torch.tensor([size, size, size, 1.0, 0.0, 0.0, 0.0])
    return found


def same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether names, types, shapes and values agree."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )
