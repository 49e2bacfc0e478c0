"""CLIP2Scene on procedural rooms nobody trained on; figures and claims in docs/results/clip2scene.json.

    python -m scenewise.studies clip2scene [--quick] [--full] [--jobs N] [--cache build/reproduce/label_free]

Kept outcomes are reused (one file per arm, seed and configuration; a stopped training goes on from its last checkpoint).
"""

from scenewise.studies.claims import paired_claim
from scenewise.studies.label_free.choices import best_rates
from scenewise.studies.label_free.ladders import clip2scene_arms, teacher_arms
from scenewise.studies.label_free.study import FullOptions as Options
from scenewise.studies.label_free.study import LabelFreeStudy


def main(options: Options) -> int:
    """Runs, judges and writes."""
    study = LabelFreeStudy("clip2scene", options)
    arms, runs = study.arms, study.runs
    teacher_arms(arms, runs)
    rates = best_rates(arms, runs, ["clip2scene"])
    compared = clip2scene_arms(arms, rates["clip2scene"])
    study.run(list(compared.values()), ["clip2scene"])
    study.run_full()

    mine = runs.of("clip2scene")
    claims = [
        paired_claim(
            "beats_raw_teacher",
            "from points alone, the 3D student exceeds what the teacher says of each point in one picture",
            mine,
            runs.of("raw_teacher_3d") * len(study.bench.seeds),
        ),
        paired_claim(
            "beats_view_vote",
            "from points alone, the 3D student exceeds the teacher's vote over all pictures of the room",
            mine,
            runs.of("view_vote_3d") * len(study.bench.seeds),
        ),
        paired_claim(
            "switch_helps",
            "switching to own predictions exceeds the teacher's labels alone",
            mine,
            runs.of("clip2scene_no_switch"),
        ),
        paired_claim(
            "feature_loss_helps",
            "matching frozen features exceeds the cross entropy alone",
            mine,
            runs.of("clip2scene_no_features"),
        ),
    ]
    return study.publish(claims)
