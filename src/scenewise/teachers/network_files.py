"""Networks of ours out of their files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from scenewise.errors import DataFormatError
from scenewise.networks.sizes_only import sizes_only
from scenewise.teachers.model_folders import check_tensor_shapes

_Network = TypeVar("_Network", bound=nn.Module)


def network_of_tensors(path: Path, tensors: Mapping[str, Tensor], build: Callable[[], _Network], fix: str) -> _Network:
    """A network with the numbers of a file, which may be in half precision; sizes are compared before anything is allocated.

    Args:
        path: of the file, for messages.
        tensors: that were in it, by name; others than the network's are passed over.
        build: the network as the file describes it.
        fix: what to do about a damaged file.

    Raises:
        DataFormatError: a tensor is missing, or has another shape or kind, NaN or infinity.
        Whatever ``build`` raises.
    """
    with sizes_only():
        wanted = build().state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_tensor_shapes(path, found, {name: tuple(tensor.shape) for name, tensor in wanted.items()})
    for name, tensor in wanted.items():
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            kinds = "fractions" if tensor.is_floating_point() else "whole numbers"
            raise DataFormatError(path, name, expected=kinds, got=str(tensors[name].dtype), fix=fix)
        if not bool(tensors[name].isfinite().all()):
            raise DataFormatError(path, name, expected="finite numbers", got="NaN or infinity", fix=fix)
    network = build()
    network.load_state_dict({name: tensors[name].to(tensor.dtype) for name, tensor in wanted.items()})
    return network
