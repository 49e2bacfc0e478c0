"""The union of SC-CLIP's teacher, HICL and CNS beside each of them, on rooms nobody trained on; docs/results/union.json.

    python benchmarks/reproduce/union.py [--quick] [--jobs N] [--cache build/reproduce/label_free]

Kept outcomes are reused, those of HICL's and CNS's own reproduction too.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from label_free_arms import (
    best_switching,
    best_transformers,
    clip2scene_arms,
    cns_arms,
    first_switching,
    hicl_arms,
    parsed_options,
    publish,
    teacher_arms,
    union_arms,
)
from scenewise.engine.experiments import paired_claim


def main() -> int:
    """Runs, judges and writes."""
    started = time.monotonic()
    options = parsed_options(__doc__, with_full=False)
    bench, kept = options.bench()
    seeds = list(range(bench.sizes.seeds))
    teacher_arms(bench, kept)
    methods = ["clip2scene", "hicl", "cns", "union"]
    rates = bench.best_rates(methods, kept, first_switching(bench))
    transformers = best_transformers(bench, kept, rates["hicl"])
    switching = {method: best_switching(bench, kept, method, rates[method]) for method in ("cns", "union")}
    single = {
        **clip2scene_arms(bench, rates["clip2scene"]),
        **hicl_arms(bench, rates["hicl"], transformers, rates["clip2scene"], {}),
        **cns_arms(bench, rates["cns"], switching["cns"]),
    }
    arms = [single[name] for name in ("clip2scene", "hicl_V", "hicl_V_region_refined", "cns")]
    arms += union_arms(bench, rates["union"], transformers, switching["union"]).values()
    kept.stage([(arm, seeds) for arm in arms], lambda: bench.ready(methods))

    best = [max(pair) for pair in zip(kept.of("hicl_V"), kept.of("cns"))]
    claims = [
        paired_claim("union_at_least_best", "the union's 3D student exceeds the better of HICL and CNS", kept.of("union"), best),
        paired_claim(
            "union_switch_helps",
            "the union exceeds itself without switching labels",
            kept.of("union"),
            kept.of("union_no_switch"),
        ),
    ]
    return publish("union", bench, kept, claims, options, started)


if __name__ == "__main__":
    sys.exit(main())
