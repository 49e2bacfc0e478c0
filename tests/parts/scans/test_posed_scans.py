"""Points with posed pictures in files: what comes back, what is refused, and how many stay in memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.posed_rooms import wall_scan

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.parts.scans import posed_files
from scenewise.parts.scans.posed_files import PosedScanFiles
from scenewise.parts.scans.posed_scans import PosedScan, read_posed_scan, write_posed_scan

ARRAYS = ("points_in_scan", "colors_u8", "pictures_u8", "depths", "K", "camera_from_scan", "prior")


def assert_same(first: PosedScan, second: PosedScan) -> None:
    assert first.name == second.name
    for name in ARRAYS:
        one, other = getattr(first, name), getattr(second, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    scan = wall_scan()
    write_posed_scan(tmp_path / "scan", scan, "f1", {"source": "by hand"})
    assert_same(read_posed_scan(tmp_path / "scan", "f1"), scan)
    assert_same(read_posed_scan(tmp_path / "scan"), scan)
    assert read_tensors(tmp_path / "scan", "posed_scan")[1] == {"name": "wall", "fingerprint": "f1", "source": "by hand"}
    assert [each.name for each in tmp_path.iterdir()] == ["scan"]


def test_some_of_the_pictures() -> None:
    scan = wall_scan()
    taken = scan.with_views([2, 0])
    assert len(taken) == len(scan) and taken.num_bytes < scan.num_bytes
    for name in ARRAYS[2:]:
        np.testing.assert_array_equal(getattr(taken, name), getattr(scan, name)[[2, 0]])
    assert scan.num_bytes == sum(getattr(scan, name).nbytes for name in ARRAYS)


Change = Callable[[dict[str, torch.Tensor], dict[str, Any]], object]
WRONG: dict[str, tuple[Change, str]] = {
    "missing": (lambda tensors, _: tensors.pop("K"), "K: expected torch.float64, got None"),
    "another kind of number": (
        lambda tensors, _: tensors.update(prior=tensors["prior"].float()),
        "prior: expected torch.float16",
    ),
    "too few views": (lambda tensors, _: tensors.update(K=tensors["K"][:2]), "expected 3 views, got 2"),
    "depth of another size": (lambda tensors, _: tensors.update(depths=tensors["depths"][:, :5].clone()), "depths"),
    "colours of fewer points": (lambda tensors, _: tensors.update(colors_u8=tensors["colors_u8"][:7]), "colors_u8"),
    "no name": (lambda _, about: about.pop("name"), "name"),
    "points in the plane": (
        lambda tensors, _: tensors.update(points_in_scan=tensors["points_in_scan"][:, :2].clone()),
        "points_in_scan: expected any×3, got 9600×2",
    ),
    "a camera without a last row": (
        lambda tensors, _: tensors.update(camera_from_scan=tensors["camera_from_scan"][:, :3].clone()),
        "camera_from_scan: expected any×4×4, got 3×3×4",
    ),
}


@pytest.mark.errors
@pytest.mark.parametrize("name", WRONG)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    write_posed_scan(tmp_path / "good", wall_scan(), "f1")
    tensors, about = read_tensors(tmp_path / "good", "posed_scan")
    change, message = WRONG[name]
    change(tensors, about)
    write_tensors(tmp_path / "bad", tensors, "posed_scan", about)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_posed_scan(tmp_path / "bad")
    assert "delete it; it is made again" in str(caught.value)


@pytest.mark.errors
def test_damaged_files_and_those_of_something_else_are_refused(tmp_path: Path) -> None:
    write_posed_scan(tmp_path / "scan", wall_scan(), "f1")
    with pytest.raises(DataFormatError, match="expected a scan of f2, got f1"):
        read_posed_scan(tmp_path / "scan", "f2")
    (tmp_path / "cut").write_bytes((tmp_path / "scan").read_bytes()[:-5])
    for missing in ("cut", "nowhere"):
        with pytest.raises(DataFormatError, match=missing):
            read_posed_scan(tmp_path / missing)


@pytest.mark.errors
def test_arrays_that_do_not_fit_are_refused() -> None:
    scan = wall_scan()
    with pytest.raises(ShapeError, match="prior: expected 3 views, got 1"):
        replace(scan, prior=scan.prior[:1])
    with pytest.raises(ShapeError, match="depths: expected"):
        replace(scan, depths=scan.depths[:, 1:])


# ------------------------------------------------------------------------------------------------------------------- files


def written(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"scan-{index}" for index in range(count)]
    for index, path in enumerate(paths):
        write_posed_scan(path, replace(wall_scan(), name=f"wall {index}"), f"f{index}")
    return paths


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    found: list[str] = []

    def recorded(path: Path, fingerprint: str) -> PosedScan:
        found.append(path.name[-1])
        return read_posed_scan(path, fingerprint)

    monkeypatch.setattr(posed_files, "read_posed_scan", recorded)
    return found


def test_the_scans_that_were_used_last_stay_in_memory(tmp_path: Path, reads: list[str]) -> None:
    size = wall_scan().num_bytes
    scans = PosedScanFiles(written(tmp_path, 4), ["f0", "f1", "f2", "f3"], max_bytes=2 * size + size // 2)
    assert len(scans) == 4 and reads == []
    for index in (0, 1, 0, 2, 0, 1):  # 0 is used between, so 1 has to go for 2, and 2 for 1
        assert scans[index].name == f"wall {index}"
        assert sum(scan.num_bytes for scan in scans._kept.values()) == scans._bytes <= scans.max_bytes
    assert reads == ["0", "1", "2", "1"]


def test_one_larger_scan_stays_alone(tmp_path: Path, reads: list[str]) -> None:
    scans = PosedScanFiles(written(tmp_path, 2), ["f0", "f1"], max_bytes=10)
    for index in (0, 0, 1, 1, 0):
        assert scans[index].name == f"wall {index}" and len(scans._kept) == 1
    assert reads == ["0", "1", "0"]


def test_the_fingerprint_of_all_changes_with_any_scan_and_weight(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    prints = [
        PosedScanFiles(paths, ["f0", "f1"]).fingerprint,
        PosedScanFiles(paths, ["f0", "f2"]).fingerprint,
        PosedScanFiles(paths, ["f1", "f0"]).fingerprint,
        PosedScanFiles(paths, ["f0", "f1"], (1.0, 2.0)).fingerprint,
    ]
    assert len(set(prints)) == 4
    moved = [tmp_path / "c", tmp_path / "d"]
    assert PosedScanFiles(moved, ["f0", "f1"], (1.0, 1.0), max_bytes=5).fingerprint == prints[0]


@pytest.mark.errors
def test_scans_that_are_none_or_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match="scans: expected at least one"):
        PosedScanFiles([], [])
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConventionError, match="weights: expected above 0"):
            PosedScanFiles([tmp_path / "a", tmp_path / "b"], ["f0", "f1"], (1.0, weight))
    paths = written(tmp_path, 2)
    scans = PosedScanFiles(paths, ["f0", "other"])
    with pytest.raises(DataFormatError, match="expected a scan of other, got f1"):
        scans[1]
    paths[0].unlink()
    with pytest.raises(DataFormatError, match="scan-0"):
        scans[0]
