"""The package spconv behind our signature, imported only when it runs: an oracle for tests and an alternative on CUDA."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scenewise.errors import MissingDependencyError, ResourceError

if TYPE_CHECKING:
    from scenewise.kernels.sparse_conv.grid import RuleKind, VoxelGrid


def is_installed() -> bool:
    """Whether the package spconv can be imported."""
    return find_spec("spconv") is not None


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Raises where spconv cannot run.

    Raises:
        MissingDependencyError: not installed.
        ResourceError: float64, which it does not have.
    """
    if not is_installed():
        raise MissingDependencyError("spconv", needed_for="the sparse convolution backend spconv")
    if dtype != torch.float32:
        raise ResourceError("sparse convolution backend spconv", expected="float32 tensors", got=dtype, fix="use the reference")


def convolve(features: Tensor, weight: Tensor, grid: "VoxelGrid", kind: "RuleKind") -> Tensor:
    """See :func:`scenewise.kernels.sparse_conv.convolution.convolve`."""
    raise NotImplementedError
