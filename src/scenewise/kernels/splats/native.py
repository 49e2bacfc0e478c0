"""The splat kernel in the compiled library."""

from scenewise.kernels.splats.interface import SplatInput, SplatOutput


def can_run(splats: SplatInput) -> bool:
    """Float32 on the CPU, and the library is there."""
    return False


def rasterize(splats: SplatInput) -> SplatOutput:
    """See :func:`scenewise.kernels.splats.rasterize`."""
    raise AssertionError
