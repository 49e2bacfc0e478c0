"""The fastest exact float32 matrix product torch has on this processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


@cache
def onednn_is_exact() -> bool:
    """Whether torch's "medium" setting multiplies float32 on the CPU with float32-sized errors.

    The setting allows bfloat16 but does not demand it: on processors without AMX torch then hands the product to oneDNN, which
    keeps float32 and is twice as fast as MKL on AMD processors.  Where rounding is seen, or AMX is there, the answer is no.
    """
    if torch.cpu._is_amx_tile_supported():
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(256, 256, generator=generator), torch.randn(256, 256, generator=generator)
    with _setting("medium"):
        product = left @ right
    exact = left.double() @ right.double()
    return float((product.double() - exact).norm() / exact.norm()) < 2e-6


@contextmanager
def fast_exact_matmul(device: torch.device | str = "cpu") -> Iterator[None]:
    """Within: float32 products on the CPU go the fastest way that is exact.  Changes nothing for other devices.

    The setting belongs to the process and governs CUDA too, so keep products on CUDA out of the block.
    """
    if torch.device(device).type != "cpu" or not onednn_is_exact():
        yield
        return
    with _setting("medium"):
        yield


@contextmanager
def _setting(value: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(value)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
