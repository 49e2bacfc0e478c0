"""Independent pieces of work as processes: on this machine, or on a Ray cluster where the files are shared.

A job is a command that can be run again after it was killed; what it has done it finds in its own folder.  Its diary says how
far it is, so the one who waits needs no other channel.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

from scenewise.engine.journal import read_journal
from scenewise.engine.progress import NullProgress, Progress, Stage, duration_text
from scenewise.errors import MissingDependencyError, ResourceError, ScenewiseError

PARENT_VARIABLE = "SCENEWISE_PARENT"
"""Set for a job to the process that waits for it."""
_POLL_SECONDS = 0.5
_TAIL_BYTES = 4000


class JobFailedError(ScenewiseError, RuntimeError):
    """A job ended with an error; its message is that of the job."""


@dataclass(frozen=True)
class Job:
    """A command and where it tells how far it is.

    Attributes:
        name: for people.
        command: program and arguments.
        journal: diary with ``step`` events.
        errors: file for its standard error.
        units: steps in all.
        environment: variables added to those of this process.
        seconds: it may take, or None for as long as it likes.
    """

    name: str
    command: tuple[str, ...]
    journal: Path
    errors: Path
    units: int
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True)
class EndedJob:
    """A job that runs no more.

    Attributes:
        job: which.
        code: its exit code; −N if signal N ended it.
        said: the last it said on its standard error.
    """

    job: Job
    code: int
    said: str

    def failure(self) -> JobFailedError | None:
        """The error that it ended with, or None."""
        if self.code == 0:
            return None
        names = {-number.value: f"was ended by {number.name}" for number in signal.Signals}
        how = names.get(self.code, f"ended with code {self.code}")
        return JobFailedError(f"{self.job.name} {how}: {self.said}")


@runtime_checkable
class JobRunner(Protocol):
    """Where jobs run."""

    def start(self, job: Job) -> None:
        """Starts a job, and returns."""

    def ended(self) -> list[EndedJob]:
        """Jobs that have ended since the last call."""

    def stop(self) -> None:
        """Ends the jobs that run."""

    def address(self) -> str:
        """Of this machine, as jobs see it."""


def job_runner(ray: str | None = None, *, cpus: int = 1, gpus: float = 0.0) -> JobRunner:
    """What runs jobs on this machine, or on a Ray cluster.

    Args:
        ray: address of a cluster ("auto", "ray://host:port", or "local" to start one here), or None for this machine.
        cpus: processors of a Ray node that each job takes.
        gpus: likewise.

    Raises:
        MissingDependencyError: Ray was asked for and is not installed.
    """
    return _LocalRunner() if ray is None else _RayRunner(ray, cpus, gpus)


def run_jobs(
    jobs: Sequence[Job], *, workers: int = 1, ray: str | None = None, gpus: float = 0.0, progress: Progress | None = None
) -> None:
    """Runs all jobs, at most ``workers`` at the same time, and returns when all have ended well.

    Args:
        jobs: independent of each other.
        workers: processes at the same time; a Ray cluster decides that itself.
        ray: address of a Ray cluster ("auto", "ray://host:port", or "local" to start one here), or None for this machine.
        gpus: of a Ray node that each job takes.
        progress: shows the steps of all jobs together.

    Raises:
        JobFailedError: one ended with an error; the others are stopped, and can go on later.
        ResourceError: one took longer than it may; likewise.
        MissingDependencyError: Ray was asked for and is not installed.
    """
    progress = NullProgress() if progress is None else progress
    waiting, running, started = list(jobs), dict[str, Job](), dict[str, float]()
    seen = {job.name: _steps_done(job.journal) for job in jobs}
    with ExitStack() as stack:
        runner = job_runner(ray, gpus=gpus)
        stack.callback(runner.stop)
        total = sum(max(0, job.units - seen[job.name]) for job in jobs)
        stage = stack.enter_context(progress.stage(", ".join(job.name for job in jobs), total))
        room = len(jobs) if ray is not None else max(1, workers)
        while waiting or running:
            while waiting and len(running) < room:
                job = waiting.pop(0)
                runner.start(job)
                running[job.name], started[job.name] = job, time.monotonic()
            time.sleep(_POLL_SECONDS)
            for ended in runner.ended():
                del running[ended.job.name]
                failure = ended.failure()
                if failure is not None:
                    raise failure
            for job in running.values():
                _require_in_time(job, time.monotonic() - started[job.name])
            _advance(stage, jobs, seen)


def _require_in_time(job: Job, seconds: float) -> None:
    if job.seconds is not None and seconds > job.seconds:
        raise ResourceError(
            f"time for {job.name}",
            expected=f"an end within {duration_text(job.seconds)}",
            got="none",
            fix="give it more time; what it has done is kept, and --resume goes on from there",
        )


def _advance(stage: Stage, jobs: Sequence[Job], seen: dict[str, int]) -> None:
    for job in jobs:
        done = _steps_done(job.journal)
        if done > seen[job.name]:
            stage.advance(done - seen[job.name], **{job.name: done})
            seen[job.name] = done


def _steps_done(journal: Path) -> int:
    try:
        events = read_journal(journal)
    except ScenewiseError:
        return 0
    steps = [event["step"] for event in events if event["event"] == "step" and isinstance(event.get("step"), int)]
    return max(steps, default=0)


def _last_words(path: Path) -> str:
    """What a failed job said: our own error line where there is one, else the end of its output."""
    try:
        text = path.read_bytes()[-_TAIL_BYTES:].decode("utf-8", errors="replace").strip()
    except OSError:
        return "it said nothing"
    lines = text.splitlines()
    ours = [line.removeprefix("scenewise: ") for line in lines if line.startswith("scenewise: ")]
    return ours[-1] if ours else (lines[-1] if lines else "it said nothing")


def _environment(job: Job) -> dict[str, str]:
    return dict(os.environ) | dict(job.environment) | {PARENT_VARIABLE: str(os.getpid())}


@final
class _LocalRunner:
    """Processes of this machine."""

    def __init__(self) -> None:
        self._running: list[tuple[Job, subprocess.Popen[bytes]]] = []

    def start(self, job: Job) -> None:
        job.errors.parent.mkdir(parents=True, exist_ok=True)
        with job.errors.open("wb") as errors:
            process = subprocess.Popen(
                job.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=_environment(job)
            )
        self._running.append((job, process))

    def ended(self) -> list[EndedJob]:
        over = [(job, process.returncode) for job, process in self._running if process.poll() is not None]
        found = [EndedJob(job, code, _last_words(job.errors)) for job, code in over]
        self._running = [(job, process) for job, process in self._running if process.returncode is None]
        return found

    def stop(self) -> None:
        for _, process in self._running:
            process.terminate()
        for _, process in self._running:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running = []

    def address(self) -> str:
        return "127.0.0.1"


@final
class _RayRunner:
    """Tasks of a Ray cluster, each of which runs the job's command on its node."""

    def __init__(self, address: str, cpus: int, gpus: float) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingDependencyError("ray", needed_for="running jobs on a cluster", extra="cluster") from error
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_run_on_node)
        self._running: list[tuple[Job, Any]] = []

    def start(self, job: Job) -> None:
        reference = self._task.remote(job.command, str(job.errors), dict(job.environment))
        self._running.append((job, reference))

    def ended(self) -> list[EndedJob]:
        if not self._running:
            return []
        references = [reference for _, reference in self._running]
        done, _ = self._ray.wait(references, num_returns=len(references), timeout=0.0)
        found = []
        for job, reference in self._running:
            if reference in done:
                try:
                    code, said = self._ray.get(reference)
                    found.append(EndedJob(job, int(code), str(said)))
                except Exception as error:
                    found.append(EndedJob(job, 1, f"the cluster lost it: {error}"))
        self._running = [(job, reference) for job, reference in self._running if reference not in done]
        return found

    def stop(self) -> None:
        for _, reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = []
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def address(self) -> str:
        return str(self._ray.util.get_node_ip_address())


def _run_on_node(command: Sequence[str], errors: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and last words, which lie on a disk that only the node may see."""
    path = Path(errors)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        own = dict(os.environ) | dict(environment) | {PARENT_VARIABLE: str(os.getpid())}
        code = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, env=own, check=False
        ).returncode
    return code, _last_words(path)


def run_in_child(work: Callable[[Path], None]) -> int:
    """What a process does that was started for one folder, its only argument; it ends with whoever waits for it.

    Returns:
        Exit code: 0 done, 2 something about the input or the environment, which is told on standard error.
    """
    (folder,) = sys.argv[1:]
    end_with_parent()
    try:
        work(Path(folder))
    except ScenewiseError as error:
        print(f"scenewise: {error}", file=sys.stderr)
        return 2
    return 0


def end_with_parent() -> None:
    """In a job: end this process soon after the one that waits for it is gone, however that came about.

    Writers are atomic, so nothing is lost that was not lost anyway; and nobody goes on working in a folder that a resumed run
    may have taken up.  Does nothing in a process that is not a job.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or not parent.isdecimal():
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_POLL_SECONDS)
        print("the process that waits for this job is gone", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
