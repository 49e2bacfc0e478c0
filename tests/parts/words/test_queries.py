"""Text questions to lifted features, without images."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.element_features import features_path, read_element_features, write_element_features
from scenewise.parts.words.queries import SceneSearcher, classes_named
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.vocabularies import Vocabulary

NOUNS = ("wall", "floor", "chair", "sofa", "table")
WORDS = Vocabulary(NOUNS, tuple((noun,) for noun in NOUNS), ("a {}",), ((0, 0, 0),) * 5)
EMBEDDINGS = np.eye(6, dtype=np.float32)
EMBEDDINGS[3] = 0.8 * EMBEDDINGS[3] + 0.6 * EMBEDDINGS[5]  # sofa and chair share a direction: sitting
EMBEDDINGS[2] = 0.8 * EMBEDDINGS[2] + 0.6 * EMBEDDINGS[5]


class Nouns:
    """Knows five nouns and what sitting is."""

    name, fingerprint, logit_scale, licence = "nouns", "f1", 10.0, None

    def __init__(self, closed: bool = True) -> None:
        self.closed, self.templates_seen = closed, []

    def dense(self, image, frame_name):
        return None

    def embed_text(self, phrases, templates):
        self.templates_seen.append(tuple(templates))
        rows = []
        for phrase in phrases:
            if "sit" in phrase:
                row = EMBEDDINGS[5]
            elif phrase in NOUNS:
                row = EMBEDDINGS[NOUNS.index(phrase)]
            elif not self.closed:
                row = np.full(6, 6**-0.5, dtype=np.float32)
            else:
                raise ConventionError(f"query {phrase!r}", expected="a known noun", got="none")
            rows.append(row)
        return np.stack(rows)

    def default_templates(self):
        return ("a {}",)

    def vocabulary(self):
        return WORDS if self.closed else None


def save(folder: Path, values: np.ndarray, **changes) -> ElementFeatures:
    about = {"kind": "features", "teacher": "nouns", "read_out": None, "fingerprint": "f1"} | changes
    features = ElementFeatures(values.astype(np.float16), np.ones(len(values), dtype=np.float32), **about)
    write_element_features(features_path(folder, "points"), features)
    return features


def test_a_noun_lights_up_where_it_is(tmp_path: Path):
    save(tmp_path, np.concatenate([EMBEDDINGS[:5], np.zeros((1, 6))]))
    heat = SceneSearcher(tmp_path, Nouns()).heat("  table ")
    assert heat.text == "table" and heat.splats is None
    assert heat.points.argmax() == 4 and heat.points[4] > 0.99
    assert (heat.points[:4] < 0.5).all()
    assert heat.points[5] == 0  # never seen


def test_the_teacher_is_opened_as_it_was_when_it_made_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from scenewise.teachers import choose

    asked = []
    monkeypatch.setattr(choose, "open_choice", lambda choice: asked.append(vars(choice)) or Nouns())
    for smoothing in (False, True):
        save(tmp_path, EMBEDDINGS[:5], read_out="maskclip", key_smoothing=smoothing)
        assert b"key_smoothing" not in features_path(tmp_path, "points").read_bytes() or smoothing
        SceneSearcher(tmp_path)
    as_made = {
        "teacher": "nouns",
        "read_out": "maskclip",
        "text_from": None,
        "device": None,
        "read_out_settings": {},
        "method_read_out": None,
    }
    assert asked == [as_made | {"key_smoothing": each} for each in (False, True)]
    assert b"read_out_settings" not in features_path(tmp_path, "points").read_bytes()
    save(tmp_path, EMBEDDINGS[:5], read_out="maskclip", read_out_settings={"keep_ffn": False, "class_residual": 0.5})
    SceneSearcher(tmp_path)
    assert asked[-1]["read_out_settings"] == {"keep_ffn": False, "class_residual": 0.5}


def test_what_answers_the_question_is_not_what_it_is_compared_with(tmp_path: Path):
    # The closest noun to "sit" is the chair itself; compared with it, no chair would ever be relevant.
    save(tmp_path, EMBEDDINGS[:5])
    teacher = Nouns()
    heat = SceneSearcher(tmp_path, teacher).heat("where can I sit")
    assert (heat.points[[2, 3]] > 0.9).all() and (heat.points[[0, 1, 4]] < 0.5).all()
    assert teacher.templates_seen[0] == ("{}",)  # a sentence goes into no template


def test_an_open_vocabulary_is_compared_with_phrases_that_mean_nothing(tmp_path: Path):
    save(tmp_path, EMBEDDINGS[:5])
    heat = SceneSearcher(tmp_path, Nouns(closed=False)).heat("wall")
    expected = 1 / (1 + np.exp(10.0 * (6**-0.5 - 1.0)))
    assert heat.points[0] == pytest.approx(expected, abs=2e-3)


def test_probabilities_answer_by_the_names_of_their_classes(tmp_path: Path):
    table = np.array([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]])
    save(tmp_path, table, kind="probabilities", classes=("wall", "office chair", "table"))
    searcher = SceneSearcher(tmp_path, Nouns())
    assert searcher.heat("the Tables, please").points.tolist() == [0.0, 0.75]
    assert searcher.heat("wall or table").points.tolist() == [0.75, 0.75]
    with pytest.raises(ConventionError, match="ask for one of: wall, office chair, table"):
        searcher.heat("something to sit on")


def test_names_are_found_as_whole_words():
    assert classes_named("the doors", ("door", "doormat", "oor")) == (0,)


def test_promised_errors(tmp_path: Path):
    with pytest.raises(DataFormatError, match="run scenewise segment"):
        SceneSearcher(tmp_path, Nouns())
    save(tmp_path, EMBEDDINGS[:5], fingerprint="f2")
    with pytest.raises(DataFormatError, match="made otherwise"):
        SceneSearcher(tmp_path, Nouns())
    save(tmp_path, EMBEDDINGS[:5])
    with pytest.raises(ConventionError, match="a word or a sentence"):
        SceneSearcher(tmp_path, Nouns()).heat("  ")
    with pytest.raises(ConventionError, match="a known noun"):
        SceneSearcher(tmp_path, Nouns()).heat("zebra")


def test_features_come_back(tmp_path: Path):
    written = save(tmp_path, EMBEDDINGS, read_out="sc_clip")
    read = read_element_features(features_path(tmp_path, "points"), count=6)
    np.testing.assert_array_equal(read.values, written.values)
    assert (read.read_out, read.fingerprint, read.teacher, read.classes) == ("sc_clip", "f1", "nouns", ())


def test_damaged_features_are_named(tmp_path: Path):
    from safetensors.numpy import save as pack

    path = features_path(tmp_path, "points")
    save(tmp_path, EMBEDDINGS)
    with pytest.raises(DataFormatError, match="7 rows of F16"):
        read_element_features(path, count=7)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(DataFormatError, match="a safetensors file"):
        read_element_features(path)
    path.write_bytes(pack({"values": np.zeros((2, 3), dtype=np.float16), "weight": np.ones(2, dtype=np.float32)}))
    with pytest.raises(DataFormatError, match="metadata teacher: expected JSON"):
        read_element_features(path)
    infinite = EMBEDDINGS.copy()
    infinite[0, 0] = np.inf
    save(tmp_path, infinite)
    with pytest.raises(DataFormatError, match="values: expected finite numbers"):
        read_element_features(path)
