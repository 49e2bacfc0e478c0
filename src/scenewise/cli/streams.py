"""Standard streams as they may be: closed, full, without a reader, or in an encoding that lacks our arrows.

A report that took minutes to make must not be lost to any of these, and what is said on the way must not end the work.
"""

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, TextIO, cast, final

from scenewise.engine.progress import TextStream
from scenewise.errors import ResourceError

_FALLBACKS = {
    **dict.fromkeys("‐‑‒–−—━─", "-"),
    "→": "->",
    "←": "<-",
    "↔": "<->",
    "×": "x",
    "·": "*",
    "…": "...",
    "›": ">",
    "°": " deg",
    "±": "+-",
    "½": "1/2",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "√": "sqrt",
    "∞": "inf",
    "µ": "u",
    "Σ": "sum",
    "σ": "sigma",
    "α": "alpha",
    "²": "^2",
    "³": "^3",
    "⁻": "^-",
    "π": "pi",
    "τ": "tau",
    "✓": "ok",
    "✗": "failed",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
}
_HANDLER = "scenewise.plain_text"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: a likeness in ASCII, else a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_FALLBACKS.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


@final
class _SteadyStream:
    """A stream of messages whose failures are not worth ending the work for: the disk of a log is full, a reader has gone."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _send_to_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _send_to_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _send_to_nowhere(stream: Any) -> None:
    """Makes what the stream still holds, and all that follows, disappear; otherwise Python complains at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # not a stream of the system's
        return


@contextmanager
def standard_streams() -> Iterator[None]:
    """Within the block both streams exist and accept every character, and standard error accepts every write."""
    # A file opened while a standard descriptor is free would take its number, and messages of libraries would land in it.
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    codecs.register_error(_HANDLER, _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)
    with redirect_stderr(cast(TextIO, _SteadyStream(sys.stderr))):
        yield


def can_show(text: str) -> bool:
    """Whether standard output has every character of ``text``."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_result(text: str) -> None:
    """Prints to standard output, and makes sure that it arrives.  A reader who has left early (``| head``) has what he wanted.

    Raises:
        ResourceError: the disk that standard output is written to is full.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _send_to_nowhere(sys.stdout)
    except OSError as error:
        _send_to_nowhere(sys.stdout)
        raise ResourceError(
            "disk space for standard output" if error.errno == errno.ENOSPC else "standard output",
            expected="room for the result",
            got=error.strerror or str(error),
            fix="free space, or send the output elsewhere",
        ) from error
