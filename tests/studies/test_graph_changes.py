"""How changes are counted, and that those of a room are found."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.commands.diff.run import DiffSummary, ToldChange
from scenewise.parts.graphs.diff import compared
from scenewise.studies.graphs import changes
from scenewise.studies.graphs.changes import PredictedPair, Score, pair_scores, photographed, told_events, true_events
from scenewise.worlds.changes import changed_room_of
from scenewise.worlds.seeds import VALIDATION_SEEDS

SEED = VALIDATION_SEEDS[3]
"""A bookshelf, or whatever it is, goes to the opposite wall."""


def test_shares() -> None:
    assert Score(3, 4, 6).precision == 0.75 and Score(3, 4, 6).recall == 0.5
    assert Score(0, 0, 0).precision == Score(0, 0, 0).recall == 1.0


def test_pairs_are_summed_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def found(folder: Path, seed: int, naming: str) -> Score:
        assert folder.is_dir() and not list(folder.iterdir())
        asked.append((seed, naming))
        return Score(seed, seed + 1, seed + 2)

    monkeypatch.setattr(changes, "predicted_changes", found)
    assert pair_scores("true_names", [1, 2, 3], tmp_path) == Score(6, 9, 12)
    assert pair_scores("true_names", [2, 3, 4], tmp_path) == Score(9, 12, 15)
    assert asked == [(seed, "true_names") for seed in (1, 2, 3, 4)], "what is kept is not made again"
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_changes_of_a_room_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FRAMES", 20), ("WIDTH", 96), ("HEIGHT", 72)):
        monkeypatch.setattr(changes, name, value)
    pair, before, after = photographed(SEED)
    made = true_events(pair, before, after)
    assert made == {("moved", 25, 25)} and set(before.graph.by_id) <= set(range(len(pair.before.objects)))
    found = compared(before, after, np.eye(4))
    assert told_events(found) == made
    (moved,) = [change for change in found if change.kind == "moved"]
    assert moved.distance == pytest.approx(pair.changes[0].distance, abs=0.1)
    assert abs(moved.turn_deg) == pytest.approx(90.0, abs=5.0)


def told(what: str, before: int | None, after: int | None) -> ToldChange:
    return ToldChange(what, before, after, None, None, "", 1.0, None, None, 0.0, 0.0, False)


def test_objects_stand_for_the_instances_they_lie_on() -> None:
    said = (
        told("moved", 1, 2),
        told("moved", 3, 4),  # another piece of the same thing
        told("appeared", None, 5),
        told("vanished", 6, None),  # lies on nothing
        told("unchanged", 7, 7),
        told("not seen", 8, None),
    )
    summary = DiffSummary(Path("a"), Path("b"), "poses", 1.0, ((1.0,),), "metric", {}, said, Path("c"), Path("d"), 0.0)
    pair = PredictedPair(changed_room_of(SEED), summary, {1: 25, 3: 25, 6: -1, 7: 9, 8: 9}, {2: 25, 4: 25, 5: 30, 7: 9})
    assert pair.score({("moved", 25, 25), ("vanished", 9, None)}) == Score(1, 3, 2)
