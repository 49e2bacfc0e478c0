"""From a photograph to what a tower takes: resized, in [0, 1], normalised, channels first."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.scenes.frames import ImageU8


@dataclass(frozen=True)
class ResizeSettings:
    """How large an image is shown to the tower.

    Attributes:
        short_side: pixels of the shorter side; SC-CLIP uses 336 (560 on Cityscapes).  None keeps the image's size.
        long_side: the longer side is at most this many pixels, whatever the shorter becomes.
    """

    short_side: int | None = 336
    long_side: int = 2048

    def __post_init__(self) -> None:
        if self.long_side < 1 or (self.short_side is not None and not 1 <= self.short_side <= self.long_side):
            raise ConventionError(
                "ResizeSettings", expected="1 ≤ short side ≤ long side", got=f"{self.short_side} and {self.long_side}"
            )

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width an image of this size is shown at; the ratio is kept up to rounding."""
        scale = self.long_side / max(height, width)
        scale = min(scale, 1.0 if self.short_side is None else self.short_side / min(height, width))
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def normalised_image(
    image_u8: ImageU8, size: tuple[int, int], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float32[Tensor, "3 rows columns"]:
    """An image resized by Pillow's antialiased bicubic filter, as CLIP was trained with; (rgb / 255 − mean) / std.

    Args:
        image_u8: sRGB.
        size: rows and columns of the result.
        mean: of each channel, subtracted from [0, 1].
        std: of each channel, divided by afterwards.
    """
    from PIL import Image

    if image_u8.shape[:2] != size:
        image_u8 = np.asarray(Image.fromarray(image_u8).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    channels = torch.from_numpy(np.array(image_u8)).permute(2, 0, 1).float() / 255.0  # a copy: the source may be read-only
    return ((channels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]).contiguous()
