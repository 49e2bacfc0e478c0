"""Jobs: they run, tell how far they are, fail with their own words, and end with who waits for them."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.ray_stand_in import RayStandIn

from scenewise.engine.jobs import Job, JobFailedError, job_runner, run_jobs
from scenewise.engine.progress import Progress, Stage
from scenewise.errors import MissingDependencyError

ROOT = Path(__file__).parents[2]

WRITES = """
import sys, time
from pathlib import Path
from scenewise.engine.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    for step in (10, 20, 30):
        journal.write("step", step=step)
        time.sleep(0.05)
"""
FAILS = "import sys; print('scenewise: the disk is full', file=sys.stderr); print('later', file=sys.stderr); sys.exit(2)"
SLEEPS = "import time; time.sleep(60)"


class _Recorder:
    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.advanced = 0
        self.fields: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self.totals.append(total)
        yield self

    def advance(self, n: int = 1, **fields: object) -> None:
        self.advanced += n
        self.fields |= set(fields)

    def message(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...


def _job(folder: Path, name: str, program: str) -> Job:
    journal = folder / name / "log.jsonl"
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return Job(
        name, (sys.executable, "-c", program, str(journal)), journal, folder / name / "errors.txt", 30, {"PYTHONPATH": paths}
    )


def test_jobs_run_and_their_steps_are_shown(tmp_path: Path) -> None:
    recorder: Progress = _Recorder()
    run_jobs([_job(tmp_path, name, WRITES) for name in ("a", "b", "c")], workers=2, progress=recorder)
    assert isinstance(recorder, _Recorder)
    assert recorder.totals == [90] and recorder.advanced == 90 and recorder.fields == {"a", "b", "c"}


@pytest.mark.errors
def test_a_failed_job_speaks_and_stops_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(JobFailedError, match="bad ended with code 2: the disk is full"):
        run_jobs([_job(tmp_path, "slow", SLEEPS), _job(tmp_path, "bad", FAILS)], workers=2)
    assert time.monotonic() - started < 30


@pytest.mark.errors
def test_without_ray_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails, installed or not
    with pytest.raises(MissingDependencyError, match="ray"):
        run_jobs([_job(tmp_path, "a", WRITES)], ray="auto")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> RayStandIn:
    """In the place of Ray, installed or not."""
    module = RayStandIn()
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


@pytest.mark.filterwarnings("ignore")
def test_jobs_run_on_a_ray_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Ray itself where the extra 'cluster' is installed."""
    if importlib.util.find_spec("ray") is None:
        monkeypatch.setitem(sys.modules, "ray", RayStandIn())
    recorder: Progress = _Recorder()
    run_jobs([_job(tmp_path, name, WRITES) for name in ("a", "b")], ray="local", progress=recorder)
    assert isinstance(recorder, _Recorder) and recorder.advanced == 60


def test_ray_is_asked_for_the_node_and_started_and_ended_by_who_needs_it(tmp_path: Path, stand_in: RayStandIn) -> None:
    run_jobs([_job(tmp_path, "a", WRITES)], ray="ray://host:1", gpus=0.5)
    assert stand_in.asked == [
        ("init", {"address": "ray://host:1", "log_to_driver": False, "include_dashboard": False}),
        ("remote", {"num_cpus": 1, "num_gpus": 0.5, "max_retries": 0}),
        ("shutdown", {}),
    ]
    assert not stand_in.is_initialized()
    stand_in.init()
    run_jobs([_job(tmp_path, "b", WRITES)], ray="auto")
    assert stand_in.is_initialized(), "a cluster somebody else started goes on"
    stand_in.shutdown()


@pytest.mark.errors
def test_a_job_that_fails_on_a_node_speaks(tmp_path: Path, stand_in: RayStandIn) -> None:
    with pytest.raises(JobFailedError, match="bad ended with code 2: the disk is full"):
        run_jobs([_job(tmp_path, "bad", FAILS)], ray="local")
    assert not stand_in.is_initialized()


@pytest.mark.errors
def test_a_job_that_the_cluster_loses_has_failed(tmp_path: Path, stand_in: RayStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(reference: object) -> None:
        raise RuntimeError("its node is gone")

    monkeypatch.setattr(stand_in, "get", lost)
    with pytest.raises(JobFailedError, match="a ended with code 1: the cluster lost it: its node is gone"):
        run_jobs([_job(tmp_path, "a", "")], ray="local")


@pytest.mark.errors
def test_what_a_job_said_on_its_node_is_told_here(tmp_path: Path, stand_in: RayStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node may write to a disk that nobody else sees."""

    def from_afar(reference: Future[Any]) -> Any:
        found = reference.result()
        (tmp_path / "bad" / "errors.txt").unlink()
        return found

    monkeypatch.setattr(stand_in, "get", from_afar)
    with pytest.raises(JobFailedError, match="bad ended with code 2: the disk is full"):
        run_jobs([_job(tmp_path, "bad", FAILS)], ray="local")


def test_a_runner_is_stopped_once(stand_in: RayStandIn) -> None:
    runner = job_runner("local", cpus=3, gpus=1.0)
    assert runner.address() == "127.0.0.1"
    runner.stop()
    runner.stop()
    assert [what for what, _ in stand_in.asked] == ["init", "remote", "shutdown"]
    assert stand_in.asked[1][1] == {"num_cpus": 3, "num_gpus": 1.0, "max_retries": 0}


@pytest.mark.errors
@pytest.mark.skipif(os.name != "posix", reason="ends by a signal")
def test_a_job_that_a_signal_ended_says_which(tmp_path: Path) -> None:
    kills_itself = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(JobFailedError, match="a was ended by SIGKILL: it said nothing"):
        run_jobs([_job(tmp_path, "a", kills_itself)])


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_a_job_ends_with_the_one_who_waits_for_it(tmp_path: Path) -> None:
    """A parent that is killed outright cannot stop anybody; the job notices."""
    job = (
        "from scenewise.engine.jobs import end_with_parent; import time; end_with_parent(); print(1, flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys\n"
        "environment = dict(os.environ, SCENEWISE_PARENT=str(os.getpid()))\n"
        f"child = subprocess.Popen([sys.executable, '-c', {job!r}], env=environment, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=paths)
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _is_alive(child):
        time.sleep(0.1)
    assert not _is_alive(child)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
