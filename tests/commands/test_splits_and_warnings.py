"""What a person decides about held-out views, and what is said about a capture before it is trained on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.between_workers import made_once

from scenewise.cli.main import main
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.check.run import check_command
from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.evaluate.run import EvalSummary, evaluate_command
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.reconstruct.splat_methods import command_arguments
from scenewise.engine.journal import read_journal
from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError
from scenewise.io.scene_folder import read_scene


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be left as it is."""

    def make(place: Path) -> None:
        write_demo_capture(place, seed=0, frames=12, width=72, height=54)

    return made_once(tmp_path_factory, "split_room", make)[0]


def options_of(room: Path, out: Path, **changes: Any) -> ReconstructOptions:
    return ReconstructOptions(capture=room, out=out, steps=8, threads=1, sh_degree=0, **changes)


def test_all_images_train_and_the_report_says_so(room: Path, tmp_path: Path) -> None:
    summary = reconstruct(options_of(room, tmp_path / "scene", keep_all_images=True))
    scene = read_scene(tmp_path / "scene")
    assert summary.evaluation is None and len(scene.cameras_of("train")) == 12 and not scene.cameras_of("test")
    page = (tmp_path / "scene" / "report.html").read_text(encoding="utf-8")
    assert "No view was held out: pictures and figures are of views that were trained on" in page
    assert "Training views" in page and "Held-out views" not in page
    with pytest.raises(ConventionError, match="resume: option split: expected 'all train' as in the checkpoint, got None"):
        reconstruct(options_of(room, tmp_path / "scene", resume=True))


def test_every_nth_image_is_held_out_and_eval_measures_the_same(room: Path, tmp_path: Path) -> None:
    reconstruct(options_of(room, tmp_path / "scene", test_every=3))
    held_out = [entry.name for entry in read_scene(tmp_path / "scene").cameras_of("test")]
    assert len(held_out) == 4
    measured = evaluate_command(EvalOptions(tmp_path / "scene", threads=1))
    assert isinstance(measured, EvalSummary)
    assert [row["image"] for row in measured.more["images"]] == held_out
    page = (tmp_path / "scene" / "report.html").read_text(encoding="utf-8")
    assert "Held-out views" in page and "No view was held out" not in page
    (tmp_path / "split.txt").write_text("\n".join(held_out[:2]))
    for options, test in ((CheckOptions(room, test_every=3), 4), (CheckOptions(room, split_file=tmp_path / "split.txt"), 2)):
        report = check_command(options, NullProgress())
        assert (report.train, report.test) == (12 - test, test)


def test_parts_of_a_run_on_other_machines_get_the_split_too(tmp_path: Path) -> None:
    given = command_arguments(CheckOptions(Path("room"), split_file=tmp_path / "split.json"))
    assert given == ["room", "--split-file", str(tmp_path / "split.json")]
    assert command_arguments(CheckOptions(Path("room"), keep_all_images=True)) == ["room", "--keep-all-images"]


@pytest.fixture
def stray_room(room: Path, tmp_path: Path) -> Path:
    """One camera stands a kilometre away."""
    folder = Path(shutil.copytree(room, tmp_path / "stray"))
    path = sorted(folder.glob("*.pose.txt"))[5]
    pose = np.loadtxt(path)
    pose[0, 3] += 1000.0
    np.savetxt(path, pose)
    return folder


def test_warnings_of_check_are_repeated_before_training_and_kept(
    stray_room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconstruct", str(stray_room), "--out", str(tmp_path / "scene"), "--steps", "8", "--threads", "1"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "stands far away from all other cameras" in said
    assert said.index("stands far away") < said.index("train: done")
    summary = reconstruct(options_of(stray_room, tmp_path / "other"))
    warned = [text for text in summary.warnings if "stands far away from all other cameras" in text]
    assert len(warned) == 1 and warned[0].endswith("its pose is probably wrong: remove or redo it")
    assert warned[0] in [event.get("message") for event in read_journal(tmp_path / "scene" / "log.jsonl")]
    assert "stands far away from all other cameras" in (tmp_path / "scene" / "report.html").read_text(encoding="utf-8")


def test_what_is_sound_is_not_warned_about(room: Path, tmp_path: Path) -> None:
    warned = reconstruct(options_of(room, tmp_path / "scene")).warnings
    checked = check_command(CheckOptions(room), NullProgress()).problems
    assert set(warned) <= {f"{problem.message}; {problem.fix}" for problem in checked if problem.severity != "note"}
    assert not any("far away" in text for text in warned)


@pytest.mark.errors
def test_strict_refuses_what_check_warns_about(stray_room: Path, tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match=r"expected a capture without errors and warnings, got .*stands far away"):
        reconstruct(options_of(stray_room, tmp_path / "scene", strict=True))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep_all_images": True, "test_every": 5}, "split: expected one of .*, got --keep-all-images and --test-every"),
        ({"test_every": 1}, "--test-every: expected 2 or more, got 1"),
    ],
)
def test_splits_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    for make in (lambda: CheckOptions(tmp_path, **changes), lambda: options_of(tmp_path, tmp_path / "scene", **changes)):
        with pytest.raises(ConventionError, match=message):
            make()


def test_check_does_not_advise_what_lowers_held_out_figures() -> None:
    source = Path(__file__).parents[2] / "src/scenewise/commands/check/problems.py"
    text = source.read_text(encoding="utf-8")
    assert "--exposure-compensation" not in text and "--pose-refinement" not in text
