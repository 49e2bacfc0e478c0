"""The format of a teacher's files: round trips, folders of frames, and everything that may be wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.teacher_files import (
    TeacherAnswer,
    TeacherFilesInfo,
    answer_path,
    find_answer,
    read_answer,
    read_teacher_info,
    read_text_embeddings,
    write_answer,
    write_teacher_info,
    write_text_embeddings,
)

FEATURES = TeacherFilesInfo("features", 4, "small-clip", ("wall", "chair"), -1, 55.0, ("a {}", "the {}"), True)
LABELS = TeacherFilesInfo("labels", 3, classes=("wall", "chair", "lamp"), ignore=255)
PROBABILITIES = TeacherFilesInfo("probabilities", 2, classes=("wall", "chair"))


@pytest.mark.parametrize("info", [FEATURES, LABELS, PROBABILITIES])
def test_the_description_survives(info: TeacherFilesInfo, tmp_path: Path):
    write_teacher_info(tmp_path, info)
    assert read_teacher_info(tmp_path) == info


def test_a_description_may_leave_out_what_has_a_default(tmp_path: Path):
    (tmp_path / "teacher.json").write_text('{"kind": "labels", "classes": ["wall", "chair"]}')
    info = read_teacher_info(tmp_path)
    assert (info.dim, info.ignore, info.logit_scale, info.templates, info.text_space) == (2, -1, 100.0, ("{}",), None)


def test_answers_survive_at_the_precision_of_the_format(tmp_path: Path):
    rng = np.random.default_rng(0)
    values, confidence = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.random((2, 3), dtype=np.float32)
    path = write_answer(tmp_path, "cam0/0001.png", FEATURES, TeacherAnswer(values=values, confidence=confidence))
    assert path == tmp_path / "cam0" / "0001.safetensors"
    back = read_answer(path, FEATURES)
    np.testing.assert_array_equal(back.values, values.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(back.confidence, confidence.astype(np.float16).astype(np.float32))
    labels = np.array([[0, 2, -1], [1, 1, -1]], dtype=np.int32)
    back = read_answer(write_answer(tmp_path, "a.jpg", LABELS, TeacherAnswer(labels=labels)), LABELS)
    np.testing.assert_array_equal(back.labels, labels)
    assert back.values is None and back.confidence is None
    rows = np.array([[3, 0, 0, 0], [0, 0, 4, 3]], dtype=np.float32)
    write_text_embeddings(tmp_path, FEATURES, rows)
    np.testing.assert_allclose(read_text_embeddings(tmp_path, FEATURES), [[1, 0, 0, 0], [0, 0, 0.8, 0.6]], atol=1e-6)
    assert read_text_embeddings(tmp_path / "elsewhere", FEATURES) is None


def test_frames_are_found_in_their_folder_first(tmp_path: Path):
    info = PROBABILITIES
    flat = write_answer(tmp_path, "0001.png", info, TeacherAnswer(values=np.zeros((1, 1, 2), dtype=np.float32)))
    assert find_answer(tmp_path, "images/0001.jpg") == flat and find_answer(tmp_path, "0002.jpg") is None
    nested = write_answer(tmp_path, "images/0001.png", info, TeacherAnswer(values=np.zeros((1, 1, 2), dtype=np.float32)))
    assert find_answer(tmp_path, "images/0001.jpg") == nested and find_answer(tmp_path, "0001.jpg") == flat
    assert answer_path(tmp_path, "a.b.jpg") == tmp_path / "a.b.safetensors"
    assert find_answer(tmp_path, "images/text.png") is None


@pytest.mark.parametrize("name", ["", "../x.png", "/etc/x.png", "a/../../x.png", "text.png", "."])
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ConventionError, match="frame name"):
        answer_path(tmp_path, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "depth"}, "kind: expected 'features' or 'probabilities' or 'labels'"),
        ({"kind": "features", "classes": ["wall"]}, "dim: expected the number of columns of the features, got nothing"),
        ({"kind": "labels"}, "classes: expected a name per class, because the kind is labels, got none"),
        ({"kind": "probabilities", "dim": 3, "classes": ["wall", "chair"]}, "dim: expected 2, one per class, got 3"),
        ({"kind": "labels", "classes": ["wall", "wall"]}, "classes: expected each name once"),
        ({"kind": "labels", "clases": ["wall"]}, "did you mean 'classes'"),
        ({"kind": "features", "dim": 4, "unit_means": 1}, "unit_means: expected true or false, got 1"),
        ({"kind": "features", "dim": 4, "licence": 5}, "licence: expected a text"),
        ({"kind": "features", "dim": 4, "logit_scale": 0}, "logit_scale: expected a number above 0"),
        ({"kind": "labels", "classes": "wall"}, "classes: expected a list of texts"),
    ],
)
def test_descriptions_that_are_wrong(content: dict[str, object], message: str, tmp_path: Path):
    (tmp_path / "teacher.json").write_text(json.dumps(content))
    with pytest.raises(DataFormatError, match=message):
        read_teacher_info(tmp_path)


def test_a_missing_folder_and_a_missing_description(tmp_path: Path):
    with pytest.raises(DataFormatError, match=r"absent: expected a folder with teacher\.json, got nothing"):
        read_teacher_info(tmp_path / "absent")
    with pytest.raises(DataFormatError, match=r"teacher\.json: expected a file, got nothing"):
        read_teacher_info(tmp_path)


@pytest.mark.parametrize(
    ("info", "tensors", "message"),
    [
        (FEATURES, {"features": np.zeros((2, 3, 5), np.float16)}, r"features: expected the shape \[rows, columns, 4\]"),
        (FEATURES, {"features": np.zeros((6, 4), np.float16)}, r"expected the shape \[rows, columns, 4\]"),
        (FEATURES, {"features": np.zeros((0, 3, 4), np.float16)}, r"expected the shape"),
        (FEATURES, {"features": np.zeros((2, 3, 4), np.int16)}, "features: expected F16 or F32, got I16"),
        (FEATURES, {"features": np.full((1, 1, 4), np.nan, np.float16)}, "expected finite numbers"),
        (FEATURES, {"labels": np.zeros((2, 3), np.int16)}, "expected the tensors features, and perhaps confidence, got labels"),
        (FEATURES, {"features": np.zeros((1, 1, 4), np.float16), "x": np.zeros(1)}, "got features, x"),
        (
            FEATURES,
            {"features": np.zeros((2, 3, 4), np.float16), "confidence": np.zeros((3, 2), np.float16)},
            r"confidence: expected the shape \[2, 3\], got \[3, 2\]",
        ),
        (PROBABILITIES, {"probabilities": np.full((1, 1, 2), 1.5, np.float16)}, r"numbers in \[0, 1\]"),
        (LABELS, {"labels": np.full((1, 1), 3, np.int16)}, "labels: expected 255 or a class from 0 to 2, got 3"),
        (LABELS, {"labels": np.full((1, 1), -2, np.int16)}, "labels: expected 255 or a class from 0 to 2, got -2"),
    ],
)
def test_answers_that_are_wrong(info: TeacherFilesInfo, tensors: dict[str, np.ndarray], message: str, tmp_path: Path):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(DataFormatError, match=message):
        read_answer(tmp_path / "a.safetensors", info)


@pytest.mark.parametrize("cut", [0, 7, 40, -3])
def test_damaged_answers_and_headers_that_promise_more_than_there_is(cut: int, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_file({"probabilities": np.zeros((2, 3, 2), np.float16)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataFormatError, match="expected a safetensors file"):
        read_answer(path, PROBABILITIES)
    header = json.dumps({"probabilities": {"dtype": "F16", "shape": [99999, 99999, 2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(DataFormatError, match="expected a safetensors file"):
        read_answer(path, PROBABILITIES)


def test_text_embeddings_that_do_not_fit(tmp_path: Path):
    save_file({"text_embeddings": np.ones((3, 4), np.float32)}, tmp_path / "text.safetensors")
    with pytest.raises(DataFormatError, match=r"expected the shape \[2, 4\], a row per class of teacher\.json, got \[3, 4\]"):
        read_text_embeddings(tmp_path, FEATURES)
    save_file({"text_embeddings": np.zeros((2, 4), np.float32)}, tmp_path / "text.safetensors")
    with pytest.raises(DataFormatError, match="rows with a direction"):
        read_text_embeddings(tmp_path, FEATURES)


def test_writers_refuse_what_readers_would(tmp_path: Path):
    with pytest.raises(ShapeError, match="expected 4 columns, got 3"):
        write_answer(tmp_path, "a.png", FEATURES, TeacherAnswer(values=np.zeros((1, 1, 3), np.float32)))
    with pytest.raises(ConventionError, match="expected features, got labels"):
        write_answer(tmp_path, "a.png", FEATURES, TeacherAnswer(labels=np.zeros((1, 1), np.int32)))
    with pytest.raises(ConventionError, match="numbers that fit into 16 bits"):
        write_answer(tmp_path, "a.png", FEATURES, TeacherAnswer(values=np.full((1, 1, 4), 1e5, np.float32)))
    with pytest.raises(ConventionError, match="a class from 0 to 2"):
        write_answer(tmp_path, "a.png", LABELS, TeacherAnswer(labels=np.full((1, 1), 3, np.int32)))
    with pytest.raises(ShapeError, match="text embeddings"):
        write_text_embeddings(tmp_path, FEATURES, np.zeros((1, 4), np.float32))
    with pytest.raises(ConventionError, match="values or labels"):
        TeacherAnswer()
    assert not list(tmp_path.iterdir())
