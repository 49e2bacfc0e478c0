"""What the studies on real captures have in common: which captures are there, and how figures are told."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scenewise.errors import ConventionError
from scenewise.studies.bench import say

Figures = dict[str, Any]
Report = Callable[[str], None]


def require_known(captures: Sequence[str], known: Mapping[str, object]) -> None:
    """The names a person gave are names of captures.

    Raises:
        ConventionError: one is not.
    """
    unknown = [name for name in captures if name not in known]
    if unknown:
        raise ConventionError("captures", expected=", ".join(known), got=unknown[0])


def captures_there(captures: Sequence[str], folders: Mapping[str, str], data: Path) -> Iterator[tuple[str, Path]]:
    """Names and folders of the captures that are there; those that are not are named on standard error.

    Args:
        captures: wanted; none: all.
        folders: by name, below ``data``.
        data: folder of all captures.
    """
    for name in captures or folders:
        folder = data / folders[name]
        if folder.is_dir():
            yield name, folder
        else:
            print(f"{name}: left out, no {folders[name]} in {data}", file=sys.stderr)


def reporter(json: bool) -> Report:
    """Lines for people; none where one JSON object is asked for.  Warnings become lines of standard error."""
    warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
    return _silence if json else say


def _silence(text: str) -> None:
    return
