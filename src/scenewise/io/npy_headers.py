"""The header of arrays in numpy's format, read as data."""

import tokenize
import warnings
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from scenewise.errors import DataFormatError

_DAMAGED = (ValueError, SyntaxError, TypeError, KeyError, EOFError, tokenize.TokenError, RecursionError, MemoryError)


@runtime_checkable
class _Readable(Protocol):
    def read(self, count: int = ..., /) -> bytes: ...


def read_npy_header(path: Path, file: _Readable) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array in a stream, which is left at its first number.

    Raises:
        DataFormatError: not in numpy's format, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers written by Python 2
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = reader(file)
    except _DAMAGED as error:
        got = str(error)[:120] or type(error).__name__
        raise DataFormatError(path, expected="an array in numpy's format", got=got, fix="write it again") from error
    return shape, is_fortran, dtype
