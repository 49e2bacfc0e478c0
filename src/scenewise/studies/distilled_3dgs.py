"""Figures and claims of Distilled-3DGS, written to docs/results/distilled_3dgs.json.

    python -m scenewise.studies distilled_3dgs [--quick] [--cache build/reproduce] [--jobs N] [--lpips-weights FILE]

Trainings, checkpoints of long ones and outcomes are kept, so an interrupted run goes on where it stopped.  ``--quick`` runs a
procedural room with a few steps, one seed and one size (below half a minute); what that leaves out is printed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_text
from scenewise.methods.distilled_3dgs.config import FAST_DISTILLED, StructureSettings, TeacherSpec
from scenewise.metrics.lpips import load_lpips
from scenewise.parts.splats.recipes import FAST_MCMC
from scenewise.show.charts import Line, lines_svg
from scenewise.studies.arms import Arm, Outcome, measured
from scenewise.studies.bench import (
    Bench,
    Flat,
    Keeping,
    Processes,
    cache_folder,
    checkout,
    command_of,
    data_root,
    processors_for,
    say,
)
from scenewise.studies.claims import Claim, not_run, paired_claim, threshold_claim, verdict
from scenewise.studies.results import Results, publish, results_json
from scenewise.studies.runs import Runs
from scenewise.studies.splats.trainings import BenchScene, SplatTrainings, StudentArm
from scenewise.studies.tables import wide_table

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
GRIDS: Mapping[str, StudentArm] = {
    f"e_grid_{grid}": StudentArm(MIXED, replace(STRUCTURE, hist_grid=grid)) for grid in (32, 64, 256)
}
"""The structural term on coarser and finer grids."""

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
LEFT_OUT = "not run: --quick leaves it out"
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

NOTES = (
    "Teachers' caps are those with the best PSNR of 20,000, 40,000 and 70,000 on views held out of the training views.",
    "Reduced to fit two hours on two cores: 2,500 steps per training instead of up to 7,000 and 5,000, fox at 180×320 and "
    "lego at 200×200 pixels.",
    "Initial points are the same for all seeds.  All students of a seed share what comes before the simplification, except "
    "d_from_start, which distils from its first step on as the paper does.",
    "The weights of distillation and structure, and when students are simplified, were chosen on views held out of the "
    "training views, seed 0 (config.py says by which figures); d_paper_weight and e_paper_weight have the published ones.",
    "Pairs of claims are scenes and seeds together.  Times are those of one thread, the other scene being trained beside it.",
)
QUICK_NOTE = "quick: procedural room, 60 steps, one seed, 15 % only, without single teachers and grids"


@dataclass(frozen=True)
class Extent:
    """How much of the study is run.

    Attributes:
        scenes: captures.
        seeds: of every arm.
        sizes: per cent of the vanilla teacher's Gaussians.
        students: names in ``STUDENTS``.
        whole: every student, and what preset "fast" does otherwise.
    """

    scenes: tuple[BenchScene, ...]
    seeds: tuple[int, ...] = SEEDS
    sizes: tuple[int, ...] = SIZES
    students: tuple[str, ...] = tuple(STUDENTS)
    whole: bool = True


QUICK_EXTENT = Extent((QUICK_SCENE,), (0,), (MAIN_SIZE,), ("a_pruned", "c_three_vanilla", "d_mixed", "e_structure"), whole=False)


@final
class SceneArms:
    """Every arm on one scene, in the order in which trainings are needed.

    Args:
        scene: the capture.
        bench: seeds, and where trainings are kept.
        lpips_weights: backbone and heads, or None.
    """

    def __init__(self, scene: BenchScene, bench: Bench, lpips_weights: Path | None) -> None:
        self.scene, self.seeds = scene, bench.seeds
        self.trainings = SplatTrainings(
            scene, bench.cache / "trainings", None if lpips_weights is None else load_lpips(lpips_weights)
        )
        self._lpips_name = None if lpips_weights is None else lpips_weights.name

    def all(self, extent: Extent) -> list[tuple[Arm, Sequence[int]]]:
        """Arms with their seeds."""
        arms: list[tuple[Arm, Sequence[int]]] = [(arm, self.seeds) for arm in self.teachers()]
        for size in extent.sizes:
            names = [name for name in extent.students if size == MAIN_SIZE or name in AT_ALL_SIZES]
            arms += [(self.student(f"{name}_{size}", STUDENTS[name], size), self.seeds) for name in names]
            arms += [(arm, self.seeds) for arm in self.controls(size)]
        if extent.whole:
            arms += [(self.student(f"{name}_{MAIN_SIZE}", arm, MAIN_SIZE), self.seeds[:1]) for name, arm in GRIDS.items()]
            arms += [(self.student(f"{name}_{MAIN_SIZE}", arm, MAIN_SIZE), self.seeds) for name, arm in DEPARTURES.items()]
        return arms

    def teachers(self) -> list[Arm]:
        """Every teacher, and the mean pictures of both ensembles."""
        arms = []
        for spec in dict.fromkeys([*MIXED, *THREE_VANILLA]):
            arms.append(self._arm(f"teacher_{spec.name}", asdict(spec), self._of_teacher(spec)))
        for name, specs in (("mean_of_mixed", MIXED), ("mean_of_three_vanilla", THREE_VANILLA)):
            arms.append(self._arm(name, [spec.name for spec in specs], self._of_ensemble(specs)))
        return arms

    def student(self, name: str, arm: StudentArm, percent: int) -> Arm:
        """A student of one size."""
        decides = {"arm": asdict(arm), "percent": percent}
        return self._arm(name, decides, lambda seed: self.trainings.student_outcome(arm, percent, seed))

    def controls(self, percent: int) -> list[Arm]:
        """MCMC of one size, with the student's steps and with its teachers' added."""
        arms = []
        for name, steps in mcmc_steps(self.scene).items():
            decides = {"percent": percent, "steps": steps}
            arms.append(self._arm(f"{name}_{percent}", decides, self._of_control(percent, steps)))
        return arms

    def _of_teacher(self, spec: TeacherSpec) -> Callable[[int], Outcome]:
        return lambda seed: self.trainings.teacher_outcome(spec, seed)

    def _of_ensemble(self, specs: Sequence[TeacherSpec]) -> Callable[[int], Outcome]:
        return lambda seed: self.trainings.ensemble_outcome(specs, seed)

    def _of_control(self, percent: int, steps: int) -> Callable[[int], Outcome]:
        return lambda seed: self.trainings.mcmc_outcome(percent, seed, steps)

    def _arm(self, name: str, decides: object, run: Callable[[int], Outcome]) -> Arm:
        config = {
            "scene": asdict(self.scene),
            "decides": decides,
            "preset": asdict(FAST_DISTILLED),
            "mcmc": asdict(FAST_MCMC),
            "lpips": self._lpips_name,
        }
        return Arm(f"{self.scene.name}_{name}", config, run)


def mcmc_steps(scene: BenchScene) -> dict[str, int]:
    """MCMC with the student's steps, and with those of its three teachers added."""
    return {"f_mcmc": scene.student_steps, "f_mcmc_long": scene.student_steps + 3 * scene.teacher_steps}


