"""Rank 0 and the jobs it starts: they get their places, and what one of them suffers, rank 0 tells."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.support.processes import run_process

from scenewise.engine import launching
from scenewise.engine.distribution import LOST_RANK, Ranks
from scenewise.engine.interruption import DeferredInterruption
from scenewise.engine.jobs import EndedJob, Job, JobFailedError
from scenewise.engine.launching import launched_ranks
from scenewise.engine.meeting import enter_store, interface_towards
from scenewise.errors import ResourceError

CPU = torch.device("cpu")
LONG = 60.0  # nothing here takes that long unless something is broken


def _job(rank: int = 1, folder: Path = Path("none"), program: str = "") -> Job:
    command = (sys.executable, "-c", program)
    return Job(f"process {rank}", command, folder / "log.jsonl", folder / f"{rank}.txt", 0, {"OWN": "kept"})


class _Runner:
    """Its jobs say that they have come, and end when and how a test wants."""

    def __init__(self) -> None:
        self.started: list[Job] = []
        self.over: list[EndedJob] = []
        self.stops = 0

    def start(self, job: Job) -> None:
        self.started.append(job)
        place = job.environment
        enter_store(place["MASTER_ADDR"], int(place["MASTER_PORT"]), int(place["RANK"]))

    def ended(self) -> list[EndedJob]:
        found, self.over = self.over, []
        return found

    def stop(self) -> None:
        self.stops += 1

    def address(self) -> str:
        return "127.0.0.1"

    def end(self, *codes: int, said: Sequence[str] = ("", "")) -> None:
        """The first jobs end with these codes."""
        self.over = [EndedJob(job, code, words) for job, code, words in zip(self.started, codes, said)]

    def soon(self, *codes: int, said: Sequence[str] = ("", "")) -> None:
        """The same in a moment, from another thread."""
        threading.Timer(0.1, lambda: self.end(*codes, said=said)).start()


@contextmanager
def _unconnected(device: torch.device, store: object, rank: int, size: int) -> Iterator[Ranks]:
    yield Ranks(rank, size)


def _with_quick(runner: _Runner, set_to: Callable[[str, Any], None]) -> None:
    """No real processes, and little waiting."""
    set_to("job_runner", lambda ray, **asked: runner)
    set_to("connected_ranks", _unconnected)
    set_to("load_what_connects", lambda: None)
    for name in ("_POLL_SECONDS", "_SECONDS_TO_SETTLE", "_SECONDS_WHEN_DONE", "_SECONDS_WHEN_INTERRUPTED"):
        set_to(name, 0.02)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> _Runner:
    made = _Runner()
    _with_quick(made, lambda name, value: monkeypatch.setattr(launching, name, value))
    return made


@pytest.mark.parametrize(("ray", "local"), [(None, ["1", "2"]), ("auto", ["0", "0"])])
def test_every_job_learns_its_place_and_ends_with_the_block(runner: _Runner, ray: str | None, local: list[str]) -> None:
    """On a cluster a job sees its own device alone, so that is its first one."""
    with launched_ranks([_job(1), _job(2)], CPU, ray=ray) as ranks:
        assert ranks == Ranks(0, 3) and runner.stops == 0
    places = [job.environment for job in runner.started]
    assert [place["RANK"] for place in places] == ["1", "2"] and [place["LOCAL_RANK"] for place in places] == local
    assert {(place["WORLD_SIZE"], place["MASTER_ADDR"], place["OWN"]) for place in places} == {("3", "127.0.0.1", "kept")}
    assert len({place["MASTER_PORT"] for place in places}) == 1 and runner.stops == 1


@pytest.mark.errors
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN, signal.SIG_DFL])
def test_a_job_that_fails_ends_the_block_at_once(runner: _Runner, handler: Any) -> None:
    """Whatever Ctrl-C would do: a program in the background may be told to ignore it."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        with (
            pytest.raises(JobFailedError, match=r"process 1 was ended by SIGKILL: it said nothing; .*--resume"),
            launched_ranks([_job()], CPU),
        ):
            runner.soon(-signal.SIGKILL, said=["it said nothing"])
            time.sleep(LONG)
        assert signal.getsignal(signal.SIGINT) == handler and runner.stops == 1
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("handler", "ends"), [(signal.default_int_handler, True), (signal.SIG_IGN, False), (signal.SIG_DFL, True)]
)
def test_ctrl_c_does_what_it_did_before(runner: _Runner, handler: Any, ends: bool) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with nullcontext() if not ends else pytest.raises(KeyboardInterrupt), launched_ranks([_job()], CPU):
            signal.raise_signal(signal.SIGINT)
            assert not ends
        assert runner.stops == 1
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.errors
def test_a_step_is_finished_before_a_failure_is_told(runner: _Runner) -> None:
    steps, saved = 0, -1
    with pytest.raises(JobFailedError, match="process 1 ended with code 2: no space"), launched_ranks([_job()], CPU):
        runner.soon(2, said=["no space"])
        with DeferredInterruption() as interruption:
            while True:
                for _ in range(10):
                    time.sleep(0.005)
                steps += 1
                if interruption.has_come:
                    saved = steps
                    interruption.go_on()
    assert saved == steps > 0


