"""Masks from the folder to the figures: what they hide is not learned, not measured, and not passed over in silence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.between_workers import made_once

from scenewise.cli.main import main
from scenewise.commands.check.run import check_capture
from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.evaluate.run import EvalSummary, evaluate_command
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.errors import ConventionError
from scenewise.io.captures import open_capture
from scenewise.io.scene_folder import read_scene

HIDDEN = slice(10, 40), slice(20, 50)
"""Rows and columns of a 72×54 photograph that somebody walks through: 900 of 3,888 pixels."""


@pytest.fixture(scope="module")
def masked_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A procedural room with a mask for every photograph; to be left as it is."""

    def make(place: Path) -> None:
        write_demo_capture(place, seed=0, frames=12, width=72, height=54)
        mask = np.full((54, 72), 255, np.uint8)
        mask[HIDDEN] = 0
        (place / "masks").mkdir()
        for frame in open_capture(place).frames:
            Image.fromarray(mask).save(place / "masks" / f"{frame.name}.png")

    return made_once(tmp_path_factory, "masked_room", make)[0]


@pytest.fixture
def own_room(masked_room: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(masked_room, tmp_path / "room"))


def spoil(room: Path) -> None:
    """Another colour in what the masks hide, in every photograph."""
    for number, frame in enumerate(open_capture(room).frames):
        assert frame.image_path is not None
        pixels = np.array(Image.open(frame.image_path))
        pixels[HIDDEN] = np.random.default_rng(number).integers(0, 256, pixels[HIDDEN].shape)
        Image.fromarray(pixels).save(frame.image_path)


def options_of(room: Path, out: Path) -> ReconstructOptions:
    return ReconstructOptions(capture=room, out=out, steps=25, threads=1, sh_degree=0)


def test_what_masks_hide_changes_neither_splats_nor_figures(masked_room: Path, own_room: Path, tmp_path: Path) -> None:
    spoil(own_room)
    clean = reconstruct(options_of(masked_room, tmp_path / "clean"))
    spoilt = reconstruct(options_of(own_room, tmp_path / "spoilt"))
    assert (tmp_path / "clean" / "splats.ply").read_bytes() == (tmp_path / "spoilt" / "splats.ply").read_bytes()
    assert clean.evaluation is not None and spoilt.evaluation is not None
    for name in ("psnr", "ssim"):
        assert getattr(clean.evaluation, name) == pytest.approx(getattr(spoilt.evaluation, name), abs=1e-6)
    corrected, other = (each.evaluation.more["color_corrected"] for each in (clean, spoilt) if each.evaluation is not None)
    assert corrected == pytest.approx(other, abs=1e-6)
    again = evaluate_command(EvalOptions(tmp_path / "spoilt", threads=1))
    assert isinstance(again, EvalSummary)
    assert again.more["masks"] == {"views": again.num_views, "mean_used": pytest.approx(1 - 900 / 3888)}
    assert "over what masks leave: 77% of the pixels" in again.text()
    card = read_scene(tmp_path / "spoilt").evaluation
    assert card is not None and card.more["masks"]["views"] == again.num_views


def test_check_says_how_many_masks_there_are_and_what_they_leave(own_room: Path) -> None:
    names = [frame.name for frame in open_capture(own_room).frames]
    Image.fromarray(np.zeros((54, 72), np.uint8)).save(own_room / "masks" / f"{names[0]}.png")
    Image.fromarray(np.zeros((72, 54), np.uint8)).save(own_room / "masks" / f"{names[1]}.png")
    (own_room / "masks" / f"{names[2]}.png").unlink()
    report = check_capture(open_capture(own_room))
    assert report.masks is not None
    assert report.masks.masked == 11 and report.masks.unmasked == (names[2],) and report.masks.empty == (names[0],)
    assert report.masks.mean_used == pytest.approx(9 / 10 * (1 - 900 / 3888))
    assert "masks for 11 (69% of their pixels used)" in report.text()
    said = {problem.severity: problem.message for problem in report.problems if "mask" in problem.message}
    assert said["error"].startswith(f"the mask of {names[1]} cannot be used: ") and "mask size" in said["error"]
    assert said["warning"] == f"1 masks are all black, so nothing of these photographs is used: {names[0]}"
    assert said["note"] == f"1 photographs have no mask and are used whole: {names[2]}"


def listed_room(folder: Path) -> Path:
    """A transforms.json that lists masks that are not there."""
    frames = []
    for number in range(4):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * number
        place = folder / "images" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(place)
        frames.append(
            {"file_path": f"images/{number}.png", "transform_matrix": pose.tolist(), "mask_path": f"masks/{number}.png"}
        )
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 30.0, "w": 32, "h": 24, "frames": frames}))
    return folder


@pytest.mark.errors
def test_listed_masks_that_are_gone_are_a_warning_and_with_strict_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = listed_room(tmp_path / "listed")
    report = check_capture(open_capture(folder))
    assert any("4 listed masks are missing: " in problem.message for problem in report.problems if problem.severity == "warning")
    for command in (["check", str(folder), "--strict"], ["reconstruct", str(folder), "--out", str(tmp_path / "a"), "--strict"]):
        assert main(command) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "expected every listed mask, got 4 listed masks are missing" in said and "0.png" in said


@pytest.mark.errors
def test_a_mask_and_a_background_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match="--background: expected --alpha background, got --alpha mask"):
        ReconstructOptions(capture=tmp_path, out=tmp_path, alpha="mask", background=(0.0, 0.0, 0.0))
