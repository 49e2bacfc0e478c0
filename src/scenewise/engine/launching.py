"""Processes that train one model, started by one of them: it is rank 0 itself, and the others run as jobs, here or on a cluster.

A rank that is gone leaves the others waiting for its messages.  Gloo notices while it waits for one, unless the lost rank's
machine went without a word; between two messages nobody would notice for hours.  So rank 0 looks after its jobs.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, final

import torch

from scenewise.engine.distribution import LOST_RANK, Ranks, connected_ranks, load_what_connects
from scenewise.engine.jobs import EndedJob, Job, JobFailedError, JobRunner, job_runner
from scenewise.engine.meeting import await_ranks, open_store, reachable_interface
from scenewise.errors import ResourceError

_POLL_SECONDS = 0.25
_SECONDS_TO_SETTLE = 1.0  # who waits for a rank that is gone goes too; then it shows who was the first
_SECONDS_TO_SHOW = 5.0  # how long a job's connection may have been broken before the job is known to have ended
_SECONDS_TO_NOTICE = 10.0  # Ctrl-C goes to all processes of a terminal, and some are busy
_SECONDS_UNTIL_ENDED = 60.0
_SECONDS_WHEN_DONE, _SECONDS_WHEN_INTERRUPTED = 10.0, 3.0  # in which jobs end by themselves before they are made to
_INTERRUPTED = (130, -signal.SIGINT)


@contextmanager
def launched_ranks(helpers: Sequence[Job], device: torch.device, *, ray: str | None = None, cpus: int = 1) -> Iterator[Ranks]:
    """This process as rank 0, connected within the block with jobs that are started as ranks 1, 2, ….

    The jobs join by :func:`scenewise.engine.distribution.joined_ranks`, and end with the block.

    When a job fails, the main thread is interrupted and the block raises what the job said.  Where nothing interrupts it, because
    it waits for a message from a machine that went without a word, the process ends after a minute, with the same words on
    standard error and code 2.  A job that Ctrl-C ended counts as Ctrl-C here.

    Args:
        helpers: a job for each other rank.
        device: what is computed on.
        ray: address of a Ray cluster that the jobs run on, or None for this machine.
        cpus: processors of a Ray node that each job takes.

    Raises:
        JobFailedError: a job ended with an error before the block was done.
        MissingDependencyError: Ray was asked for and is not installed.
        ResourceError: see :func:`scenewise.engine.distribution.joined_ranks`.
    """
    size = len(helpers) + 1
    runner = job_runner(ray, cpus=cpus, gpus=1.0 if device.type == "cuda" else 0.0)
    with ExitStack() as stack:
        stack.callback(runner.stop)
        address = runner.address()
        store = open_store(address)
        for rank, job in enumerate(helpers, start=1):
            local = rank if ray is None else 0  # Ray shows a job its own device alone
            place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local, "MASTER_ADDR": address, "MASTER_PORT": store.port}
            environment = dict(job.environment) | {name: str(value) for name, value in place.items()}
            runner.start(replace(job, environment=environment))
        watch = stack.enter_context(_Watch(runner, len(helpers)))
        load_what_connects()  # as the jobs do at the same time
        await_ranks(store, size, watch.require_all)
        try:
            with watch.tells(), reachable_interface(address, store.port), connected_ranks(device, store, 0, size) as ranks:
                yield ranks
        except KeyboardInterrupt:
            watch.await_ends(_SECONDS_WHEN_INTERRUPTED)
            raise
        watch.await_ends(_SECONDS_WHEN_DONE)


@final
class _Watch:
    """Looks after jobs in a thread of its own, and interrupts the main thread when one has failed.

    Args:
        runner: has started them.
        count: how many there are.
    """

    def __init__(self, runner: JobRunner, count: int) -> None:
        self._runner, self._running = runner, count
        self._failure: JobFailedError | KeyboardInterrupt | None = None
        self._has_failed, self._is_over = threading.Event(), threading.Event()
        self._has_interrupted = False
        self._before: Any = None  # handler of Ctrl-C; None outside the main thread, which alone can be interrupted
        self._thread = threading.Thread(target=self._look, name="watch-jobs", daemon=True)

    def __enter__(self) -> "_Watch":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        if self._before is not None:
            signal.signal(signal.SIGINT, self._on_signal)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_looking()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def require_all(self) -> None:
        """Raises what a job has failed with."""
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def tells(self) -> Iterator[None]:
        """A connection that breaks within the block becomes the error of the job that is gone."""
        try:
            yield
        except ResourceError as error:
            if str(error).startswith(LOST_RANK) and self._has_failed.wait(_SECONDS_TO_SHOW) and self._failure is not None:
                raise self._failure from error
            raise

    def await_ends(self, seconds: float) -> None:
        """Returns when all jobs have ended, however that may be, or when the time is over."""
        self._stop_looking()
        deadline = time.monotonic() + seconds
        while self._running > 0 and time.monotonic() < deadline:
            self._failed_now()
            time.sleep(_POLL_SECONDS)

    def _stop_looking(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Of our own making, or Ctrl-C: that is left to whoever was there before."""
        if self._has_interrupted:
            self._has_interrupted = False
            if not self._is_over.is_set():
                self.require_all()
        elif callable(self._before):
            self._before(number, frame)
        elif self._before == signal.SIG_DFL:
            raise KeyboardInterrupt

    # ---------------------------------------------------------------------------------------------------- in the other thread

    def _look(self) -> None:
        while not self._is_over.wait(_POLL_SECONDS):
            failed = self._failed_now()
            if failed:
                break
        else:
            return
        if self._is_over.wait(_SECONDS_TO_SETTLE):
            return
        self._failure = _cause([*failed, *self._failed_now()])
        self._has_failed.set()
        if isinstance(self._failure, KeyboardInterrupt) and self._is_over.wait(_SECONDS_TO_NOTICE):
            return
        if self._before is None:
            return
        self._has_interrupted = True
        if hasattr(signal, "pthread_kill"):  # wakes who sleeps
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)
        if not self._is_over.wait(_SECONDS_UNTIL_ENDED):
            self._runner.stop()
            print(f"scenewise: {str(self._failure) or 'interrupted'}", file=sys.stderr, flush=True)
            os._exit(2)

    def _failed_now(self) -> list[EndedJob]:
        """Jobs that have failed since the last call."""
        ended = self._runner.ended()
        self._running -= len(ended)
        return [each for each in ended if each.code != 0]


def _cause(failed: Sequence[EndedJob]) -> JobFailedError | KeyboardInterrupt:
    """Of jobs that have failed together, the error of the one that the others waited for."""
    if any(each.code in _INTERRUPTED for each in failed):
        return KeyboardInterrupt()
    first = next((each for each in failed if not each.said.startswith(LOST_RANK)), failed[0])
    return JobFailedError(f"{first.failure()}; what was saved is kept, and --resume goes on from there")
