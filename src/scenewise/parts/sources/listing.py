"""The captures in a folder of many, found by their files alone: no list and no picture is opened.

Whatever :func:`scenewise.io.captures.open_capture` reads may lie there, mixed: COLMAP models, ``transforms.json``, RGB-D folders,
scans of ScanNet, categories of CO3D (``<category>/<sequence>``), MVImgNet (``<class>/<instance>`` with ``images/`` and
``sparse/0/``).
"""

import os
from collections.abc import Iterator
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.captures import is_capture
from scenewise.io.listed_files import is_hidden
from scenewise.io.scene_folder import SCENE_FILE

DEEPEST = 4
"""Levels of folders that are looked into: data sets, their splits, their classes, and the captures."""


def captures_below(path: str | Path, *, deepest: int = DEEPEST) -> tuple[Path, ...]:
    """Folders of the captures in a folder and in those below it, in the order of their paths.

    A folder that is a capture is not looked into any further, so ``path`` itself may be the only one; so may a file that
    :func:`~scenewise.io.captures.open_capture` takes.  Scene folders, which hold no photographs, are passed over.

    Args:
        path: the folder.
        deepest: levels below it that are looked at.

    Raises:
        DataFormatError: nothing there, or no capture in it.
    """
    path = Path(path)
    if not path.exists():
        raise DataFormatError(path, expected="a folder with captures", got="nothing", fix="check the path")
    found = find_captures_below(path, deepest=deepest)
    if not found:
        raise DataFormatError(
            path,
            expected=f"captures, in the folder itself or at most {deepest} levels below it: COLMAP, transforms.json, RGB-D, "
            "ScanNet, CO3D, MVImgNet",
            got="none of them",
            fix="name the folder that holds the data set, unpacked",
        )
    return found


def find_captures_below(path: Path, *, deepest: int = DEEPEST) -> tuple[Path, ...]:
    """As :func:`captures_below`, but empty where there is none."""
    if path.is_file():
        return (path,) if is_capture(path) or path.suffix.lower() == ".json" else ()
    return tuple(_found(path, deepest, set()))


def _found(folder: Path, levels: int, seen: set[str]) -> Iterator[Path]:
    """Captures in a folder, from the first name to the last; folders that links lead to a second time are passed over."""
    place = os.path.realpath(folder)
    if place in seen:
        return
    seen.add(place)
    if is_capture(folder):
        yield folder
    elif levels > 0 and not (folder / SCENE_FILE).is_file():
        for inner in _folders_in(folder):
            yield from _found(inner, levels - 1, seen)


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))
    except OSError:  # not to be read
        return []
