"""``scenewise poses``, and a reconstruction of photographs that come without poses."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.between_workers import made_once
from tests.support.unposed_room import VIEWS, camera_names, write_photographs

from scenewise.cli.main import main
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.evaluate.run import evaluate_command
from scenewise.commands.poses.options import PosesOptions
from scenewise.commands.reconstruct import photographs as unposed
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.io.scene_folder import read_scene
from scenewise.parts.poses.capture import PosesRequest

pytest.importorskip("pycolmap", reason="needs the extra sfm")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "unposed_room", write_photographs)[0]


def _options(photographs: Path, out: Path, **changes: object) -> ReconstructOptions:
    options = ReconstructOptions(photographs, out, steps=15, threads=1, sh_degree=0, max_gaussians=2000, downscale=2)
    return replace(options, **changes)  # type: ignore[arg-type]


def test_a_reconstruction_of_photographs_finds_the_poses_once_and_stays_whole_when_moved(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "room" / "images"
    shutil.copytree(photographs, source)
    out = tmp_path / "scene"
    made = reconstruct(_options(source, out))
    assert made.evaluation is not None and made.evaluation.num_views == 2
    capture = out / "capture" / "room"
    assert [frame.name for frame in open_capture(capture).frames] == camera_names()
    assert read_scene(out).provenance.capture == str(capture.resolve())
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "room" in report and "find the poses" in report

    def never(request: PosesRequest) -> PosesRequest:
        return replace(request, command=(sys.executable, "-c", "raise SystemExit(9)"))

    real = unposed.find_poses
    monkeypatch.setattr(unposed, "find_poses", lambda request, **more: real(never(request), **more))
    reconstruct(_options(source, out, resume=True))  # neither poses nor steps are computed again

    moved = tmp_path / "elsewhere"
    out.rename(moved)
    shutil.rmtree(source)
    assert evaluate_command(EvalOptions(moved)).psnr == pytest.approx(made.evaluation.psnr, abs=1e-6)


@pytest.mark.errors
def test_no_poses_refuses_with_two_ways_out(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError) as refused:
        reconstruct(_options(photographs, tmp_path / "scene", no_poses=True))
    text = str(refused.value)
    assert f"expected camera poses, got {VIEWS} photographs without any" in text
    assert "leave --no-poses out" in text and f"scenewise poses {photographs} --out CAPTURE" in text
    assert not (tmp_path / "scene").exists()


@pytest.mark.errors
def test_a_scene_is_not_replaced_while_its_own_capture_is_read(photographs: Path, tmp_path: Path) -> None:
    capture = tmp_path / "scene" / "capture" / "room"
    shutil.copytree(photographs, capture)
    with pytest.raises(ConventionError, match="--overwrite: expected a capture outside the scene folder"):
        reconstruct(_options(capture, tmp_path / "scene", overwrite=True))
    assert len(list(capture.iterdir())) == VIEWS


@pytest.mark.errors
def test_check_names_the_command(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(photographs)]) == 2
    assert f"run scenewise poses {photographs} --out CAPTURE" in capsys.readouterr().err


@pytest.mark.errors
def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for changes, said in (
        ({"frames": 1}, "--frames"),
        ({"seed": -1}, "--seed"),
        ({"max_side": 20}, "--max-side"),
        ({"minutes": 0.0}, "--minutes"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite"),
    ):
        with pytest.raises(ConventionError, match=said):
            replace(PosesOptions(tmp_path, tmp_path / "out"), **changes)  # type: ignore[arg-type]


@pytest.mark.errors
def test_the_command_line_prints_one_object_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["poses", str(tmp_path / "empty"), "--out", str(tmp_path / "out"), "--json"]) == 2
    said = capsys.readouterr()
    assert "at least 3 photographs" in json.loads(said.out)["error"]["message"]
    assert not (tmp_path / "out").exists()
