"""classes.json: what is written comes back, and what is damaged is named."""

import json
from pathlib import Path

import pytest

from scenewise.errors import DataFormatError
from scenewise.io.vocabularies import read_vocabulary, write_vocabulary
from scenewise.scenes.vocabularies import Vocabulary

WORDS = Vocabulary(
    names=("wall", "sofa"),
    phrases=(("wall",), ("sofa", "couch")),
    templates=("a photo of a {}.", "there is a {} in the room"),
    colors_u8=((1, 2, 3), (255, 0, 128)),
)


def test_a_vocabulary_comes_back(tmp_path: Path):
    write_vocabulary(tmp_path / "classes.json", WORDS, teacher="small-clip")
    assert read_vocabulary(tmp_path / "classes.json") == (WORDS, "small-clip")
    write_vocabulary(tmp_path / "classes.json", WORDS)
    assert read_vocabulary(tmp_path / "classes.json") == (WORDS, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda top: top.update(format="other"), "format: expected 'scenewise-classes'"),
        (lambda top: top.update(version=2), "version: expected at most 1"),
        (lambda top: top.update(extra=1), "expected only known keys, got 'extra'"),
        (lambda top: top["classes"][1].update(color=[1, 2, 256]), r"classes\[1\]\.color: expected three whole numbers"),
        (lambda top: top["classes"][1].update(color=[1, 2.5, 3]), r"classes\[1\]\.color: expected three whole numbers"),
        (lambda top: top["classes"][0].update(phrases="wall"), r"classes\[0\]\.phrases: expected a list of texts"),
        (lambda top: top["classes"][0].update(phrases=[]), "expected at least one per class"),
        (lambda top: top["classes"][1].update(name="wall"), "'wall' more than once"),
        (lambda top: top.update(templates=["no place"]), "prompts with one {}"),
        (lambda top: top.update(templates=[3]), "templates: expected a list of texts"),
    ],
)
def test_damage_is_named(tmp_path: Path, change, message):
    path = tmp_path / "classes.json"
    write_vocabulary(path, WORDS)
    top = json.loads(path.read_text())
    change(top)
    path.write_text(json.dumps(top))
    with pytest.raises(DataFormatError, match=message):
        read_vocabulary(path)
