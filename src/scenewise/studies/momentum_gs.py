"""Figures and claims of Momentum-GS on procedural towns, written to docs/results/momentum_gs.json.

    python -m scenewise.studies momentum_gs [--quick] [--cache build/reproduce] [--jobs N] [--lpips-weights FILE]

Every seed has a town of its own.  Coarse models and outcomes are kept, so an interrupted run goes on where it stopped.
``--quick`` trains one small town with a few steps and the arms of the claims alone; what that leaves out is printed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from scenewise.engine.threads import compute_threads
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM
from scenewise.methods.momentum_gs.teaching import TeacherSettings
from scenewise.methods.momentum_gs.weighting import WeightingSettings
from scenewise.metrics.lpips import load_lpips
from scenewise.studies.arms import Arm, Outcome, measured
from scenewise.studies.bench import Bench, Flat, Keeping, Processes, say, usual_bench
from scenewise.studies.city.arms import ONE, SIXTEEN, BareArm, CityArm, RepeatedArm, outcome
from scenewise.studies.city.control import CONTROLS, ControlArm, drift_outcome
from scenewise.studies.city.towns import QUICK_SIZE, TownBench, TownSize
from scenewise.studies.claims import Claim, not_run, paired_claim, threshold_claim, verdict
from scenewise.studies.results import Results, publish
from scenewise.studies.runs import Runs
from scenewise.studies.tables import wide_table

SEEDS = (0, 1, 2)
TEACHER, WEIGHTING = FAST_MOMENTUM.teacher, WeightingSettings()
assert TEACHER is not None, "the preset has a teacher"
EIGHT = (4, 2, 1)
_AS_LARGE = 244
"""Thousandths of the Gaussians that have the size of the anchors: 29 and 7.1 MB in the mean of three towns."""

MAIN: Mapping[str, CityArm] = {
    "a_anchors": CityArm(grid=ONE),
    "a_explicit": CityArm(explicit=True, grid=ONE),
    "b_own_decoders": CityArm(shares=False),
    "c_shared_all_at_once": CityArm(workers=4),
    "d_shared_in_turn": CityArm(),
    "e_teacher": CityArm(teacher=TEACHER),
    "f_weighting": CityArm(teacher=TEACHER, weighting=WEIGHTING),
    "f_two_workers": CityArm(teacher=TEACHER, weighting=WEIGHTING, workers=2),
    "f_four_workers": CityArm(teacher=TEACHER, weighting=WEIGHTING, workers=4),
    "d_not_frozen": CityArm(frozen=False),
    "e_not_frozen": CityArm(teacher=TEACHER, frozen=False),
    "g_explicit_4": CityArm(explicit=True),
    "g_explicit_16": CityArm(explicit=True, grid=SIXTEEN),
}
"""Arms of the claims, by letter of the issue; four blocks and one worker where nothing else is said."""
BARE: Mapping[str, CityArm] = {
    "bare_b_own_decoders": BareArm(shares=False),
    "bare_c_shared_all_at_once": BareArm(workers=4),
    "bare_d_shared_in_turn": BareArm(),
    "bare_e_teacher": BareArm(teacher=TEACHER),
}
"""The same where blocks begin with places alone, as in the paper: decoders that go on from one coarse model are alike anyway."""
FEW_VIEWS: Mapping[str, CityArm] = {
    "few_views_b_own_decoders": CityArm(shares=False),
    "few_views_c_shared_all_at_once": CityArm(workers=4),
}
"""The same with a quarter of the photographs: what one decoder for all could be good for is to learn from more of them."""
SAME_SIZE: Mapping[str, CityArm] = {
    "small_g_explicit_4": CityArm(explicit=True),
    "small_g_explicit_16": CityArm(explicit=True, grid=SIXTEEN),
}
"""Explicit Gaussians in blocks that take as many megabytes as the anchors do."""
SWEEPS: Mapping[str, CityArm] = {
    "e_momentum_0p99": CityArm(teacher=replace(TEACHER, momentum=0.99)),
    "e_momentum_0p999": CityArm(teacher=replace(TEACHER, momentum=0.999)),
    "e_once_a_slot": CityArm(teacher=replace(TEACHER, momentum=0.5, period=100)),
    "e_target_only": CityArm(teacher=replace(TEACHER, passes_gradients=False)),
    "e_paper_weight": CityArm(teacher=TeacherSettings()),
    "e_paper_weight_not_frozen": CityArm(teacher=TeacherSettings(), frozen=False),
    "f_slots_of_25": CityArm(teacher=TEACHER, weighting=WEIGHTING, slot_steps=25),
    "f_slots_of_400": CityArm(teacher=TEACHER, weighting=WEIGHTING, slot_steps=400),
    "f_8_blocks": CityArm(teacher=TEACHER, weighting=WEIGHTING, grid=EIGHT),
    "f_16_blocks": CityArm(teacher=TEACHER, weighting=WEIGHTING, grid=SIXTEEN),
    "f_four_workers_psnr": CityArm(teacher=TEACHER, weighting=replace(WEIGHTING, signal="psnr"), workers=4),
    "f_four_workers_ssim": CityArm(teacher=TEACHER, weighting=replace(WEIGHTING, signal="ssim"), workers=4),
    "d_slots_of_400_not_frozen": CityArm(slot_steps=400, frozen=False),
    "e_slots_of_400_not_frozen": CityArm(teacher=TEACHER, slot_steps=400, frozen=False),
    "d_once_more": RepeatedArm(),
    "e_once_more": RepeatedArm(teacher=TEACHER),
    "f_once_more": RepeatedArm(teacher=TEACHER, weighting=WEIGHTING),
    "f_a_third_time": RepeatedArm(teacher=TEACHER, weighting=WEIGHTING, repeat=2),
    "f_random_order": CityArm(teacher=TEACHER, weighting=WEIGHTING, order="random"),
    "f_worst_first": CityArm(teacher=TEACHER, weighting=WEIGHTING, order="worst_first"),
}
"""One seed: momentum, slots, number of blocks, signal of the weights, frozen round, order of the turns, other random numbers."""
NOTES = (
    "Reduced to fit two hours on two cores: 160 views of 240×160, 1,200 steps of each block, 1,000 of the coarse models.",
    "A scene that is trained as one takes as many steps as four blocks together, from the same coarse model.",
    "Each seed has a town of its own (11, 12, 13); rates were chosen on views held out of the training views of town 5.",
    "Worst block and spread of blocks are of the pixels that show the four blocks' surfaces, whoever trained them; seams are "
    "where the town's exact depth has them.",
    "Times are those of one thread, another arm being trained beside it.",
)
QUICK_NOTE = "quick: one small town, 40 steps of each block, arms of the claims alone"

COLUMNS: Mapping[str, tuple[str, str, float]] = {
    "PSNR, dB": ("psnr", ".2f", 1.0),
    "corrected": ("psnr_corrected", ".2f", 1.0),
    "SSIM": ("ssim", ".4f", 1.0),
    "SSIM corrected": ("ssim_corrected", ".4f", 1.0),
    "LPIPS": ("lpips", ".4f", 1.0),
    "features": ("small_clip_distance", ".4f", 1.0),
    "std of blocks, dB": ("block_std", ".2f", 1.0),
    "worst block, dB": ("worst_block", ".2f", 1.0),
    "seam ratio": ("seam_ratio", ".3f", 1.0),
    "seam jump": ("seam_jump", ".4f", 1.0),
    "merged − training, dB": ("merged_minus_training", "+.2f", 1.0),
    "MB": ("megabytes", ".2f", 1.0),
    "anchors or Gaussians": ("rows", ",.0f", 1.0),
    "frames/s": ("frames_per_second", ",.0f", 1.0),
    "memory to train, MB": ("train_memory_bytes", ",.0f", 1e6),
    "to render, MB": ("render_memory_bytes", ",.0f", 1e6),
    "teacher − student": ("drift", ".5f", 1.0),
    "heaviest weight": ("heaviest_weight", ".2f", 1.0),
    "colours' drift": ("color_drift", ".4f", 1.0),
    "forgotten, dB": ("forgotten", ".2f", 1.0),
    "own views, dB": ("own_psnr", ".2f", 1.0),
    "training, s": ("train_seconds", ",.0f", 1.0),
}


@dataclass(frozen=True)
class Options:
    """Of this study.

    Attributes:
        threads: of each process; by default its part of the processors.
        lpips_weights: backbone and heads of LPIPS.
    """

    keeping: Flat[Keeping] = field(default_factory=Keeping)
    processes: Flat[Processes] = field(default_factory=Processes)
    threads: int | None = None
    lpips_weights: Path | None = None


def arms_of(bench: Bench, size: TownSize, lpips_weights: Path | None) -> list[tuple[Arm, Sequence[int]]]:
    """All arms with their seeds: the control first."""
    lpips = None if lpips_weights is None else load_lpips(lpips_weights)
    shared = {
        "size": asdict(size),
        "preset": asdict(FAST_MOMENTUM),
        "lpips": None if lpips_weights is None else lpips_weights.name,
    }

    def of_control(arm: ControlArm) -> Callable[[int], Outcome]:
        return lambda seed: drift_outcome(arm, TownBench(size, seed, bench.cache), bench.quick)

    def of_city(arm: CityArm, size: TownSize) -> Callable[[int], Outcome]:
        return lambda seed: outcome(arm, TownBench(size, seed, bench.cache), lpips)

    def listed(group: Mapping[str, CityArm], seeds: Sequence[int], size: TownSize = size) -> list[tuple[Arm, Sequence[int]]]:
        config = shared | {"size": asdict(size)}
        return [(Arm(name, config | {"arm": asdict(arm)}, of_city(arm, size)), seeds) for name, arm in group.items()]

    arms: list[tuple[Arm, Sequence[int]]] = [
        (Arm(name, shared | {"control": asdict(arm)}, of_control(arm)), bench.seeds) for name, arm in CONTROLS.items()
    ]
    arms += listed(MAIN, bench.seeds)
    if not bench.quick:
        arms += listed(BARE, bench.seeds)
        arms += listed(FEW_VIEWS, bench.seeds, few_views(size))
        arms += listed(SAME_SIZE, bench.seeds, as_large_as_anchors(size))
        arms += listed(SWEEPS, bench.seeds[:1])
    return arms


def few_views(size: TownSize) -> TownSize:
    """A quarter of the photographs."""
    return replace(size, views=size.views // 4)


def as_large_as_anchors(size: TownSize) -> TownSize:
    """Explicit Gaussians that take as many megabytes as the anchors."""
    return replace(size, gaussians=_AS_LARGE * size.gaussians // 1000)


def judge(outcomes: Mapping[str, Sequence[Outcome]], lpips: bool) -> list[Claim]:
    """The claims; pairs are seeds."""

    def of(arm: str, metric: str = "psnr") -> list[float]:
        return measured(metric, outcomes[arm])

    seam_better = [-value for value in of("e_teacher", "seam_ratio")]
    seam_before = [-value for value in of("d_shared_in_turn", "seam_ratio")]
    in_psnr = paired_claim("teacher_over_none", "", of("e_teacher"), of("d_shared_in_turn"))
    at_seams = paired_claim("teacher_over_none", "", seam_better, seam_before)
    words = "with the teacher (E) above without (D), in PSNR or by a lower seam ratio"
    chosen = in_psnr if in_psnr.holds or not at_seams.holds else at_seams
    teacher = replace(chosen, claim=words)
    lifted = paired_claim(
        "weighting_lifts_worst_block",
        "weighted blocks (F) lift the worst block by 0.05 dB, the mean at most 0.05 dB lower than without (E)",
        of("f_weighting", "worst_block"),
        of("e_teacher", "worst_block"),
        at_least=0.05,
    )
    lost = sum(of("f_weighting")) / len(of("f_weighting")) - sum(of("e_teacher")) / len(of("e_teacher"))
    if lost < -0.05:
        lifted = replace(lifted, holds=False, why=f"the mean falls by {-lost:.2f} dB")
    explicit = [max(pair) for pair in zip(of("g_explicit_4"), of("g_explicit_16"))]
    spread = [max(values) - min(values) for values in zip(of("f_weighting"), of("f_two_workers"), of("f_four_workers"))]
    claims = [
        paired_claim(
            "shared_over_independent",
            "one decoder for all blocks (C) above one for each (B)",
            of("c_shared_all_at_once"),
            of("b_own_decoders"),
        ),
        teacher,
        paired_claim(
            "teacher_over_none_not_frozen",
            "the same without the last round in which the decoder rests, as the released code runs",
            of("e_not_frozen"),
            of("d_not_frozen"),
        ),
        paired_claim(
            "last_round_frozen",
            "a last round with a decoder that rests (D) above none",
            of("d_shared_in_turn"),
            of("d_not_frozen"),
        ),
        lifted,
        paired_claim(
            "fewer_blocks_beat_explicit",
            "four blocks of anchors (F) above explicit Gaussians in 4 and in 16 blocks (G)",
            of("f_weighting"),
            explicit,
        ),
        threshold_claim(
            "worker_count_invariant",
            "1, 2 and 4 workers within 0.1 dB of each other",
            [-value for value in spread],
            -0.1,
            why=f"they differ by {max(spread):.2f} dB" if max(spread) > 0.1 else None,
        ),
    ]
    said = "LPIPS of the whole method (F) below explicit Gaussians in blocks (G)"
    if not lpips:
        return [*claims, not_run("perceptual_gain", said, "not measurable here: it takes --lpips-weights")]
    best = [min(pair) for pair in zip(of("g_explicit_4", "lpips"), of("g_explicit_16", "lpips"))]
    return [
        *claims,
        paired_claim("perceptual_gain", said, [-value for value in of("f_weighting", "lpips")], [-value for value in best]),
    ]


def further_claims(outcomes: Mapping[str, Sequence[Outcome]]) -> list[Claim]:
    """Where sharing and the teacher could pay, if they do not in the town as it is."""

    def of(arm: str) -> list[float]:
        return measured("psnr", outcomes[arm])

    return [
        paired_claim(
            "shared_over_independent_bare",
            "one decoder for all blocks above one for each, where blocks begin with places alone",
            of("bare_c_shared_all_at_once"),
            of("bare_b_own_decoders"),
        ),
        paired_claim(
            "shared_in_turn_over_independent_bare",
            "one decoder for all blocks, one after the other, above one for each, where blocks begin with places alone",
            of("bare_d_shared_in_turn"),
            of("bare_b_own_decoders"),
        ),
        paired_claim(
            "shared_over_independent_few_views",
            "one decoder for all blocks above one for each, with a quarter of the photographs",
            of("few_views_c_shared_all_at_once"),
            of("few_views_b_own_decoders"),
        ),
        paired_claim(
            "blocks_of_anchors_beat_explicit_of_that_size",
            "four blocks of anchors (F) above explicit Gaussians in 4 and in 16 blocks that take as many megabytes",
            of("f_weighting"),
            [max(pair) for pair in zip(of("small_g_explicit_4"), of("small_g_explicit_16"))],
        ),
        paired_claim(
            "teacher_over_none_bare",
            "with the teacher above without, where blocks begin with places alone",
            of("bare_e_teacher"),
            of("bare_d_shared_in_turn"),
        ),
    ]


def control_claims(outcomes: Mapping[str, Sequence[Outcome]]) -> list[Claim]:
    """Whether the instrument can show what the teacher is for, and whether the paper's teacher does it."""

    def drift(arm: str, metric: str = "color_drift") -> list[float]:
        return measured(metric, outcomes[arm])

    return [
        paired_claim(
            "control_decoder_drifts",
            "idle anchors drift more where the blocks' photographs disagree than where they agree",
            drift("control_no_teacher"),
            drift("control_one_light"),
        ),
        paired_claim(
            "control_teacher_reduces_drift",
            "a momentum of 0.9 reduces the drift of idle anchors",
            drift("control_no_teacher"),
            drift("control_0p9"),
        ),
        paired_claim(
            "control_slow_teacher_reduces_drift",
            "a momentum of 0.999 reduces the drift of idle anchors",
            drift("control_no_teacher"),
            drift("control_0p999"),
        ),
        paired_claim(
            "control_idle_block_forgets",
            "by the drift idle blocks lose more PSNR where the blocks' photographs disagree than where they agree",
            drift("control_no_teacher", "forgotten"),
            drift("control_one_light", "forgotten"),
        ),
        paired_claim(
            "control_teacher_keeps_idle_block",
            "with a momentum of 0.9 idle blocks lose less PSNR",
            drift("control_no_teacher", "forgotten"),
            drift("control_0p9", "forgotten"),
        ),
        paired_claim(
            "control_teacher_lifts_blocks",
            "with a momentum of 0.9 both blocks show their own photographs better when all is over",
            drift("control_0p9", "own_psnr"),
            drift("control_no_teacher", "own_psnr"),
        ),
        paired_claim(
            "control_frozen_round_lifts_blocks",
            "a last round with a decoder that rests does that without a teacher",
            drift("control_frozen", "own_psnr"),
            drift("control_no_teacher", "own_psnr"),
        ),
        threshold_claim(
            "control_placebo_changes_nothing",
            "a teacher that is the student itself changes the drift by less than a tenth of it",
            [-abs(a / b - 1.0) for a, b in zip(drift("control_placebo"), drift("control_no_teacher"))],
            -0.1,
        ),
    ]


