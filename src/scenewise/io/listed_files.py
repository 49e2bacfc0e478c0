"""Finding the files that a capture lists, as the machine that wrote the list may have spelled them.

Lists travel between systems: back-slashes from Windows, ``.JPG`` beside ``.jpg`` from one that does not tell the two apart,
paths of somebody else's home, names without an ending.  A file is taken only where one and no other can be meant.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import final

from scenewise.io.images import IMAGE_SUFFIXES
from scenewise.io.views import is_file


def is_hidden(name: str) -> bool:
    """Whether a name in a folder is no content of the user's: ``.DS_Store``, macOS's ``._0.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def visible(paths: Iterable[Path]) -> list[Path]:
    """The paths whose name is not hidden, sorted."""
    return sorted(path for path in paths if not is_hidden(path.name))


def plain_path(listed: str) -> str:
    r"""A listed path with forward slashes and without ``./`` before it.

    >>> plain_path(".\\images\\0001.jpg")
    'images/0001.jpg'
    """
    return listed.replace("\\", "/").removeprefix("./")


@final
class ListedFiles:
    """The files that one list names, looked for below its folder.  Folders are listed once, and only where a file is missing.

    Args:
        root: what listed paths are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[Path, dict[str, list[str]]] = {}

    def path(self, listed: str) -> Path:
        """Where a listed file is; where it should be, if it is nowhere."""
        exact = self.root / listed
        if is_file(exact):
            return exact
        plain = plain_path(listed)
        found = self._spelled_otherwise(self.root / plain)
        if found is None and _is_absolute(plain):  # of the machine that wrote the list: the longest end of it that is here
            parts = PurePosixPath(plain).parts[1:]
            tails = (self._spelled_otherwise(self.root.joinpath(*parts[start:])) for start in range(len(parts)))
            found = next((tail for tail in tails if tail is not None), None)
        return self.root / plain if found is None else found

    def with_ending(self, listed: str) -> list[Path]:
        """Picture files whose name is a listed one and an ending, in the order in which endings are preferred."""
        stem = self.root / plain_path(listed)
        found = []
        for ending in IMAGE_SUFFIXES:
            path = self._spelled_otherwise(stem.with_name(stem.name + ending)) if stem.name else None
            if path is not None and path not in found:
                found.append(path)
        return found

    def path_of_any_ending(self, listed: str) -> Path:
        """Where a listed picture is, or one of the same name with another ending; where it should be, if neither is there."""
        path, plain = self.path(listed), PurePosixPath(plain_path(listed))
        if is_file(path) or not plain.name:
            return path
        found = self.with_ending(plain.with_suffix("").as_posix())
        return found[0] if found else path

    def _spelled_otherwise(self, path: Path) -> Path | None:
        """The file of this name, letter case aside; None where there is none, or several."""
        if is_file(path):
            return path
        folder = self._folder(path.parent)
        names = self._listing(folder).get(path.name.lower(), [])
        return folder / names[0] if len(names) == 1 and is_file(folder / names[0]) else None

    def _folder(self, folder: Path) -> Path:
        """The folder of this name below the list's own, letter case of its last part aside."""
        if folder == self.root or self._listing(folder) or not folder.name:
            return folder
        names = self._listing(folder.parent).get(folder.name.lower(), [])
        return folder.with_name(names[0]) if len(names) == 1 else folder

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by their lower case; empty where there is no such folder."""
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        names.setdefault(entry.name.lower(), []).append(entry.name)
            except (OSError, ValueError):  # none, not to be read, or a name that no folder can have
                names = {}
            self._names[folder] = names
        return self._names[folder]


def _is_absolute(plain: str) -> bool:
    return plain.startswith("/") or plain[1:3] == ":/"


def files_of_the_same_name(path: Path) -> tuple[str, ...]:
    """Names in the folder of a missing file that differ from its own in ending or letter case alone."""
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(entry.name for entry in entries if not is_hidden(entry.name))
    except (OSError, ValueError):
        return ()
    stem = path.stem.lower()
    return tuple(name for name in names if name != path.name and stem in (name.lower(), PurePosixPath(name).stem.lower()))
