"""``--processes``: one command starts all processes that train a scene in blocks, and waits for none that is gone."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.between_workers import made_once
from tests.support.ray_stand_in import RayStandIn

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.reconstruct.splat_methods import started
from scenewise.engine.distribution import Ranks
from scenewise.engine.jobs import JobFailedError
from scenewise.engine.journal import Journal, read_journal
from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError, ResourceError
from scenewise.io.captures import open_capture
from scenewise.methods.momentum_gs.options import BlockOptions
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.parts.splats.reconstruction import SplatRun
from scenewise.studies.towns import write_town_capture

RESULTS = ("splats.ply", "city/anchors.ply", "city/decoder.safetensors")


def _options(capture: Path, out: Path, workers: int | None = None, processes: int = 1) -> ReconstructOptions:
    """Two blocks for two seconds at most."""
    return ReconstructOptions(
        capture,
        out,
        method="momentum_gs",
        steps=60,
        max_gaussians=2_000,
        threads=1,
        device="cpu",
        city=BlockOptions("2,1,1", workers, processes, coarse_steps=20, slot_steps=5, settle_steps=5),
    )


def _make_town(place: Path) -> None:
    write_town_capture(place / "town", 3, 16, 48, 36, points=2_000)
    reconstruct(_options(place / "town", place / "by_one", workers=2))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A town, and what one process makes of it."""
    return made_once(tmp_path_factory, "processes_town", _make_town)[0]


def _require_same(scene: Path, expected: Path) -> None:
    for name in RESULTS:
        assert (scene / name).read_bytes() == (expected / name).read_bytes(), name


def _events(scene: Path, rank: int) -> list[str]:
    return [event["event"] for event in read_journal(scene / "workers" / str(rank) / "log.jsonl")]


def _kill_in_mid_run(scene: Path) -> None:
    """Ends the second process, once both have a checkpoint, as the system does when memory runs out."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if all(any((own / "checkpoints").glob("step_*")) for own in (scene, scene / "workers" / "1")):
            events = read_journal(scene / "workers" / "1" / "log.jsonl")
            os.kill(next(event["pid"] for event in events if event["event"] == "process"), signal.SIGKILL)
            return
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.errors
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_process_is_told_at_once_and_a_resumed_run_makes_what_one_process_makes(place: Path, tmp_path: Path) -> None:
    options = _options(place / "town", tmp_path / "scene", processes=2)
    killer = threading.Thread(target=_kill_in_mid_run, args=(options.out,), daemon=True)
    killer.start()
    with pytest.raises(JobFailedError, match=r"process 1 was ended by SIGKILL: .*; what was saved is kept, and --resume goes on"):
        reconstruct(options)
    killer.join(10)
    assert not torch.distributed.is_initialized() and "RANK" not in os.environ
    assert "end" not in _events(options.out, 1) and not (options.out / "splats.ply").exists()

    summary = reconstruct(replace(options, resume=True))
    _require_same(options.out, place / "by_one")
    assert summary.num_gaussians > 0 and {"resume", "end"} <= set(_events(options.out, 1))


@pytest.mark.slow
def test_processes_on_a_cluster_make_what_one_process_makes(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = RayStandIn()
    monkeypatch.setitem(sys.modules, "ray", ray)
    reconstruct(replace(_options(place / "town", tmp_path / "scene", processes=2), ray="local"))
    _require_same(tmp_path / "scene", place / "by_one")
    assert ray.asked[1] == ("remote", {"num_cpus": 1, "num_gpus": 0.0, "max_retries": 0})
    assert [what for what, _ in ray.asked] == ["init", "remote", "shutdown"], "and nothing had to be cancelled"
    assert (tmp_path / "scene" / "workers" / "1" / "errors.txt").is_file() and "end" in _events(tmp_path / "scene", 1)


def test_helpers_are_asked_for_the_same_and_start_none_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = replace(
        _options(Path("town"), Path("scene"), processes=2, workers=4),
        city=BlockOptions(blocks="4,1,1", processes=2),
        split_file=Path("split.json"),
        ray="auto",
        overwrite=True,
        threads=None,
    )
    method = started(options)
    assert method.processes == 2 and method.helper is not None
    command = method.helper(3)
    assert command[:4] == (sys.executable, "-m", "scenewise.cli.main", "reconstruct")
    assert command[4] == str(tmp_path / "town") and not {"--processes", "--ray", "--overwrite"} & set(command)
    expected = {"--workers": "2", "--threads": "3", "--blocks": "4,1,1", "--out": str(tmp_path / "scene")}
    for name, value in {**expected, "--split-file": str(tmp_path / "split.json")}.items():
        assert command[command.index(name) + 1] == value


@pytest.mark.errors
def test_what_cannot_start_is_refused_before_anything_is_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(place / "town", tmp_path / "scene", processes=2)
    with pytest.raises(ConventionError, match=r"--processes: expected a command that torchrun did not start, got 2 processes"):
        reconstruct(options, None, Ranks(0, 2))
    with pytest.raises(ConventionError, match=r"--ray: expected --processes above 1, got one process"):
        reconstruct(replace(_options(place / "town", tmp_path / "scene"), ray="auto"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ResourceError, match="CUDA devices: expected one for each of the 2 processes, got 1"):
        reconstruct(replace(options, device="cuda"))
    assert not options.out.exists()


@pytest.mark.errors
def test_more_processes_than_blocks_are_refused_before_the_coarse_model(place: Path, tmp_path: Path) -> None:
    """Where nobody says how many blocks there are, that is known once the capture has been read."""
    options = replace(_options(place / "town", tmp_path), city=BlockOptions(processes=2))
    capture = open_capture(options.capture)
    assert capture.points is not None
    with Journal(tmp_path / "log.jsonl") as journal:
        run = SplatRun(
            *("town", capture, "hash", tmp_path, SplatRecipe(), 0, torch.device("cpu"), 1, 0, None, None, 2_000, 1_000),
            journal=journal,
            progress=NullProgress(),
            ranks=Ranks(0, 2),
        )
        with pytest.raises(
            ConventionError, match=r"processes: expected at most 1, as there are so many blocks, got 2\. Fix: fewer"
        ):
            started(options).begin(run).prepare(capture.points)
