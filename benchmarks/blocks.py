"""Training in blocks: an iteration of anchors beside one of explicit Gaussians, memory over the number of blocks, a budget
against what the whole command took, two processes beside one, a killed process, and a real capture in four blocks.

    python benchmarks/blocks.py [iteration] [memory] [budget] [processes] [kill] [brighton] [--quick] [--json]

Without names everything is run.  ``brighton`` needs the capture of that name in SCENEWISE_DATA; without it, it is left out, and
that is said.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewise.engine.memory import forget_peak, peak_resident_bytes, peak_since_forgotten, resident_bytes
from scenewise.engine.progress import NullProgress
from scenewise.engine.threads import compute_threads
from scenewise.io.captures import open_capture
from scenewise.kernels.native import library
from scenewise.methods.momentum_gs.assignment import with_cameras
from scenewise.methods.momentum_gs.coarse import coarse_of
from scenewise.methods.momentum_gs.compose import City, block_trainer
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM, AssignmentSettings
from scenewise.methods.momentum_gs.partition import balanced_partition
from scenewise.methods.momentum_gs.planning import found_frame, grid_of
from scenewise.parts.splats.anchors.building import build_anchor_trainer
from scenewise.parts.splats.anchors.objectives import ChildVolume
from scenewise.parts.splats.anchors.recipes import FAST_ANCHORS, with_anchor_cap
from scenewise.parts.splats.fields import ExplicitGaussians, GaussianField
from scenewise.parts.splats.objectives import Objective, Photometric
from scenewise.parts.splats.reconstruction import detached
from scenewise.parts.splats.schedules import LearningRates, ShSchedule
from scenewise.parts.splats.settings import TrainerSettings
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.frames import Frame
from scenewise.studies.city.towns import photographed
from scenewise.studies.towns import write_town_capture
from scenewise.worlds.town_captures import town_capture

GOAL_RATIO = 1.6
BLOCKS = (1, 2, 4, 8, 16)
_VIEWS_OF_BLOCK, _ANCHORS_OF_BLOCK, _SIDE_OF_BLOCK = 30, 3_000, 60.0
_MEMORY_STEPS, _CACHE = 100, 1_000_000  # photographs of less than a block, so that all fill it
_BUDGET, _GAUSSIANS_OF_BLOCK = 600_000_000, 20_000
_STILL = LearningRates(means=1e-9, means_end=1e-9, sh0=1e-9, shN=1e-9, opacities=1e-9, scales=1e-9, quats=1e-9)
"""The picture is to stay as it is while it is timed."""


def iteration(threads: int, rounds: int) -> dict[str, Any]:
    """One step of anchors on a view, and of the explicit Gaussians that it decodes on the same one: the same picture is rendered.

    Args:
        threads: of both.
        rounds: each is an equal number of steps of all; the ratio is of their medians.
    """
    capture = photographed(town_capture(5, 48, 480, 320, points=20_000))
    recipe = replace(with_anchor_cap(FAST_ANCHORS, 12_000), steps=400, max_initial_anchors=12_000)
    with compute_threads(threads):
        anchors = build_anchor_trainer(capture, capture.points, recipe)
        anchors.run(until=300)
        counts = [len(anchors.field.gaussians(camera)) for camera in anchors.views.cameras]
        frame = capture.train_frames[int(np.argsort(counts)[len(counts) // 2])]
        decoded = detached(anchors.field.gaussians(frame.camera))
        extent = anchors.scene_extent
        own = _on_one_view(anchors.field, frame, extent, [Photometric(), ChildVolume()])
        explicit = {
            degree: _on_one_view(
                ExplicitGaussians(decoded.with_sh_degree(degree), _STILL, extent), frame, extent, [Photometric()], degree
            )
            for degree in (0, 3)
        }
        times: dict[str, list[float]] = {"anchors": [], "explicit, degree 0": [], "explicit, degree 3": []}
        for _ in range(rounds):
            times["anchors"].append(_step_ms(own))
            for degree, trainer in explicit.items():
                times[f"explicit, degree {degree}"].append(_step_ms(trainer))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "threads": threads,
        "anchors": len(anchors.field.store),
        "gaussians": len(decoded),
        "step_ms": medians,
        "ratio": {degree: medians["anchors"] / medians[f"explicit, degree {degree}"] for degree in (0, 3)},
        "goal": GOAL_RATIO,
    }


def _on_one_view(
    field: GaussianField, frame: Frame, extent: float, objectives: Sequence[Objective], degree: int = 0
) -> SplatTrainer:
    """A trainer that sees one view again and again."""
    return SplatTrainer(
        field,
        TrainingViews([frame]),
        [],
        settings=TrainerSettings(steps=100_000, sh=ShSchedule(highest=degree, every=1)),
        scene_extent=extent,
        objectives=objectives,
    )


def _step_ms(trainer: SplatTrainer, steps: int = 10) -> float:
    trainer.start()
    trainer.step()
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    return 1000.0 * (time.perf_counter() - began) / steps


def memory_of(town: Path, blocks: int, steps: int) -> dict[str, Any]:
    """Largest memory while the blocks of a town are trained in turn."""
    grid = grid_of(blocks, (1.0, 1.0))
    capture = open_capture(town)
    assert capture.points is not None
    cap = with_anchor_cap(FAST_ANCHORS, _ANCHORS_OF_BLOCK)
    with compute_threads(1), tempfile.TemporaryDirectory() as folder:
        coarse = build_anchor_trainer(
            capture, capture.points, replace(cap, steps=60, max_initial_anchors=2_000), cache_bytes=10_000_000
        )
        coarse.run()
        model = coarse_of(coarse)
        cameras = [frame.camera for frame in capture.train_frames]
        frame, _ = found_frame(cameras, capture.points.points_in_world, capture.up_in_world)
        cut = balanced_partition(frame, grid, capture.points.points_in_world)
        some = AssignmentSettings(fewest_cameras=1, fewest_anchors=1)
        cut, belongs, _ = with_cameras(cut, model, cameras, some, NullProgress())
        config = replace(
            FAST_MOMENTUM,
            block=replace(cap, steps=steps, max_initial_anchors=_ANCHORS_OF_BLOCK * 2 // 3),
            slot_steps=max(1, steps // 2),
        )
        city = City(capture, model, cut, belongs, capture.points)
        trainer = block_trainer(city, config, Path(folder), seed=0, record={}, cache_bytes=_CACHE)
        most, waiting, before = 0, 0, peak_resident_bytes()
        started = resident_bytes()
        forget_peak()
        while trainer.steps_done < trainer.total_steps:
            trainer.step()
            most = max(most, sum(len(each.field.store) for each in trainer.in_hand.values()))
        waiting = sum(product.num_bytes for product in trainer.states.files())
    return {
        "blocks": cut.num_blocks,
        "views": len(cameras),
        "most_anchors_in_hand": most,
        "bytes_waiting": waiting,
        "peak_bytes": peak_since_forgotten(),
        "bytes_before_training": started,
        "peak_bytes_before_training": before,
    }


def _write_town(town: Path, blocks: int) -> None:
    """A town as large as so many blocks of one size."""
    grid = grid_of(blocks, (1.0, 1.0))
    size = (_SIDE_OF_BLOCK * grid[0], _SIDE_OF_BLOCK * grid[1])
    write_town_capture(town, 3, _VIEWS_OF_BLOCK * blocks, 160, 107, points=4_000 * blocks, size=size)


def memory(quick: bool) -> list[dict[str, Any]]:
    """:func:`memory_of` towns of one, two, four … blocks of one size, each in a process of its own that reads photographs."""
    found = []
    for blocks in BLOCKS[:2] if quick else BLOCKS:
        with tempfile.TemporaryDirectory() as temporary:
            town = Path(temporary) / "town"
            _write_town(town, blocks)
            command = [sys.executable, __file__, "--memory-of", str(blocks), str(town), *(["--quick"] if quick else [])]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"{blocks} blocks: {found[-1]['peak_bytes'] / 1e6:.0f} MB", file=sys.stderr, flush=True)
    return found


def budget(quick: bool) -> list[dict[str, Any]]:
    """Towns of several sizes with one budget for all: blocks that were planned, and the largest memory of the whole command."""
    found = []
    for blocks in BLOCKS[:1] if quick else BLOCKS[::2]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            _write_town(folder / "town", blocks)
            command = [sys.executable, "-m", "scenewise.cli.main", "reconstruct", str(folder / "town"), "--method", "momentum_gs"]
            command += ["--out", str(folder / "scene"), "--budget", f"{_BUDGET / 1e6:.0f}MB", "--threads", "1", "--json"]
            steps = "10" if quick else "100"
            command += ["--steps", steps, "--coarse-steps", steps, "--settle-steps", steps]
            command += ["--slot-steps", "5" if quick else "50", "--max-gaussians", str(_GAUSSIANS_OF_BLOCK * blocks)]
            summary = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        row = {"town": blocks, "blocks": len(summary["city"]["blocks"]), "gaussians": summary["num_gaussians"]}
        found.append(row | {"peak_bytes": summary["peak_memory_bytes"], "budget_bytes": _BUDGET})
        print(f"{row}: {found[-1]['peak_bytes'] / 1e6:.0f} MB", file=sys.stderr, flush=True)
    return found


def _in_four_blocks(town: Path, seed: int, views: int, steps: int, slot_steps: int, more: Sequence[str]) -> list[str]:
    """Writes a town, and returns the arguments that reconstruct it, one thread in each process."""
    write_town_capture(town, seed, views, 240, 160, points=12_000)
    arguments = ["reconstruct", str(town), "--method", "momentum_gs", "--blocks", "2,2,1", "--threads", "1", *more]
    arguments += ["--steps", str(steps), "--slot-steps", str(slot_steps), "--coarse-steps", str(steps)]
    return [*arguments, "--settle-steps", "20", "--max-gaussians", "40000", "--json"]


def processes(quick: bool) -> dict[str, Any]:
    """A town by two processes with one thread each, and by one process with one thread that does the work of both."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = (24, 40, 10) if quick else (96, 800, 100)
        arguments = _in_four_blocks(folder / "town", 11, *size, ["--workers", "2"])
        one = [sys.executable, "-m", "scenewise.cli.main", *arguments, "--out", str(folder / "one")]
        two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29533"]
        two += ["-m", "scenewise.cli.main", *arguments, "--out", str(folder / "two")]
        for name, command in (("one process", one), ("two processes", two)):
            began = time.monotonic()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            summary = json.loads(done.stdout)
            result[name] = {
                "command_seconds": time.monotonic() - began,
                "block_seconds": summary["city"]["seconds"]["blocks"],
                "psnr": summary["city"]["decoded_psnr"],
                "bytes_reduced": summary["city"]["bytes_reduced"],
            }
        events = [json.loads(line) for file in ("log.jsonl", "workers/1/log.jsonl") for line in (folder / "two" / file).open()]
        result["pids"] = [event["pid"] for event in events if event["event"] == "process"]
        same = (folder / "one" / "splats.ply").read_bytes() == (folder / "two" / "splats.ply").read_bytes()
        result["same_splats"] = same
        result["speed_up"] = result["one process"]["block_seconds"] / result["two processes"]["block_seconds"]
    return result


