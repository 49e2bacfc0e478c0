"""scenewise train and predict on a real kitchen: some of its frames, a teacher made of files, words of a real CLIP."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scenewise.cli.main import main
from scenewise.io.captures import open_capture
from scenewise.io.run_folder import read_run_config
from scenewise.io.scene_folder import read_scene_labels
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, write_answer, write_teacher_info, write_text_embeddings
from scenewise.parts.labelfree.fixed_labels import fixed_labels
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.scans.scan_files import read_scan

_FRAMES = 6
_COCO_STUFF = {"low": "floor-other", "middle": "table", "high": "shelf"}
_INFO = TeacherFilesInfo("labels", 3, text_space="openai/clip-vit-base-patch16", classes=tuple(_COCO_STUFF))


def _few_frames(kitchen: Path, folder: Path) -> None:
    folder.mkdir()
    shutil.copyfile(kitchen / "camera-intrinsics.txt", folder / "camera-intrinsics.txt")
    colors = sorted(kitchen.glob("*.color.jpg"))
    for color in colors[:: len(colors) // _FRAMES][:_FRAMES]:
        for ending in ("color.jpg", "depth.png", "pose.txt"):
            name = color.name.replace("color.jpg", ending)
            shutil.copyfile(kitchen / name, folder / name)


def _write_heights(capture_folder: Path, folder: Path) -> None:
    """Low, middle, high: what depth and poses know of every measured pixel."""
    capture = open_capture(capture_folder)
    assert capture.up_in_world is not None
    heights = {}
    for frame in capture.frames_with_image:
        assert frame.load_depth is not None
        depth, camera = frame.load_depth().astype(np.float64), frame.camera
        K, pose = camera.K.numpy(), camera.world_from_camera.numpy()
        v, u = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
        rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
        world = (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
        heights[frame.name] = np.where(depth > 0, world @ capture.up_in_world, np.nan)
    cuts = np.nanquantile(np.stack(list(heights.values())), [0.33, 0.67])
    for name, height in heights.items():
        labels = np.where(np.isnan(height), -1, np.digitize(height, cuts)).astype(np.int32)
        write_answer(folder, name, _INFO, TeacherAnswer(labels=labels))
    write_teacher_info(folder, _INFO)


def _write_words(clip_text: Path, folder: Path) -> np.ndarray:
    names = json.loads((clip_text / "class_names.json").read_text())["coco_single"]
    rows = np.load(clip_text / "coco_single.npy", allow_pickle=False)[[names.index(name) for name in _COCO_STUFF.values()]]
    rows = rows.astype(np.float32)
    write_text_embeddings(folder, _INFO, rows)
    return rows


@pytest.mark.data
def test_a_real_kitchen_is_learned_in_the_space_of_a_real_clip(data_root, tmp_path, capsys):
    capture, teacher, run, scene = (tmp_path / name for name in ("kitchen", "teacher", "run", "scene"))
    _few_frames(data_root / "redkitchen_rgbd", capture)
    _write_heights(capture, teacher)
    rows = _write_words(data_root / "clip_text_embeddings", teacher)
    typed = ["train", "hicl", "--data", str(capture), "--teacher", f"files:{teacher}", "--out", str(run)]
    small = ["--preset", "rooms", "--batch", "1", "--epochs", "10", "--save-every", "10", "--picture-width", "160"]
    assert main([*typed, *small, "--threads", "1", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    config = read_run_config(run)
    assert trained["steps"] == 10 and set(trained["terms"]) == {"points", "correlation", "feedback"}
    assert config.network.dim == 512 and config.network.inputs == "colour"
    assert config.data["text_from"] == "openai/clip-vit-base-patch16"  # not codes that mean nothing
    cosines = rows @ rows.T
    assert cosines[~np.eye(3, dtype=bool)].min() > 0.5  # CLIP's words lie close together, and it learns all the same

    assert main(["predict", str(run), str(capture), "--out", str(scene), "--threads", "1", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    scan = read_scan(next((run / "cache").glob("*.safetensors"))).scan
    said = read_scene_labels(scene, "points").class_ids
    assert predicted["points"] == len(said) == len(scan) and said.min() >= 0
    told = fixed_labels(scan, PointLabels("view_vote"), 3).points
    assert 0.3 < len(told) / len(said) < 1.0  # views left points open
    assert _agreement(said, told) > np.bincount(told.class_ids).max() / len(told) + MARGIN


MARGIN = 0.2
"""Over naming everything alike, which is right at 0.43; 0.80 was seen."""


def _agreement(said, told):
    return (said[told.element] == told.class_ids).mean()
