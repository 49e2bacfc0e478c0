"""Answers from files as a teacher: what becomes of labels, confidences and words; exporting another teacher."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.io.teacher_files import (
    TeacherAnswer,
    TeacherFilesInfo,
    write_answer,
    write_teacher_info,
    write_text_embeddings,
)
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers import from_files
from scenewise.teachers.from_files import FilesTeacher, export_teacher_files
from scenewise.teachers.protocol import Teacher

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)
LABELS = TeacherFilesInfo("labels", 3, classes=("wall", "chair", "lamp"), ignore=255)
FEATURES = TeacherFilesInfo("features", 2, text_space="some/clip", classes=("wall", "arm chair"))


def make(folder: Path, info: TeacherFilesInfo, answer: TeacherAnswer, frame: str = "0001.png") -> Path:
    write_teacher_info(folder, info)
    write_answer(folder, frame, info, answer)
    return folder


def test_labels_become_probabilities_of_one_and_unknown_ones_nothing(tmp_path: Path):
    labels = np.array([[0, 2], [-1, 1], [1, 1]], dtype=np.int32)
    teacher = FilesTeacher(make(tmp_path, LABELS, TeacherAnswer(labels=labels)))
    found = teacher.dense(IMAGE, "0001.jpg")
    assert isinstance(found, DenseField) and found.kind == "probabilities" and (found.height, found.width) == (20, 30)
    assert found.values.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 1, 0]]]
    assert teacher.dense(IMAGE, "0002.jpg") is None and teacher.has("0001.jpg") and not teacher.has("0002.jpg")
    assert teacher.vocabulary().names == ("wall", "chair", "lamp") and teacher.name == f"files:{tmp_path}"


def test_confidence_scales_what_it_belongs_to(tmp_path: Path):
    confidence = np.array([[0.5, 0.25]], dtype=np.float32)
    labels = TeacherAnswer(labels=np.array([[2, 0]], dtype=np.int32), confidence=confidence)
    assert FilesTeacher(make(tmp_path / "a", LABELS, labels)).dense(IMAGE, "0001.png").values.tolist() == [
        [[0, 0, 0.5], [0.25, 0, 0]]
    ]
    features = TeacherAnswer(values=np.array([[[3, 4], [0, 0]]], dtype=np.float32), confidence=confidence)
    values = FilesTeacher(make(tmp_path / "b", FEATURES, features)).dense(IMAGE, "0001.png").values
    np.testing.assert_allclose(values, [[[0.3, 0.4], [0, 0]]], atol=1e-6)


def test_features_are_scaled_to_unit_length_unless_they_are_means_of_unit_vectors(tmp_path: Path):
    answer = TeacherAnswer(values=np.array([[[0.0, 0.5], [6.0, 8.0]]], dtype=np.float32))
    teacher = FilesTeacher(make(tmp_path / "a", FEATURES, answer))
    np.testing.assert_allclose(teacher.dense(IMAGE, "0001.png").values, [[[0, 1], [0.6, 0.8]]], atol=1e-6)
    means = TeacherFilesInfo("features", 2, unit_means=True)
    kept = FilesTeacher(make(tmp_path / "b", means, answer)).dense(IMAGE, "0001.png").values
    np.testing.assert_array_equal(kept, [[[0, 0.5], [6, 8]]])


def test_words_are_those_with_an_embedding(tmp_path: Path):
    folder = make(tmp_path, FEATURES, TeacherAnswer(values=np.ones((1, 1, 2), dtype=np.float32)))
    with pytest.raises(ConventionError, match=r"expected text\.safetensors, got nothing\. Fix: .* or open some/clip"):
        FilesTeacher(folder).embed_text(["wall"], ["{}"])
    write_text_embeddings(folder, FEATURES, np.array([[0, 2], [3, 4]], dtype=np.float32))
    teacher = FilesTeacher(folder)
    np.testing.assert_allclose(teacher.embed_text(["Arm_Chair", "wall"], ["{}"]), [[0.6, 0.8], [0, 1]], atol=1e-6)
    with pytest.raises(ConventionError, match="expected some of its classes: wall, arm chair, got 'sofa' and 1 more"):
        teacher.embed_text(["wall", "sofa", "door"], ["{}"])


def test_teachers_of_classes_have_no_words(tmp_path: Path):
    teacher = FilesTeacher(make(tmp_path, LABELS, TeacherAnswer(labels=np.zeros((1, 1), dtype=np.int32))))
    with pytest.raises(ConventionError, match=r"expected a teacher with features, got labels\. Fix: ask for its classes: wall"):
        teacher.embed_text(["wall"], ["{}"])


def test_labels_may_bring_a_text_space_of_another_dimension(tmp_path: Path):
    folder = make(tmp_path, LABELS, TeacherAnswer(labels=np.zeros((1, 1), dtype=np.int32)))
    assert FilesTeacher(folder).words is None
    rows = np.eye(len(LABELS.classes), 5, dtype=np.float32)
    rows[1] = [0, 3, 0, 0, 4]
    write_text_embeddings(folder, LABELS, rows)
    teacher = FilesTeacher(folder)
    words = teacher.words
    assert words is not None and words.default_templates() == LABELS.templates and words.name == f"files:{folder}"
    np.testing.assert_allclose(words.embed_text(LABELS.classes[1:2], ["{}"]), [[0, 0.6, 0, 0, 0.8]], atol=1e-6)
    with pytest.raises(ConventionError, match="expected some of its classes: wall"):
        words.embed_text(["sofa"], ["{}"])
    with pytest.raises(ConventionError, match="expected a teacher with features, got labels"):
        teacher.embed_text(["wall"], ["{}"])  # its answers are still no features
    open_words = FilesTeacher(folder, OneHotText(dim=7)).words
    assert open_words is not None and open_words.embed_text(["sofa"], ["{}"]).shape == (1, 7)


@dataclass
class OneHotText:
    dim: int = 2

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        return np.eye(self.dim, dtype=np.float32)[[len(phrase) % self.dim for phrase in phrases]]


def test_a_text_encoder_opens_the_vocabulary(tmp_path: Path):
    folder = make(tmp_path, FEATURES, TeacherAnswer(values=np.ones((1, 1, 2), dtype=np.float32)))
    teacher = FilesTeacher(folder, OneHotText())
    assert teacher.vocabulary() is None and teacher.embed_text(["abc"], ["{}"]).tolist() == [[0, 1]]
    with pytest.raises(ConventionError, match=r"expected 2 numbers per phrase, got 3\. Fix: .*some/clip"):
        FilesTeacher(folder, OneHotText(dim=3)).embed_text(["abc"], ["{}"])


def test_the_fingerprint_follows_the_files(tmp_path: Path):
    answer = TeacherAnswer(labels=np.zeros((1, 1), dtype=np.int32))
    folder = make(tmp_path, LABELS, answer)
    first = FilesTeacher(folder).fingerprint
    assert FilesTeacher(folder).fingerprint == first
    os.utime(folder / "0001.safetensors", ns=(1, 1))
    second = FilesTeacher(folder).fingerprint
    write_answer(folder, "0002.png", LABELS, answer)
    third = FilesTeacher(folder).fingerprint
    assert len({first, second, third}) == 3


def test_a_column_per_class_must_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    teacher = FilesTeacher(make(tmp_path, LABELS, TeacherAnswer(labels=np.zeros((4, 5), dtype=np.int32))))
    monkeypatch.setattr(from_files, "_MAX_FIELD_BYTES", 4 * 5 * 3 * 4 - 1)
    with pytest.raises(ResourceError, match=r"memory for 3 classes at 5×4.*lower resolution"):
        teacher.dense(IMAGE, "0001.png")


@dataclass
class Constant:
    """A teacher that gives the same field for every frame but one."""

    values: np.ndarray
    kind: str = "features"
    name: str = "constant"
    fingerprint: str = "1"
    logit_scale: float = 7.0
    licence: str | None = "CC-BY-4.0"
    asked: list[str] = field(default_factory=list)

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
        self.asked.append(frame_name)
        return None if frame_name == "missing.png" else DenseField(self.values, *image.shape[:2], kind=self.kind)

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        return OneHotText().embed_text(phrases, templates)

    def default_templates(self) -> tuple[str, ...]:
        return ("a {}",)

    def vocabulary(self) -> Vocabulary | None:
        if self.kind == "features":
            return None
        return Vocabulary(("x", "y"), (("x",), ("y",)), ("{}",), ((0, 0, 0), (1, 1, 1)))


FRAMES = [(name, lambda: IMAGE) for name in ("a/1.png", "missing.png", "b/1.png")]
MEANS = np.array([[[0.25, 0.5], [1.0, 0.0]]], dtype=np.float32)


def test_an_exported_teacher_says_the_same(tmp_path: Path):
    teacher: Teacher = Constant(MEANS)
    exported = export_teacher_files(tmp_path / "out", teacher, FRAMES, phrases=["sofa", "cat"], text_space="some/clip")
    assert (exported.frames, exported.skipped) == (2, 1)
    back = FilesTeacher(exported.folder)
    np.testing.assert_array_equal(back.dense(IMAGE, "a/1.png").values, MEANS)
    np.testing.assert_array_equal(back.embed_text(["sofa", "cat"], []), teacher.embed_text(["sofa", "cat"], []))
    assert (back.logit_scale, back.default_templates(), back.info.text_space) == (7.0, ("a {}",), "some/clip")
    assert back.licence == "CC-BY-4.0"
    classes = export_teacher_files(tmp_path / "classes", Constant(MEANS, kind="probabilities"), FRAMES)
    assert FilesTeacher(classes.folder).dense(IMAGE, "b/1.png").kind == "probabilities"
    assert FilesTeacher(classes.folder).vocabulary().names == ("x", "y")


def test_an_export_goes_on_where_it_stopped(tmp_path: Path):
    def stops() -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_teacher_files(tmp_path / "out", Constant(MEANS), [FRAMES[0], ("b/1.png", stops)])
    teacher = Constant(MEANS)
    assert export_teacher_files(tmp_path / "out", teacher, FRAMES).frames == 2
    assert teacher.asked == ["missing.png", "b/1.png"]
    with pytest.raises(DataFormatError, match="expected answers of constant as it is now, got those of another"):
        export_teacher_files(tmp_path / "out", Constant(MEANS, fingerprint="2"), FRAMES)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.png").touch()
    with pytest.raises(DataFormatError, match="expected a new or empty folder"):
        export_teacher_files(tmp_path / "other", teacher, FRAMES)
    with pytest.raises(ConventionError, match="at least one the teacher knows, got none"):
        export_teacher_files(tmp_path / "none", teacher, [FRAMES[1]])
