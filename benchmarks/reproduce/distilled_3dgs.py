"""Figures and claims of Distilled-3DGS, written to docs/results/distilled_3dgs.json.

    python benchmarks/reproduce/distilled_3dgs.py [--quick] [--cache build/reproduce] [--jobs N] [--lpips-weights FILE]

Trainings, checkpoints of long ones and outcomes are kept, so an interrupted run goes on where it stopped.  ``--quick`` runs a
procedural room with a few steps, one seed and one size (below half a minute); what that leaves out is printed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from distilled_bench import Bench, BenchScene, StudentArm  # noqa: E402
from quality import data_root  # noqa: E402
from scenewise.engine.experiments import (  # noqa: E402
    Arm,
    Claim,
    Outcome,
    Results,
    paired_claim,
    results_json,
    run_arm,
    threshold_claim,
    wide_table,
    with_generated_section,
)
from scenewise.engine.threads import compute_threads  # noqa: E402
from scenewise.io.atomic import atomic_write_json, atomic_write_text  # noqa: E402
from scenewise.kernels.native import library  # noqa: E402
from scenewise.methods.distilled_3dgs.config import FAST_DISTILLED, StructureSettings, TeacherSpec  # noqa: E402
from scenewise.metrics.lpips import load_lpips  # noqa: E402
from scenewise.parts.splats.recipes import FAST_MCMC  # noqa: E402
from scenewise.show.charts import Line, lines_svg  # noqa: E402

ROOT = HERE.parents[1]
SEEDS = (0, 1, 2)
SCENES = (
    BenchScene("fox", "fox", 6, None, teacher_gaussians=70_000, teacher_steps=2_500, student_steps=2_500),
    BenchScene("lego", "lego_400", 2, "nerf_synthetic", teacher_gaussians=70_000, teacher_steps=2_500, student_steps=2_500),
)
QUICK_SCENE = BenchScene("room", "room", None, None, teacher_gaussians=1_500, teacher_steps=60, student_steps=60)

VANILLA, NOISE, DROPOUT = TeacherSpec("vanilla"), TeacherSpec("noise"), TeacherSpec("dropout")
MIXED = (VANILLA, NOISE, DROPOUT)
THREE_VANILLA = (VANILLA, TeacherSpec("vanilla", 2), TeacherSpec("vanilla", 3))
STRUCTURE = FAST_DISTILLED.structure
assert STRUCTURE is not None, "the preset has the structural term"
GRIDS = (32, 64, 256)

STUDENTS: Mapping[str, StudentArm] = {
    "a_pruned": StudentArm(),
    "a_pruned_twice_the_steps": StudentArm(longer=2),
    "b_vanilla": StudentArm((VANILLA,)),
    "b_noise": StudentArm((NOISE,)),
    "b_dropout": StudentArm((DROPOUT,)),
    "c_three_vanilla": StudentArm(THREE_VANILLA),
    "d_mixed": StudentArm(MIXED),
    "d_without_vanilla": StudentArm((NOISE, DROPOUT)),
    "d_without_noise": StudentArm((VANILLA, DROPOUT)),
    "d_without_dropout": StudentArm((VANILLA, NOISE)),
    "e_structure": StudentArm(MIXED, STRUCTURE),
}
"""Arms of the issue by letter; (f) is MCMC."""
DEPARTURES: Mapping[str, StudentArm] = {
    "d_from_start": StudentArm(MIXED, kd_from="start"),
    "d_paper_weight": StudentArm(MIXED, kd_weight=0.4),
    "e_paper_weight": StudentArm(MIXED, StructureSettings()),
}
"""What preset "fast" does otherwise than the paper, done as the paper does it."""
SIZES = (10, 15, 30)
MAIN_SIZE = 15
AT_ALL_SIZES = ("a_pruned", "e_structure")

COLUMNS: Mapping[str, tuple[str, str, float]] = {
    "PSNR, dB": ("psnr", ".2f", 1.0),
    "of training views": ("train_psnr", ".2f", 1.0),
    "SSIM": ("ssim", ".4f", 1.0),
    "LPIPS": ("lpips", ".4f", 1.0),
    "Gaussians": ("num_gaussians", ",.0f", 1.0),
    "ply, MB": ("ply_bytes", ".2f", 1e6),
    "spz, MB": ("spz_bytes", ".2f", 1e6),
    "frames/s": ("frames_per_second", ",.0f", 1.0),
    "memory to train, MB": ("train_memory_bytes", ",.0f", 1e6),
    "to render, MB": ("render_memory_bytes", ",.0f", 1e6),
    "own training, s": ("own_seconds", ",.0f", 1.0),
    "in all, s": ("train_seconds", ",.0f", 1.0),
    "pictures in all": ("views_rendered", ",.0f", 1.0),
}


class Runner:
    """Runs arms on every scene that is there, and remembers outcomes.

    Args:
        scenes: captures.
        seeds: of every arm.
        cache: of outcomes and trainings.
        lpips_weights: backbone and heads, or None.
    """

    def __init__(self, scenes: Sequence[BenchScene], seeds: Sequence[int], cache: Path, lpips_weights: Path | None) -> None:
        self.seeds, self.cache = seeds, cache
        lpips = None if lpips_weights is None else load_lpips(lpips_weights)
        self.benches = [Bench(scene, cache / "trainings", lpips) for scene in scenes]
        self.outcomes: dict[str, list[Outcome]] = {}
        self.used_seeds: dict[str, list[int]] = {}
        self._lpips_name = None if lpips_weights is None else lpips_weights.name

    def run(self, bench: Bench, name: str, decides: object, work: Callable[[int], Outcome], seeds: Sequence[int]) -> None:
        """One arm on one scene."""
        full = f"{bench.scene.name}_{name}"
        config = {
            "scene": asdict(bench.scene),
            "decides": decides,
            "preset": asdict(FAST_DISTILLED),
            "mcmc": asdict(FAST_MCMC),
            "lpips": self._lpips_name,
        }
        self.outcomes[full] = run_arm(Arm(full, config, work), list(seeds), self.cache, report=say)
        self.used_seeds[full] = list(seeds)

    def psnr(self, name: str) -> list[float]:
        """Of an arm, one value per scene and seed."""
        return [
            float(outcome.metrics["psnr"] or 0.0)
            for bench in self.benches
            for outcome in self.outcomes[f"{bench.scene.name}_{name}"]
        ]

    def has(self, *names: str) -> bool:
        """Whether every scene has these arms."""
        return all(f"{bench.scene.name}_{name}" in self.outcomes for bench in self.benches for name in names)


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)


def run_all(runner: Runner, *, sizes: Sequence[int], students: Sequence[str], grids: Sequence[int]) -> None:
    """Every arm, seed by seed in the order in which trainings are needed."""
    for bench in runner.benches:
        scene, seeds = bench.scene, runner.seeds
        for spec in dict.fromkeys([*MIXED, *THREE_VANILLA]):
            runner.run(
                bench, f"teacher_{spec.name}", asdict(spec), lambda s, spec=spec, b=bench: b.teacher_outcome(spec, s), seeds
            )
        for name, specs in (("mean_of_mixed", MIXED), ("mean_of_three_vanilla", THREE_VANILLA)):
            decides = [spec.name for spec in specs]
            runner.run(bench, name, decides, lambda s, specs=specs, b=bench: b.ensemble_outcome(specs, s), seeds)
        for size in sizes:
            for name in students:
                if size != MAIN_SIZE and name not in AT_ALL_SIZES:
                    continue
                arm = STUDENTS[name]
                run_student(runner, bench, f"{name}_{size}", arm, size, seeds)
            for name, steps in mcmc_steps(scene).items():
                decides = {"percent": size, "steps": steps}
                work = lambda s, size=size, steps=steps, b=bench: b.mcmc_outcome(size, s, steps)  # noqa: E731
                runner.run(bench, f"{name}_{size}", decides, work, seeds)
        for grid in grids:
            arm = StudentArm(MIXED, replace(STRUCTURE, hist_grid=grid))
            run_student(runner, bench, f"e_grid_{grid}_{MAIN_SIZE}", arm, MAIN_SIZE, seeds[:1])
        for name, arm in DEPARTURES.items() if "b_noise" in students else ():
            run_student(runner, bench, f"{name}_{MAIN_SIZE}", arm, MAIN_SIZE, seeds)


def run_student(runner: Runner, bench: Bench, name: str, arm: StudentArm, size: int, seeds: Sequence[int]) -> None:
    """One student arm on one scene."""
    decides = {"arm": asdict(arm), "percent": size}
    runner.run(bench, name, decides, lambda s: bench.student_outcome(arm, size, s), seeds)


def mcmc_steps(scene: BenchScene) -> dict[str, int]:
    """MCMC with the student's steps, and with those of its three teachers added."""
    return {"f_mcmc": scene.student_steps, "f_mcmc_long": scene.student_steps + 3 * scene.teacher_steps}


