"""Neural anchors: what many Gaussians are decoded from, once a camera is known."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class Anchors:
    """Anchors as they are stored and optimised; row i of every field is one anchor.

    Source: Lu et al. 2024 (Scaffold-GS), arXiv 2312.00109, section 3.1.

    Attributes:
        positions: in the world frame, world units.
        offsets: of each anchor's children, in multiples of its first three scales.
        features: what the decoder reads.
        log_scales: logarithms; the first three stretch the offsets, the last three the children.
    """

    positions: Float[Tensor, "n 3"]
    offsets: Float[Tensor, "n slots 3"]
    features: Float[Tensor, "n channels"]
    log_scales: Float[Tensor, "n 6"]

    def __post_init__(self) -> None:
        n = len(self.positions)
        for name, width in (("positions", 3), ("log_scales", 6)):
            if tuple(getattr(self, name).shape) != (n, width):
                raise ShapeError(name, expected=f"({n}, {width})", got=f"{tuple(getattr(self, name).shape)}")
        if self.offsets.ndim != 3 or self.offsets.shape[0] != n or self.offsets.shape[2] != 3:
            raise ShapeError("offsets", expected=f"({n}, slots, 3)", got=f"{tuple(self.offsets.shape)}")
        if self.features.ndim != 2 or len(self.features) != n:
            raise ShapeError("features", expected=f"({n}, channels)", got=f"{tuple(self.features.shape)}")

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def slots(self) -> int:
        """Children of an anchor."""
        return int(self.offsets.shape[1])

    @property
    def channels(self) -> int:
        """Numbers in a feature."""
        return int(self.features.shape[1])

    def select(self, index: Tensor) -> "Anchors":
        """Rows by boolean mask or integer index, in order."""
        return Anchors(**{entry.name: getattr(self, entry.name)[index] for entry in fields(self)})

    def to(self, device: torch.device | str) -> "Anchors":
        """The same anchors on another device."""
        return Anchors(**{entry.name: getattr(self, entry.name).to(device) for entry in fields(self)})


def joined(parts: list[Anchors]) -> Anchors:
    """All rows of several sets, one after the other."""
    return Anchors(**{entry.name: torch.cat([getattr(part, entry.name) for part in parts]) for entry in fields(Anchors)})
