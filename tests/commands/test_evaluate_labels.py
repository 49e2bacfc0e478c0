"""Labels of splats against the class maps of the capture."""

from pathlib import Path

import numpy as np
import torch

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.evaluate.labels import asked_for, evaluate_labels
from scenewise.engine.progress import NullProgress
from scenewise.io.captures import open_capture
from scenewise.io.labels import write_labels
from scenewise.io.rgbd.ids import read_class_ids
from scenewise.io.vocabularies import write_vocabulary
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.worlds.classes import CLASS_NAMES, class_id

# In another order than the truth, with a synonym instead of a name, and one class that the truth does not have.
NAMES = ("dragon", *[name if name != "sofa" else "couch" for name in CLASS_NAMES[::-1] if name != "lamp"])
VOCABULARY = Vocabulary(
    NAMES,
    tuple((name, "sofa") if name == "couch" else (name,) for name in NAMES),
    ("a {}",),
    tuple((i, 0, 0) for i in range(len(NAMES))),
)


def test_names_and_phrases_are_matched_and_the_rest_is_left_out() -> None:
    table = asked_for(CLASS_NAMES, VOCABULARY)
    assert NAMES[table[class_id("sofa")]] == "couch" and NAMES[table[class_id("wall")]] == "wall"
    assert table[class_id("lamp")] == -1


def test_true_labels_score_high_and_swapped_ones_do_not(tmp_path: Path) -> None:
    write_demo_capture(tmp_path / "room", frames=3, width=64, height=48)
    capture = open_capture(tmp_path / "room")
    frames = capture.frames
    means, classes = [], []
    for frame in frames:
        assert frame.load_depth is not None
        depth, ids = frame.load_depth().astype(np.float64), read_class_ids(frame)
        assert ids is not None
        v, u = np.mgrid[0:48, 0:64] + 0.5
        K = frame.camera.K.numpy()
        rays = np.stack([(u - K[0, 2]) / K[0, 0] * depth, (v - K[1, 2]) / K[1, 1] * depth, depth, np.ones_like(depth)], axis=-1)
        means.append((rays[depth > 0] @ np.linalg.inv(frame.camera.camera_from_world.numpy()).T)[:, :3])
        classes.append(ids[depth > 0])
    positions, truth = np.concatenate(means), np.concatenate(classes)
    count = len(positions)
    gaussians = Gaussians(
        means=torch.from_numpy(positions).float(),
        log_scales=torch.full((count, 3), -4.2),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
        logit_opacities=torch.full((count,), 4.0),
        sh0=torch.zeros(count, 1, 3),
        shN=torch.zeros(count, 0, 3),
    )
    write_vocabulary(tmp_path / "classes.json", VOCABULARY)

    def scores_of(classes_of_splats: np.ndarray):
        ids = asked_for(CLASS_NAMES, VOCABULARY)[classes_of_splats].astype(np.int32)
        labels = ElementLabels(ids, np.full(count, -1, np.int32), np.ones(count, np.float32))
        write_labels(tmp_path / "labels_splats.safetensors", labels, count=count)
        return evaluate_labels(tmp_path, capture, frames, lambda: gaussians, NullProgress())

    right = scores_of(truth)
    assert right is not None and right.all_accuracy > 0.9 and right.miou > 0.7
    lamp = class_id("lamp")  # not asked for, so its pixels do not count
    maps = [read_class_ids(frame) for frame in frames]
    assert right.count == sum(int(((ids >= 0) & (ids != lamp)).sum()) for ids in maps if ids is not None)
    swapped = truth.copy()
    swapped[truth == class_id("wall")], swapped[truth == class_id("floor")] = class_id("floor"), class_id("wall")
    wrong = scores_of(swapped)
    assert wrong is not None and wrong.iou[NAMES.index("wall")] < 0.1 and wrong.iou[NAMES.index("floor")] < 0.1


def test_nothing_is_measured_without_labels(tmp_path: Path) -> None:
    write_demo_capture(tmp_path / "room", frames=2, width=16, height=12)
    none = Gaussians(*(torch.zeros(0, n) for n in (3, 3, 4)), torch.zeros(0), torch.zeros(0, 1, 3), torch.zeros(0, 0, 3))
    assert evaluate_labels(tmp_path, open_capture(tmp_path / "room"), [], lambda: none, NullProgress()) is None
