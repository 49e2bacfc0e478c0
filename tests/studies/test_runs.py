"""One scheduler for all studies: pieces run in processes of their own, and what they kept is found."""

import os
import sys
from pathlib import Path

import pytest

from scenewise.engine.jobs import JobFailedError
from scenewise.studies.arms import Arm, Outcome
from scenewise.studies.bench import Bench
from scenewise.studies.runs import Runs

_STUDY = """
import os, sys, time
from pathlib import Path
from scenewise.studies.arms import Arm, Outcome
from scenewise.studies.bench import Bench
from scenewise.studies.runs import Runs

def run(name, seed):
    if name == "fails":
        sys.exit("scenewise: this arm cannot be run")
    return Outcome({"psnr": 20.0 + seed, "process": float(os.getpid())}, train_seconds=1.0)

def arm(name):
    return Arm(name, {}, lambda seed: run(name, seed))

def study(cache, only, names):
    bench = Bench("study", (0, 1), Path(cache), jobs=2, only=only,
                  command=(sys.executable, __file__, cache, *names))
    runs = Runs(bench)
    runs.run(arm("first"), [0])
    runs.stage([(arm(name), bench.seeds) for name in names], piece_of=lambda arm, seed: arm.name)
    return runs

if __name__ == "__main__":
    cache, *names = sys.argv[1:-2]
    study(cache, sys.argv[-1], names)
"""


def _arm(name: str) -> Arm:
    return Arm(name, {}, lambda seed: Outcome({"psnr": 20.0 + seed, "process": float(os.getpid())}, train_seconds=1.0))


def _bench(folder: Path, jobs: int, names: list[str], only: str | None = None) -> Bench:
    script = folder / "study.py"
    script.write_text(_STUDY, encoding="utf-8")
    command = (sys.executable, str(script), str(folder / "cache"), *names)
    return Bench("study", (0, 1), folder / "cache", jobs=jobs, only=only, command=command)


def test_pieces_run_in_processes_of_their_own_and_what_they_kept_is_found(tmp_path: Path) -> None:
    said: list[str] = []
    bench = _bench(tmp_path, 2, ["a", "b"])
    runs = Runs(bench, say=said.append)
    runs.run(_arm("first"), [0])
    ready: list[bool] = []
    arms = [(_arm(name), bench.seeds) for name in ("a", "b")]
    runs.stage(arms, lambda: ready.append(True), lambda arm, _: arm.name)
    assert ready == [True] and runs.of("a", "psnr") == [20.0, 21.0] and runs.seeds == {"first": [0], "a": [0, 1], "b": [0, 1]}
    assert runs.seconds() == 5.0
    processes = {name: set(runs.of(name, "process")) for name in ("first", "a", "b")}
    assert [len(found) for found in processes.values()] == [1, 1, 1], "a process per piece"
    assert len(set.union(*processes.values())) == 3
    assert sum("done" in line for line in said) == 4 and not list((tmp_path / "cache" / "pieces").iterdir())
    runs.stage(arms, lambda: ready.append(True), lambda arm, _: arm.name)
    assert ready == [True], "nothing is prepared where everything is kept"


def test_one_process_runs_everything_itself(tmp_path: Path) -> None:
    runs = Runs(_bench(tmp_path, 1, ["a", "b"]), say=lambda text: None)
    runs.stage([(_arm("a"), [0, 1]), (_arm("b"), [0])])
    assert set(runs.of("a", "process") + runs.of("b", "process")) == {float(os.getpid())}


def test_a_process_that_was_given_a_piece_runs_no_other(tmp_path: Path) -> None:
    runs = Runs(_bench(tmp_path, 2, ["a", "b"], only="b_1"), say=lambda text: None)
    with pytest.raises(SystemExit) as ended:
        runs.stage([(_arm("a"), [0, 1]), (_arm("b"), [0, 1])])
    assert ended.value.code == 0
    assert [runs.is_kept(_arm(name), seed) for name in ("a", "b") for seed in (0, 1)] == [False, False, False, True]


def test_a_piece_that_fails_says_why(tmp_path: Path) -> None:
    bench = _bench(tmp_path, 2, ["fails", "b"])
    runs = Runs(bench, say=lambda text: None)
    runs.run(_arm("first"), [0])
    with pytest.raises(JobFailedError, match="fails ended with code 1: this arm cannot be run"):
        runs.stage([(_arm(name), bench.seeds) for name in ("fails", "b")], piece_of=lambda arm, _: arm.name)
