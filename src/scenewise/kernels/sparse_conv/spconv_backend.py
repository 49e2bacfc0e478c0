"""The package spconv behind our signature, imported only when it runs: an oracle for tests and an alternative on CUDA.

It gets our pairs of rows, so its own limits on coordinates do not apply, and multiplies and adds them by its "native" algorithm.
spconv wants weights as [c_out, x, y, z, c_in]; converting there and back is part of every call.
"""

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scenewise.errors import MissingDependencyError, ResourceError
from scenewise.kernels.sparse_conv import reference

if TYPE_CHECKING:
    from scenewise.kernels.sparse_conv.grid import RuleKind, VoxelGrid


def is_installed() -> bool:
    """Whether the package spconv can be imported."""
    return find_spec("spconv") is not None


def has_races(device: torch.device) -> bool:
    """Whether its threads add to the same rows at once, which loses sums: seen with spconv 2.3.8 on the CPU in most calls."""
    return device.type == "cpu" and torch.get_num_threads() > 1


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Raises where spconv cannot run.

    Raises:
        MissingDependencyError: not installed.
        ResourceError: float64, which it does not have; several threads on the CPU (see :func:`has_races`).
    """
    if not is_installed():
        raise MissingDependencyError("spconv", needed_for="the sparse convolution backend spconv")
    if has_races(device):
        raise ResourceError(
            "sparse convolution backend spconv",
            expected="one thread on the CPU, as its threads overwrite each other's sums",
            got=f"{torch.get_num_threads()} threads of torch",
            fix='call torch.set_num_threads(1), or use backend="native"',
        )
    if dtype != torch.float32:
        fix = 'use backend="reference"'
        raise ResourceError("sparse convolution backend spconv", expected="float32 tensors", got=f"{dtype} on {device}", fix=fix)


def convolve(features: Tensor, weight: Tensor, grid: "VoxelGrid", kind: "RuleKind") -> Tensor:
    """See :func:`scenewise.kernels.sparse_conv.convolution.convolve`."""
    rule: reference.Rule = grid.rule(kind, reference)
    if rule.num_outputs == 0 or rule.num_inputs == 0:
        return features.new_zeros(rule.num_outputs, weight.shape[2]) + 0 * (features.sum() + weight.sum())
    functional, algorithm = _spconv()
    apply = functional.indice_subm_conv if kind == "submanifold" else functional.indice_conv
    edge = 3 if kind == "submanifold" else 2
    filters = weight.permute(2, 0, 1).reshape(weight.shape[2], edge, edge, edge, weight.shape[1]).contiguous()
    pairs, counts = grid.kept(("spconv", kind), lambda: _listed(rule))
    out: Tensor = apply(features.contiguous(), filters, pairs, counts, rule.num_outputs, algorithm)
    return out


def _listed(rule: reference.Rule) -> tuple[Tensor, Tensor]:
    """A rule for spconv: int32 [2, offsets, most pairs] of (input, output) rows, filled up with −1, and the pairs per offset."""
    device = rule.lists[0][0].device
    counts = [len(inputs) for inputs, _ in rule.lists]
    pairs = torch.full((2, len(counts), max(rule.num_inputs, rule.num_outputs)), -1, dtype=torch.int32, device=device)
    for k, (inputs, outputs) in enumerate(rule.lists):
        pairs[0, k, : counts[k]], pairs[1, k, : counts[k]] = inputs, outputs
    return pairs, torch.tensor(counts, dtype=torch.int32, device=device)


def _spconv() -> tuple[Any, Any]:
    """spconv's functions and the algorithm that exists on every device."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports use what newer Pythons advise against
        from spconv.core import ConvAlgo
        from spconv.pytorch import cppcore, functional, ops

    if not torch.cuda.is_available():
        # Its backward asks for the CUDA stream before it looks where the tensors are.
        cppcore.get_current_stream = ops.get_current_stream = _no_stream
    return functional, ConvAlgo.Native


def _no_stream() -> int:
    return 0
