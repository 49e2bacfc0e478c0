"""Probabilities of classes, and how often the first is right."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from scenewise.errors import ConventionError
from scenewise.methods.condense.classification.batches import as_it_is, joined
from scenewise.methods.condense.classification.objects import ObjectData
from scenewise.methods.condense.classification.options import Scale
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.object_classifier import ObjectClassifier
from scenewise.scenes.classified_clouds import ClassifiedCloud

_AT_ONCE = 32


@torch.no_grad()
def class_probabilities(
    network: ObjectClassifier, clouds: Sequence[ClassifiedCloud], *, scale: Scale, voxel: float, points: int
) -> Float32[np.ndarray, "objects classes"]:
    """What the network says of objects, which is the same in whatever company they are asked for.

    Args:
        network: trained; it is put into the mode of use.
        clouds: the objects; their class ids are not looked at.
        scale: as it was trained with.
        voxel: likewise.
        points: of each object, at most.

    Raises:
        ConventionError: no points, or more voxels than a grid has.
    """
    network.eval()
    device = next(network.parameters()).device
    found = [np.zeros((0, network.shape.classes), dtype=np.float32)]
    for first in range(0, len(clouds), _AT_ONCE):
        laid = [as_it_is(cloud, scale, voxel, points) for cloud in clouds[first : first + _AT_ONCE]]
        found.append(torch.softmax(network(joined(laid, device)).float(), dim=1).cpu().numpy())
    return np.concatenate(found)


def accuracies(probabilities: Float32[np.ndarray, "objects classes"], data: ObjectData) -> dict[str, float]:
    """Shares of 1: "accuracy" of all objects, "class_mean" over classes that occur, "top3" whose class is among the first three.

    Raises:
        ConventionError: not a row for each object, or not a column for each class.
    """
    if probabilities.shape != (len(data), len(data.class_names)):
        expected = f"{len(data)} rows of {len(data.class_names)}"
        raise ConventionError("probabilities", expected=expected, got=f"{probabilities.shape}")
    truth = data.class_ids
    matrix = ConfusionMatrix(data.class_names)
    matrix.update(probabilities.argmax(1), truth)
    scores = matrix.scores()
    own = probabilities[np.arange(len(truth)), truth]
    ahead = (probabilities > own[:, None]).sum(axis=1)
    return {"accuracy": scores.all_accuracy, "class_mean": scores.macc, "top3": float((ahead < 3).mean())}
