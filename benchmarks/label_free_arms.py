"""Every arm that the four label-free methods are compared by, and how their scripts publish figures and claims."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_free_bench import CACHE, QUICK, REGIONS, ROOT, STAND_IN_TARGETS, Bench, Kept, Sizes, processors_for, say
from scenewise.catalogue import LABEL_FREE_METHODS
from scenewise.engine.experiments import Arm, Claim, Results, claims_table, results_json, with_generated_section
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.kernels.native import library
from scenewise.methods.clip2scene.options import PRESETS as CLIP2SCENE
from scenewise.methods.hicl.options import PRESETS as HICL
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.labelfree.schedules import ABSOLUTE_FROM
from scenewise.worlds.classes import CLASS_NAMES

# ------------------------------------------------------------------------------------------------------------------------ arms


def teacher_arms(bench: Bench, kept: Kept) -> None:
    """What every method starts from: pixels, the vote over views, the vote in sets."""
    kept.run(bench.raw_teacher(), [0])
    kept.run(bench.raw_teacher_3d(), [0])
    kept.run(bench.votes("view_vote_3d", PointLabels("view_vote")), [0])
    kept.run(bench.votes("set_vote_3d", PointLabels("set_vote")), [0])
    kept.run(bench.votes("set_vote_after_regions_3d", PointLabels("set_vote", region_vote=True, min_region=20)), [0])


def clip2scene_arms(bench: Bench, rate: float) -> dict[str, Arm]:
    """CLIP2Scene and what it is without its parts."""
    changes: dict[str, Mapping[str, Any]] = {
        "clip2scene": {},
        "clip2scene_no_switch": NO_SWITCH,
        "clip2scene_no_features": {"feature_loss": "none"},
        "clip2scene_grid": {"feature_loss": "grid"},
    }
    return {
        name: bench.student(name, bench.recipe("clip2scene", learning_rate=rate, **change)) for name, change in changes.items()
    }


AS_IN_HICL = {"switch_from": CLIP2SCENE["scannet"].switch_from}
"""HICL's authors ran CLIP2Scene's code for 120 epochs, where it begins to switch at the same epoch: early in the run."""


NEVER = "never"
NO_SWITCH: Mapping[str, Any] = {"switch_shares": (1.0, 0.0, 0.0)}


def best_of(
    bench: Bench,
    kept: Kept,
    method: str,
    rate: float,
    what: str,
    candidates: Mapping[str, Mapping[str, Any]],
    barred: str | None = None,
) -> dict[str, Any]:
    """The change of settings that serves a method best on the validation rooms, with one seed.

    Args:
        bench: what runs them.
        kept: where they are kept, and noted.
        method: whose settings.
        rate: its learning rate.
        what: is chosen, in words.
        candidates: changes by what they are called; the first was run by the search for the rate.
        barred: which of them is shown, but not taken.
    """
    arms = []
    for number, change in enumerate(candidates.values()):
        name = f"search_{method}_{rate:g}" + (f"_{number}" if number else "")
        arms.append(bench.student(name, bench.recipe(method, learning_rate=rate, **change), split="val"))
    kept.stage([(arm, [0]) for arm in arms], lambda: bench.ready([method]))
    found = [kept.of(arm.name)[0] for arm in arms]
    best = max((said for said in candidates if said != barred), key=dict(zip(candidates, found)).__getitem__)
    shown = ", ".join(f"{said}: {miou:.2f}" for said, miou in zip(candidates, found))
    kept.notes.append(f"{what}, on the validation rooms, one seed: {shown}; {best!r} taken.")
    return dict(candidates[best])


def best_baseline(bench: Bench, kept: Kept, rate: float) -> dict[str, Any]:
    """What of CLIP2Scene's switching serves it best: the ladder starts from the strongest baseline."""
    candidates: dict[str, Mapping[str, Any]] = {
        "after a third of the run": {},
        "from epoch 10": AS_IN_HICL,
        NEVER: NO_SWITCH,
    }
    return best_of(bench, kept, "clip2scene", rate, "CLIP2Scene switches to its own predictions", candidates)


