"""Scans of any source as posed scans in files, with pictures that are held out."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.between_workers import made_once
from tests.support.tiny_posed import CAPTURED_FRAMES, tiny_teacher, write_captures

from scenewise.errors import CaptureWarning, ConventionError
from scenewise.io.captures import open_capture
from scenewise.parts.scans import posed_data as module
from scenewise.parts.scans.posed_data import PosedData, WeightedScan, posed_data, split_frames
from scenewise.parts.scans.posed_scans import read_posed_scan
from scenewise.parts.scans.posing import PosingSettings
from scenewise.parts.sources.capture_scans import capture_scan
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.point_clouds import PointCloud

SETTINGS = PosingSettings(picture_width=32, most_views=CAPTURED_FRAMES)
FEW = replace(SETTINGS, most_views=2)


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two RGB-D captures; the second has a split of its own."""
    return made_once(tmp_path_factory, "posed_captures", write_captures)[0]


def scans_of(folder: Path) -> list[WeightedScan]:
    return [WeightedScan(capture_scan(folder / name), name, weight, "rooms") for name, weight in (("hall", 1.0), ("study", 3.0))]


@dataclass(frozen=True)
class FixedScan:
    """Gives what it has."""

    raw: RawScan
    name: str = "fixed"
    class_names: tuple[str, ...] = ()

    def open(self) -> RawScan:
        return self.raw

    def capture(self):
        return self.raw.capture

    def points(self) -> PointCloud:
        return self.raw.cloud

    def truth(self) -> None:
        return None

    def frame_truths(self):
        return lambda name: None


def raw_of(folder: Path) -> RawScan:
    return RawScan("scan", PointCloud(np.zeros((1, 3))), "one point", capture=open_capture(folder))


def split_names(raw: RawScan, most: int) -> tuple[list[str], list[str]]:
    """Numbers of the frames that are learned from, and of the held-out ones."""
    kept, held_out = split_frames(raw, most)
    assert kept.capture is not None
    numbers = [frame.name[6:12].lstrip("0") or "0" for frame in kept.capture.frames]
    assert numbers == sorted(numbers), "in order"
    return [n for row, n in enumerate(numbers) if row not in held_out], [numbers[row] for row in held_out]


def test_each_eighth_picture_is_held_out_or_those_that_the_capture_names(captures: Path):
    assert split_names(raw_of(captures / "hall"), 16) == (list("1234567"), ["0", "8"])
    assert split_names(raw_of(captures / "study"), 16) == (list("0125678"), list("34"))
    free = raw_of(captures / "study")
    free = replace(free, capture=replace(free.capture, test_names=frozenset()))
    assert split_names(free, 16) == (list("1234567"), ["0", "8"]), "a capture that holds none out"


def test_an_eighth_of_what_is_kept_is_held_out_and_no_more_is_kept_than_asked_for(captures: Path):
    learned, held_out = split_names(raw_of(captures / "study"), 4)
    assert held_out == ["3"] and learned == list("058")
    assert split_names(raw_of(captures / "study"), 2) == (["0"], ["3"])
    assert split_names(raw_of(captures / "study"), 1) == (["0"], [])
    one = raw_of(captures / "study")
    one = replace(one, capture=replace(one.capture, frames=one.capture.frames[3:4]))
    assert split_names(one, 16) == (["3"], []), "a single picture is learned from"


@pytest.mark.errors
def test_a_split_that_leaves_nothing_to_learn_from_is_refused(captures: Path):
    raw = raw_of(captures / "study")
    names = frozenset(frame.name for frame in raw.capture.frames)
    with pytest.raises(
        ConventionError, match="scan scan: expected pictures to learn from, got a split that holds all of them out"
    ):
        split_frames(replace(raw, capture=replace(raw.capture, test_names=names)), 4)
    with pytest.raises(ConventionError, match="expected pictures with poses to learn from, got points alone"):
        split_frames(replace(raw, capture=None), 4)


