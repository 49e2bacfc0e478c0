"""Sizes of the two branches."""

from dataclasses import dataclass
from typing import Literal

from scenewise.errors import ConventionError

PointBackbone = Literal["minkunet14a", "minkunet18a", "minkunet34c"]
STRIDE = 4
"""Pixels per cell of the 2D branch, each way."""


@dataclass(frozen=True)
class ConsistentShape:
    """What must be known to build both branches.

    Attributes:
        dim: of the shared space. tower_width: channels of the frozen tower's tokens. tower_depth: its blocks; the tokens
        after half of them, and those that enter the last one, are read. image_width: channels of the adapter. reads_pixels:
        the adapter also sees the picture itself, at a stride of four pixels; without, what the tower's patches hold.
        backbone: of the 3D branch. backbone_width: multiple of its channels. text_dim: of the space that features are
        translated into; None for towers without words.
    """

    dim: int = 128
    tower_width: int = 768
    tower_depth: int = 12
    image_width: int = 128
    reads_pixels: bool = True
    backbone: PointBackbone = "minkunet14a"
    backbone_width: float = 1.0
    text_dim: int | None = None

    def __post_init__(self) -> None:
        for name, most in (("dim", 4096), ("tower_width", 16384), ("tower_depth", 512), ("image_width", 4096)):
            if not 1 <= getattr(self, name) <= most:
                raise ConventionError(name, expected=f"1 to {most}", got=getattr(self, name))
        if not 0 < self.backbone_width <= 16:
            raise ConventionError("backbone_width", expected="above 0, up to 16", got=self.backbone_width)
        if self.text_dim is not None and not 1 <= self.text_dim <= 16384:
            raise ConventionError("text_dim", expected="1 to 16384", got=self.text_dim)

    @property
    def read_levels(self) -> tuple[int, int]:
        """Which hidden states of the tower are read; 0 enters the first block."""
        return self.tower_depth // 2, self.tower_depth - 1
