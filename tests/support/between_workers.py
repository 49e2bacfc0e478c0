"""What takes long to make is made once and shared by all processes that pytest-xdist runs tests in."""

import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

_T = TypeVar("_T")

_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.05


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], _T]) -> tuple[Path, _T]:
    """The place ``name`` and what ``make`` returned when it filled it, in this process or in another one of this run of tests.

    Tests must leave the place as it is: others read it at the same time.  One that changes something works on a copy.

    Args:
        tmp_path_factory: of pytest.
        name: unlike all others in this run of tests, such as ``segment_room``.
        make: gets the path, where nothing is yet, and writes a file or a folder there; what it returns has to be something
            that can be pickled.  Should it fail, the next process that asks tries again.
    """
    base = tmp_path_factory.getbasetemp()
    # The workers of one run have their folders side by side.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    shared.mkdir(exist_ok=True)
    place, finished, lock = shared / name, shared / f"{name}.finished", shared / f"{name}.lock"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not finished.exists():
        if time.monotonic() > deadline:  # the process that makes it was killed
            place = tmp_path_factory.mktemp(name) / name
            return place, make(place)
        try:
            lock.mkdir()
        except FileExistsError:
            time.sleep(_POLL_SECONDS)
            continue
        try:
            if not finished.exists():
                _make(place, finished, make)
        finally:
            lock.rmdir()
    result: _T = pickle.loads(finished.read_bytes())
    return place, result


def _make(place: Path, finished: Path, make: Callable[[Path], _T]) -> None:
    try:
        result = pickle.dumps(make(place))
    except BaseException:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        raise
    written = finished.with_suffix(".result")
    written.write_bytes(result)
    written.rename(finished)
