"""Inputs as people have them: each is read, perhaps with a word, or refused by an error of ours that names file and fix."""

import json
import warnings
from pathlib import Path

import pytest
from tests.support.fabricated_folders import asymmetric_world, write_transforms
from tests.support.hostile_captures import HOSTILE_CAPTURES
from tests.support.hostile_files import HOSTILE_FILES
from tests.support.hostile_inputs import Hostile

from scenewise.cli.main import main
from scenewise.errors import CaptureWarning, ScenewiseError

CORPUS = HOSTILE_CAPTURES + HOSTILE_FILES


def test_the_corpus_is_large_and_its_names_are_unique():
    names = {hostile.name for hostile in CORPUS}
    assert len(names) == len(CORPUS) >= 100


def _everything_below(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.errors
@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_an_input_is_read_or_refused_by_name_with_a_fix(hostile: Hostile, tmp_path: Path):
    path = hostile.write(tmp_path)
    path = path if isinstance(path, Path) else tmp_path
    before = _everything_below(tmp_path)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        if hostile.says:
            with pytest.raises(ScenewiseError) as refused:
                hostile.read(path)
            message = str(refused.value)
            missing = [words for words in hostile.says if words not in message]
            assert not missing, f"{missing} not in: {message}"
            assert str(path) in message or str(tmp_path) in message, f"no file in: {message}"
            assert ". Fix: " in message, f"no fix in: {message}"
        else:
            found = hostile.read(path)
            assert hostile.gives is None or found == hostile.gives
    said = [str(one.message) for one in noticed if issubclass(one.category, CaptureWarning)]
    assert len(said) == len(noticed), "only words about the capture are expected"
    missing = [words for words in hostile.warns if not any(words in text for text in said)]
    assert not missing, f"{missing} not in: {said}"
    assert hostile.warns or not said, f"a word too many: {said}"
    assert all(str(tmp_path) in text for text in said)
    assert _everything_below(tmp_path) == before, "reading has changed something"


@pytest.mark.parametrize("name", ["frames_none", "panorama", "colmap_cameras_empty", "image_is_a_pipe", "list_deep", "nothing"])
def test_the_command_line_refuses_with_2_and_one_json_object(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hostile = next(one for one in CORPUS if one.name == name)
    hostile.write(tmp_path)
    assert main(["check", str(tmp_path), "--strict", "--json"]) == 2
    captured = capsys.readouterr()
    message = json.loads(captured.out)["error"]["message"]
    assert "defect" not in captured.err and str(tmp_path) in message


def test_what_readers_notice_is_in_the_report_and_refused_when_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hostile = next(one for one in CORPUS if one.name == "colmap_two_models")
    hostile.write(tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "warning " in said.out and "sparse/1 with 4, and left out sparse/0 with 2" in said.out
    assert "COLMAP models" not in said.err  # once is enough
    assert main(["check", str(tmp_path), "--strict"]) == 2
    assert "2 COLMAP models" in capsys.readouterr().err


def test_depth_that_cannot_be_read_is_found_by_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hostile = next(one for one in CORPUS if one.name == "depth_8_bits")
    hostile.write(tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (
        "error   " in said and "one 8-bit channel (4 of 4 depth maps looked at cannot be read)" in said and "16-bit PNG" in said
    )
    assert main(["check", str(tmp_path), "--strict"]) == 2


def test_floats_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    next(one for one in CORPUS if one.name == "float_tiff").write(tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    assert "4 images hold floating-point numbers, which are read as sRGB in [0, 1]" in capsys.readouterr().out


def test_reconstruct_refuses_a_split_without_training_images_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_transforms(tmp_path / "capture", asymmetric_world(), train_filenames=[])
    assert main(["reconstruct", str(tmp_path / "capture"), "--out", str(tmp_path / "scene"), "--steps", "5"]) == 2
    assert "0 training images: the split holds out all 4" in capsys.readouterr().err
    assert not (tmp_path / "scene/checkpoints").exists()
