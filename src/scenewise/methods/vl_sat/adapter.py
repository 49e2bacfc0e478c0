"""The adapter between the teacher's picture features and the oracle, trained before everything else and then frozen."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from scenewise.methods.vl_sat.examples import GraphData
from scenewise.networks.graphs.oracle import ImageAdapter

_BATCH = 256
_RATE, _MOMENTUM = 1e-2, 0.9
_SMOOTHING = 0.2
_SCALE = 1 / 0.07


def trained_adapter(data: GraphData, epochs: int, seed: int) -> ImageAdapter:
    """An adapter that draws the pictures of things to the words for their classes.

    Cross entropy with a label smoothing of 0.2 of cosines with the class names; SGD with a rate of 0.01.  Without class names, or
    without pictures of known classes, it stays as it was initialised.  Source: VL-SAT, Sec. 3.2, rates of the released code.
    """
    dim = data.picture_dim
    assert dim is not None, "pictures to adapt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = ImageAdapter(dim)
    features, classes = _known(data)
    if data.class_text is None or not len(classes):
        return adapter.requires_grad_(False)
    text = F.normalize(torch.from_numpy(data.class_text), dim=-1)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=_RATE, momentum=_MOMENTUM)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator)
        for rows in order.split(_BATCH):
            logits = _SCALE * F.normalize(adapter(features[rows]), dim=-1) @ text.T
            loss = F.cross_entropy(logits, classes[rows], label_smoothing=_SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return adapter.requires_grad_(False)


def _known(data: GraphData) -> tuple[Tensor, Tensor]:
    """Pictures of things whose class is known, and the classes."""
    features: list[Float32[np.ndarray, "_ dim"]] = []
    classes: list[np.ndarray] = []
    for example in data.examples:
        if example.pictures is not None:
            rows = example.seen & (example.scan.class_ids >= 0)
            features.append(example.pictures[rows])
            classes.append(example.scan.class_ids[rows])
    if not features:
        return torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64)
    return torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(classes))
