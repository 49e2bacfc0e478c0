"""The run's diary, ``log.jsonl``: one JSON object per line, written as it happens and never rewritten.

A line reaches the operating system in a single append before ``write`` returns, so killing the process loses nothing that was
reported.  A machine that loses power may leave half a line at the end: readers ignore it, and the next writer cuts it off.

Events and their fields (others may be added; readers ignore what they do not know):

======================  ============================================================================
``start``               ``command``, ``options``, ``versions``
``stage``               ``name``, ``seconds``: a stage that has ended
``step``                ``step``, ``loss``, ``num_gaussians``, ``seconds`` of training so far
``evaluation``          ``step``, ``psnr``, ``ssim``
``graph``               ``objects``, ``rooms``, ``relations``, ``view``, ``seconds``
``skipped``             ``scan``, ``why``
``figures``             ``figures``: of what was kept out of the training
``warning``             ``message``
``checkpoint``          ``step``
``resume``              ``step``: everything logged above about later steps was undone
``end``                 ``seconds``, ``peak_memory_bytes``
======================  ============================================================================
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, final

from scenewise.errors import DataFormatError
from scenewise.io.json_values import json_ready


@final
class Journal:
    """Appends events to ``path``, which is created with its folder if need be.

    Raises:
        OSError: the file cannot be opened or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        complete = path.read_bytes().rfind(b"\n") + 1
        if complete != os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, complete)

    def write(self, event: str, **values: object) -> None:
        """Append one event.  NaN and infinities, which JSON does not have, become null; paths become text, arrays lists."""
        line = {"event": event, "time": round(time.time(), 3)} | {name: json_ready(value) for name, value in values.items()}
        rest = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def close(self) -> None:
        """Release the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All events in order, without those that a later ``resume`` undid.  A file that does not exist has none.

    Raises:
        DataFormatError: a complete line is not a JSON object with an ``event``.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # what follows the last line feed is torn
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise DataFormatError(path, f"line {number}", expected='a JSON object with "event"', got=repr(line[:60]))
        if event["event"] == "resume":
            events = [earlier for earlier in events if not _is_after(earlier, event.get("step"))]
        events.append(event)
    return events


def _is_after(event: Mapping[str, Any], step: object) -> bool:
    at = event.get("step")
    return isinstance(at, int | float) and isinstance(step, int | float) and at > step
