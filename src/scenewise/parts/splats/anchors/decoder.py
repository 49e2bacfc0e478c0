"""The decoder that anchors share: its sizes, its first values, and its parameters under Adam."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.kernels.anchor_decoder import DecoderHeads, head_parameters
from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.schedules import exponential

HEADS = ("opacity", "color", "covariance")
_OUTPUTS = {"opacity": 1, "color": 3, "covariance": 7}  # of each child


@dataclass(frozen=True)
class DecoderSettings:
    """Sizes and learning rates.  Source: Lu et al. 2024 (Scaffold-GS), released code.

    Attributes:
        slots: children of an anchor.
        channels: numbers in an anchor's feature.
        hidden: units between the two layers.
        opacity: learning rate at the start and at the end, log-linear between.
        color: likewise.
        covariance: likewise.
    """

    slots: int = 10
    channels: int = 32
    hidden: int = 32
    opacity: tuple[float, float] = (2e-3, 2e-5)
    color: tuple[float, float] = (8e-3, 5e-5)
    covariance: tuple[float, float] = (4e-3, 4e-3)


@final
class AnchorDecoder:
    """Three heads with their optimiser; one for all anchors, or for all blocks of a city.

    Args:
        settings: sizes and rates.
        start: heads to start from; or what draws the first values, uniform in ±1/√inputs for weights and biases of a layer, as
            torch's linear layers start.
        device: where the parameters live.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        start: torch.Generator | DecoderHeads,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings
        if isinstance(start, torch.Generator):
            values = {name: _first_values(settings, settings.slots * _OUTPUTS[name], start) for name in HEADS}
        else:
            values = {name: getattr(start, name).detach() for name in HEADS}
        rates = {name: getattr(settings, name)[0] for name in HEADS}
        self.parameters = FreeParameters({name: value.to(device) for name, value in values.items()}, rates)

    def heads(self) -> DecoderHeads:
        """The parameters, leaves that receive gradients."""
        return DecoderHeads(*(self.parameters[name] for name in HEADS))

    def set_learning_rates(self, progress: float) -> None:
        """Follow the schedules; ``progress`` is 0 … 1."""
        for name in HEADS:
            start, end = getattr(self.settings, name)
            self.parameters.set_learning_rate(name, exponential(start, end, progress))

    def flat_gradient(self) -> Float[Tensor, " numbers"]:
        """The gradients of all heads in one vector, zeros where there are none."""
        gradients = [self.parameters[name].grad for name in HEADS]
        return torch.cat([
            torch.zeros_like(self.parameters[name]).detach() if gradient is None else gradient
            for name, gradient in zip(HEADS, gradients)
        ])  # fmt: skip

    def set_flat_gradient(self, gradient: Float[Tensor, " numbers"]) -> None:
        """The inverse of :meth:`flat_gradient`."""
        sizes = [self.parameters[name].numel() for name in HEADS]
        for name, part in zip(HEADS, gradient.split(sizes)):
            self.parameters[name].grad = part.clone()


def heads_of(tensors: dict[str, Tensor]) -> DecoderHeads:
    """Heads by name."""
    return DecoderHeads(*(tensors[name] for name in HEADS))


def copied(heads: DecoderHeads, device: torch.device | str | None = None) -> DecoderHeads:
    """Values that no training changes any more; on the same device where none is given."""
    values = (getattr(heads, name).detach().clone() for name in HEADS)
    return DecoderHeads(*(value if device is None else value.to(device) for value in values))


def _first_values(settings: DecoderSettings, outputs: int, generator: torch.Generator) -> Float[Tensor, " numbers"]:
    inputs, hidden = settings.channels + 3, settings.hidden
    numbers = torch.rand(head_parameters(inputs, hidden, outputs), generator=generator) * 2.0 - 1.0
    first = hidden * (inputs + 1)
    numbers[:first] /= math.sqrt(inputs)
    numbers[first:] /= math.sqrt(hidden)
    return numbers
