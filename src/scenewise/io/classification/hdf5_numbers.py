"""Arrays in HDF5 files, read as data: no link is followed into another file, no type but numbers is accepted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.errors import DataFormatError, MissingDependencyError, ScenewiseError
from scenewise.io.bounded import open_bounded

_FREE_BYTES = 64 << 20  # that any file may unpack to
_MAX_RATIO = 100


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file open for reading; whatever the library raises on damaged files becomes an error that names the file.

    Raises:
        DataFormatError: missing or damaged.
        MissingDependencyError: h5py is not installed.
    """
    with open_bounded(path):  # one message for missing files
        pass
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingDependencyError("h5py", needed_for="Reading HDF5 files", extra="io") from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except ScenewiseError:
        raise
    except Exception as error:  # the library promises no closed set: OSError, KeyError, RuntimeError, ValueError, TypeError …
        raise DataFormatError(
            path, expected="a sound HDF5 file", got=str(error)[:120] or type(error).__name__, fix="copy the file again"
        ) from error


def numbers_in(path: Path, file: Any, name: str, shape: tuple[int | None, ...]) -> Any:
    """An array of an open file, which is not read yet: ``[…]`` reads a part of it.

    Args:
        path: of the file, for messages.
        file: see :func:`open_hdf5`.
        name: of the array.
        shape: wanted; None for any length.

    Raises:
        DataFormatError: no such array in the file itself, another shape, no numbers, or more than a file of its size holds.
    """
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        names = ", ".join(sorted(file)[:8]) or "nothing"
        raise DataFormatError(path, name, expected="an array in this file", got=names, fix="take the file as published")
    array = file[name]
    fits = len(array.shape) == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape))
    is_own = array.external is None and not array.is_virtual
    if not fits or array.dtype.kind not in "fiu" or not is_own:
        sides = "×".join("n" if side is None else str(side) for side in shape)
        got = f"{array.dtype} {'×'.join(map(str, array.shape))}" + ("" if is_own else " in other files")
        raise DataFormatError(path, name, expected=f"{sides} numbers", got=got, fix="take the file as published")
    most = max(_FREE_BYTES, _MAX_RATIO * path.stat().st_size)
    if int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize > most:
        raise DataFormatError(
            path, name, expected=f"at most {most:,} bytes", got="×".join(map(str, array.shape)), fix="copy it again"
        )
    return array
