"""The text tower of triplet sentences: its file, its words, what the packaged weights know, and a CLIP in its place."""

import json
import os
import re
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from tests.support.tiny_models import save_tiny_clip

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.networks.relation_text import RelationTextNetwork, RelationTextShape
from scenewise.teachers.relation_text import (
    WEIGHTS,
    RelationLanguage,
    RelationText,
    TripletText,
    load_relation_text,
    open_triplet_text,
    read_relation_text,
    save_relation_text,
    triplet_sentence,
)
from scenewise.worlds.captions import words_of
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relation_words import TOLD_PREDICATES, known_words

LANGUAGE = RelationLanguage(("a", "chair", "left", "of", "table"), ("chair", "table"), ("left",))
SHAPE = RelationTextShape(width=16, heads=2, context=8, words=5, dim=12)


@pytest.fixture
def text() -> RelationText:
    torch.manual_seed(0)
    return RelationText(RelationTextNetwork(SHAPE), LANGUAGE)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")


def test_embeddings_are_units_and_hear_the_order_of_words(text: RelationText) -> None:
    found = text.embed(["a chair left of a table", "A table left of a chair!", "a chair"])
    assert found.shape == (3, 12) and found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6) and np.abs(found[0] - found[1]).max() > 1e-3
    assert np.allclose(found[2], text.embed(["a chair"])[0], atol=1e-6), "not what it was embedded beside"
    assert text.embed([]).shape == (0, 12)


def test_unknown_words_are_named_and_nothing_is_cut_off_silently(text: RelationText) -> None:
    with pytest.raises(ConventionError, match=r"chair, table, and left.*'giraffe', 'under'.*hub:"):
        text.embed(["a chair", "a giraffe under a chair"])
    with pytest.raises(ConventionError, match="no word"):
        text.embed([" … "])
    with pytest.raises(ConventionError, match="at most 6 words, got 7"):
        text.embed(["a chair left of a table table"])


