"""scenewise query by a picture, and by words and a picture."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.oracle_teacher import Oracle

from scenewise.cli.main import main
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import query
from scenewise.errors import ConventionError, DataFormatError
from scenewise.worlds.classes import CLASS_NAMES


class Seer(Oracle):
    """Takes the red of a picture's first pixel for the number of its class."""

    def embed_image(self, image):
        return self.directions[int(image[0, 0, 0])]


@pytest.fixture(scope="module")
def scene(segmented_scene, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene") / "scene"
    shutil.copytree(segmented_scene[0], folder)
    return folder


def picture_of(name: str, folder: Path) -> Path:
    path = folder / f"{name}.png"
    Image.fromarray(np.full((8, 8, 3), CLASS_NAMES.index(name), dtype=np.uint8)).save(path)
    return path


def test_a_picture_finds_what_it_shows(scene: Path, known_room: Path, tmp_path: Path):
    options = QueryOptions(scene=scene, picture=picture_of("table", tmp_path), views=1, threads=1)
    found = query(options, None, Seer(known_room))
    assert found.text_asked == "table.png" and found.answers[0].name == "table" and found.answers[0].score > 0.8
    assert found.folder == scene / "query" / "table-png" and (found.folder / "heat_splats.ply").exists()
    told = json.loads((found.folder / "result.json").read_text())
    assert told["picture"] == {"name": "table.png", "weight": 1.0} and told["text"] == "table.png"


def test_words_and_a_picture_find_both_and_the_weight_decides(scene: Path, known_room: Path, tmp_path: Path):
    first = {}
    for weight in (0.1, 0.9):
        options = QueryOptions(
            scene=scene,
            text="sofa",
            picture=picture_of("table", tmp_path),
            picture_weight=weight,
            views=0,
            threads=1,
            out=tmp_path / "out",
        )
        first[weight] = query(options, None, Seer(known_room)).answers[0].name
    assert first == {0.1: "sofa", 0.9: "table"}
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["picture"]["weight"] == 0.9 and told["text"] == "sofa + table.png"


def test_the_command_takes_a_picture_without_words(scene: Path, tmp_path: Path, capsys):
    assert main(["query", str(scene), "--picture", str(tmp_path / "none.png"), "--json"]) == 2
    assert "no such file" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["query", str(scene), "--json"]) == 2
    assert "--picture FILE" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_promised_errors(scene: Path, known_room: Path, tmp_path: Path):
    table = picture_of("table", tmp_path)
    with pytest.raises(ConventionError, match=r"picture table.png: expected a scene that was named by features of a teacher"):
        query(QueryOptions(scene=scene, picture=table, threads=1), None, Oracle(known_room))
    for words, picture in (("sofa", None), ("", table)):
        with pytest.raises(ConventionError, match=r"--picture-weight: expected TEXT and --picture"):
            QueryOptions(scene=scene, text=words, picture=picture, picture_weight=0.5)
    with pytest.raises(ConventionError, match=r"--picture-weight: expected a number between 0 and 1"):
        QueryOptions(scene=scene, text="sofa", picture=table, picture_weight=1.0)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataFormatError, match=r"a readable image"):
        query(QueryOptions(scene=scene, picture=tmp_path / "text.png"), None, Seer(known_room))
