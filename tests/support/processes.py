"""Processes that begin at once: each is forked from one that has loaded torch and Scenewise, which takes seconds.

They have no shape hook, and nothing of what the tests around them have changed in their own process.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess, SpawnProcess
from pathlib import Path
from typing import Any

_LOADED = ("torch", "scenewise.cli.main", "scenewise.commands.reconstruct.run")


def process_context() -> Any:
    """What makes semaphores and pipes that a process of :func:`start_process` can be handed.

    Where the system cannot fork, processes start anew, which takes longer.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    return context


def start_process(function: Callable[..., Any], *arguments: Any) -> ForkServerProcess | SpawnProcess:
    """A process of its own that calls a module's ``function``; its ``exitcode`` is −N if signal N ended it."""
    process: ForkServerProcess | SpawnProcess = process_context().Process(target=function, args=arguments)
    process.start()
    return process


def run_process(function: Callable[..., Any], *arguments: Any, timeout: float = 120.0) -> int:
    """Exit code of a process that calls a module's ``function``; it is ended after ``timeout`` seconds."""
    process = start_process(function, *arguments)
    try:
        process.join(timeout)
        assert process.exitcode is not None, f"{function.__name__} has not ended after {timeout} s"
        return process.exitcode
    finally:
        process.kill()
        process.join()
        process.close()


def run_command_line(arguments: list[str], said: Path, environment: Mapping[str, str] | None = None) -> None:
    """To be called in a process of its own: the command line as it would be typed.

    Args:
        arguments: after the program's name.
        said: file for what it prints; what it reports goes into one beside it, ``.err``.
        environment: variables that are added.
    """
    os.environ.update(environment or {})
    for stream, path in ((1, said), (2, said.with_suffix(".err"))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    from scenewise.cli.main import main

    sys.exit(main(arguments))
