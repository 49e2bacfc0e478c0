"""The official lists of nuScenes, and what of them a folder holds."""

import json
from pathlib import Path

import pytest

from scenewise.errors import DataFormatError
from scenewise.io.nuscenes.splits import SPLIT_SIZES, official_scenes, scenes_of_split, splits_there
from scenewise.parts.sources.opening import has_splits, open_scans


def tables(root: Path, version: str, scenes: list[str]) -> Path:
    """Two keyframes of each scene; nothing that they link to is there."""
    folder = root / version
    folder.mkdir(parents=True)
    listed = [{"token": f"s{number}", "name": name} for number, name in enumerate(scenes)]
    samples = [
        {"token": f"k{number}{index}", "scene_token": f"s{number}", "timestamp": index}
        for number in range(len(scenes))
        for index in range(2)
    ]
    for name, records in (("scene", listed), ("sample", samples), ("sample_data", [])):
        (folder / f"{name}.json").write_text(json.dumps(records))
    return root


def test_lists_have_the_published_sizes_and_do_not_overlap() -> None:
    lists = {split: official_scenes(split) for split in SPLIT_SIZES}
    assert {split: len(scenes) for split, scenes in lists.items()} == SPLIT_SIZES
    assert len(lists["train"] | lists["val"] | lists["test"]) == 1000
    assert lists["mini_train"] | lists["mini_val"] <= lists["train"] | lists["val"]
    assert "scene-0061" in lists["train"] and "scene-0003" in lists["val"] and "scene-0077" in lists["test"]
    assert "scene-0553" in lists["mini_train"] & lists["val"]  # the mini release mixes both


def test_a_split_takes_its_scenes_only(tmp_path: Path) -> None:
    root = tables(tmp_path, "v1.0-trainval", ["scene-0061", "scene-0003", "scene-0553"])
    assert scenes_of_split(root, "train") == {"scene-0061"}
    assert {source.name.rsplit("-", 1)[0] for source in open_scans(root, "val")} == {"scene-0003", "scene-0553"}
    # Numbers are those of all keyframes: a scan keeps its name, and so its prepared form.
    assert [source.name for source in open_scans(root, "train")] == [s.name for s in open_scans(root) if "0061" in s.name]
    assert len(open_scans(root)) == 6 and has_splits(root)


def test_the_mini_release_has_splits_of_its_own(tmp_path: Path) -> None:
    root = tables(tmp_path, "v1.0-mini", ["scene-0553", "scene-0103"])
    assert scenes_of_split(root, "train") == scenes_of_split(root, "mini_train") == {"scene-0553"}
    assert scenes_of_split(root, "val") == {"scene-0103"}
    assert "test" not in splits_there(root)


@pytest.mark.errors
def test_what_the_data_cannot_honour_is_refused(tmp_path: Path) -> None:
    root = tables(tmp_path / "mini", "v1.0-mini", ["scene-0061"])
    with pytest.raises(DataFormatError, match=r"split: expected train \(1 scene\), mini_train \(1 scene\), got banana"):
        open_scans(root, "banana")
    with pytest.raises(DataFormatError, match="got val"):
        open_scans(root, "val")
    own = tables(tmp_path / "own", "v1.0-trainval", ["scene-of-mine"])
    assert not has_splits(own) and len(open_scans(own)) == 2
    with pytest.raises(DataFormatError, match="none: its scenes are in no official list"):
        open_scans(own, "train")
