"""Poses of a procedural room, from pictures alone, against the cameras they were taken with."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.between_workers import made_once
from tests.support.unposed_room import (
    HEIGHT,
    VIEWS,
    WIDTH,
    camera_names,
    centres,
    unposed_focal_px,
    unposed_poses,
    write_photographs,
)

from scenewise.engine.jobs import PARENT_VARIABLE, JobFailedError
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, MissingDependencyError, ResourceError
from scenewise.geometry.transforms import fit_similarity
from scenewise.io.captures import open_capture
from scenewise.parts.poses.capture import PosesRequest, find_poses
from scenewise.parts.poses.records import PosesFound
from scenewise.parts.poses.settings import PoseSettings

pytest.importorskip("pycolmap", reason="needs the extra sfm")
_MODEL = [f"sparse/0/{name}.bin" for name in ("cameras", "images", "points3D")]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "unposed_room", write_photographs)[0]


@pytest.fixture(scope="module")
def posed(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be left as it is."""
    return made_once(tmp_path_factory, "posed_room", lambda place: _find(photographs, place) and None)[0]


def _find(photographs: Path, out: Path, **changes: object) -> PosesFound:
    request = PosesRequest(photographs, out, threads=1)
    return find_poses(replace(request, **changes))  # type: ignore[arg-type]


