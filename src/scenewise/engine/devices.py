"""Which device to compute on."""

from typing import Literal

import torch

from scenewise.errors import ResourceError
from scenewise.kernels.splats import default_device


def compute_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to compute on: "auto" is CUDA where there is one and gsplat is installed.

    Raises:
        ResourceError: CUDA is asked for and there is no device.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError("CUDA", expected="a device", got="none", fix="use --device cpu, or see `scenewise doctor`")
    return default_device() if wanted == "auto" else torch.device(wanted)
