"""The union of SC-CLIP's teacher, HICL and CNS beside each of them, on rooms nobody trained on; docs/results/union.json.

    python -m scenewise.studies union [--quick] [--jobs N] [--cache build/reproduce/label_free]

Kept outcomes are reused, those of HICL's and CNS's own reproduction too.
"""

from scenewise.studies.claims import paired_claim
from scenewise.studies.label_free.choices import best_rates, best_switching, best_transformers, first_switching
from scenewise.studies.label_free.ladders import clip2scene_arms, cns_arms, hicl_arms, teacher_arms, union_arms
from scenewise.studies.label_free.study import LabelFreeStudy, Options


def main(options: Options) -> int:
    """Runs, judges and writes."""
    study = LabelFreeStudy("union", options)
    arms, runs = study.arms, study.runs
    teacher_arms(arms, runs)
    methods = ["clip2scene", "hicl", "cns", "union"]
    rates = best_rates(arms, runs, methods, first_switching(arms))
    transformers = best_transformers(arms, runs, rates["hicl"])
    switching = {method: best_switching(arms, runs, method, rates[method]) for method in ("cns", "union")}
    single = {
        **clip2scene_arms(arms, rates["clip2scene"]),
        **hicl_arms(arms, rates["hicl"], transformers, rates["clip2scene"], {}),
        **cns_arms(arms, rates["cns"], switching["cns"]),
    }
    compared = [single[name] for name in ("clip2scene", "hicl_V", "hicl_V_region_refined", "cns")]
    compared += union_arms(arms, rates["union"], transformers, switching["union"]).values()
    study.run(compared, methods)

    best = [max(pair) for pair in zip(runs.of("hicl_V"), runs.of("cns"))]
    claims = [
        paired_claim("union_at_least_best", "the union's 3D student exceeds the better of HICL and CNS", runs.of("union"), best),
        paired_claim(
            "union_switch_helps",
            "the union exceeds itself without switching labels",
            runs.of("union"),
            runs.of("union_no_switch"),
        ),
    ]
    return study.publish(claims)
