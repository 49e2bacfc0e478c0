"""Data sets of scans are found and checked as a whole; single LiDAR sweeps are read."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import DataFormatError
from scenewise.io.scan_data_sets import is_scan_data_set, read_scan_data_set, write_scan_data_set
from scenewise.io.scannet.classes import SCANNET20_NAMES
from scenewise.io.scannet_splits import SPLIT_SIZES, official_scans
from scenewise.io.semantickitti import SEMANTICKITTI_CLASSES, read_semantickitti_scan


def complete_scan(root: Path, name: str) -> Path:
    folder = root / name
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    (folder / "intrinsic" / "intrinsic_color.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")
    (folder / f"{name}_vh_clean_2.ply").write_text("ply")
    return folder


def test_official_splits_have_their_sizes_and_share_no_place() -> None:
    places = {}
    for split, size in SPLIT_SIZES.items():
        names = official_scans(split)
        assert len(names) == len(set(names)) == size
        places[split] = {name[:9] for name in names}
    assert not places["train"] & places["val"] and not places["train"] & places["test"] and not places["val"] & places["test"]
    assert "scene0011_00" in official_scans("val") and "scene0000_02" in official_scans("train")
    assert official_scans("test")[0] == "scene0707_00"


def test_what_is_there_is_taken_without_a_split(tmp_path: Path) -> None:
    for name in ("scene0001_00", "scene0000_01"):
        complete_scan(tmp_path / "scans", name)
    found = read_scan_data_set(tmp_path)
    assert [name for name, _ in found.scenes] == ["scene0000_01", "scene0001_00"]
    assert found.class_names == SCANNET20_NAMES
    assert is_scan_data_set(tmp_path) and not is_scan_data_set(tmp_path / "scans" / "scene0001_00")


def test_an_incomplete_split_is_one_error_with_a_few_names_and_the_number(tmp_path: Path) -> None:
    complete_scan(tmp_path / "scans", "scene0000_00")
    (complete_scan(tmp_path / "scans", "scene0000_01") / "scene0000_01_vh_clean_2.ply").unlink()
    (tmp_path / "scans" / "scene0000_02").mkdir()
    with pytest.raises(DataFormatError) as caught:
        read_scan_data_set(tmp_path, "train")
    text = str(caught.value)
    assert "expected 1201 complete scans of the split train, got 1200 incomplete" in text
    assert f"scene0000_01: no scene0000_01_vh_clean_2.ply in {tmp_path / 'scans' / 'scene0000_01'}" in text
    assert "scene0000_02: neither scene0000_02.sens nor color, depth, pose, intrinsic in" in text
    assert f"scene0001_00: no folder {tmp_path / 'scans' / 'scene0001_00'} …" in text
    assert "scene0001_01" not in text and "take the 3 scans that are there" in text


def test_own_lists_and_classes_hold_where_they_are_written(tmp_path: Path) -> None:
    for name in ("room1", "room2"):
        complete_scan(tmp_path / "scans", name)
    write_scan_data_set(tmp_path, {"train": ["room2"], "test": ["room1"]}, ["wall", "lamp"], [1, 35], "CC0", {"rooms": 2})
    found = read_scan_data_set(tmp_path, "train")
    assert [name for name, _ in found.scenes] == ["room2"] and found.nyu40_of_class == (1, 35) and found.licence == "CC0"
    with pytest.raises(DataFormatError, match=r"split: expected test or train, got val"):
        read_scan_data_set(tmp_path, "val")
    with pytest.raises(DataFormatError, match=r"split: expected test or train"):
        read_scan_data_set(tmp_path, "../scans")


def test_a_sweep_of_semantickitti(tmp_path: Path) -> None:
    rows = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.25], [7, 8, 9, 1]], dtype="<f4")
    (tmp_path / "000000.bin").write_bytes(rows.tobytes())
    # Instance 3 of a car; lane marking is road; unlabeled is not scored.
    (tmp_path / "000000.label").write_bytes(np.array([(3 << 16) | 252, 60, 0], dtype="<u4").tobytes())
    scan = read_semantickitti_scan(tmp_path / "000000.bin")
    assert scan.points_in_sensor.tolist() == rows[:, :3].tolist() and scan.intensity.tolist() == [0.5, 0.25, 1.0]
    assert scan.class_ids is not None
    assert scan.class_ids.tolist() == [SEMANTICKITTI_CLASSES.index("car"), SEMANTICKITTI_CLASSES.index("road"), -1]
    (tmp_path / "000000.label").write_bytes(b"\0" * 8)
    with pytest.raises(DataFormatError, match=r"expected 12 bytes, a label for each of 3 points, got 8"):
        read_semantickitti_scan(tmp_path / "000000.bin")
    (tmp_path / "000000.bin").write_bytes(b"\0" * 15)
    with pytest.raises(DataFormatError, match=r"rows of 16 bytes"):
        read_semantickitti_scan(tmp_path / "000000.bin")


@pytest.mark.data
def test_a_real_sweep_of_semantickitti(data_root: Path) -> None:
    scan = read_semantickitti_scan(data_root / "semantickitti_scan" / "000000.bin")
    assert scan.class_ids is not None and len(scan.points_in_sensor) == len(scan.class_ids) == 123_389
    shares = np.bincount(scan.class_ids + 1, minlength=20) / len(scan.class_ids)
    road, vegetation = SEMANTICKITTI_CLASSES.index("road") + 1, SEMANTICKITTI_CLASSES.index("vegetation") + 1
    assert shares[road] > 0.1 and shares[vegetation] > 0.05 and shares[0] < 0.2
    # The road lies under the sensor, which stands about 1.7 m above it.
    on_road = scan.points_in_sensor[scan.class_ids == road - 1]
    assert -2.2 < np.median(on_road[:, 2]) < -1.3