def _ended_at_once(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_poses_are_those_of_the_cameras_up_to_a_similarity(posed: Path) -> None:
    capture = open_capture(posed)
    assert [frame.name for frame in capture.frames] == camera_names()
    assert capture.points is not None and len(capture.points) > 300
    found = np.stack([frame.camera.camera_from_world.numpy() for frame in capture.frames])
    true = unposed_poses()
    scale, rotation, offset = fit_similarity(centres(found), centres(true))
    wide = np.linalg.norm(np.ptp(centres(true), axis=0))
    errors = np.linalg.norm(offset + scale * centres(found) @ rotation.T - centres(true), axis=1)
    assert np.median(errors) < 0.01 * wide
    # The way of the cameras is nearly straight, so that its positions do not tell the turn about it: directions do.
    left, _, right = np.linalg.svd((true[:, :3, :3].transpose(0, 2, 1) @ found[:, :3, :3]).sum(axis=0))
    turned = found[:, :3, :3] @ (left @ right).T @ true[:, :3, :3].transpose(0, 2, 1)
    angles = np.degrees(np.arccos(np.clip((np.trace(turned, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.median(angles) < 0.3
    focal = float(capture.frames[0].camera.K[0, 0])
    assert focal == pytest.approx(unposed_focal_px(), rel=0.02)
    # Colours are those of the room, not grey or black.
    assert capture.points.colors_u8 is not None and np.ptp(capture.points.colors_u8.astype(int), axis=0).min() > 60


def test_what_was_found_is_told(posed: Path) -> None:
    told = json.loads((posed / "poses.json").read_text(encoding="utf-8"))
    assert (told["pictures"], told["registered"], told["left_out"]) == (VIEWS, VIEWS, [])
    assert 0 < told["reprojection"]["median_px"] < 0.5
    assert told["reprojection"]["median_px"] < told["held_out"]["median_px"] < 1.0
    assert 20 < told["held_out"]["count"] < 0.2 * told["points"]
    (lens,) = told["lenses"]
    assert (lens["width"], lens["height"], lens["pictures"], lens["exif_focal_px"]) == (WIDTH, HEIGHT, VIEWS, None)
    assert not (posed / "work").exists()


def test_photographs_are_the_same_files(posed: Path, photographs: Path) -> None:
    assert all((posed / "images" / name).samefile(photographs / name) for name in camera_names())


def test_two_runs_and_one_that_was_interrupted_give_the_same_bits(posed: Path, photographs: Path, tmp_path: Path) -> None:
    """The first is ended while it matches; what it did is found again, on two threads instead of one."""
    out = tmp_path / "capture"
    code = (
        "import sys\nfrom scenewise.parts.poses import child, mapping\n"
        "mapping._PAIRS_PER_COMMIT = 8\nreal = mapping.match_pairs\n"
        "def some(*a, **k):\n    for done in real(*a, **k):\n        yield done\n        if done >= 16: sys.exit(7)\n"
        "child.match_pairs = some\nfrom scenewise.engine.jobs import run_in_child\nrun_in_child(child.work)\n"
    )
    with pytest.raises(JobFailedError, match="ended with code 7"):
        _find(photographs, out, command=_ended_at_once(code))
    assert (out / "work" / "database.db").is_file() and not (out / "sparse").exists()
    before = {path: path.stat().st_mtime_ns for path in (out / "work" / "features").iterdir()}
    assert len(before) == VIEWS
    _find(photographs, out, resume=True, threads=2)
    for name in _MODEL:
        assert (out / name).read_bytes() == (posed / name).read_bytes(), name
    found = _find(photographs, out, resume=True, command=_ended_at_once("raise SystemExit(9)"))  # nothing is left to do
    assert found.registered == VIEWS


@pytest.mark.errors
def test_what_is_there_is_not_written_over(posed: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"expected a new folder, got poses of an earlier run.*--resume goes on"):
        _find(photographs, posed)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(DataFormatError, match="a folder with other files"):
        _find(photographs, tmp_path / "mine", overwrite=True)
    with pytest.raises(ConventionError, match=r"poses of photographs in .*choose another folder"):
        _find(photographs, posed, resume=True, settings=PoseSettings(seed=1))


@pytest.mark.errors
def test_pictures_that_cannot_be_read_are_named_and_too_few_are_refused(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in camera_names()[:2]:
        shutil.copy(photographs / name, folder / name)
    (folder / "empty.png").write_bytes(b"")
    (folder / "._view-000.png").write_bytes(b"what a Mac puts beside")
    whole = (photographs / camera_names()[2]).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(folder / "view-000.depth.png")
    with pytest.raises(DataFormatError) as refused:
        _find(folder, tmp_path / "out")
    text = str(refused.value)
    assert "at least 3 pictures that can be decoded, got 2" in text
    assert "empty.png (expected an image, got an empty file" in text and "cut.png (expected a readable image" in text
    assert "view-000.depth.png (one channel of 16 bits" in text and "._view" not in text


@pytest.mark.errors
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("import time; time.sleep(60)", ResourceError, "time for matching and mapping: expected an end within 1.0 s"),
        (
            "print('x\\nscenewise: this is why', file=__import__('sys').stderr); raise SystemExit(2)",
            JobFailedError,
            "this is why",
        ),
        ("import os; os.kill(os.getpid(), 9)", JobFailedError, "was ended by SIGKILL"),
    ],
)
def test_a_process_that_hangs_fails_or_dies_is_told(
    photographs: Path, tmp_path: Path, code: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        _find(photographs, tmp_path / "out", command=_ended_at_once(code), seconds=1.0)
    assert not (tmp_path / "out" / "poses.json").exists()


@pytest.mark.errors
def test_without_pycolmap_the_extra_is_named(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(MissingDependencyError, match=r"pycolmap, which is not installed.*scenewise\[sfm\]"):
        _find(photographs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.errors
def test_pictures_of_nothing_are_left_out_and_named(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for name in camera_names()[:6]:
        shutil.copy(photographs / name, folder / name)
    for index in range(3):
        Image.new("RGB", (WIDTH, HEIGHT), (80 * index, 90, 120)).save(folder / f"wall-{index}.png")
    with pytest.warns(
        CaptureWarning, match=r"only 6 of 9 pictures have a pose; left out: wall-0.png, wall-1.png, wall-2.png \(too"
    ):
        found = _find(folder, tmp_path / "out")
    assert [one.name for one in found.left_out] == ["wall-0.png", "wall-1.png", "wall-2.png"]
    assert [frame.name for frame in open_capture(tmp_path / "out").frames] == camera_names()[:6]
    for name in camera_names()[:6]:
        (folder / name).unlink()
    with pytest.raises(JobFailedError, match=r"none that can be put together.*plain walls"):
        _find(folder, tmp_path / "nothing")


def test_the_process_that_maps_ends_with_the_one_that_waits(tmp_path: Path) -> None:
    code = "import time\nfrom scenewise.engine.jobs import run_in_child\nrun_in_child(lambda folder: time.sleep(60))"
    environment = dict(os.environ) | {PARENT_VARIABLE: "1"}  # as if the one that waits had died, and another had taken over
    done = subprocess.run(
        [sys.executable, "-c", code, "x"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "is gone" in done.stderr