def test_what_is_learned_from_shows_no_held_out_picture(captures: Path, tmp_path: Path):
    data = posed_data(scans_of(captures), tiny_teacher(), SETTINGS, tmp_path)
    assert [(scan.name, scan.weight, scan.held_out) for scan in data.scans] == [("hall", 1.0, (0,)), ("study", 3.0, (3,))]
    whole = [read_posed_scan(scan.path, scan.fingerprint) for scan in data.scans]
    assert [len(scan.pictures_u8) for scan in whole] == [8, 8], "nine, but one of two held-out ones"
    learned, measured = data.to_learn(), data.to_measure()
    assert measured is not None and learned.weights == (1.0, 3.0) and len(measured) == 2
    for row, scan in enumerate(whole):
        out = data.scans[row].held_out
        assert np.array_equal(measured[row].pictures_u8, scan.pictures_u8[list(out)])
        rest = [view for view in range(len(scan.pictures_u8)) if view not in out]
        assert np.array_equal(learned[row].pictures_u8, scan.pictures_u8[rest])
        assert np.array_equal(learned[row].points_in_scan, scan.points_in_scan)
    assert learned.fingerprint not in (measured.fingerprint, replace(data, scans=data.scans[:1]).to_learn().fingerprint)
    assert data.licences == {"rooms": "CC0-1.0 (generated)"} and data.skipped == {}
    assert PosedData.from_text(data.to_text()) == data
    both = data.joined(replace(data, scans=data.scans[:1], licences={"other": None}))
    assert len(both) == 3 and both.licences == {"rooms": "CC0-1.0 (generated)", "other": None}
    none = replace(data, scans=tuple(replace(scan, held_out=()) for scan in data.scans))
    assert none.to_measure() is None


def test_what_was_prepared_is_found_and_what_is_damaged_is_made_again(captures: Path, tmp_path: Path, monkeypatch):
    cache = tmp_path / "cache"
    scans = scans_of(captures)[:1]
    (made,) = posed_data(scans, tiny_teacher(), FEW, cache).scans
    with monkeypatch.context() as patch:
        patch.setattr(module, "posed_scan", None)
        patch.setattr("scenewise.parts.sources.capture_scans.points_of_views", None)
        assert posed_data(scans, tiny_teacher(), FEW, cache).scans == (made,), "nobody looks, and no point is made"
    whole = made.path.read_bytes()
    made.path.write_bytes(whole[:-100])
    assert posed_data(scans, tiny_teacher(), FEW, cache).scans == (made,) and made.path.read_bytes() == whole
    other = posed_data(scans, tiny_teacher(), replace(FEW, most_views=3), cache).scans[0]
    fewer = posed_data([replace(scans[0], source=replace(scans[0].source, max_points=50))], tiny_teacher(), FEW, cache).scans[0]
    assert len({made.path, other.path, fewer.path}) == 3
    moved = tmp_path / "moved"
    shutil.copytree(captures / "hall", moved)
    assert posed_data([replace(scans[0], source=capture_scan(moved))], tiny_teacher(), FEW, cache).scans == (made,)
    for path in moved.glob("*.depth.png"):
        shutil.copy(captures / "study" / path.name, path)
    again = posed_data([replace(scans[0], source=capture_scan(moved))], tiny_teacher(), FEW, cache).scans[0]
    assert again.path != made.path, "other depth maps"


def test_scans_that_cannot_be_used_are_left_out_and_named(captures: Path, tmp_path: Path):
    raw = raw_of(captures / "hall")
    grey = WeightedScan(FixedScan(raw), "grey", 1.0, "mixed")
    bare = WeightedScan(FixedScan(replace(raw, capture=None)), "bare", 1.0, "mixed")
    gone = WeightedScan(capture_scan(tmp_path / "gone"), "gone", 1.0, "mixed")
    with pytest.warns(CaptureWarning) as said:
        data = posed_data([grey, scans_of(captures)[1], bare, gone], tiny_teacher(), SETTINGS, tmp_path / "cache")
    assert [scan.name for scan in data.scans] == ["study"] and list(data.skipped) == ["grey", "bare", "gone"]
    (text,) = [str(warning.message) for warning in said if "left out" in str(warning.message)]
    assert text.startswith("3 of 4 scans are left out: grey (points of grey: expected colours")
    assert "bare (scan bare: expected pictures" in text and "gone (" in text


@pytest.mark.errors
def test_no_scan_at_all_is_an_error_that_says_why(captures: Path, tmp_path: Path):
    bare = WeightedScan(FixedScan(replace(raw_of(captures / "hall"), capture=None)), "bare", 1.0, "mixed")
    with pytest.raises(
        ConventionError, match=r"scans: expected at least one .*, got none of 2: bare \(scan bare: .* points alone\)"
    ):
        posed_data([bare, bare], tiny_teacher(), SETTINGS, tmp_path)
