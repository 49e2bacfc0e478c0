"""Kills a training run at random moments and checks that the resumed one ends with the same bits as one that was never disturbed.

    python -m scenewise.studies kill_resume [--kills 20] [--steps 400] [--seed 0] [--strategies default mcmc distilled] [--json]

The run reconstructs a procedural room through the ordinary command, writes a checkpoint every few steps, and is killed with
SIGKILL again and again, at moments drawn uniformly over the time an undisturbed run takes; sometimes that hits the middle of a
checkpoint.  ``distilled`` is method distilled_3dgs: three teachers, their pictures, a student and one more student of its curve;
there it also checks that no teacher was trained again once it had finished.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.io.scene_folder import CHECKPOINTS_FOLDER

Figures = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How often what is killed.

    Attributes:
        kills: in all, shared among the strategies.
        steps: of each run.
        seed: of the moments.
        strategies: default, mcmc, distilled.
        json: print one JSON object.
    """

    kills: int = 20
    steps: int = 400
    seed: int = 0
    strategies: tuple[str, ...] = ("default", "mcmc")
    json: bool = False


def _command(capture: Path, out: Path, steps: int, strategy: str, *more: str) -> list[str]:
    fixed = ["--steps", str(steps), "--checkpoint-every", "10", "--threads", "1", "--seed", "3", "--json"]
    if strategy == "distilled":
        fixed += ["--method", "distilled_3dgs", "--keep-ratio", "0.3", "--curve", "0.1", "--teacher-gaussians", "3000"]
    else:
        fixed += ["--strategy", strategy]
    return [sys.executable, "-m", "scenewise.cli.main", "reconstruct", str(capture), "--out", str(out), *fixed, *more]


def _differences(first: Path, second: Path) -> list[str]:
    """Names of tensors that differ in any bit between the newest checkpoints of two scene folders."""
    newest = [sorted((folder / CHECKPOINTS_FOLDER).glob("step_*"))[-1] for folder in (first, second)]
    found = [] if newest[0].name == newest[1].name else [f"step {newest[0].name} against {newest[1].name}"]
    for file in ("params", "optimizer", "state"):
        tensors = []
        for folder in newest:
            with safe_open(folder / f"{file}.safetensors", framework="np") as opened:
                tensors.append({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118 - not a mapping
        names = tensors[0].keys() | tensors[1].keys()
        found += [
            f"{file}: {name}"
            for name in sorted(names)
            if name not in tensors[0] or name not in tensors[1] or tensors[0][name].tobytes() != tensors[1][name].tobytes()
        ]
    for path in sorted(first.glob("teachers/*/splats.ply")) + sorted(first.glob("students/*/splats.ply")):
        other = second / path.relative_to(first)
        if not other.exists() or other.read_bytes() != path.read_bytes():
            found.append(str(path.relative_to(first)))
    return found


def _trained_again(folder: Path) -> list[str]:
    """Teachers that were trained on after they had finished, by their diaries."""
    again = []
    for diary in sorted(folder.glob("teachers/*/log.jsonl")):
        events = [json.loads(line)["event"] for line in diary.read_text(encoding="utf-8").splitlines()]
        after = events[events.index("end") :] if "end" in events else []
        if "step" in after or "resume" in after:
            again.append(diary.parent.name)
    return again


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")


def kill_and_compare(capture: Path, work: Path, *, kills: int, steps: int, strategy: str, seed: int) -> Figures:
    """Runs once undisturbed and once with ``kills`` kills, and compares."""
    unbroken, broken = work / f"unbroken_{strategy}", work / f"broken_{strategy}"
    started = time.monotonic()
    _run(_command(capture, unbroken, steps, strategy))
    whole = time.monotonic() - started
    generator = random.Random(seed)
    resumed_from, done = [], 0
    while done < kills:
        # The moments cover the whole run: what a kill leaves is taken up by the next, and a finished run starts anew.
        process = subprocess.Popen(
            _command(capture, broken, steps, strategy, *(["--resume"] if broken.exists() else [])),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=generator.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            resumed_from.append(_last_step(broken))
            continue
        differences = _differences(unbroken, broken)
        if process.returncode != 0 or differences:
            return {"strategy": strategy, "kills": done, "identical": False, "differences": differences, "steps": resumed_from}
        shutil.rmtree(broken)
    _run(_command(capture, broken, steps, strategy, *(["--resume"] if broken.exists() else [])))
    differences = _differences(unbroken, broken) + [f"trained again: {name}" for name in _trained_again(broken)]
    return {"strategy": strategy, "kills": done, "identical": not differences, "differences": differences, "steps": resumed_from}


def _last_step(folder: Path) -> int:
    steps = [int(path.name.removeprefix("step_")) for path in (folder / CHECKPOINTS_FOLDER).glob("step_*")]
    return max(steps, default=0)


def main(options: Options) -> int:
    """Prints one line per strategy, or one JSON object."""
    results = killed_and_resumed(options, report=not options.json)
    identical = all(result["identical"] for result in results)
    if options.json:
        print(json.dumps({"results": results, "identical": identical}))
    return 0 if identical else 1


def killed_and_resumed(options: Options, *, report: bool = False) -> list[Figures]:
    """What came of each strategy: how often it was killed, and whether it ended with the same bits.

    Raises:
        SystemExit: an undisturbed run failed; its message is shown.
    """
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_demo_capture(work / "capture", seed=0, frames=16, width=96, height=72)
        for number, strategy in enumerate(options.strategies):
            kills = (options.kills + number) // len(options.strategies)
            result = kill_and_compare(
                work / "capture", work, kills=kills, steps=options.steps, strategy=strategy, seed=options.seed + number
            )
            results.append(result)
            if report:
                verdict = "bit-identical" if result["identical"] else f"DIFFERENT: {result['differences']}"
                print(f"{strategy}: {kills} kills, resumed from steps {result['steps']}: {verdict}", flush=True)
    return results