def switching(bench: Bench, method: str) -> dict[str, Mapping[str, Any]]:
    """After which share of the run CNS or the union may begin to switch; learning rates are searched with the first of these.

    The published epoch belongs to runs of many thousand steps.  A student that is told its own answers no longer changes them,
    so in a short run the later it begins, the more it has learned by then, and switching early hides the effect of the rate.
    """
    config = bench.config(method)
    epochs = config.epochs if config.epochs >= ABSOLUTE_FROM else config.published_epochs  # as `phase_starts` counts
    late = {said: {"switch_from": 1 + round(share * epochs)} for said, share in (("seven eighths", 7 / 8), ("two thirds", 2 / 3))}
    if method == "cns":
        return {**late, "a third": {}}
    return {NEVER: NO_SWITCH, "seven eighths": late["seven eighths"], "a third": {}}


def first_switching(bench: Bench) -> dict[str, Mapping[str, Any]]:
    """With what of :func:`switching` learning rates are searched."""
    return {method: next(iter(switching(bench, method).values())) for method in ("cns", "union")}


def best_switching(bench: Bench, kept: Kept, method: str, rate: float) -> dict[str, Any]:
    """When CNS or the union begins to switch; what they are without is an arm of its own."""
    what = f"{method} switches labels after this share of the run"
    return best_of(bench, kept, method, rate, what, switching(bench, method), barred=NEVER)


def best_transformers(bench: Bench, kept: Kept, rate: float) -> dict[str, Any]:
    """The rate of HICL's transformers: the published one belongs to runs of many thousand steps."""
    candidates = {"2e-4": {}, **{said: {"transformer_learning_rate": float(said)} for said in ("1e-3", "5e-3")}}
    return best_of(bench, kept, "hicl", rate, "Learning rate of HICL's transformers", candidates)


def hicl_arms(
    bench: Bench, rate: float, transformers: Mapping[str, Any], clip2scene_rate: float, baseline: Mapping[str, Any]
) -> dict[str, Arm]:
    """The paper's ladder.  I is CLIP2Scene as it does best here, beside it as HICL's authors ran it; II to V add an idea each."""
    firsts = {"hicl_I": baseline, "hicl_I_early_switch": AS_IN_HICL}
    rungs: dict[str, dict[str, Any]] = {
        "hicl_II": {"levels": (), "feedback": False},
        "hicl_III": {"levels": ("scene",), "feedback": False},
        "hicl_IV": {"feedback": False},
        "hicl_V": {},
        "hicl_V_region_refined": {"region_refined": True},
    }
    arms = {
        name: bench.student(name, bench.recipe("clip2scene", learning_rate=clip2scene_rate, **change))
        for name, change in firsts.items()
    }
    return arms | {
        name: bench.student(name, bench.recipe("hicl", learning_rate=rate, **transformers, **change))
        for name, change in rungs.items()
    }


def noise_arms(bench: Bench, rate: float, transformers: Mapping[str, Any]) -> dict[str, Arm]:
    """HICL under errors of one kind: e, confusion of classes in some scenes; f, the same confusion everywhere."""
    rungs: dict[str, dict[str, Any]] = {
        "II": {"levels": (), "feedback": False},
        "III": {"levels": ("scene",), "feedback": False},
        "IV": {"feedback": False},
        "V": {},
    }
    wanted = {"e": ("II", "III", "IV"), "f": ("II", "V")}
    arms = {}
    for kind, names in wanted.items():
        for label, by in (("view_vote", PointLabels("view_vote")), ("set_vote", PointLabels("set_vote"))):
            arms[f"noise_{kind}_{label}"] = bench.votes(f"noise_{kind}_{label}", by, noise=kind)
        for rung in names:
            name = f"noise_{kind}_{rung}"
            arms[name] = bench.student(name, bench.recipe("hicl", learning_rate=rate, **transformers, **rungs[rung]), noise=kind)
    return arms


def cns_arms(bench: Bench, rate: float, switching: Mapping[str, Any]) -> dict[str, Arm]:
    """CNS and what it is without its parts."""
    changes: dict[str, Mapping[str, Any]] = {
        "cns": {},
        "cns_no_region_refinement": {"region_refined": False, "vote_predictions": False},
        "cns_no_self": {"switch_shares": (0.5, 0.0, 0.5)},
        "cns_no_cross": {"switch_shares": (0.5, 0.5, 0.0)},
        "cns_no_latent_2d": {"match_pixels": 0.0},
        "cns_no_latent_3d": {"match_points": 0.0},
        "cns_stage_one": NO_SWITCH,
    }
    return {
        name: bench.student(name, bench.recipe("cns", learning_rate=rate, **switching, **change))
        for name, change in changes.items()
    }


