"""Classification in the study: which objects belong to which seed, and what an outcome tells."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_pair import write_tiny_pair

from scenewise.errors import ConventionError
from scenewise.methods.condense.classification.objects import ObjectScan
from scenewise.methods.condense.classification.trainer import ClassifierTrainer
from scenewise.studies.consistent import classifying
from scenewise.studies.consistent.classifying import MOST_PER_CLASS, USUAL, classification_outcome, training_objects
from scenewise.teachers.consistent import open_pair
from scenewise.teachers.consistent_file import PairFile

SCAN = ObjectScan(points=48)
CONFIG = replace(USUAL.config, width=0.125, points=48, steps=2, batch_objects=6)
SETTINGS = replace(USUAL, config=CONFIG, test_per_class=1, scan=SCAN)


def test_seeds_share_no_training_objects_and_few_are_among_many() -> None:
    few, many, other = (training_objects(seed, count, SCAN) for seed, count in ((0, 1), (0, 2), (1, 1)))
    names = [{cloud.name for cloud in data.clouds} for data in (few, many, other)]
    assert len(names[0]) == 22 and names[0] < names[1] and len(names[1]) == 44 and not names[1] & names[2]
    test = {cloud.name for cloud in classifying._test_objects(SETTINGS).clouds}
    assert len(test) == 22 and not test & (names[1] | names[2])
    validation = {cloud.name for cloud in classifying._test_objects(replace(SETTINGS, test_split="validation")).clouds}
    assert not validation & test


def test_an_outcome_is_that_of_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, starts = f"condense:{write_tiny_pair(tmp_path / 'pair')}", []

    def trainer(*args: Any, start: PairFile | None) -> ClassifierTrainer:
        starts.append(None if start is None else start.fingerprint)
        return ClassifierTrainer(*args, start=start)

    monkeypatch.setattr(classifying, "ClassifierTrainer", trainer)
    first, again = (classification_outcome(0, 1, settings=SETTINGS) for _ in range(2))
    tuned, probe = (classification_outcome(0, 1, start, frozen=frozen, settings=SETTINGS) for frozen in (False, True))
    assert {name: value for name, value in first.items() if name != "train_seconds"} == {
        name: value for name, value in again.items() if name != "train_seconds"
    }
    assert first.keys() == probe.keys() >= {"accuracy", "class_mean", "top3", "train_accuracy", "train_seconds"}
    assert all(0 <= first[name] <= 100 for name in ("accuracy", "class_mean", "top3"))
    assert starts == [None, None, *2 * [open_pair(start).fingerprint]]
    assert probe["parameters_trained"] < tuned["parameters_trained"] == first["parameters_trained"]


@pytest.mark.errors
def test_more_objects_than_a_seed_has_are_refused() -> None:
    with pytest.raises(ConventionError, match=f"per_class_train: expected 1 to {MOST_PER_CLASS}, got 101"):
        classification_outcome(0, 101, settings=SETTINGS)
