"""Converts published LPIPS weights (.pth) once into the data-only file that evaluation reads."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_path
from scenewise.metrics.lpips import backbone_of, expected_shapes


def convert_lpips_weights(backbone_path: str | Path, heads_path: str | Path, out: str | Path) -> Path:
    """Writes a safetensors file for ``--lpips-weights`` out of a published backbone (torchvision's names) and LPIPS's heads.

    A ``.pth`` file is a pickle, which can run code when it is opened.  It is read by torch's restricted unpickler
    (``weights_only=True``), never by anything less; still, convert only files from a source you trust.

    Args:
        backbone_path: torchvision's weights (``vgg16-397923af.pth``, ``alexnet-owt-7be5be79.pth``); the first
            convolution tells which.
        heads_path: LPIPS's linear heads, version 0.1 (``vgg.pth``, ``alex.pth``).
        out: the ``.safetensors`` file to write.

    Returns:
        ``out``.

    Raises:
        DataFormatError: not a file of tensors, or a tensor is missing or of another shape.
    """
    from safetensors.torch import save_file

    out = Path(out)
    if out.suffix != ".safetensors":
        raise DataFormatError(out, expected="a name ending in .safetensors", got=out.name)
    of_backbone, of_heads = _tensors_of(Path(backbone_path)), _tensors_of(Path(heads_path))
    first = of_backbone.get("features.0.weight")
    backbone = backbone_of(Path(backbone_path), None if first is None else tuple(first.shape))
    found = of_backbone | of_heads
    tensors = {}
    for name, shape in expected_shapes(backbone).items():
        source = Path(heads_path if name.startswith("lin") else backbone_path)
        if name not in found:
            raise DataFormatError(source, name, expected=f"a tensor of shape {list(shape)}", got="no such tensor")
        if tuple(found[name].shape) != shape:
            raise DataFormatError(source, name, expected=f"shape {list(shape)}", got=list(found[name].shape))
        tensors[name] = found[name].float().contiguous()
    with atomic_path(out) as temporary:
        save_file(tensors, temporary)
    return out


def _tensors_of(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataFormatError(path, expected="a .pth file", got="no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever it stumbles over
        raise DataFormatError(path, expected="a file of plain tensors", got=str(error).splitlines()[0]) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataFormatError(path, expected="a dictionary of tensors", got=type(content).__name__)
    return {str(name): value for name, value in content.items()}
