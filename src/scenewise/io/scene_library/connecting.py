"""Where a library is, LanceDB itself, and what its errors mean.

LanceDB raises Python's general errors with a text; what they say is told apart here and nowhere else.
"""

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ResourceError, ScenewiseError
from scenewise.io.atomic import disk_errors

Value = TypeVar("Value")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)  # two letters at least: C:\ is a disk
_OBJECT_STORAGE = ("s3", "s3+ddb", "gs", "az", "abfss", "oss")
_CONFLICT = re.compile(r"conflict|concurrent|preempted", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"RetryError|ListRequest|error sending request|dispatch failure|connection refused|credential", re.IGNORECASE
)
_SOURCE_PLACE = re.compile(r",?\s*/\S*\.rs:\d+:\d+")  # where in LanceDB's source an error arose
_MOST_TRIES = 12
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 2.0  # seconds
_jitter = random.SystemRandom()  # two writers must not wait equally long, and nothing that is computed depends on it


def lancedb() -> Any:
    """LanceDB's module.

    Raises:
        MissingDependencyError: not installed.
    """
    # Each of our tries that another writer got ahead of would be a line of warning; what comes of it is ours to say.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ModuleNotFoundError as error:
        raise MissingDependencyError("lancedb", needed_for="A library of scenes", extra="library") from error
    return lancedb


def arrow() -> Any:
    """PyArrow's module, which comes with LanceDB; errors as in :func:`lancedb`."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pyarrow", needed_for="A library of scenes", extra="library") from error
    return pyarrow


def library_place(uri: str | Path) -> str:
    """The absolute path of a local library; the URI of one on object storage as it was given.

    Raises:
        ConventionError: a scheme that is neither.
    """
    found = _SCHEME.fullmatch(str(uri))
    if found is None:
        return str(Path(uri).expanduser().absolute())
    scheme = found[1].lower()
    if scheme == "file":
        return str(Path(found[2]).absolute())
    if scheme not in _OBJECT_STORAGE:
        raise ConventionError(
            "place of the library",
            expected=f"a folder, or a URI that begins with {', '.join(f'{name}://' for name in _OBJECT_STORAGE)}",
            got=str(uri),
        )
    return str(uri)


def is_local(place: str) -> bool:
    """Whether a library is a folder."""
    return _SCHEME.fullmatch(place) is None


def connected(place: str) -> Any:
    """LanceDB's connection.  Tables stay at the version they were read at until they are asked to look again.

    Object storage takes its settings from the environment, as LanceDB does: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_REGION, AWS_ENDPOINT, AWS_ALLOW_HTTP and the like.

    Raises:
        MissingDependencyError: LanceDB is not installed.
        ResourceError: the place cannot be reached.
    """
    module = lancedb()
    with lance_errors(place):
        return module.connect(place)


def opened_table(connection: Any, place: str, name: str) -> Any | None:
    """A table, or None where there is none; errors as in :func:`lance_errors`."""
    with lance_errors(place, f"table {name}"):
        try:
            return connection.open_table(name)
        except (ValueError, FileNotFoundError) as error:
            if "was not found" in str(error):
                return None
            raise


@contextmanager
def lance_errors(place: str, part: str = "") -> Iterator[None]:
    """Turns LanceDB's errors into ours; ``part`` tells in which part of the library it happened.

    Raises:
        ResourceError: the disk is full, the folder cannot be written, the object storage cannot be reached.
        DataFormatError: anything else: what is there is damaged.
    """
    try:
        yield
    except ScenewiseError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        if not isinstance(error, OSError) and _arose_here(error):
            raise
        raise _ours(place, part, error) from error


def _arose_here(error: Exception) -> bool:
    """Whether our own code is at fault, not LanceDB or what it read: such an error keeps its name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("scenewise.")


def _ours(place: str, part: str, error: Exception) -> ScenewiseError:
    text = _SOURCE_PLACE.sub("", str(error))
    inside = re.search(r"\(os error (\d+)\)", text)
    number = error.errno if isinstance(error, OSError) and error.errno else int(inside[1]) if inside is not None else None
    if is_local(place) and number is not None and number != errno.ENOENT:  # that one: a file of the library is gone
        try:
            with disk_errors(Path(place)):
                raise OSError(number, os.strerror(number))
        except ScenewiseError as ours:
            return ours
    brief = " ".join(text.split())[:200]
    if not is_local(place) and _UNREACHABLE.search(text):
        return ResourceError(
            f"the object storage of {place}",
            expected="an answer",
            got=brief,
            fix="check the bucket, the connection, and AWS_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
        )
    if _CONFLICT.search(text):
        return ResourceError(
            f"writing {place}", expected="a moment without other writers", got=brief, fix="try again; fewer writers at once"
        )
    return DataFormatError(place, part, expected="a library that can be read", got=brief, fix="it is damaged: restore it")


def tried_again(handle: Any, work: Callable[[Any], Value], place: str, part: str) -> Value:
    """What ``work`` with a table returns; it is done again, after a random wait, where another writer was quicker.

    Args:
        handle: of the table; it sees what others wrote before every try, and afterwards.
        work: what is done with it; it must not matter whether it is done twice.
        place, part: for messages.

    Raises:
        ResourceError: it was so twelve times, or see :func:`lance_errors`.
    """
    with lance_errors(place, part):
        wait = _FIRST_WAIT
        for _ in range(_MOST_TRIES - 1):
            handle.checkout_latest()
            try:
                return work(handle)
            except (ValueError, RuntimeError, OSError) as error:
                if isinstance(error, ScenewiseError) or _CONFLICT.search(str(error)) is None:
                    raise
                time.sleep(wait * _jitter.uniform(0.5, 1.5))
                wait = min(2 * wait, _LONGEST_WAIT)
        handle.checkout_latest()
        return work(handle)
