"""L1 + D-SSIM with its gradient in the compiled library."""

import ctypes
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.kernels.native import library


@cache
def _function() -> Any:
    lib = library.load()
    if lib is None or not hasattr(lib, "sw_l1_dssim"):
        return None
    function = lib.sw_l1_dssim
    function.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float, ctypes.c_void_p]
    function.restype = ctypes.c_double
    return function


def can_run(image: Tensor, truth: Tensor) -> bool:
    """Float32 on the CPU, no gradient wanted for the truth, and the library is there."""
    return (
        image.dtype == torch.float32
        and truth.dtype == torch.float32
        and image.device.type == "cpu"
        and not truth.requires_grad
        and image.numel() > 0
        and _function() is not None
    )


class _L1Dssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, truth: Tensor, dssim_weight: float) -> Tensor:
        image, truth = image.contiguous(), truth.contiguous()
        gradient = torch.empty_like(image)
        height, width, _ = image.shape
        loss = _function()(height, width, image.data_ptr(), truth.data_ptr(), dssim_weight, gradient.data_ptr())
        ctx.save_for_backward(gradient)
        return torch.tensor(loss, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        scale = float(upstream[0].detach())
        return (gradient if scale == 1.0 else gradient * scale), None, None


def l1_dssim(
    image: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"], dssim_weight: float
) -> Float[Tensor, ""]:
    """See :func:`scenewise.kernels.ssim.l1_dssim`."""
    return _L1Dssim.apply(image, truth, dssim_weight)
