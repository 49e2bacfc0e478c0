"""CLIP2Scene on procedural rooms nobody trained on; figures and claims in docs/results/clip2scene.json.

    python benchmarks/reproduce/clip2scene.py [--quick] [--full] [--jobs N] [--cache build/reproduce/label_free]

Kept outcomes are reused (one file per arm, seed and configuration; a stopped training goes on from its last checkpoint).
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from label_free_arms import (
    clip2scene_arms,
    parsed_options,
    publish,
    run_full,
    teacher_arms,
)
from scenewise.engine.experiments import paired_claim


def main() -> int:
    """Runs, judges and writes."""
    started = time.monotonic()
    options = parsed_options(__doc__, with_full=True)
    bench, kept = options.bench()
    seeds = list(range(bench.sizes.seeds))
    teacher_arms(bench, kept)
    rates = bench.best_rates(["clip2scene"], kept)
    arms = clip2scene_arms(bench, rates["clip2scene"])
    kept.stage([(arm, seeds) for arm in arms.values()], lambda: bench.ready(["clip2scene"]))
    run_full(bench, kept, "clip2scene", options)

    mine = kept.of("clip2scene")
    claims = [
        paired_claim(
            "beats_raw_teacher",
            "from points alone, the 3D student exceeds what the teacher says of each point in one picture",
            mine,
            kept.of("raw_teacher_3d") * len(seeds),
        ),
        paired_claim(
            "beats_view_vote",
            "from points alone, the 3D student exceeds the teacher's vote over all pictures of the room",
            mine,
            kept.of("view_vote_3d") * len(seeds),
        ),
        paired_claim(
            "switch_helps",
            "switching to own predictions exceeds the teacher's labels alone",
            mine,
            kept.of("clip2scene_no_switch"),
        ),
        paired_claim(
            "feature_loss_helps",
            "matching frozen features exceeds the cross entropy alone",
            mine,
            kept.of("clip2scene_no_features"),
        ),
    ]
    return publish("clip2scene", bench, kept, claims, options, started)


if __name__ == "__main__":
    sys.exit(main())
