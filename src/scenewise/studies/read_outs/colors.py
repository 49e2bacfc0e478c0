"""How far colour alone goes: a classifier of the colours of true regions, trained with labels."""

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64

from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.studies.read_outs.rooms import views_of
from scenewise.worlds.classes import CLASS_NAMES


def region_colors(
    rooms: list[int], views: int
) -> tuple[Float32[np.ndarray, "n 70"], Int[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Colour histogram, mean and spread of every true region of every view, its class, and its size in pixels."""
    features, classes, sizes = [], [], []
    for view in views_of(rooms, views):
        levels = (view.image >> 6).astype(np.int64)
        bins = levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]
        for instance in np.unique(view.truth.instance_ids):
            inside = view.truth.instance_ids == instance
            if instance < 0 or inside.sum() < 20:
                continue
            colors = view.image[inside] / 255.0
            histogram = np.sqrt(np.bincount(bins[inside], minlength=64) / inside.sum())
            features.append(np.concatenate([histogram, colors.mean(0), colors.std(0)]))
            classes.append(view.truth.class_ids[inside][0])
            sizes.append(int(inside.sum()))
    return np.array(features, dtype=np.float32), np.array(classes), np.array(sizes, dtype=np.int64)


def color_classifier_confusion(training: list[int], tested: list[int], views: int, seed: int) -> ConfusionMatrix:
    """How far colour alone goes when it is given labels and true regions: a classifier of region colours, counted in pixels.

    An oracle that names the same regions by their truth has mIoU 1.
    """
    generator = torch.Generator().manual_seed(seed)
    features, classes, _ = region_colors(training, views)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(features.shape[1], 256), torch.nn.GELU(), torch.nn.Linear(256, 128), torch.nn.GELU(),
            torch.nn.Linear(128, len(CLASS_NAMES)),
        )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-3)
    x, y = torch.from_numpy(features), torch.from_numpy(classes)
    for _ in range(40):
        for rows in torch.randperm(len(x), generator=generator).split(256):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows], label_smoothing=0.05).backward()
            optimizer.step()
    features, classes, sizes = region_colors(tested, views)
    with torch.no_grad():
        said = network(torch.from_numpy(features)).argmax(1).numpy()
    matrix = ConfusionMatrix(CLASS_NAMES)
    matrix.update(np.repeat(said, sizes), np.repeat(classes, sizes))
    return matrix
