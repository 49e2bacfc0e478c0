"""Coarse fields to classes of pixels: interpolation, strips, and asking teachers of each kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.words import pixel_classes
from scenewise.parts.words.pixel_classes import (
    ClassQuestion,
    PixelRules,
    ask_for_classes,
    classify_pixels,
    pixels_of_grid,
    without_improbable_classes,
)
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.vocabularies import Vocabulary

ROOM = Vocabulary(
    names=("background", "tv monitor", "chair"),
    phrases=(("wall", "floor"), ("screen",), ("chair",)),
    templates=("{}",),
    colors_u8=((0, 0, 0), (1, 1, 1), (2, 2, 2)),
)


def own_list(*names: str) -> Vocabulary:
    return Vocabulary(names, tuple((name,) for name in names), ("{}",), tuple((0, 0, 0) for _ in names))


@dataclass
class Listed:
    """A teacher with a fixed list (or none), whose text is a one-hot row per known phrase."""

    own: Vocabulary | None
    name: str = "listed"
    fingerprint: str = "1"
    logit_scale: float = 1.0
    licence: str | None = None

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
        return None

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        assert list(templates) == ["own {}"]
        known = ["wall", "floor", "screen", "chair"] if self.own is None else list(self.own.names)
        if any(phrase not in known for phrase in phrases):
            raise ConventionError("text", expected=", ".join(known), got="another word")
        return np.eye(len(known), dtype=np.float32)[[known.index(phrase) for phrase in phrases]]

    def default_templates(self) -> tuple[str, ...]:
        return ("own {}",)

    def vocabulary(self) -> Vocabulary | None:
        return self.own


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 7), st.integers(1, 6), st.integers(1, 23), st.integers(1, 19), st.integers(0, 10))
def test_strips_are_the_rows_of_bilinear_interpolation(rows: int, columns: int, height: int, width: int, top: int):
    table = torch.rand(rows, columns, 3, generator=torch.Generator().manual_seed(rows + 10 * columns))
    whole = torch.nn.functional.interpolate(table.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False)
    expected = whole[0].permute(1, 2, 0)
    torch.testing.assert_close(pixels_of_grid(table, height, width), expected, atol=1e-5, rtol=1e-5)
    top = min(top, height - 1)
    torch.testing.assert_close(pixels_of_grid(table, height, width, top, height), expected[top:], atol=1e-5, rtol=1e-5)


def test_an_asymmetric_grid_by_hand():
    # Two cells over four pixels: centres at 1 and 3, pixels at 0.5, 1.5, 2.5, 3.5.
    table = torch.tensor([[[0.0], [8.0]]])
    assert pixels_of_grid(table, 1, 4)[0, :, 0].tolist() == [0.0, 2.0, 6.0, 8.0]
    assert pixels_of_grid(table.transpose(0, 1).contiguous(), 4, 1)[:, 0, 0].tolist() == [0.0, 2.0, 6.0, 8.0]


def test_scores_are_interpolated_before_they_are_classified():
    # Between a sure "wall" and a sure "screen" the class changes half-way; classes of cells could not be interpolated at all.
    question = ask_for_classes(Listed(None), ROOM)
    values = np.zeros((1, 2, 4), dtype=np.float32)
    values[0, 0, 0] = 1.0  # wall
    values[0, 1, 2] = 0.5  # screen
    classes, confidence = classify_pixels(DenseField(values, height=1, width=8), question, 10.0)
    # Shares of the right cell are 0, 0, .125, .375, .625, …; wall = 1 − t, screen = t/2: equal at t = 2/3.
    assert classes[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    logits = 10 * np.array([0.625, 0, 0.1875, 0])
    assert confidence[0, 3] == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum(), abs=1e-6)


def test_strips_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch):
    question = ask_for_classes(Listed(None), ROOM)
    field = DenseField(np.random.default_rng(0).normal(size=(5, 4, 4)).astype(np.float32), height=37, width=23)
    for options in ({}, {"probability_threshold": 0.6, "background": 0}, {"area_threshold": 0.4, "background": 0}):
        monkeypatch.setattr(pixel_classes, "_STRIP_NUMBERS", 1 << 24)
        whole = classify_pixels(field, question, 5.0, PixelRules(**options))
        monkeypatch.setattr(pixel_classes, "_STRIP_NUMBERS", 300)
        for one, other in zip(whole, classify_pixels(field, question, 5.0, PixelRules(**options))):
            np.testing.assert_array_equal(one, other)


def test_open_teachers_are_asked_with_their_own_prompts():
    question = ask_for_classes(Listed(None), ROOM)
    assert question.vocabulary.templates == ("own {}",) and question.vocabulary.queries == ("wall", "floor", "screen", "chair")
    assert question.text is not None and question.text.shape == (4, 4) and question.unknown_classes == ()


def test_teachers_of_probabilities_are_asked_for_the_columns_that_mean_a_class():
    own = own_list("Floor", "sofa", "TV_Monitor", "background", "screen")
    question = ask_for_classes(Listed(own), ROOM, "probabilities")
    assert question.columns == ((3, 0), (2, 4), ()) and question.unknown_classes == ("chair",)
    values = np.array([[[0.2, 0.3, 0.1, 0.05, 0.15], [0.1, 0.7, 0.05, 0.0, 0.15], [0, 0, 0, 0, 0]]], dtype=np.float32)
    np.testing.assert_allclose(
        question.scores(DenseField(values, 1, 3, "probabilities"))[0, :2], [[0.2, 0.15, 0], [0.1, 0.15, 0]]
    )
    classes, confidence = classify_pixels(DenseField(values, 1, 3, "probabilities"), question, 99.0)
    assert classes.tolist() == [[0, 1, -1]] and confidence[0, :2] == pytest.approx([0.2, 0.15])


def test_teachers_with_a_list_of_text_are_asked_in_its_words():
    question = ask_for_classes(Listed(own_list("chair", "TV Monitor", "floor", "x")), ROOM)
    assert question.vocabulary.phrases == (("floor",), ("TV Monitor",), ("chair",))
    assert question.text is not None and question.text.argmax(axis=1).tolist() == [2, 1, 0]


def test_lists_without_the_classes_are_refused():
    with pytest.raises(
        ConventionError, match="expected some of them among its own: dog, cat, got not background, tv monitor, chair"
    ):
        ask_for_classes(Listed(own_list("dog", "cat")), ROOM, "probabilities")
    with pytest.raises(ConventionError, match="expected all of them among its own: chair, floor, got not tv monitor"):
        ask_for_classes(Listed(own_list("chair", "floor")), ROOM)


def test_fields_that_do_not_fit_the_question():
    features = DenseField(np.zeros((1, 1, 3), dtype=np.float32), 1, 1)
    with pytest.raises(ShapeError, match="expected 4 numbers per cell, got features of 3"):
        ask_for_classes(Listed(None), ROOM).scores(features)
    columns = ClassQuestion(ROOM, columns=((0,), (3,), ()))
    with pytest.raises(ShapeError, match="expected at least 4 columns, got probabilities of 3 classes"):
        columns.scores(DenseField(np.zeros((1, 1, 3), dtype=np.float32), 1, 1, "probabilities"))
    with pytest.raises(ShapeError, match="expected probabilities, got features of 3"):
        columns.scores(features)


# --- prompt denoising and local refinement -----------------------------------------------------------------------------------


def test_a_class_that_no_cell_finds_probable_is_left_out():
    # Cosines at scale 2, phrases wall, floor (one class), screen, chair.  Cell 0: e^1.8 … = 6.05, 1, 4.95, 1 of 13.0;
    # cell 1: 1, 1.22, 3.32, 4.06 of 9.60.  Best: wall 0.465, screen 0.381, chair 0.423.
    values = np.array([[[0.9, 0.0, 0.8, 0.0], [0.0, 0.1, 0.6, 0.7]]], dtype=np.float32)
    question, field = ask_for_classes(Listed(None), ROOM), DenseField(values, 1, 2)
    assert classify_pixels(field, question, 2.0)[0].tolist() == [[0, 2]]
    table = without_improbable_classes(question.scores(field), question, 2.0, 0.4)
    expected = np.array([[0.9, 0.0, -100, 0.0], [0.0, 0.1, -100, 0.7]], dtype=np.float32)  # the floor stays with the wall
    np.testing.assert_array_equal(table[0], expected)
    classes, confidence = classify_pixels(field, question, 2.0, PixelRules(denoising_threshold=0.4))
    assert classes.tolist() == [[0, 2]]
    assert confidence[0, 0] == pytest.approx(np.exp(1.8) / (np.exp(1.8) + 2), abs=1e-6)  # more than before, without the screen
    classes, _ = classify_pixels(field, question, 2.0, PixelRules(denoising_threshold=0.45))
    assert classes.tolist() == [[0, 0]]  # the chair is gone too
    assert classify_pixels(field, question, 2.0, PixelRules(denoising_threshold=0.99))[0].tolist() == [[-1, -1]]
    assert classify_pixels(field, question, 2.0, PixelRules(denoising_threshold=0.99, background=0))[0].tolist() == [[0, 0]]


def test_improbable_columns_of_probabilities_are_emptied():
    question = ask_for_classes(Listed(own_list("floor", "screen", "chair")), ROOM, "probabilities")
    values = np.array([[[0.1, 0.6, 0.3], [0.2, 0.1, 0.4]]], dtype=np.float32)
    field = DenseField(values, 1, 2, "probabilities")
    assert classify_pixels(field, question, 1.0, PixelRules(denoising_threshold=0.5))[0].tolist() == [[1, 1]]
    assert classify_pixels(field, question, 1.0, PixelRules(denoising_threshold=0.7))[0].tolist() == [[-1, -1]]
    assert classify_pixels(field, question, 1.0, PixelRules(denoising_threshold=0.7, background=0))[0].tolist() == [[0, 0]]


def two_halves(height: int, width: int, edge: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 4, (height, width, 3), dtype=np.uint8)
    noise[:, edge:] += 200
    return noise


def test_refinement_moves_classes_to_the_edges_of_the_image(monkeypatch: pytest.MonkeyPatch):
    # Cells of 10 pixels; the image's edge lies at 26, that between the classes of the cells at 20.
    question = ask_for_classes(Listed(None), ROOM)
    values = np.zeros((4, 6, 4), dtype=np.float32)
    values[:, :2, 0], values[:, 2:, 2] = 1.0, 1.0
    field, image = DenseField(values, 40, 60), two_halves(40, 60, 26)
    image.flags.writeable = False  # as images come from files
    truth = np.repeat([0, 1], [26, 34])
    plain, _ = classify_pixels(field, question, 10.0, image=image)
    refined, _ = classify_pixels(field, question, 10.0, PixelRules(pamr_steps=5), image)
    assert (plain[20] != truth).sum() == 6 and (refined[20] != truth).sum() < 6
    whole = classify_pixels(field, question, 10.0, PixelRules(pamr_steps=1), image)
    monkeypatch.setattr(pixel_classes, "_STRIP_NUMBERS", 1)
    monkeypatch.setattr(pixel_classes, "PAMR_DILATIONS", (2, 4))
    strips = classify_pixels(field, question, 10.0, PixelRules(pamr_steps=1), image)
    monkeypatch.setattr(pixel_classes, "_STRIP_NUMBERS", 1 << 24)
    for one, other in zip(strips, classify_pixels(field, question, 10.0, PixelRules(pamr_steps=1), image)):
        np.testing.assert_array_equal(one, other)
    assert (strips[1] != whole[1]).any()  # it depends on the dilations


@pytest.mark.parametrize("image", [None, np.zeros((6, 4, 3), dtype=np.uint8)])
def test_refinement_needs_the_image(image):
    field = DenseField(np.zeros((1, 1, 4), dtype=np.float32), 4, 6)
    with pytest.raises(ShapeError, match="image: expected the field's, 6×4 pixels"):
        classify_pixels(field, ask_for_classes(Listed(None), ROOM), 1.0, PixelRules(pamr_steps=1), image)