def judge(outcomes: Mapping[str, Sequence[Outcome]], extent: Extent) -> list[Claim]:
    """The claims.  Pairs are scenes and seeds together, six with both captures and three seeds."""

    def psnr(arm: str) -> list[float]:
        return [value for scene in extent.scenes for value in measured("psnr", outcomes[f"{scene.name}_{arm}"])]

    def paired(identifier: str, words: str, arm: str, others: Sequence[str], at_least: float = 0.0) -> Claim:
        if any(f"{scene.name}_{name}" not in outcomes for scene in extent.scenes for name in (arm, *others)):
            return not_run(identifier, words, LEFT_OUT)
        best = [max(values) for values in zip(*(psnr(other) for other in others))]
        return paired_claim(identifier, words, psnr(arm), best, at_least=at_least)

    def near_teacher(size: int) -> Claim:
        words = f"full student with {size} % of its Gaussians at most 0.1 dB below the vanilla teacher"
        identifier = f"within_0p1_of_teacher_at_{size}pct"
        if size not in extent.sizes:
            return not_run(identifier, words, LEFT_OUT)
        pairs = zip(psnr(f"e_structure_{size}"), psnr("teacher_vanilla"))
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


@dataclass(frozen=True)
class Options:
    """Of this study.

    Attributes:
        scenes: only these.
        threads: of each process; by default its part of the processors.
        lpips_weights: backbone and heads of LPIPS.
    """

    keeping: Flat[Keeping] = field(default_factory=Keeping)
    processes: Flat[Processes] = field(default_factory=Processes)
    scenes: tuple[str, ...] = ()
    threads: int | None = None
    lpips_weights: Path | None = None

    def __post_init__(self) -> None:
        known = [scene.name for scene in SCENES]
        for name in self.scenes:
            if name not in known:
                raise ConventionError("--scenes", expected=" or ".join(known), got=name)

    def more(self) -> list[str]:
        """What another process of this study has to be told besides."""
        weights = [] if self.lpips_weights is None else ["--lpips-weights", str(self.lpips_weights)]
        return [*(["--scenes", *self.scenes] if self.scenes else []), *weights]