def kill(quick: bool) -> dict[str, Any]:
    """One of two processes is ended by SIGKILL in mid-slot; the run is taken up again and compared with an unbroken one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        views, steps, slot = (24, 60, 20) if quick else (96, 600, 100)
        arguments = _in_four_blocks(folder / "town", 12, views, steps, slot, ["--processes", "2"])
        command = [sys.executable, "-m", "scenewise.cli.main", *arguments]
        whole = json.loads(subprocess.run([*command, "--out", str(folder / "whole")], check=True, capture_output=True).stdout)
        broken = subprocess.Popen([*command, "--out", str(folder / "broken")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        step, pid = _wait_for_mid_slot(folder / "broken", slot)
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        _, said = broken.communicate(timeout=300)
        ended = time.monotonic() - began
        again = subprocess.run([*command, "--out", str(folder / "broken"), "--resume"], check=True, capture_output=True)
        resumed = json.loads(again.stdout)
        same = (folder / "whole" / "splats.ply").read_bytes() == (folder / "broken" / "splats.ply").read_bytes()
    return {
        "killed_after_step": step,
        "exit_code": broken.returncode,
        "seconds_until_the_other_ended": ended,
        "said": said.decode().strip().splitlines()[-1][:200],
        "psnr_unbroken": whole["city"]["splats_psnr"],
        "psnr_resumed": resumed["city"]["splats_psnr"],
        "same_splats": same,
    }


def _wait_for_mid_slot(scene: Path, slot: int) -> tuple[int, int]:
    """The step that the first process has told last, in the middle of a slot, and the number of the second."""
    while True:
        time.sleep(0.02)
        diaries = scene / "log.jsonl", scene / "workers" / "1" / "log.jsonl"
        if not all(diary.exists() for diary in diaries):
            continue
        ours, theirs = ([json.loads(line) for line in diary.read_text().splitlines() if line.endswith("}")] for diary in diaries)
        steps = [event["step"] for event in ours if event["event"] == "step"]
        if steps and steps[-1] > 2 * slot and steps[-1] % slot > 0:
            return steps[-1], next(event["pid"] for event in theirs if event["event"] == "process")


def brighton(data: Path, quick: bool) -> dict[str, Any] | None:
    """The beach in two by two blocks: quality, seams, and whether it still lies where its GPS says."""
    from georeference import gps_residuals  # type: ignore[import-not-found]

    capture = data / "brighton_beach"
    if not capture.is_dir():
        return None
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "scene"
        steps = ["--steps", "40", "--coarse-steps", "40", "--settle-steps", "10"] if quick else ["--steps", "1500"]
        command = [sys.executable, "-m", "scenewise.cli.main", "reconstruct", str(capture), "--method", "momentum_gs"]
        command += ["--blocks", "2,2,1", "--out", str(out), "--downscale", "4", "--json", *steps]
        command += ["--momentum-gs.assignment.fewest-cameras", "4"]  # the capture has eighteen photographs
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        summary = json.loads(done.stdout)
        residuals = gps_residuals(out, capture)
    city = summary["city"]
    return {
        "psnr": summary["evaluation"]["psnr"],
        "decoded_psnr": city["decoded_psnr"],
        "seam_ratio": city["seam_ratio"],
        "decoded_seam_ratio": city["decoded_seam_ratio"],
        "blocks": len(city["blocks"]),
        "said": city["said"],
        "gps_rms_m": float(np.sqrt((residuals**2).mean())),
        "seconds": city["seconds"],
    }


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "iteration": lambda options: [iteration(threads, 3 if options.quick else 15) for threads in (1, 2)],
    "memory": lambda options: memory(options.quick),
    "budget": lambda options: budget(options.quick),
    "processes": lambda options: processes(options.quick),
    "kill": lambda options: kill(options.quick),
    "brighton": lambda options: brighton(Path(os.environ.get("SCENEWISE_DATA", "data")), options.quick),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what was named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_of is not None:
        blocks, town = options.memory_of
        print(json.dumps(memory_of(Path(town), int(blocks), 10 if options.quick else _MEMORY_STEPS)))
        return 0
    found = {name: PARTS[name](options) for name in options.parts or PARTS}
    found["kernels"] = library.describe().variant
    found["torch"] = torch.__version__
    print(json.dumps(found, indent=None if options.json else 1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
