"""Lists of captures with weights."""

import json
from pathlib import Path

import pytest

from scenewise.errors import DataFormatError
from scenewise.io.capture_manifests import ListedCapture, is_manifest, read_manifest


def written(folder: Path, value: object, name: str = "manifest.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("kitchen", "lists/inner", "data"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_paths_start_at_the_manifest_and_what_is_not_said_is_none(folder: Path):
    entries = [
        {"path": "../kitchen"},
        {"path": str(folder / "data"), "weight": 2, "name": "chairs", "split": "val"},
        {"path": "inner", "weight": 0.25},
    ]
    path = written(folder / "lists", {"captures": entries})
    assert is_manifest(path)
    first, second, third = read_manifest(path)
    assert first == ListedCapture(folder / "lists" / ".." / "kitchen") and first.path.resolve() == folder / "kitchen"
    assert second == ListedCapture(folder / "data", 2.0, "chairs", "val") and third.weight == 0.25


def test_the_same_data_set_may_be_listed_with_two_splits(folder: Path):
    path = written(folder, {"captures": [{"path": "data", "split": "train"}, {"path": "data", "split": "val"}]})
    assert [listed.split for listed in read_manifest(path)] == ["train", "val"]


def test_other_files_and_folders_are_no_manifests(folder: Path):
    assert not is_manifest(written(folder, {"frames": []}, "transforms.json"))
    assert not is_manifest(written(folder, {"captures": []}, "list.txt")) and not is_manifest(folder)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"captures": []}, r"captures: expected at least one capture, got none"),
        ({"captures": {}}, r"captures: expected a list"),
        ({}, r"captures: expected this key, got nothing"),
        ({"captures": [{"weight": 1}]}, r"captures\[0\]\.path: expected this key, got nothing"),
        (
            {"captures": [{"path": "kitchen"}, {"path": "hall"}]},
            r"captures\[1\]\.path: expected a capture .* got nothing at .*hall",
        ),
        ({"captures": [{"path": "kitchen", "weight": 0}]}, r"captures\[0\]\.weight: expected a number above 0, got 0"),
        ({"captures": [{"path": "kitchen", "weight": "2"}]}, r"captures\[0\]\.weight: expected a finite number"),
        ({"captures": [{"path": "kitchen", "wieght": 2}]}, r"captures\[0\]: .* got 'wieght'. Fix: did you mean 'weight'"),
        ({"captures": [{"path": "kitchen", "name": " "}]}, r"captures\[0\]\.name: expected a text, got an empty one"),
        ({"captures": [{"path": " "}]}, r"captures\[0\]\.path: expected a text, got an empty one"),
        ({"captures": [{"path": "kitchen"}, {"path": "data/../kitchen"}]}, r"captures\[1\]\.path: expected each capture once"),
        ({"captures": [{"path": "kitchen"}], "seed": 1}, r"expected only known keys, got 'seed'"),
    ],
)
def test_what_a_manifest_may_not_say(folder: Path, value: object, message: str):
    with pytest.raises(DataFormatError, match=message):
        read_manifest(written(folder, value))


@pytest.mark.errors
def test_damaged_json_is_told_where_it_is(folder: Path):
    path = folder / "manifest.json"
    path.write_text('{"captures": [', encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"line 1, column .*: expected JSON"):
        is_manifest(path)