def extent_of(options: Options) -> tuple[Extent, list[str]]:
    """What is run of what was asked for, and what has to be said of it."""
    if options.keeping.quick:
        return QUICK_EXTENT, [QUICK_NOTE]
    chosen = [scene for scene in SCENES if not options.scenes or scene.name in options.scenes]
    scenes = tuple(scene for scene in chosen if (data_root() / scene.capture).is_dir())
    missing = [scene.name for scene in chosen if scene not in scenes]
    notes = [*NOTES]
    if missing:
        notes.append(f"left out, no captures in {data_root().name}: {', '.join(missing)}")
    if not scenes:
        say("no captures: running the quick form")
        return QUICK_EXTENT, notes
    return Extent(scenes), notes


def bench_of(options: Options, extent: Extent) -> Bench:
    """Two pools of one thread get more done than one of two: a process per scene, each with its part of the threads."""
    keeping, jobs, scenes = options.keeping, options.processes.jobs or 2, len(extent.scenes)
    cache = cache_folder("distilled_3dgs", keeping)
    shared = processors_for(min(jobs, scenes)) if jobs > 1 and scenes > 1 else None
    return Bench(
        "distilled_3dgs",
        extent.seeds,
        cache,
        quick=keeping.quick,
        out=keeping.out,
        data=data_root(),
        jobs=jobs,
        threads=options.threads or shared,
        command=command_of("distilled_3dgs", cache, jobs, keeping.quick, options.more()),
        only=options.processes.only,
    )


def main(options: Options) -> int:
    """Runs, judges and writes."""
    started = time.monotonic()
    extent, notes = extent_of(options)
    bench = bench_of(options, extent)
    runs = Runs(bench)
    scene_of: dict[str, str] = {}
    arms: list[tuple[Arm, Sequence[int]]] = []
    with compute_threads(bench.threads):
        for scene in extent.scenes:
            found = SceneArms(scene, bench, options.lpips_weights).all(extent)
            scene_of |= {arm.name: scene.name for arm, _ in found}
            arms += found
        # Arms of a scene share trainings, so one process runs all of them.
        runs.stage(arms, piece_of=lambda arm, seed: scene_of[arm.name])
    claims = judge(runs.outcomes, extent)
    for note in notes:
        say(note)
    for claim in claims:
        interval = "" if claim.interval is None else f", 95 % {claim.interval[0]:+.3f} … {claim.interval[1]:+.3f}"
        figures = f"{claim.difference:+.3f}{interval}; per pair {', '.join(f'{value:+.3f}' for value in claim.per_seed)}"
        say(f"{verdict(claim)} ({figures})")
    kept = sum(outcome.metrics.get("own_seconds") or 0.0 for found in runs.outcomes.values() for outcome in found)
    seconds = max(kept, time.monotonic() - started)
    results = Results("distilled_3dgs", "psnr", runs.seeds, runs.outcomes, claims, seconds, notes)
    whole = extent.whole and not options.scenes
    published = publish(
        bench, results, lambda content: wide_table(content, COLUMNS), whole=whole, reduced=bench.cache / "quick.json"
    )
    sources = checkout()
    if published and sources is not None:
        for scene in extent.scenes:
            chart = sources / "docs" / "results" / "img" / f"distilled_3dgs_sizes_{scene.name}.svg"
            atomic_write_text(chart, size_chart(results_json(results)["arms"], scene.name, extent.sizes))
            say(f"drawn: {chart}")
    return 0
