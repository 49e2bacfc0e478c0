"""What the read-outs need from a vision transformer of the CLIP kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class TokenPass:
    """Outputs of all blocks but the last.

    Attributes:
        hidden: ``hidden[0]`` enters block 1 (after the first norm), ``hidden[i]`` leaves block i; the last entry enters the last
            block.  Row 0 is the class token, then come registers where the tower has any, at the end the patches row by row.  A
            tower without class token (SigLIP) has patches only.
        rows: patches from top to bottom.
        columns: patches from left to right.
    """

    hidden: tuple[Float[Tensor, "batch tokens width"], ...]
    rows: int
    columns: int


@runtime_checkable
class LastBlock(Protocol):
    """The parts of the last residual block (or of the pooling head of a tower that pools by attention)."""

    @property
    def num_heads(self) -> int: ...

    def norm1(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]: ...

    def query(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]: ...

    def key(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]: ...

    def value(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]: ...

    def out(self, mixed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Output projection of the attention, bias included."""
        ...

    def feed_forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """MLP(LN2(tokens)) without the residual."""
        ...


@runtime_checkable
class VisionTower(Protocol):
    """A vision transformer whose last block can be taken apart."""

    @property
    def depth(self) -> int:
        """Number of blocks, the last included."""
        ...

    @property
    def width(self) -> int: ...

    @property
    def dim(self) -> int:
        """Of the space shared with text."""
        ...

    @property
    def patch_size(self) -> int: ...

    @property
    def native_size(self) -> int:
        """Height and width in pixels it was trained on."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """Subtracted from RGB in [0, 1]."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Divided by afterwards."""
        ...

    @property
    def has_class_token(self) -> bool: ...

    @property
    def last_block(self) -> LastBlock: ...

    def tokens(self, images: Float[Tensor, "batch 3 height width"]) -> TokenPass:
        """All blocks but the last, on normalised images; sides are multiples of the patch, positions interpolated."""
        ...

    def head(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens dim"]:
        """Last norm and projection into the space shared with text; not normalised."""
        ...

    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """The ordinary image-level embedding, unit norm, on normalised images of any size that is a multiple of the patch."""
        ...


@runtime_checkable
class TransparentTower(VisionTower, Protocol):
    """A tower that also shows its other blocks, so that attention can be measured layer by layer.

    Optional: no read-out needs it, only :func:`scenewise.teachers.read_outs.diagnostics.diagnose`, which reports the last block
    alone for towers without it.
    """

    @property
    def blocks(self) -> Sequence[LastBlock]:
        """All blocks in order; ``blocks[i]`` takes ``hidden[i]`` and ``blocks[-1]`` is ``last_block``."""
        ...
