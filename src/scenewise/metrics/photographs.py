"""A rendered picture against the photograph that it should look like."""

import torch
from jaxtyping import Float

from scenewise.metrics.hidden import grey_where_hidden
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim
from scenewise.scenes.frames import Frame


def likeness(picture: Float[torch.Tensor, "height width 3"], frame: Frame) -> tuple[float, float]:
    """PSNR in dB and SSIM of a picture in [0, 1] against a frame's photograph; pixels that its mask leaves out do not count."""
    assert frame.load_image is not None, "frames to compare with have a photograph"
    truth = torch.from_numpy(frame.load_image().copy()).to(picture.device, torch.float32) / 255.0
    mask = None if frame.load_mask is None else torch.from_numpy(frame.load_mask().copy()).to(picture.device)
    return psnr(picture, truth, mask), ssim(grey_where_hidden(picture, mask), grey_where_hidden(truth, mask), mask)
