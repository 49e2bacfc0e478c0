"""How many threads compute, and in which of the two pools."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scenewise.kernels.native import library


@contextmanager
def compute_threads(threads: int | None) -> Iterator[int]:
    """Within the block the compiled kernels use ``threads`` threads (None: all processors) and torch one, or the other way round.

    Two busy pools on the same cores cost more than they bring (2.4× was measured), so only one has more than one thread: the
    compiled library's where it is loaded, torch's where the reference kernels run.  A sparse U-Net is no exception:
    its products and normalisations are the library's, and a second thread of torch's alone burned 60 % more processor time (200 %
    with a quarter-width network) without a gain.

    Yields:
        The number of threads.
    """
    wanted = library.default_threads() if threads is None else max(1, threads)
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
    wanted = library.default_threads() if threads is None else max(1, threads)
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)
