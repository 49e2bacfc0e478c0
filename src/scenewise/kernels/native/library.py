"""Finds, loads and configures the compiled library."""

import ctypes
import os
import platform
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scenewise.kernels.native.interface import interface_of

_FOLDER = Path(__file__).parent
_VARIANTS = ("base", "avx2", "avx512", "avx512bf16")


@dataclass(frozen=True)
class LibraryReport:
    """What ``scenewise doctor`` prints about the compiled kernels.

    Attributes:
        loaded: whether the compiled library is in use.
        variant: instruction-set variant in use ("reference" when not loaded).
        reason: why this one.
        threads: size of the pool, the caller included.
    """

    loaded: bool
    variant: str
    reason: str
    threads: int


def _path(variant: str) -> Path:
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    return _FOLDER / f"libscenewise_{variant}{suffix}"


def _open(variant: str) -> ctypes.CDLL:
    library = ctypes.CDLL(str(_path(variant)))
    library.sw_set_threads.argtypes = [ctypes.c_int]
    library.sw_set_threads.restype = None
    library.sw_get_threads.restype = ctypes.c_int
    library.sw_best_variant.restype = ctypes.c_int
    library.sw_variant.restype = ctypes.c_char_p
    return library


def _other_sources(library: ctypes.CDLL) -> bool:
    """Whether the library was compiled from entry points that are not those beside it: calling it would write over memory."""
    wanted = interface_of(_FOLDER)
    if wanted is None:
        return False
    try:
        said = library.sw_interface
    except AttributeError:
        return True
    said.restype = ctypes.c_char_p
    return said().decode() != wanted


@cache
def _choose() -> tuple[ctypes.CDLL | None, str]:
    wanted = os.environ.get("SCENEWISE_ISA", "")
    if wanted == "reference":
        return None, "SCENEWISE_ISA=reference asks for the plain torch kernels"
    if not _path("base").exists():
        reason = "the compiled library was not built (no C++ compiler at installation?)"
        warnings.warn(f"Scenewise runs its slow reference kernels: {reason}. `scenewise doctor` tells more.", stacklevel=4)
        return None, reason
    try:
        base = _open("base")
        best = base.sw_best_variant()
        if wanted:
            if wanted not in _VARIANTS[: best + 1]:
                return None, f"SCENEWISE_ISA={wanted} is not one of {', '.join(_VARIANTS[: best + 1])} on this processor"
            best = _VARIANTS.index(wanted)
        while best > 0 and not _path(_VARIANTS[best]).exists():
            best -= 1
        library = base if best == 0 else _open(_VARIANTS[best])
        if _other_sources(library):
            reason = (
                f"{_path(_VARIANTS[best]).name} was compiled from other sources; install the package again (pip install -e .)"
            )
            warnings.warn(f"Scenewise runs its slow reference kernels: {reason}", stacklevel=4)
            return None, reason
    except OSError as error:
        warnings.warn(f"Scenewise runs its slow reference kernels: {error}", stacklevel=4)
        return None, str(error)
    library.sw_set_threads(default_threads())
    why = f"SCENEWISE_ISA={wanted}" if wanted else f"best this {platform.machine()} processor supports"
    return library, why


def default_threads() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def load() -> ctypes.CDLL | None:
    """The compiled library, or None where only the reference kernels can run (warned about once)."""
    return _choose()[0]


def set_threads(threads: int) -> None:
    """Sets the pool's size (the calling thread included).  No effect without the compiled library."""
    library = load()
    if library is not None:
        library.sw_set_threads(threads)


def get_threads() -> int:
    """Size of the pool; 1 without the compiled library."""
    library = load()
    return 1 if library is None else int(library.sw_get_threads())


def describe() -> LibraryReport:
    """Which variant is in use and why."""
    library, reason = _choose()
    if library is None:
        return LibraryReport(False, "reference", reason, 1)
    return LibraryReport(True, library.sw_variant().decode(), reason, int(library.sw_get_threads()))