def judge(runner: Runner, sizes: Sequence[int]) -> list[Claim]:
    """The claims of the issue.  Pairs are scenes and seeds together, six with both captures and three seeds."""

    def paired(identifier: str, words: str, arm: str, others: Sequence[str], at_least: float = 0.0) -> Claim:
        if not runner.has(arm, *others):
            return Claim(identifier, words, False, [], 0.0, None, "not run: --quick leaves it out")
        best = [max(values) for values in zip(*(runner.psnr(other) for other in others))]
        return paired_claim(identifier, words, runner.psnr(arm), best, at_least=at_least)

    def near_teacher(size: int) -> Claim:
        words = f"full student with {size} % of its Gaussians at most 0.1 dB below the vanilla teacher"
        identifier = f"within_0p1_of_teacher_at_{size}pct"
        if size not in sizes:
            return Claim(identifier, words, False, [], 0.0, None, "not run: --quick leaves it out")
        pairs = zip(runner.psnr(f"e_structure_{size}"), runner.psnr("teacher_vanilla"))
        return threshold_claim(identifier, words, [student - teacher for student, teacher in pairs], -0.1)

    at = MAIN_SIZE
    return [
        paired("kd_over_pruned", f"distilled from three teachers (d) at least 0.1 dB above pruned without them (a), {at} %",
               f"d_mixed_{at}", [f"a_pruned_{at}"], 0.1),
        paired("kd_over_mcmc", f"full student (e) above MCMC of its size, with its steps and with its teachers' added, {at} %",
               f"e_structure_{at}", [f"f_mcmc_{at}", f"f_mcmc_long_{at}"]),
        paired("structure_helps", f"with the structural term (e) above without (d), {at} %",
               f"e_structure_{at}", [f"d_mixed_{at}"]),
        paired("diversity_helps", f"three different teachers (d) above three vanilla ones (c), {at} %",
               f"d_mixed_{at}", [f"c_three_vanilla_{at}"]),
        paired("ensemble_over_best_teacher", "mean of the three different teachers' pictures above the best of them",
               "mean_of_mixed", [f"teacher_{spec.name}" for spec in MIXED]),
        near_teacher(30),
        near_teacher(15),
    ]  # fmt: skip