def test_the_file_gives_back_the_tower(text: RelationText, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_relation_text(path, text.network, LANGUAGE)
    found = read_relation_text(path)
    assert found.language == LANGUAGE and found.network.shape == SHAPE and len(found.fingerprint) == 64
    assert np.allclose(found.embed(["a chair"]), text.embed(["a chair"]), atol=5e-3)
    whole = path.read_bytes()
    save_relation_text(path, text.network, LANGUAGE)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: [], "metadata scenewise"),
        (lambda about: about | {"format": "scenewise small clip 1"}, "format: expected scenewise relation text 1"),
        (lambda about: about | {"shape": about["shape"] | {"depth": 10**7}}, "depth: expected a whole number"),
        (lambda about: about | {"shape": about["shape"] | {"width": 8000}}, "positions: expected 8×8000, got 8×16"),
        (lambda about: about | {"shape": about["shape"] | {"context": 4000}}, "positions: expected 4000×16, got 8×16"),
        (lambda about: about | {"shape": about["shape"] | {"heads": 5}}, "heads: expected a divisor of width"),
        (lambda about: about | {"shape": about["shape"] | {"context": 2}}, "context: expected a whole number from 3"),
        (lambda about: about | {"words": about["words"][1:]}, "words: expected 5 different words, as the shape says, got 4"),
        (lambda about: about | {"words": [*about["words"][1:], "of"]}, "words: expected 5 different words"),
        (lambda about: about | {"nouns": [1]}, "nouns: expected a list of texts"),
        (lambda about: about | {"code": "x"}, "'code'"),
        (lambda about: "not JSON at all", "expected a scenewise file"),
    ],
)
def test_a_description_that_lies_is_named(text: RelationText, tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_relation_text(path, text.network, LANGUAGE)
    with safe_open(path, framework="pt") as file:
        about, tensors = json.loads(file.metadata()["scenewise"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = change(about)
    save_file(tensors, path, metadata={"scenewise": changed if isinstance(changed, str) else json.dumps(changed)})
    with pytest.raises(DataFormatError, match=re.escape(message)):
        read_relation_text(path)


def test_weights_that_are_no_numbers_and_damaged_files_are_refused(text: RelationText, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataFormatError, match="nothing"):
        read_relation_text(path)
    save_relation_text(path, text.network, LANGUAGE)
    whole = path.read_bytes()
    for broken in (whole[:-20], whole[: len(whole) // 2], b""):
        path.write_bytes(broken)
        with pytest.raises(DataFormatError):
            read_relation_text(path)
    with torch.no_grad():
        text.network.text.projection[2, 1] = float("nan")
    save_relation_text(path, text.network, LANGUAGE)
    with pytest.raises(DataFormatError, match=r"text\.projection: expected finite numbers"):
        read_relation_text(path)


# ------------------------------------------------------------------------------------------------------- the packaged weights


def test_the_packaged_weights_are_small_and_know_every_word() -> None:
    text = load_relation_text()
    assert WEIGHTS.stat().st_size <= 1_000_000
    assert text.language.words == known_words() and text.language.predicates == TOLD_PREDICATES
    assert all(len(text.token_ids(word)) == text.network.shape.context for word in known_words())
    with pytest.raises(ConventionError, match="'giraffe'"):
        text.embed([triplet_sentence("giraffe", "left", "wall")])


def test_synonyms_and_converses_are_nearer_than_the_wrong_way_round() -> None:
    text = load_relation_text()

    def cosines(*sentences: str) -> list[float]:
        rows = text.embed(sentences)
        return [float(rows[0] @ row) for row in rows[1:]]

    for asked, alike, other in (
        ("a table to the left of a sofa", "a couch is to the right of a desk", "a sofa to the left of a table"),
        ("a picture hanging on a wall", "the wall with a painting hanging on it", "a picture leaning against a wall"),
        ("a lamp standing on a table", "there is a desk with a light on it", "a table standing on a lamp"),
        ("a lamp lighting a chair", "a chair lit by a lamp", "a chair facing a lamp"),
        ("a cabinet bigger than a cabinet", "a cupboard larger than a wardrobe", "a cabinet smaller than a cabinet"),
        ("a chair to the left of a chair", "there is a chair on the left of a chair", "a chair to the right of a chair"),
    ):
        near, far = cosines(asked, alike, other)
        assert near > far + 0.1, (asked, near, far)


def test_sentences_of_one_predicate_lie_together_whatever_the_nouns() -> None:
    """Nearest mean of a predicate, over nouns that are not asked about."""
    text, predicates = load_relation_text(), ("left", "front", "close by", "standing on", "none")
    nouns = ("chair", "table", "sofa", "lamp", "plant", "cabinet", "monitor", "bookshelf", "bed")
    pairs = [pair for number, pair in enumerate(permutations(nouns, 2)) if number % 4 == 0]
    rows = text.embed([triplet_sentence(s, predicate, o) for predicate in predicates for s, o in pairs])
    rows = rows.reshape(len(predicates), len(pairs), -1)
    right = 0
    for held in range(len(pairs)):
        means = np.delete(rows, held, axis=1).mean(1)
        right += int(((rows[:, held] @ means.T).argmax(1) == np.arange(len(predicates))).sum())
    assert right >= 0.8 * len(pairs) * len(predicates)


# ------------------------------------------------------------------------------------------------------------ a CLIP instead


def test_a_clip_takes_the_place_of_the_embedded_tower(tmp_path: Path) -> None:
    model = save_tiny_clip(tmp_path)
    text = open_triplet_text(f"hub:{tmp_path}", device="cpu")
    assert isinstance(text, TripletText) and text.dim == 16 and text.name == str(tmp_path)
    sentences = [triplet_sentence(s, "supported by", o) for s, o in (("chair", "wall"), ("wall", "chair"))]
    found = text.embed(sentences)
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(tmp_path)(sentences, padding=True, truncation=True, max_length=40, return_tensors="pt")
    with torch.no_grad():
        expected = F.normalize(model.get_text_features(input_ids=ids.input_ids).pooler_output, dim=-1)
    assert np.allclose(found, expected.numpy(), atol=2e-6)
    assert text.embed([]).shape == (0, 16) and len(text.fingerprint) > 8 and text.licence is None


def test_triplet_text_by_name() -> None:
    assert open_triplet_text("small") is load_relation_text() and isinstance(load_relation_text(), TripletText)
    for name in ("large", "hub:", "openai/clip-vit-base-patch32"):
        with pytest.raises(ConventionError, match=r'"small" or "hub:ID"'):
            open_triplet_text(name)
    with pytest.raises(ResourceError, match="network is switched off"):
        open_triplet_text("hub:nobody/nothing-of-that-name")


def test_every_class_has_a_sentence_with_every_predicate() -> None:
    known = set(load_relation_text().language.words)
    for predicate in TOLD_PREDICATES:
        for name in CLASS_NAMES:
            assert set(words_of(triplet_sentence(name, predicate, "wall"))) <= known
