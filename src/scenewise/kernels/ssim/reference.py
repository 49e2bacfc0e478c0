"""SSIM in plain torch."""

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def window_weights(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "11"]:
    """Normalised 1-D Gaussian taps."""
    offsets = torch.arange(WINDOW, dtype=dtype, device=device) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return weights / weights.sum()


def _blur(fields: Float[Tensor, "fields height width"]) -> Float[Tensor, "fields height width"]:
    weights = window_weights(fields.dtype, fields.device)
    pad = WINDOW // 2
    rows = torch.nn.functional.conv2d(fields[:, None], weights.view(1, 1, 1, -1), padding=(0, pad))
    return torch.nn.functional.conv2d(rows, weights.view(1, 1, -1, 1), padding=(pad, 0))[:, 0]


def ssim_map(image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """See :func:`scenewise.kernels.ssim.ssim_map`."""
    x, y = image.permute(2, 0, 1), truth.permute(2, 0, 1)
    mu_x, mu_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    luminance = (2 * mu_x * mu_y + C1) / (mu_x**2 + mu_y**2 + C1)
    structure = (2 * (xy - mu_x * mu_y) + C2) / (xx - mu_x**2 + yy - mu_y**2 + C2)
    return (luminance * structure).permute(1, 2, 0)
