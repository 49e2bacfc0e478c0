"""Named tensors and a description of them in one file, written atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_path, json_text
from scenewise.io.bounded import open_bounded


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], kind: str, about: Mapping[str, Any]) -> None:
    """A safetensors file whose metadata holds the description as JSON under the key ``kind``.

    Raises:
        ConventionError: the description holds NaN or infinity.
        ResourceError: the disk is full or the folder cannot be written.
    """
    from safetensors.torch import save_file

    text = json_text(path, dict(about), indent=None)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={kind: text})


def half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's numbers as its file keeps them; whole numbers stay as they are."""
    return {name: value.detach().half() if value.is_floating_point() else value.detach() for name, value in state.items()}


def read_tensors(
    path: str | Path, kind: str, fix: str = "delete it; it is made again with --resume"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_tensors` wrote.

    Args:
        path: the file.
        kind: as it was written with.
        fix: what the user can do about a damaged one.

    Raises:
        DataFormatError: no such file, or one of another kind or damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open_bounded(path):  # one message for missing files, whatever the library says
        pass
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(kind)
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        about = json.loads(text or "")
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise DataFormatError(path, expected=f"a {kind} file", got=str(error)[:120], fix=fix) from error
    if not isinstance(about, dict):
        raise DataFormatError(path, f"metadata {kind}", expected="an object", got=type(about).__name__, fix=fix)
    return tensors, about
