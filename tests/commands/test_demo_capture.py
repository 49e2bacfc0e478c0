"""The embedded capture, written and read back."""

import json
from pathlib import Path

import numpy as np
import pytest

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.errors import ConventionError, ScenewiseError
from scenewise.io.rgbd.capture_json import read_class_names
from scenewise.io.rgbd.captures import read_rgbd
from scenewise.io.rgbd.ids import read_class_ids, read_instance_ids
from scenewise.worlds.captures import room_cameras, room_capture, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "capture"
    write_demo_capture(path, DEFAULT_DEMO_SEED, 9, 48, 36)
    return path


def test_reads_back_as_it_was_rendered(folder: Path) -> None:
    written, made = read_rgbd(folder), room_capture(DEFAULT_DEMO_SEED, 9, 48, 36)
    room = furnished_room(DEFAULT_DEMO_SEED)
    assert [frame.name for frame in written.frames] == [frame.name for frame in made.frames]
    assert written.test_names == made.test_names
    assert written.up_in_world is not None and written.up_in_world.tolist() == [0.0, 0.0, 1.0]
    assert read_class_names(folder) == list(CLASS_NAMES)
    cameras = room_cameras(room, 9, 48, 36)
    for index in (0, 5, 8):
        ours, theirs = made.frames[index], written.frames[index]
        np.testing.assert_allclose(theirs.camera.camera_from_world.numpy(), ours.camera.camera_from_world.numpy(), atol=1e-9)
        np.testing.assert_allclose(theirs.camera.K.numpy(), ours.camera.K.numpy(), atol=1e-9)
        assert ours.load_image and theirs.load_image and ours.load_depth and theirs.load_depth
        assert np.array_equal(theirs.load_image(), ours.load_image())
        np.testing.assert_allclose(theirs.load_depth(), ours.load_depth(), atol=5.1e-4)
        known = truth(room, cameras[index])
        classes, instances = read_class_ids(theirs), read_instance_ids(theirs)
        assert classes is not None and np.array_equal(classes, known.class_ids)
        assert instances is not None and np.array_equal(instances, known.instance_ids)


def test_instances_are_described(folder: Path) -> None:
    record = json.loads((folder / "capture.json").read_text())
    room = furnished_room(DEFAULT_DEMO_SEED)
    assert len(record["instances"]) == len(room.objects)
    assert record["instances"][0]["class"] == "floor" and record["world"] == {"kind": "room", "seed": DEFAULT_DEMO_SEED}


def test_written_twice_is_the_same_to_the_byte(folder: Path, tmp_path: Path) -> None:
    again, calls = tmp_path / "again", []
    write_demo_capture(again, DEFAULT_DEMO_SEED, 9, 48, 36, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 9) for i in range(9)]
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in again.iterdir()) and len(files) == 2 + 5 * 9
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in files)


@pytest.mark.errors
def test_does_not_overwrite(folder: Path) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(ScenewiseError, match="capture"):
        write_demo_capture(folder, DEFAULT_DEMO_SEED, 2, 48, 36)
    assert sorted(folder.iterdir()) == before


@pytest.mark.errors
def test_no_frames(tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match="frames: expected at least 1, got 0"):
        write_demo_capture(tmp_path / "none", DEFAULT_DEMO_SEED, 0, 48, 36)
