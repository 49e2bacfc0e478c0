"""Files in torch's own format; nothing in them is run."""

from pathlib import Path
from typing import Any

import torch

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded


def read_torch_file(path: Path, *, expected: str, fix: str) -> Any:
    """What a file holds: tensors, numbers, texts and collections of these; ``weights_only`` refuses everything else.

    Args:
        path: the file.
        expected: what it should be, for the error.
        fix: what to do otherwise, for the error.

    Raises:
        DataFormatError: no such file, or it holds anything else, or it is a TorchScript archive, which is a program.
    """
    with open_bounded(path):  # one message for missing files
        pass
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and torch's own errors
        got = (str(error).strip().splitlines() or ["an unreadable file"])[0][:160]
        raise DataFormatError(path, expected=expected, got=got, fix=fix) from error