def train_in_processes(scenes: Sequence[BenchScene], options: argparse.Namespace) -> None:
    """One process per scene; what they keep is found afterwards.  Two pools of one thread get more done than one of two."""
    threads = max(1, library.default_threads() // min(options.jobs, len(scenes)))
    command = [sys.executable, str(Path(__file__).resolve()), "--cache", str(options.cache), "--jobs", "1"]
    command += ["--threads", str(threads)]
    if options.lpips_weights is not None:
        command += ["--lpips-weights", str(options.lpips_weights)]
    waiting, running = list(scenes), list[tuple[BenchScene, subprocess.Popen[bytes]]]()
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                scene = waiting.pop(0)
                out = options.cache / f"{scene.name}.json"
                running.append((scene, subprocess.Popen([*command, "--scenes", scene.name, "--out", str(out)])))
            time.sleep(1.0)
            for scene, process in running:
                if process.poll() not in (None, 0):
                    raise SystemExit(f"{scene.name} ended with code {process.returncode}")
            running = [(scene, process) for scene, process in running if process.poll() is None]
    finally:
        for _, process in running:
            process.terminate()


def size_chart(arms: Mapping[str, Any], scene: str, sizes: Sequence[int]) -> str:
    """Quality over the number of Gaussians, of what was run at all sizes.

    Args:
        arms: of a results file.
        scene: its arms' prefix.
        sizes: per cents.
    """

    def over_sizes(name: str, arm: str) -> Line:
        found = [arms[f"{scene}_{arm}_{size}"] for size in sizes]
        counts = [one["more"]["num_gaussians"]["mean"] for one in found]
        return Line(name, counts, [one["mean"] for one in found], [one["std"] for one in found])

    lines = [
        over_sizes("distilled, with structure (e)", "e_structure"),
        over_sizes("pruned alone (a)", "a_pruned"),
        over_sizes("MCMC, the student's steps", "f_mcmc"),
        over_sizes("MCMC, and the teachers' steps", "f_mcmc_long"),
        Line("vanilla teacher", [], [arms[f"{scene}_teacher_vanilla"]["mean"]]),
        Line("mean of three teachers", [], [arms[f"{scene}_mean_of_mixed"]["mean"]]),
    ]
    return lines_svg(f"{scene}: PSNR of held-out views, dB", lines, across="Gaussians")


def main() -> int:
    """Runs, judges and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "reproduce" / "distilled_3dgs")
    parser.add_argument("--out", type=Path, default=None, help="default: docs/results, or the cache folder with --quick")
    parser.add_argument("--scenes", nargs="+", help="only these", choices=[scene.name for scene in SCENES])
    parser.add_argument(
        "--jobs", type=int, default=2, help="scenes at the same time, each in a process with its part of the threads"
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--lpips-weights", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    notes = [
        "Teachers' caps are those with the best PSNR of 20,000, 40,000 and 70,000 on views held out of the training views.",
        "Reduced to fit two hours on two cores: 2,500 steps per training instead of up to 7,000 and 5,000, fox at 180×320 and "
        "lego at 200×200 pixels.",
        "Initial points are the same for all seeds.  All students of a seed share what comes before the simplification, except "
        "d_from_start, which distils from its first step on as the paper does.",
        "The weights of distillation and structure, and when students are simplified, were chosen on views held out of the "
        "training views, seed 0 (config.py says by which figures); d_paper_weight and e_paper_weight have the published ones.",
        "Pairs of claims are scenes and seeds together.  Times are those of one thread, the other scene being trained beside it.",
    ]
    if options.quick:
        scenes: Sequence[BenchScene] = (QUICK_SCENE,)
        seeds, sizes, students = (0,), (MAIN_SIZE,), ("a_pruned", "c_three_vanilla", "d_mixed", "e_structure")
        notes = ["quick: procedural room, 60 steps, one seed, 15 % only, without single teachers and grids"]
    else:
        chosen = [scene for scene in SCENES if options.scenes is None or scene.name in options.scenes]
        scenes = [scene for scene in chosen if (data_root() / scene.capture).is_dir()]
        seeds, sizes, students = SEEDS, SIZES, tuple(STUDENTS)
        missing = [scene.name for scene in chosen if scene not in scenes]
        if missing:
            notes.append(f"left out, no captures in {data_root().name}: {', '.join(missing)}")
        if not scenes:
            say("no captures: running the quick form")
            scenes, seeds, sizes = (QUICK_SCENE,), (0,), (MAIN_SIZE,)
            students = ("a_pruned", "c_three_vanilla", "d_mixed", "e_structure")
    if options.jobs > 1 and len(scenes) > 1 and not options.quick:
        train_in_processes(scenes, options)
    with compute_threads(options.threads):
        runner = Runner(scenes, seeds, options.cache, options.lpips_weights)
        grids = GRIDS if len(students) == len(STUDENTS) else ()
        run_all(runner, sizes=sizes, students=students, grids=grids)
    claims = judge(runner, sizes)
    for note in notes:
        say(note)
    for claim in claims:
        interval = "" if claim.interval is None else f", 95 % {claim.interval[0]:+.3f} … {claim.interval[1]:+.3f}"
        figures = f"{claim.difference:+.3f}{interval}; per pair {', '.join(f'{value:+.3f}' for value in claim.per_seed)}"
        say(f"{claim.id}: {'holds' if claim.holds else f'does NOT hold: {claim.why}'} ({figures})")
    kept = sum(outcome.metrics.get("own_seconds") or 0.0 for found in runner.outcomes.values() for outcome in found)
    seconds = max(kept, time.monotonic() - started)
    results = Results("distilled_3dgs", "psnr", runner.used_seeds, runner.outcomes, claims, seconds, notes)
    content = results_json(results)
    is_whole = len(students) == len(STUDENTS) and options.scenes is None
    target = options.out or (ROOT / "docs" / "results" / "distilled_3dgs.json" if is_whole else options.cache / "quick.json")
    atomic_write_json(target, content)
    say(f"written: {target}")
    if is_whole and options.out is None:
        readme = ROOT / "src" / "scenewise" / "methods" / "distilled_3dgs" / "README.md"
        atomic_write_text(readme, with_generated_section(readme.read_text(encoding="utf-8"), wide_table(content, COLUMNS)))
        say(f"table updated: {readme}")
        for scene in scenes:
            chart = ROOT / "docs" / "results" / "img" / f"distilled_3dgs_sizes_{scene.name}.svg"
            atomic_write_text(chart, size_chart(content["arms"], scene.name, sizes))
            say(f"drawn: {chart}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
