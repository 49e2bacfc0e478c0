"""Interruptions put off until a step is over, so that what is saved before they have their way is never half done."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, final

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_Handler = Callable[[int, FrameType | None], Any] | int


@final
class DeferredInterruption:
    """While it is entered, Ctrl-C and SIGTERM only leave a note.

    :meth:`go_on` then lets what came have its way, as if nobody had been in between: KeyboardInterrupt, the end of the process,
    or whatever handler was there.  A second one does not wait.  Signals that were ignored stay ignored, and nothing is put off
    outside the main thread, which alone receives them.
    """

    def __init__(self) -> None:
        self._came: int | None = None
        self._before: dict[int, _Handler] = {}

    @property
    def has_come(self) -> bool:
        """Whether an interruption waits."""
        return self._came is not None

    def go_on(self) -> None:
        """Let the interruption have its way.  Returns where its own handler does not end anything."""
        number, self._came = self._came, None
        assert number is not None
        self._give_back()
        signal.raise_signal(number)
        self._take()

    def __enter__(self) -> "DeferredInterruption":
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._give_back()
        if self._came is not None and kind is None:  # it came after the last step
            signal.raise_signal(self._came)

    def _take(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _NUMBERS:
            before = signal.getsignal(number)
            if before is not None and before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._note)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came is None:
            self._came = number
            return
        self._came = None
        self._give_back()
        signal.raise_signal(number)
