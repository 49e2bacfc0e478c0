"""Figures as a study keeps them: of perfect answers, of answers that know nothing, and of what is not there to be measured."""

import itertools

import numpy as np
import pytest

from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.predicting import GraphAnswer
from scenewise.scenes.graph_scans import GraphScan
from scenewise.scenes.predicates import BODY, HEAD
from scenewise.studies.graphs.scoring import figures, groups_of, predicted_graphs, seen_triplets

CLASSES = tuple("abcdefghijkl")
PREDICATES = ("left", "standing on", "bigger than", "lighting", "never")


def data_of(count: int, seed: int) -> GraphData:
    rng, examples = np.random.default_rng(seed), []
    for number in range(count):
        # One relation of every second pair, so that constrained recall can find them all.
        rows = [(a, b, int(rng.integers(4))) for a, b in itertools.permutations(range(5), 2) if (a + b) % 2]
        points = tuple(rng.normal(size=(3, 3)).astype(np.float32) for _ in range(5))
        examples.append(GraphExample(GraphScan(f"scan {number}", points, rng.integers(0, 12, 5), np.array(rows))))
    return GraphData(examples, CLASSES, PREDICATES)


def pairs_of(example: GraphExample) -> np.ndarray:
    return np.array(list(itertools.permutations(range(len(example.scan)), 2)))


def perfect(example: GraphExample) -> GraphAnswer:
    pairs = pairs_of(example)
    labels = example.labels(len(PREDICATES))[pairs[:, 0], pairs[:, 1]]
    return GraphAnswer(np.eye(12, dtype=np.float32)[example.scan.class_ids], pairs, labels.astype(np.float32))


def same_for_all(example: GraphExample) -> GraphAnswer:
    pairs = pairs_of(example)
    classes = np.tile(np.linspace(0.2, 0.0, 12, dtype=np.float32), (5, 1))
    return GraphAnswer(classes, pairs, np.tile(np.array([0.4, 0.3, 0.2, 0.1, 0.05], np.float32), (len(pairs), 1)))


def measured(answer, learn: GraphData, test: GraphData, **more) -> dict[str, float | None]:
    return figures(predicted_graphs(answer, test), CLASSES, PREDICATES, seen_triplets(learn), **more)


def test_a_perfect_answer_has_a_hundred_everywhere() -> None:
    learn, test = data_of(4, 0), data_of(6, 1)
    found = measured(perfect, learn, test)
    counted = ("unseen relations", "errors with wrong names")
    other = ("AP never", "R@1 never")  # it does not occur
    recalls = {name: value for name, value in found.items() if " R@" in name or "mR@" in name}
    for name, value in found.items():
        if name in counted or name in other or name.startswith("names wrong") or name in recalls:
            continue
        assert value == pytest.approx(100.0), name
    # Twelve relations of a scan; free of constraint false answers with a score of 0 come after them.
    assert all(value == pytest.approx(100.0) for name, value in recalls.items()), recalls
    assert found["errors with wrong names"] in (None, 0.0) and found["AP never"] is None and found["R@1 never"] is None
    assert found["names wrong mA@1"] is None


def test_an_answer_that_is_the_same_for_all_is_right_as_often_as_its_first_word_holds() -> None:
    learn, test = data_of(4, 0), data_of(6, 1)
    found = measured(same_for_all, learn, test)
    rows = np.concatenate([each.scan.triplets for each in test.examples])
    share = float((rows[:, 2] == 0).mean())
    assert found["relation A@1"] == pytest.approx(100 * share) and found["relation A@5"] == pytest.approx(100.0)
    # A pair without relation is answered by "none": all scores are below ½, so it ranks first.
    pairs = sum(len(pairs_of(each)) for each in test.examples)
    assert found["predicate A@1"] == pytest.approx(100 * (pairs - len(rows) + share * len(rows)) / pairs)
    assert found["predicate mA@1"] == pytest.approx(25.0), "one of four predicates that occur"
    classes = np.concatenate([each.scan.class_ids for each in test.examples])
    for k in (1, 5, 10):
        assert found[f"object A@{k}"] == pytest.approx(100 * float((classes < k).mean()))
    assert found["head mA@1"] == pytest.approx(50.0) and found["body mA@1"] == 0.0 and found["tail mA@1"] == 0.0
    assert found["AP left"] == pytest.approx(100 * float((rows[:, 2] == 0).sum()) / pairs)
    assert all(value is None or 0.0 <= value <= 100.0 for name, value in found.items() if name != "unseen relations")


def test_unseen_relations_are_those_no_training_scan_has() -> None:
    learn, test = data_of(4, 0), data_of(6, 1)
    known = {
        (int(each.scan.class_ids[s]), p, int(each.scan.class_ids[o]))
        for each in learn.examples
        for s, o, p in each.scan.triplets.tolist()
    }
    unseen = sum(
        (int(each.scan.class_ids[s]), p, int(each.scan.class_ids[o])) not in known
        for each in test.examples
        for s, o, p in each.scan.triplets.tolist()
    )
    assert measured(perfect, learn, test)["unseen relations"] == pytest.approx(unseen) and unseen > 0
    itself = measured(perfect, test, test)
    assert itself["unseen relations"] == 0.0 and itself["unseen triplet A@50"] is None


def test_what_takes_long_can_be_left_out_and_nothing_else_changes() -> None:
    learn, test = data_of(4, 0), data_of(6, 1)
    whole, short = measured(same_for_all, learn, test), measured(same_for_all, learn, test, whole=False)
    assert short.items() <= whole.items() and not any("R@" in name or "AP" in name for name in short)
    assert {"sgcls R@20", "predcls free mR@100", "AP left", "R@1 left"} <= set(whole)


def test_thirds_of_predicates() -> None:
    thirds = groups_of(PREDICATES)
    assert thirds["head"] == HEAD and thirds["body"] == BODY and thirds["tail"] == {"lighting", "never"}
