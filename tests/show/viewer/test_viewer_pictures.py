"""Pictures as questions in the viewer."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.support.small_room import SOFA, TruthfulSearcher, room_parts

from scenewise.cli.main import main
from scenewise.errors import ConventionError, DataFormatError
from scenewise.parts.words.picture_questions import AskedPicture
from scenewise.scenes.heats import Heat
from scenewise.show.viewer.searcher import takes_pictures, uploaded_picture
from scenewise.show.viewer.server import SceneViewer


class Seeing(TruthfulSearcher):
    """Takes a blue picture for the sofa."""

    takes_pictures = True

    def heat(self, text: str, picture: AskedPicture | None = None) -> Heat:
        if picture is None:
            return super().heat(text)
        found = super().heat("sofa" if picture.image_u8[0, 0, 2] > 200 else "lamp")
        return Heat(f"{text} + {picture.name}" if text else picture.name, found.splats, found.points)


def png(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), color).save(file, "PNG")
    return file.getvalue()


def test_an_uploaded_picture_is_asked_with_the_words_in_the_box(room_folder: Path):
    with SceneViewer(room_folder, Seeing()) as viewer:
        panel = viewer._panel
        panel._ask_with(SimpleNamespace(name="a <b>.png", content=png((0, 0, 255))))
        assert viewer.look.mode == "heat" and "1 place answers <b>a &lt;b&gt;.png</b>" in panel.answer.content
        redness = viewer.sent_colors().astype(int)[:, 0] - viewer.sent_colors()[:, 1:].mean(axis=1)
        assert set(room_parts()[1][redness > 100]) == {SOFA}
        panel.question.value = "bright"
        panel._ask_with(SimpleNamespace(name="a.png", content=png((255, 0, 0))))
        assert "<b>bright + a.png</b>" in panel.answer.content and panel.question.value == "bright"
        panel._ask_with(SimpleNamespace(name="a.png", content=b"nothing"))
        assert "a readable image" in panel.answer.content
        assert panel.upload is not None


def test_who_understands_no_pictures_is_not_offered_any(room_folder: Path):
    assert takes_pictures(Seeing()) and not takes_pictures(TruthfulSearcher()) and not takes_pictures(None)
    with SceneViewer(room_folder, TruthfulSearcher()) as viewer:
        assert viewer._panel.upload is None
        with pytest.raises(ConventionError, match="whose teacher understands pictures, got words alone"):
            viewer.ask("sofa", uploaded_picture("a.png", png((0, 0, 0))))


def test_the_command_begins_with_a_picture_where_the_scene_can_answer(room_folder: Path, tmp_path: Path, capsys):
    (tmp_path / "a.png").write_bytes(png((0, 0, 255)))
    assert main(["view", str(room_folder), "--picture", str(tmp_path / "a.png"), "--no-open", "--port", "0"]) == 2
    assert "--picture: expected a scene that can answer" in capsys.readouterr().err


def test_an_upload_keeps_its_name_and_pixels():
    picture = uploaded_picture("../../etc/a.png", png((1, 2, 3)))
    assert picture.name == "a.png" and (picture.image_u8 == np.array([1, 2, 3])).all() and picture.image_u8.shape == (3, 4, 3)
    with pytest.raises(DataFormatError, match="empty file"):
        uploaded_picture("a.png", b"")
