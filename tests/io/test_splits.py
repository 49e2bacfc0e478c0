"""A person's split of a capture: nothing held out, every n-th image, or a list."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.fabricated_capture import arc_camera, constant

from scenewise.errors import DataFormatError
from scenewise.io.splits import SplitChoice, read_split, with_split
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame

NAMES = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/3.png", "b/4.png", "b/5.png")


def capture() -> Capture:
    image = constant(np.zeros((4, 6, 3), np.uint8))
    frames = tuple(Frame(name, arc_camera(0.1 * i, 6, 4), image) for i, name in enumerate(NAMES))
    return Capture(root=Path("c"), source_format="colmap", frames=frames, test_names=frozenset(NAMES[:1]))


def written(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_choices_without_a_file() -> None:
    assert with_split(capture(), SplitChoice()).test_names == {"a/1.jpg"}
    assert with_split(capture(), SplitChoice(keep_all=True)).test_names == frozenset()
    assert with_split(capture(), SplitChoice(test_every=4)).test_names == {"a/1.jpg", "b/4.png"}
    words = [
        choice.words()
        for choice in (SplitChoice(), SplitChoice(True), SplitChoice(test_every=4), SplitChoice(file=Path("x/s.txt")))
    ]
    assert words == [None, "all train", "every 4 held out", "file s.txt"]


@pytest.mark.parametrize(
    ("content", "train", "test"),
    [
        ("# held out\n\na/1.jpg\n  3 \nb/4\n", {1, 2, 5}, {0, 3, 4}),
        ("\ufeffa\\1.jpg\n./b/5.png", {1, 2, 3, 4}, {0, 5}),
        ({"test": ["2"]}, {0, 2, 3, 4, 5}, {1}),
        (["2"], {0, 2, 3, 4, 5}, {1}),
        ({"train": ["2.jpg", "4.png"]}, {1, 4}, {0, 2, 3, 5}),
        ({"train": ["2", "4"], "test": ["3"]}, {1, 4}, {3}),  # the rest is left out
        ({"test": []}, {0, 1, 2, 3, 4, 5}, set()),
    ],
)
def test_files(tmp_path: Path, content: object, train: set[int], test: set[int]) -> None:
    split = with_split(capture(), SplitChoice(file=written(tmp_path / "split.txt", content)))
    assert {frame.name for frame in split.train_frames} == {NAMES[i] for i in train}
    assert {frame.name for frame in split.test_frames} == {NAMES[i] for i in test}
    assert len(split.frames) == len(train) + len(test)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("b/4.jpg", r"test: expected names of images of the capture, got b/4\.jpg\. Fix: the nearest is b/4"),
        ("1", r"expected names of one image each, got 1, which fits 2\. Fix: write more of the path: a/1\.jpg, b/1\.jpg"),
        ({"train": ["2", "3"], "test": ["3"]}, r"expected each name under train or test, got b/3\.png under both"),
        ({"val": ["2"]}, "val"),
        ({"test": [3]}, "test"),
        ({}, 'expected "train", "test" or both'),
        ('{"test": ["2"', "expected JSON"),
        ("\n".join(NAMES[1:]), "expected at least 2 images to train on, got 1 of 6"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        with_split(capture(), SplitChoice(file=written(tmp_path / "split.txt", content)))


@pytest.mark.errors
def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="expected a split file"):
        read_split(tmp_path / "gone.txt", NAMES)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFormatError, match="not UTF-8"):
        read_split(tmp_path / "bytes", NAMES)
