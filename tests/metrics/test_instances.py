"""Instance figures against loops over sets, and against ScanNet's way to integrate."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.metrics.instances import (
    MEAN_THRESHOLDS,
    InstanceOverlaps,
    area_under_precision,
    box_overlaps,
    element_overlaps,
    instance_scores,
)

CLASSES = 3


def random_scene(seed: int, *, elements: int = 60, unlabelled: float = 0.2) -> dict[str, np.ndarray]:
    """Predictions that are true instances with some elements exchanged, split or joined."""
    generator = np.random.default_rng(seed)
    true = np.sort(generator.integers(0, 5, elements))
    joined = np.array([[0, 1, 2, 3, 4], [0, 0, 1, 1, 2], [0, 0, 1, 2, 1]])[seed % 3][true]
    predicted = np.where(generator.random(elements) < 0.25, generator.integers(-1, 7, elements), joined)
    true = np.where(generator.random(elements) < unlabelled, -1, true)
    return {
        "predicted_ids": predicted,
        "true_ids": true,
        "confidences": np.round(generator.random(7) * 3) / 3,
        "predicted_classes": generator.integers(-1, CLASSES, 7),
        "true_classes": generator.integers(-1, CLASSES, 5),
    }


def loop_figures(scenes: list[dict[str, np.ndarray]], number: int | None) -> tuple[float, float, float, float, float]:
    """AP, AP50, AP25, recall 50 and 25 of one class, or of all instances as one; sets of elements and plain loops."""
    areas, recalls = {}, {}
    for threshold in (0.25, *MEAN_THRESHOLDS):
        answers: list[tuple[float, bool]] = []
        total = 0
        for scene in scenes:
            labelled = {
                e for e, t in enumerate(scene["true_ids"]) if t >= 0 and (number is None or scene["true_classes"][t] >= 0)
            }
            truth = {
                t: set(np.flatnonzero(scene["true_ids"] == t))
                for t in np.unique(scene["true_ids"])
                if t >= 0 and number in (None, scene["true_classes"][t])
            }
            everything = {p: set(np.flatnonzero(scene["predicted_ids"] == p)) for p in range(len(scene["confidences"]))}
            seen = set(np.flatnonzero(scene["true_ids"] >= 0))
            said = {p: its for p, its in everything.items() if its & seen and number in (None, scene["predicted_classes"][p])}
            total += len(truth)

            def iou(p, t, said=said, truth=truth, seen=seen):
                return len(said[p] & truth[t]) / len((said[p] & seen) | truth[t])

            best = {p: max([iou(p, t) for t in truth if iou(p, t) > threshold], default=0.0) for p in said}
            free = set(truth)
            for p in sorted(said, key=lambda p: (-scene["confidences"][p], -best[p], p)):
                fitting = sorted((t for t in free if iou(p, t) > threshold), key=lambda t: (-iou(p, t), t))
                if fitting:
                    free.remove(fitting[0])
                    answers.append((scene["confidences"][p], True))
                elif len(said[p] - labelled) / len(said[p]) <= threshold:
                    answers.append((scene["confidences"][p], False))
        areas[threshold] = scannet_area(answers, total)
        recalls[threshold] = sum(right for _, right in answers) / total if total else math.nan
    mean = float(np.mean([areas[threshold] for threshold in MEAN_THRESHOLDS]))
    return mean, areas[0.5], areas[0.25], recalls[0.5], recalls[0.25]


def scannet_area(answers: list[tuple[float, bool]], total: int) -> float:
    """Precision at each threshold from the lowest up, weighted by half the difference of the recalls beside it."""
    if not total:
        return math.nan
    levels = sorted({confidence for confidence, _ in answers})
    kept = [[right for confidence, right in answers if confidence >= level] for level in levels]
    precision = [sum(rights) / len(rights) for rights in kept] + [1.0]
    recall = [sum(rights) / total for rights in kept] + [0.0]
    beside = [recall[0], *recall, 0.0]
    return sum(p * (before - after) / 2 for p, before, after in zip(precision, beside, beside[2:]))


def figures(scenes: list[InstanceOverlaps]):
    return instance_scores(scenes, CLASSES)


@given(st.integers(0, 10_000))
@example(1192)  # a prediction of which exactly a threshold's share is ignored
@settings(max_examples=30, deadline=None)
def test_figures_are_those_of_the_loops(seed: int):
    scenes = [random_scene(seed), random_scene(seed + 1, unlabelled=0.7)]
    found = figures([element_overlaps(**scene) for scene in scenes])
    for number, got in [(None, found.class_agnostic), *enumerate(found.by_class)]:
        expected = loop_figures(scenes, number)
        np.testing.assert_allclose([got.ap, got.ap50, got.ap25, got.recall50, got.recall25], expected, err_msg=str(number))
    occurring = [one.ap for one in found.by_class if one.true_count]
    assert found.class_aware.ap == pytest.approx(np.mean(occurring)) if occurring else math.isnan(found.class_aware.ap)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_elements_and_numbers_of_true_instances_change_nothing(seed: int):
    scene = random_scene(seed)
    generator = np.random.default_rng(seed)
    rows, place = generator.permutation(60), generator.permutation(5)
    moved = scene | {
        "predicted_ids": scene["predicted_ids"][rows],
        "true_ids": np.where(scene["true_ids"] < 0, -1, place[scene["true_ids"]])[rows],
        "true_classes": scene["true_classes"][np.argsort(place)],
    }
    first, second = (figures([element_overlaps(**one)]).class_agnostic for one in (scene, moved))
    assert (first.ap25, first.recall25, first.ap50) == (second.ap25, second.recall25, second.ap50)


def scene_of(
    predicted: list[int], true: list[int], confidences: list[float], classes: list[int] | None = None
) -> InstanceOverlaps:
    count = max(true) + 1
    return element_overlaps(
        np.array(predicted),
        np.array(true),
        np.array(confidences),
        np.zeros(len(confidences), dtype=np.int64) if classes is None else np.array(classes),
        np.zeros(count, dtype=np.int64),
    )


def test_a_duplicate_is_wrong_and_the_surer_one_is_right():
    # both predictions lie on true instance 0, with IoU 3/6 (not above .5, so at .25 only) and 2/6
    scene = scene_of([0, 0, 0, 1, 1, -1, -1, -1], [0, 0, 0, 0, 0, 0, 1, 1], [0.3, 0.9])
    found = figures([scene]).class_agnostic
    assert scene.iou.tolist() == [3 / 6, 2 / 6]
    # at .25 the surer one, of IoU 1/3, takes the instance; the other is wrong: precision 1 then ½, recall ½
    assert found.ap25 == pytest.approx(0.5) and found.recall25 == 0.5
    assert found.ap50 == 0.0 and found.recall50 == 0.0
    equal = figures([scene_of([0, 0, 0, 0, 1, -1, -1, -1], [0, 0, 0, 0, 0, 0, 1, 1], [0.5, 0.5])]).class_agnostic
    # 1/6 is no match at .25; both are equally sure, so precision ½ is the only point: ½ · (1 + ½) / 2
    assert equal.ap25 == pytest.approx(0.375)


def test_of_equally_sure_predictions_the_best_fitting_chooses_first():
    true = [0] * 10 + [1] * 10
    small, wide = [0] * 3 + [-1] * 17, [-1] * 3 + [1] * 5 + [-1] * 2 + [1] * 4 + [-1] * 6  # IoU .3; .36 with 0, .27 with 1
    predicted = np.maximum(small, wide)
    for ids in (predicted, np.where(predicted < 0, -1, 1 - predicted)):
        assert figures([scene_of(ids.tolist(), true, [0.5, 0.5])]).class_agnostic.recall25 == 0.5


def test_unlabelled_elements_are_ignored():
    # prediction 0 has two of four labelled elements right beside six unlabelled ones; prediction 1 lies on unlabelled ones alone
    scene = scene_of([0] * 8 + [1, 1], [0, 0] + [-1] * 8, [0.5, 0.9])
    found = figures([scene]).class_agnostic
    assert scene.iou.tolist() == [1.0] and found.ap == 1.0 and found.predicted_count == 1
    # a wrong prediction, two thirds unlabelled, does not count up to .65; at the six thresholds from .7 on it does
    found = figures([scene_of([0, 0, 1, 1, 1, -1, -1, -1, -1, -1], [0, 0, 1, -1, -1, 1, 1, 1, 1, 1], [0.5, 0.9])]).class_agnostic
    assert found.ap50 == pytest.approx(0.5) and found.ap == pytest.approx((4 * 0.5 + 6 * 0.125) / 10)


def test_classes_and_unknown_ones():
    one = element_overlaps(
        np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.array([0.9, 0.8]), np.array([1, 1]), np.array([1, -1])
    )
    found = figures([one])
    assert found.class_agnostic.ap == 1.0 and found.class_aware.ap == 1.0  # prediction 1 lies on a thing of unknown class
    wrong = element_overlaps(
        np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.array([0.8, 0.9]), np.array([1, 1]), np.array([1, 2])
    )
    found = figures([wrong])
    assert found.by_class[1].ap == pytest.approx(0.25) and found.by_class[2].ap == 0.0 and math.isnan(found.by_class[0].ap)
    assert (
        found.class_aware.ap == pytest.approx(0.125) and found.class_aware.recall50 == 0.5 and found.class_aware.true_count == 2
    )


def test_boxes():
    cube = np.array([[0.0, 0, 0], [1, 1, 1]])
    wide = np.array([[0.0, 0, 0], [2, 1, 1]])
    far = cube + 5.0
    scene = box_overlaps(
        np.stack([wide, far]),
        np.stack([cube, far + np.array([0.5, 0, 0])]),
        np.array([0.9, 0.5]),
        np.array([0, 1]),
        np.array([0, 1]),
    )
    assert scene.iou.tolist() == pytest.approx([0.5, 1 / 3])
    found = figures([scene])
    assert found.class_agnostic.ap25 == 1.0 and found.class_agnostic.ap50 == 0.0 and found.class_aware.recall25 == 1.0
    touching = box_overlaps(cube[None], (cube + np.array([1, 0, 0]))[None], np.ones(1), np.zeros(1, int), np.zeros(1, int))
    assert len(touching.iou) == 0


def test_scenes_are_counted_together():
    good, bad = scene_of([0, 0], [0, 0], [0.5]), scene_of([0, -1, -1, -1], [0, 0, 0, 0], [0.9])
    found = figures([good, bad]).class_agnostic
    # falling: wrong (precision 0), then right: precision ½ at recall ½: ½ · (0 + ½) / 2, not the mean of 1 and 0
    assert found.ap == pytest.approx(0.125) and found.recall50 == 0.5 and (found.true_count, found.predicted_count) == (2, 2)
    assert math.isnan(figures([]).class_agnostic.ap)
    assert area_under_precision(np.zeros(0), np.zeros(0, dtype=bool), 3) == 0.0


@pytest.mark.errors
def test_promised_errors():
    scene = random_scene(0)
    with pytest.raises(ShapeError, match="as many as each other"):
        element_overlaps(**(scene | {"true_ids": scene["true_ids"][:-1]}))
    with pytest.raises(ConventionError, match="predicted_ids: expected −1 … 1"):
        element_overlaps(**(scene | {"confidences": np.zeros(2), "predicted_classes": np.zeros(2, dtype=int)}))
    with pytest.raises(ConventionError, match="true_ids"):
        element_overlaps(**(scene | {"true_classes": np.zeros(2, dtype=int)}))
    with pytest.raises(ConventionError, match="−1 … 0"):
        instance_scores([element_overlaps(**(scene | {"true_classes": np.full(5, 1)}))], 1)
    with pytest.raises(ShapeError, match="a confidence and a class each"):
        box_overlaps(np.zeros((2, 2, 3)), np.zeros((1, 2, 3)), np.zeros(1), np.zeros(2, int), np.zeros(1, int))
