"""Segmentation figures against hand-computed matrices."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.metrics.segmentation import CONVENTIONS, ConfusionMatrix, Conventions

NAMES = ("wall", "chair", "lamp")
#        truth:  wall ×6 (4 right, 1 chair, 1 none), chair ×3 (1 right, 2 wall), not labelled ×2; nobody is or says lamp.
TRUTH = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, -1, -1])
PREDICTION = np.array([0, 0, 0, 0, 1, -1, 1, 0, 0, 2, -1])


def filled(names: tuple[str, ...] = NAMES, prediction: np.ndarray = PREDICTION, truth: np.ndarray = TRUTH) -> ConfusionMatrix:
    matrix = ConfusionMatrix(names)
    matrix.update(prediction, truth)
    return matrix


def test_rows_are_truth_columns_prediction_and_ignored_elements_do_not_count():
    assert filled().counts.tolist() == [[4, 1, 0, 1], [2, 1, 0, 0], [0, 0, 0, 0]]
    assert filled().matrix.tolist() == [[4, 1, 0], [2, 1, 0], [0, 0, 0]]


def test_figures_of_the_asymmetric_matrix_by_hand():
    scores = filled().scores()
    # wall: TP 4, FP 2, FN 1 + 1 without a prediction; chair: TP 1, FP 1, FN 2.
    assert scores.iou[:2] == pytest.approx([4 / 8, 1 / 4]) and math.isnan(scores.iou[2])
    assert scores.accuracy[:2] == pytest.approx([4 / 6, 1 / 3]) and math.isnan(scores.accuracy[2])
    assert scores.miou == pytest.approx((4 / 8 + 1 / 4) / 2)
    assert scores.macc == pytest.approx((4 / 6 + 1 / 3) / 2)
    assert scores.all_accuracy == pytest.approx(5 / 9)
    assert scores.fwiou == pytest.approx(6 / 9 * 4 / 8 + 3 / 9 * 1 / 4)
    assert scores.coverage == pytest.approx(8 / 9)
    assert scores.count == 9
    assert scores.true_count.tolist() == [6, 3, 0] and scores.predicted_count.tolist() == [6, 2, 0]


@pytest.mark.parametrize(
    ("tool", "miou", "macc"),
    [
        ("scannet", (4 / 8 + 1 / 4) / 2, (4 / 6 + 1 / 3) / 2),
        ("scenewise", (4 / 8 + 1 / 4) / 2, (4 / 6 + 1 / 3) / 2),
        ("openscene", (4 / 7 + 1 / 4 + 0) / 3, (4 / 6 + 1 / 3 + 0) / 3),
    ],
)
def test_conventions_of_the_tools(tool: str, miou: float, macc: float):
    scores = filled().scores(CONVENTIONS[tool])
    assert (scores.miou, scores.macc) == pytest.approx((miou, macc))


@pytest.mark.parametrize(("tool", "miou"), [("nuscenes", (4 / 7 + 1 / 4) / 2), ("clip2scene", (4 / 7 + 1 / 4 + 1) / 3)])
def test_tools_that_refuse_missing_predictions(tool: str, miou: float):
    with pytest.raises(ConventionError, match="a class for every labelled element, got 1 without one"):
        filled().scores(CONVENTIONS[tool])
    has_prediction = PREDICTION >= 0
    complete = filled(prediction=PREDICTION[has_prediction], truth=TRUTH[has_prediction])
    assert complete.scores(CONVENTIONS[tool]).miou == pytest.approx(miou)


def test_dropped_elements_leave_every_figure_but_coverage():
    scores = filled().scores(Conventions(unpredicted="dropped"))
    assert scores.iou[:2] == pytest.approx([4 / 7, 1 / 4]) and scores.accuracy[:2] == pytest.approx([4 / 5, 1 / 3])
    assert scores.all_accuracy == pytest.approx(5 / 8) and scores.coverage == pytest.approx(8 / 9)
    assert scores.fwiou == pytest.approx(5 / 8 * 4 / 7 + 3 / 8 * 1 / 4)


def test_a_class_that_is_only_predicted_has_no_accuracy_but_an_iou_of_zero():
    scores = filled(prediction=np.array([2, 0]), truth=np.array([0, 0])).scores()
    assert scores.iou[0] == pytest.approx(0.5) and scores.iou[2] == 0.0 and math.isnan(scores.accuracy[2])
    assert scores.miou == pytest.approx(0.25) and scores.macc == pytest.approx(0.5)


def test_nothing_labelled_gives_no_figures():
    scores = filled(prediction=np.array([0, 1]), truth=np.array([-1, -1])).scores()
    assert scores.count == 0
    assert all(math.isnan(value) for value in (scores.miou, scores.macc, scores.all_accuracy, scores.fwiou, scores.coverage))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), max_size=60),
    st.integers(0, 60),
)
def test_adding_up_equals_counting_all_at_once_and_loops_one_can_read(pairs: list[tuple[int, int]], cut: int):
    truth, prediction = (np.array([pair[axis] for pair in pairs], dtype=np.int32) for axis in (0, 1))
    whole = filled(prediction=prediction, truth=truth)
    parts = filled(prediction=prediction[:cut], truth=truth[:cut])
    parts += filled(prediction=prediction[cut:], truth=truth[cut:])
    parts_by_update = filled(prediction=prediction[:cut], truth=truth[:cut])
    parts_by_update.update(prediction[cut:], truth[cut:])
    expected = np.zeros((3, 4), dtype=np.int64)
    for true_class, said in pairs:
        if true_class >= 0:
            expected[true_class, said] += 1  # −1 is the last column
    for matrix in (whole, parts, parts_by_update, ConfusionMatrix.from_counts(NAMES, expected)):
        np.testing.assert_array_equal(matrix.counts, expected)


def test_counts_of_figures_are_those_of_the_data_set_not_a_mean_over_images():
    # Image one: 1 of 1 right; image two: 0 of 3.  The mean over images would be ½.
    matrix = filled(prediction=np.array([0]), truth=np.array([0]))
    matrix.update(np.array([1, 1, 1]), np.array([0, 0, 0]))
    assert matrix.scores().iou[0] == pytest.approx(1 / 4)


def test_the_table_shows_every_class_and_a_dash_for_what_is_unknown():
    lines = filled().scores().text().splitlines()
    assert lines[1].split() == ["wall", "50.0", "66.7", "6"]
    assert lines[3].split() == ["lamp", "–", "–", "0"]
    assert lines[-1] == "mIoU 37.5, mAcc 50.0, allAcc 55.6, fwIoU 41.7, coverage 88.9 of 9"


@pytest.mark.parametrize(
    ("prediction", "truth", "place"),
    [([3], [0], "prediction"), ([-2], [0], "prediction"), ([0], [255], "truth")],
)
def test_codes_that_are_no_class_are_refused(prediction: list[int], truth: list[int], place: str):
    with pytest.raises(ConventionError, match=f"^{place}: expected −1 or a class from 0 to 2"):
        filled(prediction=np.array(prediction), truth=np.array(truth))


@pytest.mark.errors
def test_shapes_must_agree():
    with pytest.raises(ShapeError, match="like the truth"):
        filled(prediction=np.zeros((2, 3), dtype=np.int64), truth=np.zeros((3, 2), dtype=np.int64))
    with pytest.raises(ShapeError, match="counts"):
        ConfusionMatrix.from_counts(NAMES, np.zeros((3, 3), dtype=np.int64))
    with pytest.raises(ConventionError, match="the same classes"):
        matrix = filled()
        matrix += ConfusionMatrix(("a", "b", "c"))