@pytest.mark.errors
def test_the_first_cause_is_told_not_who_was_left_alone(runner: _Runner) -> None:
    left_alone = f"{LOST_RANK}: expected all of them, got one is gone"
    with pytest.raises(JobFailedError, match="process 2 ended with code 2: full"), launched_ranks([_job(1), _job(2)], CPU):
        runner.soon(2, 2, said=[left_alone, "full"])
        time.sleep(LONG)


@pytest.mark.errors
@pytest.mark.parametrize("code", [130, -signal.SIGINT])
def test_an_interrupted_job_is_an_interruption(runner: _Runner, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(launching, "_SECONDS_TO_NOTICE", 0.02)
    with pytest.raises(KeyboardInterrupt), launched_ranks([_job()], CPU):
        runner.soon(code)
        time.sleep(LONG)
    assert runner.stops == 1


@pytest.mark.errors
def test_a_broken_connection_is_told_as_the_error_of_the_job(runner: _Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = ResourceError(LOST_RANK, expected="all of them", got="one is gone")
    with pytest.raises(JobFailedError, match="code 1: a defect") as told, launched_ranks([_job()], CPU):
        runner.end(1, said=["a defect"])
        raise lost
    assert told.value.__context__ is lost
    monkeypatch.setattr(launching, "_SECONDS_TO_SHOW", 0.1)
    with pytest.raises(ResourceError, match="one is gone"), launched_ranks([_job()], CPU):
        raise lost


@pytest.mark.errors
def test_an_error_of_its_own_stays_what_it_is(runner: _Runner) -> None:
    with pytest.raises(ZeroDivisionError), launched_ranks([_job()], CPU):
        raise ZeroDivisionError
    assert runner.stops == 1


def test_jobs_have_a_while_to_end_by_themselves(runner: _Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_SECONDS_WHEN_DONE", LONG)
    started = time.monotonic()
    with launched_ranks([_job(1), _job(2)], CPU):
        runner.soon(0, 1)  # nobody needs it any more
    assert runner.over == [] and time.monotonic() - started < LONG / 2


def wait_without_end(errors: Path) -> None:
    """Where even Ctrl-C does not reach: as in a message that never comes."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    runner = _Runner()
    _with_quick(runner, lambda name, value: setattr(launching, name, value))
    launching._SECONDS_UNTIL_ENDED = 0.1
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    with launched_ranks([_job()], CPU):
        runner.soon(1, said=["the cluster lost it"])
        time.sleep(LONG)


@pytest.mark.errors
@pytest.mark.skipif(os.name != "posix", reason="masks signals")
def test_a_process_that_cannot_be_interrupted_ends_with_the_words(tmp_path: Path) -> None:
    assert run_process(wait_without_end, tmp_path / "errors.txt", timeout=LONG / 2) == 2
    last = (tmp_path / "errors.txt").read_text().splitlines()[-1]
    assert last.startswith("scenewise: process 1 ended with code 1: the cluster lost it; ")


@pytest.mark.errors
def test_a_job_that_never_comes_is_told_while_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "load_what_connects", lambda: None)
    fails = "import sys; print('scenewise: no such capture', file=sys.stderr); sys.exit(2)"
    job = _job(1, tmp_path, fails)
    with pytest.raises(JobFailedError, match="process 1 ended with code 2: no such capture"), launched_ranks([job], CPU):
        raise AssertionError("it cannot be connected")


@pytest.mark.errors
@pytest.mark.skipif(os.name != "posix", reason="looks for a process by its number")
def test_ctrl_c_while_jobs_are_waited_for_ends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "load_what_connects", lambda: None)
    sleeps = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"
    path = tmp_path / "1.txt"

    def press() -> None:
        while not path.exists() or not path.read_text().endswith("\n"):
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), launched_ranks([_job(1, tmp_path, sleeps)], CPU):
        raise AssertionError("it cannot be connected")
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)


def test_outside_the_main_thread_a_broken_connection_alone_tells(runner: _Runner) -> None:
    found = SimpleNamespace(error=None)

    def work() -> None:
        try:
            with launched_ranks([_job()], CPU):
                runner.end(1, said=["a defect"])
                raise ResourceError(LOST_RANK, expected="all of them", got="one is gone")
        except JobFailedError as error:
            found.error = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LONG / 2)
    assert "a defect" in str(found.error)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")
def test_the_interface_towards_an_address() -> None:
    assert interface_towards("127.0.0.1", 80) == "lo"
    assert interface_towards("no such host.invalid", 80) is None
