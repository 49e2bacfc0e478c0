"""How many threads compute, and in which of the two pools."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.kernels.native import library


def _usable(threads: int | None) -> int:
    """So many threads, but no more than there are processors: beyond that they only wait for each other."""
    processors = library.default_threads()
    if threads is not None and threads > processors:
        warnings.warn(
            f"--threads {threads}: this process may use {processors} processors, so it runs {processors} threads", stacklevel=4
        )
    return processors if threads is None else min(max(1, threads), processors)


@contextmanager
def compute_threads(threads: int | None) -> Iterator[int]:
    """Within the block the compiled kernels use ``threads`` threads (None: all processors, which are also the most) and torch
    one, or the other way round.

    Two busy pools on the same cores cost more than they bring (2.4× was measured), so only one has more than one thread: the
    compiled library's where it is loaded, torch's where the reference kernels run.  A sparse U-Net is no exception:
    its products and normalisations are the library's, and a second thread of torch's alone burned 60 % more processor time (200 %
    with a quarter-width network) without a gain.

    Yields:
        The number of threads.
    """
    wanted = _usable(threads)
    before = torch.get_num_threads(), library.get_threads()
    library.set_threads(wanted)
    torch.set_num_threads(1 if library.load() is not None else wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before[0])
        library.set_threads(before[1])


@contextmanager
def torch_threads(threads: int | None) -> Iterator[int]:
    """Within the block torch computes with ``threads`` threads (None: all processors): for networks, which leave our pool idle.

    Yields:
        The number of threads.
    """
    wanted = _usable(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)


def with_threads_of_torch(work: Callable[[Tensor], Tensor], values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """``work(values)`` with as many threads of torch's as our pool has, forwards and backwards.

    For a long dense stretch between sparse kernels, such as attention between thousands of tokens, in which our pool has nothing
    to do.  Short ones are better left alone: both pools would be busy at each change.

    Args:
        work: differentiable.
        values: on a CPU; elsewhere it is just called.
    """
    wanted, before = library.get_threads(), torch.get_num_threads()
    if values.device.type != "cpu" or wanted <= before:
        return work(values)
    if torch.is_grad_enabled() and not values.requires_grad:
        values = values.detach().requires_grad_()  # else nothing would tell that the way back has left the stretch
    values = _Handover.apply(values, before)
    torch.set_num_threads(wanted)
    try:
        done = work(values)
    finally:
        torch.set_num_threads(before)
    handed: Tensor = _Handover.apply(done, wanted)
    return handed


class _Handover(torch.autograd.Function):
    """The identity; on the way back torch has so many threads from here on."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, threads: int) -> Tensor:
        ctx.threads = threads
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        torch.set_num_threads(ctx.threads)
        return gradient, None
