"""Progress with time left: bars on a terminal, a line now and then elsewhere, nothing in library use.

Everything goes to standard error, so that standard output stays free for results.  Library code takes a ``Progress`` and
opens stages on it; which of the three kinds it gets is the caller's choice.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Protocol, cast, final, runtime_checkable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_FRACTION = 0.1
LINE_SECONDS = 30.0


@runtime_checkable
class TextStream(Protocol):
    """What is needed of a text file."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


@runtime_checkable
class Stage(Protocol):
    """One running piece of work."""

    def advance(self, n: int = 1, **fields: object) -> None:
        """Note that ``n`` more units are done; ``fields`` (loss=…, gaussians=…) are shown beside the bar."""


@runtime_checkable
class Progress(Protocol):
    """Where work reports how far it is.  Stages may be opened inside stages."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Stage]:
        """A stage of ``total`` units, or of unknown length.  It ends with the context, also by an exception."""

    def message(self, text: str) -> None:
        """Show one line."""

    def warning(self, text: str) -> None:
        """Show one line that deserves attention."""


def console_progress(stream: TextStream | None = None) -> Progress:
    """Bars when ``stream`` (standard error by default) is a terminal, otherwise a line per ten per cent or 30 seconds."""
    stream = sys.stderr if stream is None else stream
    return TerminalProgress(stream) if stream.isatty() else LineProgress(stream)


@final
class NullProgress:
    """Shows nothing; the default of library functions."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        yield _NullStage()

    def message(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        pass


@final
class _NullStage:
    def advance(self, n: int = 1, **fields: object) -> None:
        pass


@final
class LineProgress:
    """Plain lines for logs and pipes, at most about ten per stage and more only when a stage is slow.

    Args:
        stream: where to write.
        clock: seconds that never run backwards; a test puts its own.
    """

    def __init__(self, stream: TextStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._names: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self._names.append(name)
        title = " › ".join(self._names)
        started = self._clock()
        outcome = "stopped"
        try:
            yield _LineStage(title, total, self._clock, self.message)
            outcome = "done"
        finally:
            self._names.pop()
            self.message(f"{title}: {outcome} after {duration_text(self._clock() - started)}")

    def message(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def warning(self, text: str) -> None:
        self.message(f"warning: {text}")


@final
class _LineStage:
    def __init__(self, title: str, total: int | None, clock: Callable[[], float], write: Callable[[str], None]) -> None:
        self._title, self._total, self._clock, self._write = title, total, clock, write
        self._started = self._written = clock()
        self._done = self._done_written = 0

    def advance(self, n: int = 1, **fields: object) -> None:
        self._done += n
        now = self._clock()
        due = now - self._written >= LINE_SECONDS
        finished = self._total is not None and self._done >= self._total
        if self._total:
            due |= self._done - self._done_written >= LINE_FRACTION * self._total
        # The last unit is followed at once by the stage's closing line; a stage that is over in a second needs no other.
        if not due or finished or now - self._started < 1.0:
            return
        self._written, self._done_written = now, self._done
        parts = [f"{self._title}: {self._done}" if self._total is None else f"{self._title}: {self._done}/{self._total}"]
        if self._total:
            left = (now - self._started) * max(0, self._total - self._done) / max(1, self._done)
            parts.append(f"{duration_text(left)} left")
        self._write(", ".join(parts + _shown(fields)))


@final
class TerminalProgress:
    """Live bars on a terminal; a stage that has ended leaves one line behind."""

    def __init__(self, stream: TextStream) -> None:
        self._console = Console(file=cast(IO[str], stream), highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        if self._depth == 0:
            self._bars.start()
        indent = "  " * self._depth
        self._depth += 1
        task = self._bars.add_task(indent + escape(name), total=total, shown="")
        started = time.monotonic()
        mark = "[red]✗[/red]"
        try:
            yield _TerminalStage(self._bars, task)
            mark = "[green]✓[/green]"
        finally:
            self._depth -= 1
            self._bars.remove_task(task)
            self._console.print(f"{indent}{mark} {escape(name)}  [dim]{duration_text(time.monotonic() - started)}[/dim]")
            if self._depth == 0:
                self._bars.stop()

    def message(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

    def warning(self, text: str) -> None:
        self._console.print(f"[yellow]warning:[/yellow] {escape(text)}", soft_wrap=True)


@final
class _TerminalStage:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, n: int = 1, **fields: object) -> None:
        if fields:
            self._bars.update(self._task, advance=n, shown=escape(", ".join(_shown(fields))))
        else:
            self._bars.update(self._task, advance=n)


def _shown(fields: dict[str, object]) -> list[str]:
    return [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in fields.items()
    ]


def duration_text(seconds: float) -> str:
    """A duration for people: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
