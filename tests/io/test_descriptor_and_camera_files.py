"""Descriptors of other networks, and cameras, as files: what is read is what was written, and what is wrong is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from scenewise.errors import DataFormatError
from scenewise.io.camera_files import read_camera_file, write_camera_file
from scenewise.io.descriptor_files import read_descriptor, read_descriptor_files
from scenewise.scenes.cameras import Cameras

TURN = torch.tensor([[0.0, 0, 1, 4], [1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 0, 1]], dtype=torch.float64)  # no axis is another's
K = torch.tensor([[90.0, 0, 31], [0, 80, 25], [0, 0, 1]], dtype=torch.float64)


def described(folder: Path, **keys: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "teacher.json").write_text(json.dumps({"kind": "descriptors", "dim": 3, **keys}))
    return folder


def test_a_descriptor_is_found_in_its_subfolder_or_beside(tmp_path: Path):
    folder = described(tmp_path / "mixvpr", licence="MIT")
    files = read_descriptor_files(folder)
    assert (files.name, files.dim, files.licence) == ("mixvpr", 3, "MIT")
    assert read_descriptor_files(described(folder, name="MixVPR")).name == "MixVPR"
    for place, vector in (("a", [3, 0, 4]), ("left/a", [0, 2, 0]), ("kitchen/a", [0, 0, 0.5])):
        (folder / place).parent.mkdir(exist_ok=True)
        save_file({"descriptor": np.array(vector, np.float32)}, folder / f"{place}.safetensors")
    np.testing.assert_allclose(read_descriptor(files, "a.jpg"), [0.6, 0, 0.8], atol=1e-6)
    assert read_descriptor(files, "left/a.png").tolist() == [0, 1, 0]
    assert read_descriptor(files, "right/a.png").tolist() == pytest.approx([0.6, 0, 0.8])
    assert read_descriptor(files, "a.jpg", "kitchen").tolist() == [0, 0, 1]
    assert read_descriptor(files, "a.jpg", "hall").tolist() == pytest.approx([0.6, 0, 0.8])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "b.safetensors: expected the tensor descriptor, got none"),
        ({"descriptor": np.zeros(3, np.float32), "other": np.zeros(1)}, "got descriptor, other"),
        ({"descriptor": np.ones(4, np.float32)}, r"descriptor: expected F16 or F32 \[3\], got F32 \[4\]"),
        ({"descriptor": np.ones((1, 3), np.float32)}, r"got F32 \[1, 3\]"),
        ({"descriptor": np.ones(3)}, r"got F64 \[3\]"),
        ({"descriptor": np.zeros(3, np.float16)}, "expected a vector with a direction, got one of length 0"),
        ({"descriptor": np.array([1, np.nan, 0], np.float16)}, "of length nan"),
    ],
)
def test_wrong_descriptors_are_refused(tensors: dict[str, np.ndarray], message: str, tmp_path: Path):
    files = read_descriptor_files(described(tmp_path / "d"))
    save_file(tensors, tmp_path / "d" / "b.safetensors")
    with pytest.raises(DataFormatError, match=message):
        read_descriptor(files, "b.jpg")


def test_files_that_are_none_are_refused(tmp_path: Path):
    files = read_descriptor_files(described(tmp_path / "d"))
    (tmp_path / "d" / "b.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(DataFormatError, match="expected a safetensors file"):
        read_descriptor(files, "b.jpg")
    with pytest.raises(DataFormatError, match=r"a.jpg: expected a.safetensors, got no such file"):
        read_descriptor(files, "a.jpg")
    for keys, message in (({"kind": "features"}, "kind"), ({"dim": 0}, "dim"), ({"colour": 1}, "colour"), ({"dim": 9000}, "dim")):
        with pytest.raises(DataFormatError, match=message):
            read_descriptor_files(described(tmp_path / "d", **keys))
    with pytest.raises(DataFormatError, match=r"expected a folder with teacher.json, got nothing"):
        read_descriptor_files(tmp_path / "nowhere")


def test_a_camera_is_read_into_the_world_of_a_scene(tmp_path: Path):
    write_camera_file(tmp_path / "camera.json", Cameras(TURN, K, 64, 48))
    same = read_camera_file(tmp_path / "camera.json", np.eye(4))
    assert torch.equal(same.camera_from_world, TURN) and torch.equal(same.K, K) and (same.width, same.height) == (64, 48)
    world_from_source = np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])
    moved = read_camera_file(tmp_path / "camera.json", world_from_source)
    point = np.array([1.0, 2, 3, 1])
    np.testing.assert_allclose(moved.camera_from_world.numpy() @ (world_from_source @ point), TURN.numpy() @ point)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "scenewise-hits"}, "format"),
        ({"version": 2}, "version"),
        ({"width": 0}, "width"),
        ({"K": [[1, 0], [0, 1]]}, "K"),
        ({"camera_from_source": (2 * torch.eye(4)).tolist()}, "expected a camera"),
        ({"more": 1}, "more"),
    ],
)
def test_files_that_hold_no_camera_are_refused(changed: dict[str, Any], message: str, tmp_path: Path):
    path = tmp_path / "camera.json"
    write_camera_file(path, Cameras(TURN, K, 64, 48))
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(DataFormatError, match=message):
        read_camera_file(path, np.eye(4))
