"""scenewise diff: what moved, appeared and vanished between two scene folders."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.observed_graphs import CHAIR, LAMP, PIECES, TABLE, Piece, observed, write_observed

from scenewise.cli.main import main
from scenewise.commands.diff.options import DiffOptions
from scenewise.commands.diff.run import diff
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.images import read_image
from scenewise.io.scene_folder import GRAPH_FILE
from scenewise.io.scene_outputs import prepare_output
from scenewise.parts.graphs.motion import rotation_about_up

MOVED = replace(CHAIR, number=33, at=(1.5, 1.9), yaw=CHAIR.yaw + 70.0)
PLANT = Piece(40, "plant", (0.8, 2.5), 0.0, (0.4, 0.4, 1.0), (0.1, 0.5, 0.1))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observed(tmp_path_factory.mktemp("diff") / "before", observed(PIECES))


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_observed(tmp_path_factory.mktemp("diff") / "after", observed((MOVED, TABLE, PLANT), light=0.8))


def test_the_file_and_the_sentences_say_the_same(before: Path, after: Path) -> None:
    summary = diff(DiffOptions(before, after, threads=1))
    assert summary.counts == {"moved": 1, "appeared": 1, "vanished": 1, "unchanged": 1}
    assert summary.aligned_by == "poses" and summary.overlap > 0.9
    text = summary.text()
    assert "chair 10 moved 1.0" in text and "turned 70° (now number 33)" in text
    assert "plant 40 is new" in text and "lamp 12 is gone" in text and "table" not in text
    file = json.loads((after / "diff.json").read_text())
    assert summary.file == after / "diff.json" and file["counts"] == dict(summary.counts)
    chair = next(entry for entry in file["objects"] if entry["id_before"] == 10)
    assert chair["what"] == "moved" and chair["id_after"] == 33 and chair["name_after"] == "chair"
    assert chair["distance"] == pytest.approx(math.hypot(0.5, 0.9), abs=0.05)
    assert chair["position_before"][:2] == pytest.approx(CHAIR.at, abs=0.1) and set(file["about"]) >= {
        "units",
        "turn_deg",
        "what",
    }
    assert chair["text"] in text
    picture = read_image(summary.picture)
    assert summary.picture == after / "diff.png" and picture.shape[1] == 900 and np.ptp(picture) > 100


def test_a_new_run_takes_the_graph_and_the_comparison_away(before: Path, after: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(after, again)
    diff(DiffOptions(before, again, threads=1))
    assert (again / "diff.json").exists() and (again / "diff.png").exists()
    (again / "notes.txt").write_text("mine")
    prepare_output(again, overwrite=True)
    assert not [name for name in ("diff.json", "diff.png", GRAPH_FILE) if (again / name).exists()]
    assert (again / "notes.txt").exists()


def test_the_command_prints_json(before: Path, after: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    assert main(["diff", str(before), str(after), "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"]["moved"] == 1 and out.exists() and len(printed["changes"]) == 4


def test_poses_in_one_frame_count_in_the_frame_of_the_captures(before: Path, tmp_path: Path) -> None:
    shift = np.eye(4)
    shift[:3, 3] = [-100.0, 50.0, 0.0]  # the second scene has an origin of its own
    far = write_observed(tmp_path / "far", observed((MOVED, TABLE, PLANT)).moved(shift), world_from_source=shift)
    summary = diff(DiffOptions(before, far, align="poses", threads=1))
    chair = next(change for change in summary.changes if change.id_before == 10)
    assert chair.what == "moved" and chair.position_after is not None and chair.position_before is not None
    assert chair.position_after[:2] == pytest.approx(MOVED.at, abs=0.1) and chair.position_before[:2] == pytest.approx(
        CHAIR.at, abs=0.1
    )
    np.testing.assert_allclose(np.array(summary.b_from_a), np.eye(4), atol=1e-9)


def test_other_frames_are_found_by_geometry(before: Path, tmp_path: Path) -> None:
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = rotation_about_up(2.0), [5.0, 1.0, 0.3]
    other = write_observed(tmp_path / "other", observed((MOVED, TABLE, PLANT)).moved(turned))
    summary = diff(DiffOptions(before, other, threads=1))
    assert summary.aligned_by == "geometry" and summary.counts == {"moved": 1, "appeared": 1, "vanished": 1, "unchanged": 1}
    np.testing.assert_allclose(np.array(summary.b_from_a), turned, atol=0.02)
    with pytest.warns(CaptureWarning, match="--align geometry"):
        diff(DiffOptions(before, other, align="poses", threads=1))


@pytest.mark.errors
def test_promised_errors(before: Path, tmp_path: Path) -> None:
    bare = write_observed(tmp_path / "bare", observed((LAMP,)))
    (bare / GRAPH_FILE).unlink()
    for pair in ((before, bare), (bare, before)):
        with pytest.raises(DataFormatError, match=r"graph\.json, got none\. Fix: run scenewise graph"):
            diff(DiffOptions(*pair))
    with pytest.raises(DataFormatError, match="a scene folder"):
        diff(DiffOptions(before, tmp_path / "nothing"))
    with pytest.raises(ConventionError, match=r"ends in \.json"):
        DiffOptions(before, before, out=tmp_path / "diff.txt")


def test_a_scene_compared_with_itself(before: Path, tmp_path: Path) -> None:
    first, again = (diff(DiffOptions(before, before, out=tmp_path / f"{name}.json", threads=1)) for name in "ab")
    assert first.counts == {"unchanged": 3} and "3 unchanged" in first.text()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes() and again.changes == first.changes
