"""Questions by a picture, alone and together with words."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import ConventionError, ShapeError
from scenewise.io.element_features import features_path, write_element_features
from scenewise.parts.words.classification import relevancy
from scenewise.parts.words.picture_questions import (
    AskedPicture,
    Comparison,
    joint_embedding,
    picture_cosines,
    picture_level,
    picture_relevancy,
)
from scenewise.parts.words.queries import SceneSearcher
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.vocabularies import Vocabulary

DIM, SCALE = 6, 10.0
PIXELS = np.full((4, 5, 3), 90, dtype=np.uint8)
NOUNS = ("wall", "chair", "lamp")


def unit(values) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


class Seeing:
    """Knows three nouns, open to no others, and one picture."""

    name, fingerprint, logit_scale, licence = "seeing", "s1", SCALE, None
    picture = unit([0.1, 0.2, 0.9, 0.5, 0.0, 0.3])

    def dense(self, image, frame_name):
        return None

    def embed_text(self, phrases, templates):
        return np.stack([np.eye(DIM, dtype=np.float32)[NOUNS.index(phrase)] for phrase in phrases])

    def embed_image(self, image):
        assert image is PIXELS
        return self.picture

    def default_templates(self):
        return ("a {}",)

    def vocabulary(self):
        return Vocabulary(NOUNS, tuple((noun,) for noun in NOUNS), ("a {}",), ((0, 0, 0),) * 3)


def save(folder: Path, of: str, values: np.ndarray, **changes) -> np.ndarray:
    about = {"kind": "features", "teacher": "seeing", "read_out": None, "fingerprint": "s1"} | changes
    kept = ElementFeatures(values.astype(np.float16), np.ones(len(values), dtype=np.float32), **about)
    write_element_features(features_path(folder, of), kept)  # type: ignore[arg-type]
    return kept.values.astype(np.float32)


@pytest.fixture
def points(tmp_path: Path) -> np.ndarray:
    draw = np.random.default_rng(0)
    values = unit(draw.normal(size=(40, DIM)))
    values[11] = 0  # never seen
    return save(tmp_path, "points", values)


def expected_heat(rows: np.ndarray, text: np.ndarray | None, others: np.ndarray, share: float) -> np.ndarray:
    """Element by element."""
    picture = Seeing.picture
    cosines = np.array([row @ picture for row in rows if row.any()])
    level = (cosines.max() + np.median(cosines)) / 2
    joint = picture if text is None else (1 - share) * text + share * picture
    heat = []
    for row in rows:
        instead = level if text is None else (1 - share) * max(row @ other for other in others) + share * level
        margin = (row @ joint - instead) / np.linalg.norm(joint)
        heat.append(1 / (1 + np.exp(-SCALE * margin)) if row.any() else 0.0)
    return np.array(heat)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_words_and_a_picture_are_asked_as_one_vector(points: np.ndarray, tmp_path: Path, share: float):
    text = np.eye(DIM, dtype=np.float32)[1]
    heat = SceneSearcher(tmp_path, Seeing()).heat(" chair ", AskedPicture(PIXELS, "mine.png", share))
    others = np.eye(DIM, dtype=np.float32)[[0, 2]]  # the chair itself is part of the answer
    np.testing.assert_allclose(heat.points, expected_heat(points, text, others, share), atol=1e-5)
    assert heat.text == "chair + mine.png" and heat.splats is None and heat.points[11] == 0
    joint = joint_embedding(text, Seeing.picture, share)
    mix = (1 - share) * text + share * Seeing.picture
    np.testing.assert_allclose(joint, mix / np.linalg.norm(mix), atol=1e-6)
    if share == 0.5:
        np.testing.assert_allclose(joint, unit(text + Seeing.picture), atol=1e-6)


def test_a_picture_alone_is_compared_with_the_scene(points: np.ndarray, tmp_path: Path):
    heat = SceneSearcher(tmp_path, Seeing()).heat("", AskedPicture(PIXELS, "mine.png"))
    np.testing.assert_allclose(heat.points, expected_heat(points, None, np.zeros((1, DIM)), 0.5), atol=1e-5)
    assert heat.text == "mine.png" and heat.points.argmax() == (points @ Seeing.picture).argmax()
    assert 0 < (heat.points > 0.5).mean() < 0.5  # few are more like it than half way from the median


def test_splats_and_points_are_compared_with_the_same_scene(points: np.ndarray, tmp_path: Path):
    alone = SceneSearcher(tmp_path, Seeing()).heat("", AskedPicture(PIXELS, "mine.png")).points
    splats = save(tmp_path, "splats", unit(np.stack([Seeing.picture, -Seeing.picture])))
    write_splats(tmp_path)
    heat = SceneSearcher(tmp_path, Seeing()).heat("", AskedPicture(PIXELS, "mine.png"))
    together = expected_heat(np.concatenate([splats, points]), None, np.zeros((1, DIM)), 0.5)
    np.testing.assert_allclose(np.concatenate([heat.splats, heat.points]), together, atol=1e-5)
    assert (heat.points[points.any(axis=1)] < alone[points.any(axis=1)]).all()  # now there is something that fits better


def write_splats(folder: Path) -> None:
    import torch

    from scenewise.io.ply.gaussians import write_gaussians_ply
    from scenewise.scenes.gaussians import Gaussians

    quats, none = torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1), torch.zeros(2, 0, 3)
    splats = Gaussians(torch.zeros(2, 3), torch.zeros(2, 3), quats, torch.zeros(2), torch.zeros(2, 1, 3), none)
    write_gaussians_ply(folder / "splats.ply", splats)


def test_words_alone_are_the_limit_of_a_small_picture(points: np.ndarray):
    words = Comparison(np.eye(DIM, dtype=np.float32)[1], np.eye(DIM, dtype=np.float32)[[0, 2]])
    nearly = picture_relevancy(points, Seeing.picture, 0.3, SCALE, words=words, share=1e-6)
    np.testing.assert_allclose(nearly, relevancy(points, words.text[None], words.others, SCALE), atol=1e-4)


def test_the_level_lies_between_the_median_and_the_closest():
    rows = np.stack([[1, 0], [0, 1], [0.6, 0.8], [0, 0], [0.8, -0.6]]).astype(np.float16)
    cosines = picture_cosines(rows, np.array([1.0, 0.0], dtype=np.float32))
    np.testing.assert_allclose(cosines, [1, 0, 0.6, np.nan, 0.8], atol=1e-3)
    assert picture_level(cosines[np.isfinite(cosines)]) == pytest.approx((1 + 0.7) / 2, abs=1e-3)
    assert picture_level(np.zeros(0, dtype=np.float32)) == 0.0


@pytest.mark.errors
def test_promised_errors(points: np.ndarray, tmp_path: Path):
    picture = AskedPicture(PIXELS, "mine.png")
    reading = SceneSearcher(tmp_path, Blind())
    assert not reading.takes_pictures and SceneSearcher(tmp_path, Seeing()).takes_pictures
    with pytest.raises(ConventionError, match=r"picture mine.png: expected .* understands pictures, got seeing"):
        reading.heat("chair", picture)
    with pytest.raises(ConventionError, match=r"a word or a sentence"):
        reading.heat(" ")
    save(tmp_path, "points", np.full((3, 3), 0.3), kind="probabilities", classes=NOUNS)
    listed = SceneSearcher(tmp_path, Seeing())
    assert not listed.takes_pictures
    with pytest.raises(ConventionError, match=r"seeing, which gives probabilities of classes"):
        listed.heat("", picture)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ConventionError, match=r"between 0 and 1"):
            AskedPicture(PIXELS, "mine.png", share)
    opposite = unit([1, 0, 0])
    with pytest.raises(ConventionError, match=r"opposite embeddings"):
        joint_embedding(opposite, -opposite)
    with pytest.raises(ShapeError, match=r"3 numbers, as the words"):
        joint_embedding(opposite, unit([1, 0]))
    with pytest.raises(ShapeError, match=r"6 numbers, as the features"):
        picture_cosines(points, opposite)


class Blind:
    """Understands words and no pictures."""

    name, fingerprint, logit_scale, licence = Seeing.name, Seeing.fingerprint, SCALE, None
    dense, embed_text, default_templates, vocabulary = (
        Seeing.dense,
        Seeing.embed_text,
        Seeing.default_templates,
        Seeing.vocabulary,
    )
