"""CNS and what it is without its parts, on procedural rooms nobody trained on; figures and claims in docs/results/cns.json.

    python -m scenewise.studies cns [--quick] [--jobs N] [--cache build/reproduce/label_free]

Kept outcomes are reused (one file per arm, seed and configuration; a stopped training goes on from its last checkpoint).
"""

from scenewise.studies.claims import paired_claim
from scenewise.studies.label_free.choices import best_rates, best_switching, first_switching
from scenewise.studies.label_free.ladders import cns_arms, teacher_arms
from scenewise.studies.label_free.study import LabelFreeStudy, Options


def main(options: Options) -> int:
    """Runs, judges and writes."""
    study = LabelFreeStudy("cns", options)
    arms, runs = study.arms, study.runs
    teacher_arms(arms, runs)
    rates = best_rates(arms, runs, ["cns"], first_switching(arms))
    compared = cns_arms(arms, rates["cns"], best_switching(arms, runs, "cns", rates["cns"]))
    study.run(list(compared.values()), ["cns"])

    points, pixels = runs.of("cns"), runs.of("cns", "miou_2d")
    with_matching = [(a + b) / 2 for a, b in zip(points, pixels)]
    without = [(a + b) / 2 for a, b in zip(runs.of("cns_no_latent_3d"), runs.of("cns_no_latent_2d", "miou_2d"))]
    claims = [
        paired_claim(
            "cns_region",
            "with votes in regions, of labels and predictions, the 3D student exceeds itself without",
            points,
            runs.of("cns_no_region_refinement"),
        ),
        paired_claim(
            "cns_switch",
            "with label switching the 3D student exceeds itself after stage one alone",
            points,
            runs.of("cns_stage_one"),
        ),
        paired_claim(
            "cns_latent",
            "each student exceeds itself without its own feature matching (mean of 3D and 2D mIoU; the features are a stand-in)",
            with_matching,
            without,
        ),
    ]
    return study.publish(claims)