def main(options: Options) -> int:
    """Runs, judges and writes."""
    started = time.monotonic()
    keeping = options.keeping
    more = [] if options.lpips_weights is None else ["--lpips-weights", str(options.lpips_weights)]
    bench = usual_bench("momentum_gs", SEEDS, keeping, options.processes, threads=options.threads, more=more)
    cache = bench.cache
    size = QUICK_SIZE if keeping.quick else TownSize()
    runs = Runs(bench)
    with compute_threads(bench.threads):
        arms = arms_of(bench, size, options.lpips_weights)
        runs.stage(arms, ready=lambda: _coarse(size, bench))
    claims = [*control_claims(runs.outcomes), *judge(runs.outcomes, options.lpips_weights is not None)]
    claims += [] if keeping.quick else further_claims(runs.outcomes)
    notes = [QUICK_NOTE] if keeping.quick else [*NOTES]
    for note in notes:
        say(note)
    for claim in claims:
        interval = "" if claim.interval is None else f", 95 % {claim.interval[0]:+.4f} … {claim.interval[1]:+.4f}"
        say(f"{verdict(claim)} ({claim.difference:+.4f}{interval}; {', '.join(f'{value:+.4f}' for value in claim.per_seed)})")
    seconds = max(runs.seconds(), time.monotonic() - started)
    results = Results("momentum_gs", "psnr", runs.seeds, runs.outcomes, claims, seconds, notes)
    publish(bench, results, lambda content: wide_table(content, COLUMNS), whole=not keeping.quick, reduced=cache / "quick.json")
    return 0


def _coarse(size: TownSize, bench: Bench) -> None:
    """Coarse models are made before arms ask for them at the same time."""
    for seed in bench.seeds:
        town = TownBench(size, seed, bench.cache)
        say(f"town of seed {seed}: {len(town.coarse.anchors):,} coarse anchors, {len(town.explicit_coarse):,} coarse Gaussians")
        if not bench.quick:
            small = TownBench(as_large_as_anchors(size), seed, bench.cache)
            _ = TownBench(few_views(size), seed, bench.cache).coarse, small.coarse, small.explicit_coarse
