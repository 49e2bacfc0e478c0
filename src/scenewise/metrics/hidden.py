"""What a mask hides, taken out of pictures that are to be compared."""

from jaxtyping import Bool, Float
from torch import Tensor

_GREY = 0.5


def grey_where_hidden(
    picture: Float[Tensor, "height width 3"], mask: Bool[Tensor, "height width"] | None
) -> Float[Tensor, "height width 3"]:
    """The picture with middle grey wherever the mask hides it.

    Both of two compared pictures are treated so before a measure that looks at windows (SSIM, LPIPS): then what was hidden, such
    as somebody who walked by, cannot reach the figures of pixels nearby.  A photograph in the place of the grey would.

    Args:
        picture: sRGB in [0, 1].
        mask: pixels to use; None for all.
    """
    return picture if mask is None else picture.masked_fill(~mask[..., None], _GREY)
