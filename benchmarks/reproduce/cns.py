"""CNS and what it is without its parts, on procedural rooms nobody trained on; figures and claims in docs/results/cns.json.

    python benchmarks/reproduce/cns.py [--quick] [--jobs N] [--cache build/reproduce/label_free]

Kept outcomes are reused (one file per arm, seed and configuration; a stopped training goes on from its last checkpoint).
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from label_free_arms import best_switching, cns_arms, first_switching, parsed_options, publish, teacher_arms
from scenewise.engine.experiments import paired_claim


def main() -> int:
    """Runs, judges and writes."""
    started = time.monotonic()
    options = parsed_options(__doc__, with_full=False)
    bench, kept = options.bench()
    seeds = list(range(bench.sizes.seeds))
    teacher_arms(bench, kept)
    rates = bench.best_rates(["cns"], kept, first_switching(bench))
    arms = cns_arms(bench, rates["cns"], best_switching(bench, kept, "cns", rates["cns"]))
    kept.stage([(arm, seeds) for arm in arms.values()], lambda: bench.ready(["cns"]))

    points, pixels = kept.of("cns"), kept.of("cns", "miou_2d")
    with_matching = [(a + b) / 2 for a, b in zip(points, pixels)]
    without = [(a + b) / 2 for a, b in zip(kept.of("cns_no_latent_3d"), kept.of("cns_no_latent_2d", "miou_2d"))]
    claims = [
        paired_claim(
            "cns_region",
            "with votes in regions, of labels and predictions, the 3D student exceeds itself without",
            points,
            kept.of("cns_no_region_refinement"),
        ),
        paired_claim(
            "cns_switch",
            "with label switching the 3D student exceeds itself after stage one alone",
            points,
            kept.of("cns_stage_one"),
        ),
        paired_claim(
            "cns_latent",
            "each student exceeds itself without its own feature matching (mean of 3D and 2D mIoU; the features are a stand-in)",
            with_matching,
            without,
        ),
    ]
    return publish("cns", bench, kept, claims, options, started)


if __name__ == "__main__":
    sys.exit(main())