def union_arms(bench: Bench, rate: float, transformers: Mapping[str, Any], switching: Mapping[str, Any]) -> dict[str, Arm]:
    """All of them together, and the same without the two students' exchange."""
    changes: dict[str, Mapping[str, Any]] = {"union": {}, "union_no_switch": NO_SWITCH}
    return {
        name: bench.student(name, bench.recipe("union", learning_rate=rate, **transformers, **switching, **change))
        for name, change in changes.items()
    }


def full_arm(bench: Bench, method: str) -> Arm:
    """One run at full width: MinkUNet14A, voxels of 5 cm, 120 epochs, 1024 tokens, the paper's optimisers; batch 4 (24 rooms)."""
    changes: dict[str, Any] = {"batch_scans": 4, "epochs": 120, "clip_norm": 10.0}
    if method == "clip2scene":
        changes["published_epochs"] = HICL["scannet"].epochs
    recipe = LABEL_FREE_METHODS[method].recipe(bench.config(method, "scannet", **changes))
    return bench.student(f"{method}_full_width", recipe)


def comparison_table(content: Mapping[str, Any]) -> str:
    """Arms with everything that is compared, as Markdown; searches are left to the notes."""
    arms = {name: arm for name, arm in content["arms"].items() if not name.startswith("search_")}
    lines = [
        "| arm | mIoU | 2D mIoU | accuracy | coverage | trained | deployed | training | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        more = arm["more"]

        def cell(metric: str, more: Mapping[str, Any] = more, digits: int = 1) -> str:
            return "–" if metric not in more else f"{more[metric]['mean']:.{digits}f}"

        spread = f" ± {arm['std']:.2f}" if len(arm["seeds"]) > 1 else ""
        is_student = arm["parameters_trained"] > 0
        sizes = [f"{arm[key] / 1e6:.2f} M" if is_student else "–" for key in ("parameters_trained", "parameters_deployed")]
        seconds = f"{arm['train_seconds']:.0f} s" if is_student else "–"
        peak = f"{more['peak_memory_mb']['mean'] / 1e3:.2f} GB" if is_student else "–"
        lines.append(
            f"| {name} | {arm['mean']:.2f}{spread} | {cell('miou_2d')} | {cell('accuracy')} | {cell('coverage')} | "
            f"{' | '.join(sizes)} | {seconds} | {peak} |"
        )
    return "\n".join(lines)


def per_class_table(content: Mapping[str, Any], arms: Sequence[str]) -> str:
    """IoU per class, as Markdown."""
    arms = [name for name in arms if name in content["arms"]]
    lines = ["| class | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for name in CLASS_NAMES:
        cells = [content["arms"][arm]["more"].get(f"iou {name}") for arm in arms]
        lines.append(f"| {name} | " + " | ".join("–" if cell is None else f"{cell['mean']:.1f}" for cell in cells) + " |")
    return "\n".join(lines)


SHOWN_BY_CLASS: Mapping[str, Sequence[str]] = {
    "clip2scene": ("raw_teacher_2d", "view_vote_3d", "set_vote_3d", "clip2scene", "clip2scene_full_width"),
    "hicl": (
        "view_vote_3d", "set_vote_3d", "hicl_I", "hicl_I_early_switch", "hicl_II", "hicl_III", "hicl_IV", "hicl_V",
        "hicl_V_region_refined", "hicl_full_width",
    ),
    "cns": (
        "raw_teacher_2d", "view_vote_3d", "cns", "cns_no_region_refinement", "cns_no_self", "cns_no_cross", "cns_no_latent_2d",
        "cns_no_latent_3d", "cns_stage_one",
    ),
    "union": ("view_vote_3d", "set_vote_3d", "clip2scene", "hicl_V", "cns", "union", "union_no_switch"),
}  # fmt: skip
"""Arms whose IoU of each class is shown."""


def results_section(content: Mapping[str, Any]) -> str:
    """What a method's README shows of its results."""
    notes = "\n".join(f"- {note}" for note in content["notes"])
    by_class = per_class_table(content, SHOWN_BY_CLASS[content["method"]])
    return "\n\n".join((comparison_table(content), claims_table(content), by_class, notes))


# -------------------------------------------------------------------------------------------------------------------- scripts


@dataclass(frozen=True)
class Options:
    """Of a reproduction script.

    Attributes:
        quick: tiny rooms and runs, to see that everything works.
        full: one run at full width as well.
        cache: folder of everything that is kept.
        out: results file.
        jobs: processes.
        claims: given to the processes that help.
    """

    quick: bool
    full: bool
    cache: Path
    out: Path | None
    jobs: int
    claims: Path | None

    def bench(self) -> tuple[Bench, Kept]:
        """What is run, and who runs it."""
        sizes = QUICK if self.quick else Sizes()
        return Bench(sizes, self.cache, processors_for(self.jobs)), Kept(self.cache, self.jobs, self.claims)


def parsed_options(description: str | None, *, with_full: bool) -> Options:
    """Options from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tiny rooms and two epochs")
    if with_full:
        parser.add_argument("--full", action="store_true", help="also one run at full width, 120 epochs")
    parser.add_argument("--cache", type=Path, default=CACHE, help="kept outcomes; all four methods share them")
    parser.add_argument("--out", type=Path, default=None, help="default: docs/results, or the cache folder with --quick")
    parser.add_argument("--jobs", type=int, default=None, help="processes; default: one per processor, one with --quick")
    parser.add_argument("--claims", type=Path, default=None, help=argparse.SUPPRESS)
    found = parser.parse_args()
    cache = found.cache / "quick" if found.quick else found.cache
    jobs = found.jobs or (1 if found.quick else library.default_threads())
    return Options(found.quick, getattr(found, "full", False), cache, found.out, jobs, found.claims)


def run_full(bench: Bench, kept: Kept, method: str, options: Options) -> None:
    """The run at full width: where it is asked for, or was made before."""
    arm = full_arm(bench, method)
    if options.full or kept.is_kept(arm, 0):
        bench.threads = None  # alone: with all processors
        outcome = kept.run(arm, [0])[0]
        kept.notes.append(
            f"{arm.name}: {outcome.metrics['steps']:.0f} steps of {outcome.metrics['seconds_per_step']:.2f} s, "
            f"{outcome.train_seconds / 60:.1f} minutes in all; one seed."
        )


def publish(method: str, bench: Bench, kept: Kept, claims: Sequence[Claim], options: Options, started: float) -> int:
    """Prints everything in one table and writes the results file and the section of the method's README."""
    sizes, rooms = bench.sizes, bench.config(method)
    notes = [
        f"{sizes.training} training and {sizes.test} test rooms, {sizes.views} views of {sizes.width}×{sizes.height} each, "
        f"vertices {100 * sizes.spacing:.0f} cm apart; seeds draw initial weights, order and augmentation of one set of rooms.",
        f"Regions: {REGIONS} in the place of SAM's masks.  Frozen features: {STAND_IN_TARGETS} in the place of SAM's for CNS and "
        "the union, the teacher's own for CLIP2Scene.  Segments are our own, not the ones that truth was painted on.",
        f"Students of the preset rooms: width {rooms.width:g}, voxels of {100 * rooms.voxel:g} cm, {rooms.epochs} epochs of "
        f"{rooms.batch_scans} rooms in a step, at most {rooms.augmentation.most_points or 'all'} points of each.",
        *kept.notes,
    ]
    if options.quick:
        notes.append("quick: tiny rooms, two epochs, one seed; figures mean nothing")
    spent = max(kept.seconds(), time.monotonic() - started)
    results = Results(method, "miou", kept.seeds, kept.outcomes, claims, spent, notes)
    content = results_json(results)
    say("\n" + comparison_table(content) + "\n")
    say(per_class_table(content, SHOWN_BY_CLASS[method]) + "\n")
    for note in notes:
        say(note)
    for claim in claims:
        per_seed = ", ".join(f"{value:+.2f}" for value in claim.per_seed)
        say(f"{claim.id}: {'holds' if claim.holds else f'does NOT hold: {claim.why}'} [{per_seed}]")
    target = options.out or (options.cache / f"{method}.json" if options.quick else ROOT / "docs" / "results" / f"{method}.json")
    atomic_write_json(target, content)
    say(f"written: {target}")
    if not options.quick and options.out is None:
        readme = ROOT / "src" / "scenewise" / "methods" / method / "README.md"
        section = results_section(content)
        atomic_write_text(readme, with_generated_section(readme.read_text(encoding="utf-8"), section))
        say(f"table updated: {readme}")
    return 0
