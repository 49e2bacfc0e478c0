"""How arms on the rooms are scored: on rooms that nobody has seen, from points alone, at the vertices of the mesh.

Absent classes do not count, a vertex without an answer is an error, and there is one confusion matrix over all rooms.
"""

import time

import numpy as np
import torch
from jaxtyping import Int64

from scenewise.metrics.compactness import ClassSums
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.fixed_labels import fixed_labels
from scenewise.parts.labelfree.label_sources import pixel_logits
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.labelfree.students import PixelStudent
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.parts.scans.scans import TrainingScan
from scenewise.studies.label_free.rooms import Rooms
from scenewise.worlds.classes import CLASS_NAMES

_COMPACTNESS_POINTS = 4096  # of each room


@torch.no_grad()
def scored_points(rooms: Rooms, trainer: LabelFreeTrainer, voxel: float, split: str) -> dict[str, float]:
    """The 3D student's names of every vertex, from points alone, and how compact its features are by true class."""
    matrix, compact = ConfusionMatrix(CLASS_NAMES), ClassSums(len(CLASS_NAMES))
    trainer.points.eval()
    seconds = 0.0
    for number, (scan, truth) in enumerate(zip(rooms.rooms(split), rooms.truths(split))):
        started = time.perf_counter()
        positions = torch.from_numpy(scan.points_in_scan) / voxel
        cloud = VoxelisedPoints.from_points(torch.from_numpy(scan.inputs), positions, torch.zeros(len(scan), dtype=torch.int64))
        output = trainer.points(cloud)
        said = output.logits(trainer.text).argmax(dim=1).numpy()
        seconds += time.perf_counter() - started
        matrix.update(said, truth)
        some = np.random.default_rng(number).permutation(len(scan))[:_COMPACTNESS_POINTS]
        compact.add(output.embedded(torch.from_numpy(some)).numpy(), truth[some])
    trainer.points.train()
    tightness = compact.result()
    more = {
        "naming_seconds_per_room": seconds / len(rooms.truths(split)),
        "intra_class_cosine": tightness.intra_class_cosine,
        "scatter_ratio": tightness.scatter_ratio,
        "cross_scene_ratio": tightness.cross_scene_ratio,
    }
    return figures(matrix) | {name: value for name, value in more.items() if np.isfinite(value)}


@torch.no_grad()
def scored_pixels(rooms: Rooms, student: PixelStudent, split: str) -> ConfusionMatrix:
    """The 2D student's names of every pixel of every view."""
    matrix = ConfusionMatrix(CLASS_NAMES)
    text = rooms.text()
    student.eval()
    for scan, truths in zip(rooms.rooms(split), rooms.frame_truths(split)):
        pictures = [view.image_u8 for view in scan.views if view.image_u8 is not None]
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255.0
        said = pixel_logits(student(images), text, scan.views[0].height, scan.views[0].width).argmax(dim=1)
        for ids, truth in zip(said.numpy(), truths):
            matrix.update(ids, truth)
    student.train()
    return matrix


def figures(matrix: ConfusionMatrix) -> dict[str, float]:
    """In per cent."""
    scores = matrix.scores()
    metrics = {
        "miou": 100 * scores.miou,
        "accuracy": 100 * scores.all_accuracy,
        "macc": 100 * scores.macc,
        "coverage": 100 * scores.coverage,
    }
    return metrics | {f"iou {name}": 100 * float(iou) for name, iou in zip(CLASS_NAMES, scores.iou) if not np.isnan(iou)}


def voted_labels(scan: TrainingScan, labels: PointLabels, classes: int) -> Int64[np.ndarray, " n"]:
    """Class of each point by the teacher's labels, −1 = none.

    Args:
        scan: with the teacher's answers in its views.
        labels: how they are voted.
        classes: how many there are.
    """
    rows = fixed_labels(scan, labels, classes).points
    ids = np.full(len(scan), -1, dtype=np.int64)
    ids[rows.element] = rows.class_ids
    return ids
