"""HICL's ladder on procedural rooms nobody trained on, and what it does to errors of known kinds; docs/results/hicl.json.

    python -m scenewise.studies hicl [--quick] [--full] [--jobs N] [--cache build/reproduce/label_free]

I is CLIP2Scene run as long as HICL with the switching that serves it best, II the vote in sets, III attention within scenes,
IV between scenes, V feedback.  Kept outcomes are reused (one file per arm, seed and configuration; a stopped training goes on
from its last checkpoint).
"""

import numpy as np

from scenewise.studies.claims import Claim, paired_claim, t_interval, threshold_claim
from scenewise.studies.label_free.choices import best_baseline, best_rates, best_transformers
from scenewise.studies.label_free.ladders import hicl_arms, noise_arms, teacher_arms
from scenewise.studies.label_free.study import FullOptions as Options
from scenewise.studies.label_free.study import LabelFreeStudy
from scenewise.studies.runs import Runs

RATIO = 1.27
"""36.6 / 28.8: what the paper's HICL has over its own run of CLIP2Scene."""


def global_confusion_claim(runs: Runs) -> Claim:
    """The negative control: neither the vote nor HICL repairs what is confused everywhere in the same way."""
    of_vote = [a - b for a, b in zip(runs.of("noise_f_set_vote", "miou_of_seen"), runs.of("noise_f_view_vote", "miou_of_seen"))]
    of_hicl = [a - b for a, b in zip(runs.of("noise_f_V"), runs.of("noise_f_II"))]
    vote, hicl = float(np.mean(of_vote)), float(np.mean(of_hicl))
    holds = abs(vote) < 1 and abs(hicl) < 1
    why = (
        None
        if holds
        else f"the vote in sets changes the labels by {vote:+.2f}, correlations and feedback the student by {hicl:+.2f}"
    )
    return Claim(
        "global_confusion_null",
        "classes confused everywhere alike stay confused: |V − II| (per seed) and, on points that pictures show, "
        "|set vote − view vote| are below 1",
        holds,
        of_hicl,
        hicl,
        t_interval(of_hicl),
        why,
    )


def main(options: Options) -> int:
    """Runs, judges and writes."""
    study = LabelFreeStudy("hicl", options)
    arms, runs = study.arms, study.runs
    teacher_arms(arms, runs)
    rates = best_rates(arms, runs, ["clip2scene", "hicl"])
    baseline = best_baseline(arms, runs, rates["clip2scene"])
    transformers = best_transformers(arms, runs, rates["hicl"])
    compared = hicl_arms(arms, rates["hicl"], transformers, rates["clip2scene"], baseline)
    compared |= noise_arms(arms, rates["hicl"], transformers)
    study.run(list(compared.values()), ["clip2scene", "hicl"])
    study.run_full()

    rungs = [
        ("II", "the vote in sets"),
        ("III", "attention within scenes"),
        ("IV", "attention between scenes"),
        ("V", "feedback"),
    ]
    names = ["I", *(rung for rung, _ in rungs)]
    claims = [
        paired_claim(
            f"ladder_{rung}", f"{rung} exceeds {before}: {what} helps", runs.of(f"hicl_{rung}"), runs.of(f"hicl_{before}")
        )
        for (rung, what), before in zip(rungs, names)
    ]
    ratios, ratios_early = (
        [five / one for five, one in zip(runs.of("hicl_V"), runs.of(baseline))] for baseline in ("hicl_I", "hicl_I_early_switch")
    )
    claims += [
        threshold_claim(
            "ratio_to_clip2scene",
            f"V has at least {RATIO} times the mIoU of CLIP2Scene with the switching that serves it best",
            ratios,
            RATIO,
        ),
        threshold_claim(
            "ratio_to_clip2scene_switching_early",
            f"V has at least {RATIO} times the mIoU of CLIP2Scene that switches from epoch 10, as HICL's authors ran it",
            ratios_early,
            RATIO,
        ),
        paired_claim(
            "inter_scene_helps_under_per_scene_confusion",
            "where only some scenes confuse classes, attention between scenes (IV) exceeds attention within them (III)",
            runs.of("noise_e_IV"),
            runs.of("noise_e_III"),
        ),
        global_confusion_claim(runs),
    ]
    return study.publish(claims)
