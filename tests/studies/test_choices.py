"""What is chosen on validation rooms is what was best there; nothing is trained, outcomes lie where they are looked for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scenewise.studies.arms import Arm, Outcome, run_arm
from scenewise.studies.bench import Bench
from scenewise.studies.label_free.arms import RoomArms
from scenewise.studies.label_free.choices import NEVER, best_rates, best_switching, searches, switching
from scenewise.studies.label_free.rooms import QUICK, Rooms
from scenewise.studies.runs import Runs
from scenewise.teachers.small_clip import WEIGHTS

RATES = (0.003, 0.01, 0.03)
pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded weights are not there")


def _study(folder: Path) -> tuple[RoomArms, Runs]:
    rooms = Rooms(replace(QUICK, rates=RATES), folder)
    return RoomArms(rooms, threads=1), Runs(Bench("union", (0,), folder), say=lambda text: None)


def _lay(arms: Sequence[Arm], mious: Sequence[float], folder: Path) -> None:
    for arm, miou in zip(arms, mious):
        run_arm(Arm(arm.name, arm.config, lambda _, miou=miou: Outcome({"miou": miou})), [0], folder)


def test_the_rate_with_the_highest_miou_is_taken(tmp_path: Path) -> None:
    arms, runs = _study(tmp_path)
    _lay(searches(arms, "clip2scene", {}), (10.0, 12.5, 11.0), tmp_path)
    _lay(searches(arms, "hicl", {}), (10.0, 9.0, 13.0), tmp_path)
    assert best_rates(arms, runs, ["clip2scene", "hicl"]) == {"clip2scene": 0.01, "hicl": 0.03}
    assert runs.notes == [
        "Learning rate of clip2scene on 1 validation rooms, one seed: 0.003: 10.00, 0.01: 12.50, 0.03: 11.00; 0.01 taken.",
        "Learning rate of hicl on 1 validation rooms, one seed: 0.003: 10.00, 0.01: 9.00, 0.03: 13.00; 0.03 taken.",
    ]


def test_the_best_switching_is_taken_but_never_none_at_all(tmp_path: Path) -> None:
    """What the union is without switching is an arm of its own."""
    arms, runs = _study(tmp_path)
    candidates = switching(arms, "union")
    tried = [
        arms.student(f"search_union_0.01{suffix}", arms.recipe("union", learning_rate=0.01, **change), split="val")
        for suffix, change in zip(("", "_1", "_2"), candidates.values())
    ]
    assert next(iter(candidates)) == NEVER
    _lay(tried, (20.0, 15.0, 14.0), tmp_path)
    assert best_switching(arms, runs, "union", 0.01) == candidates["seven eighths"]
    assert runs.notes[0].endswith("never: 20.00, seven eighths: 15.00, a third: 14.00; 'seven eighths' taken.")
