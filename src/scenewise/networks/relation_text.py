"""A text tower for sentences about how things stand to each other: that of the small CLIP, without a tower for images."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from scenewise.networks.small_clip import Block, SmallClipShape, TextTransformer

_POSITION_STD = 0.05


@dataclass(frozen=True)
class RelationTextShape:
    """Sizes of the tower.

    Attributes:
        width: channels.
        depth: blocks.
        heads: attention heads.
        context: most tokens of a sentence, start and end included.
        words: size of the word list.
        dim: of the embeddings.
    """

    width: int = 96
    depth: int = 2
    heads: int = 4
    context: int = 64
    words: int = 0
    dim: int = 128


class RelationTextNetwork(nn.Module):
    """The tower.

    It starts with larger weights than the small CLIP's, because here everything depends on which noun comes first: matrices as in
    CLIP (Radford et al. 2021, arXiv 2103.00020: standard deviation 1/√width, smaller before residual sums), positions as loud as
    words.
    """

    def __init__(self, shape: RelationTextShape) -> None:
        super().__init__()
        self.shape = shape
        self.text = TextTransformer(
            SmallClipShape(
                text_width=shape.width,
                text_depth=shape.depth,
                text_heads=shape.heads,
                context=shape.context,
                words=shape.words,
                dim=shape.dim,
            )
        )
        residual = (2 * shape.depth) ** -0.5
        nn.init.normal_(self.text.positions, std=_POSITION_STD)
        for block in self.text.blocks:
            assert isinstance(block, Block)
            for layer, scale in ((block.qkv, 1.0), (block.up, 1.0), (block.out, residual), (block.down, residual)):
                nn.init.normal_(layer.weight, std=scale * shape.width**-0.5)

    def forward(self, ids: Int[Tensor, "batch context"]) -> Float[Tensor, "batch dim"]:
        """Embeddings, not normalised; each row ends with the end token and padding."""
        return self.text(ids)
