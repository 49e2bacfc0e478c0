"""A process that is killed while it adds scenes to a library, at a moment that is known."""

import os
import signal
from typing import Any

from tests.support.processes import run_command_line


def add_and_be_killed(arguments: list[str], said: Any, commits: int) -> None:
    """To be called in a process of its own: ``scenewise library add``, killed when ``commits`` scenes are there and the rows of
    the next one have been written, but not its own row.
    """
    from scenewise.io.scene_library import writing

    done = []
    replace = writing._replace

    def killed(row: Any, table: Any) -> None:
        if len(done) == commits:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(row, table)
        done.append(row)

    writing._replace = killed
    run_command_line(["library", "add", *arguments], said)
