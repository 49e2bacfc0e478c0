"""``scenewise poses --refine`` on a room whose files are wrong, end to end; and ``check``, which must notice."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.between_workers import made_once

from scenewise.cli.main import main
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.check.report import CheckReport
from scenewise.commands.check.run import check_command
from scenewise.commands.poses.options import PosesOptions
from scenewise.commands.poses.run import poses_command
from scenewise.engine.jobs import JobFailedError
from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.parts.poses.refinement import refine
from scenewise.parts.poses.refinement.matches import MatchSettings
from scenewise.parts.poses.refinement.refine import RefinementRequest, refine_poses
from scenewise.studies.miscalibrated_rooms import KnownCalibration, Miscalibration, recovered, write_miscalibrated_room

pytest.importorskip("pycolmap", reason="needs the extra sfm")
pytest.importorskip("cv2", reason="needs the extra io")

FRAMES, TOUR, WIDTH, HEIGHT, SEED = 24, 48, 400, 300, 7
NOTHING = Miscalibration(0.0, (0.0, 0.0, 0.0), 0.0, 0.0, 0.0)


def _write(folder: Path) -> dict[str, object]:
    known = write_miscalibrated_room(folder, SEED, FRAMES, WIDTH, HEIGHT, Miscalibration(), tour_frames=TOUR)
    return {name: np.asarray(value).tolist() for name, value in asdict(known).items()}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnownCalibration]:
    folder, values = made_once(tmp_path_factory, "miscalibrated_room", _write)
    return folder, KnownCalibration(
        values["focal_px"], np.array(values["depth_from_color"]), np.array(values["world_from_color"])
    )


def _check(folder: Path) -> CheckReport:
    return check_command(CheckOptions(folder), NullProgress())


def _complaints(report: CheckReport) -> list[str]:
    return [problem.fix for problem in report.problems if "do not fit the pictures" in problem.message]


def test_what_is_wrong_is_noticed_and_found_again(room: tuple[Path, KnownCalibration], tmp_path: Path) -> None:
    folder, known = room
    before = _check(folder)
    assert before.calibration is not None and before.calibration.error_px is not None
    assert before.calibration.error_with_depth_px is not None and before.calibration.worst_px > 4
    assert _complaints(before) == [f"scenewise poses {folder} --refine --out CAPTURE2, then reconstruct that"]
    out = tmp_path / "refined"
    told = refine_poses(RefinementRequest(folder, out, matching=MatchSettings(features=1200), partners=8, threads=2))
    assert told.adjusted == told.views == FRAMES and told.kept_pose == ()
    assert told.reprojection_px is not None and told.reprojection_px_before is not None and told.depth is not None
    assert told.reprojection_px < 0.2 < 2 < told.reprojection_px_before
    assert told.depth.error_m < 0.006 and not told.depth.transform_given
    # A third of the pictures that benchmarks/calibration.py takes, at two thirds of their size: twice its limits and more.
    found = recovered(out, told.lenses[0].focal_px[0], known)
    assert found.focal_share < 0.005 and found.offset_mm < 8 and found.turn_deg < 0.1
    assert found.shift_mm < 6 and found.tilt_deg < 0.1

    assert told.warnings == () and not told.depth_left_out
    (said,) = replace(told, depth_left_out=True).warnings
    assert said.startswith("its depth maps are left out: they belong to photographs of more than one camera")

    capture = open_capture(out)
    assert [frame.name for frame in capture.frames] == [frame.name for frame in open_capture(folder).frames]
    assert capture.test_names == open_capture(folder).test_names
    name = capture.frames[3].name
    assert (out / name).stat().st_ino == (folder / name).stat().st_ino
    assert not list(tmp_path.glob(".*"))


def test_a_right_capture_gets_no_warning(tmp_path: Path) -> None:
    write_miscalibrated_room(tmp_path / "right", SEED, 8, 320, 240, NOTHING, tour_frames=TOUR)
    report = _check(tmp_path / "right")
    assert report.calibration is not None and report.calibration.error_px is not None
    assert report.calibration.worst_px < 1 and not _complaints(report)


def test_an_unfinished_refinement_goes_on(
    room: tuple[Path, KnownCalibration],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The process that adjusts is killed; the second try matches nothing again."""
    folder = tmp_path / "few"
    folder.mkdir()
    for path in room[0].iterdir():
        if path.name[6:12] < "000006" or not path.name.startswith("frame"):
            shutil.copy(path, folder / path.name)
    options = PosesOptions(folder, tmp_path / "out", refine=True, threads=1)
    with pytest.raises(JobFailedError):
        refine_poses(RefinementRequest(folder, options.out, threads=1, command=("false",)))
    assert not options.out.exists() and (tmp_path / ".out.refining" / "matches.safetensors").is_file()

    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("matched again")

    monkeypatch.setattr(refine, "match_freely", never)
    assert main(["poses", str(folder), "--refine", "--out", str(options.out), "--threads", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["views"] == 6 and told["written_as"] == "rgbd" and told["depth"]["offset_mm"][0] != 0
    assert json.loads((options.out / "refined.json").read_text())["reprojection_px"] == told["reprojection_px"]
    with pytest.raises(DataFormatError, match=r"earlier refinement.*--overwrite"):
        poses_command(options)


def test_what_cannot_be_refined_is_said(tmp_path: Path) -> None:
    write_miscalibrated_room(tmp_path / "two", SEED, 2, 64, 48, NOTHING)
    with pytest.raises(ConventionError, match="at least 3 views"):
        poses_command(PosesOptions(tmp_path / "two", tmp_path / "out", refine=True))
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine.txt").write_text("mine")
    with pytest.raises(DataFormatError, match="a new folder"):
        poses_command(PosesOptions(tmp_path / "two", tmp_path / "used", refine=True, overwrite=True))
    assert (tmp_path / "used/mine.txt").read_text() == "mine"
    with pytest.raises(ConventionError, match="--pairs"):
        PosesOptions(tmp_path, tmp_path / "out", refine=True, pairs="all")
