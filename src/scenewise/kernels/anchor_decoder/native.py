"""The decoder of neural anchors in the compiled library (native/anchor_decoder.cpp)."""

from torch import Tensor

from scenewise.kernels.anchor_decoder.interface import AnchorInput, DecodedChildren


def takes(positions: Tensor) -> bool:
    """Float32 on the CPU, and the library is there."""
    return False


def can_run(anchors: AnchorInput) -> bool:
    """Float32 on the CPU, and the library is there."""
    return False


def decode(anchors: AnchorInput) -> DecodedChildren:
    """See :func:`scenewise.kernels.anchor_decoder.decode`."""
    raise NotImplementedError


def visible_rows(*arguments: object) -> Tensor:
    """See :func:`scenewise.kernels.anchor_decoder.visible_rows`."""
    raise NotImplementedError
