"""What one training step sees, as a function of the step alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.options import VlSatConfig
from scenewise.networks.graphs.inputs import GraphInputs
from scenewise.scenes.predicates import DIRECTIONS

_QUARTER = {"right": "behind", "behind": "left", "left": "front", "front": "right"}
"""What a direction is called after everything has been turned by +90° about the up axis, and its teller not."""
_MIRRORED = {"left": "right", "right": "left"}
"""And after x has changed its sign."""


@dataclass(frozen=True)
class GraphBatch:
    """Things and pairs of some scans with their labels.

    Attributes:
        inputs: what the student reads.
        classes: of each thing, −1 = unknown.
        labels: 1 where a predicate holds of a pair.
        pictures: feature of each thing's pictures; None without teacher.
        seen: things that have one.
    """

    inputs: GraphInputs
    classes: Int64[Tensor, "nodes"]
    labels: Float[Tensor, "edges predicates"]
    pictures: Float[Tensor, "nodes dim"] | None
    seen: Bool[Tensor, "nodes"]

    def to(self, device: torch.device) -> "GraphBatch":
        """The same on another device."""
        inputs = GraphInputs(self.inputs.points.to(device), self.inputs.edges.to(device), self.inputs.scans.to(device))
        pictures = None if self.pictures is None else self.pictures.to(device)
        return GraphBatch(inputs, self.classes.to(device), self.labels.to(device), pictures, self.seen.to(device))


@dataclass(frozen=True)
class Piece:
    """Some things of one scan.

    Attributes:
        points: sampled of each.
        classes: of each.
        labels: of every ordered pair, itself included.
        pictures: of each, or None.
        seen: which have a picture.
    """

    points: Float32[np.ndarray, "things k 3"]
    classes: Int64[np.ndarray, "things"]
    labels: UInt8[np.ndarray, "things things predicates"]
    pictures: Float32[np.ndarray, "things dim"] | None
    seen: Bool[np.ndarray, "things"]


@final
class Batches:
    """Draws the batch of any step; the same for the same seed, so that a run resumes anywhere.

    Args:
        data: the scans.
        config: how much of them.
        seed: of everything random.
    """

    def __init__(self, data: GraphData, config: VlSatConfig, seed: int) -> None:
        self.data, self.config, self.seed = data, config, seed
        self._labels = [example.labels(len(data.predicates)) for example in data.examples]
        self._quarter = direction_order(data.predicates, _QUARTER)
        self._mirror = direction_order(data.predicates, _MIRRORED)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def at(self, step: int) -> GraphBatch:
        """The batch of a step, counted from 0."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 1, step]))
        count = self.config.batch_scans
        places = range(step * count, (step + 1) * count)
        chosen = [int(self._order(place // len(self.data))[place % len(self.data)]) for place in places]
        return joined([self._piece(rng, index) for index in chosen])

    def _shuffled(self, epoch: int) -> Int64[np.ndarray, "scans"]:
        return np.random.Generator(np.random.PCG64([self.seed, 2, epoch])).permutation(len(self.data))

    def _piece(self, rng: np.random.Generator, index: int) -> Piece:
        example, config = self.data.examples[index], self.config
        rows = np.arange(len(example.scan))
        if config.nodes_per_scan is not None and len(rows) > config.nodes_per_scan:
            nearest = np.argsort(example.gaps[int(rng.integers(len(rows)))], kind="stable")
            rows = np.sort(nearest[: config.nodes_per_scan])
        points = sampled(rng, [example.scan.points_in_world[row] for row in rows], config.points)
        labels = self._labels[index][np.ix_(rows, rows)]
        if config.turns:
            points, labels = self._turned(rng, points, labels)
        if config.jitter:
            points = points + rng.normal(0.0, config.jitter, points.shape).astype(np.float32)
        pictures = None if example.pictures is None else example.pictures[rows]
        return Piece(points, example.scan.class_ids[rows], labels, pictures, example.seen[rows])

    def _turned(
        self,
        rng: np.random.Generator,
        points: Float32[np.ndarray, "things k 3"],
        labels: UInt8[np.ndarray, "things things predicates"],
    ) -> tuple[Float32[np.ndarray, "things k 3"], UInt8[np.ndarray, "things things predicates"]]:
        """Quarter turns about the up axis, and mirrored half of the time; words for directions go with them."""
        for _ in range(int(rng.integers(4))):
            points = np.stack([-points[..., 1], points[..., 0], points[..., 2]], axis=-1)
            labels = labels[..., self._quarter]
        if rng.random() < 0.5:
            points = points * np.array([-1, 1, 1], dtype=np.float32)
            labels = labels[..., self._mirror]
        return points, labels


def direction_order(predicates: Sequence[str], becomes: dict[str, str]) -> Int64[np.ndarray, "predicates"]:
    """Column of the old labels that each column of the new ones takes, when directions change their names.

    Names whose partner is missing keep their place.
    """
    comes_from = {new: old for old, new in becomes.items()}
    names = list(predicates)
    known = all(name in names for name in DIRECTIONS)
    return np.array([names.index(comes_from.get(name, name)) if known else i for i, name in enumerate(names)], dtype=np.int64)


def sampled(
    rng: np.random.Generator, points: Sequence[Float32[np.ndarray, "_ 3"]], count: int
) -> Float32[np.ndarray, "things count 3"]:
    """So many points of each thing, drawn with replacement where it has fewer."""
    return np.stack(
        [
            each[rng.integers(0, len(each), count)] if len(each) < count else each[rng.choice(len(each), count, replace=False)]
            for each in points
        ]
    )


def whole(example: GraphExample, predicates: int, points: int) -> Piece:
    """All things of a scan, with points taken evenly from their list, so that an answer is always the same."""
    spread = [each[np.linspace(0, len(each) - 1, points).round().astype(np.int64)] for each in example.scan.points_in_world]
    return Piece(
        np.stack(spread).astype(np.float32), example.scan.class_ids, example.labels(predicates), example.pictures, example.seen
    )


def joined(pieces: Sequence[Piece]) -> GraphBatch:
    """Pieces of several scans as one batch, with all ordered pairs within each."""
    counts = [len(piece.classes) for piece in pieces]
    starts = np.cumsum([0, *counts[:-1]])
    edges, labels = [], []
    for piece, start, count in zip(pieces, starts, counts):
        subject, thing = np.nonzero(~np.eye(count, dtype=bool))
        edges.append(np.stack([subject, thing]) + start)
        labels.append(piece.labels[subject, thing])
    pictures = [piece.pictures for piece in pieces if piece.pictures is not None]
    inputs = GraphInputs(
        torch.from_numpy(np.concatenate([piece.points for piece in pieces]).astype(np.float32)),
        torch.from_numpy(np.concatenate(edges, axis=1)),
        torch.from_numpy(np.repeat(np.arange(len(pieces)), counts)),
    )
    return GraphBatch(
        inputs,
        torch.from_numpy(np.concatenate([piece.classes for piece in pieces])),
        torch.from_numpy(np.concatenate(labels).astype(np.float32)),
        torch.from_numpy(np.concatenate(pictures)) if len(pictures) == len(pieces) else None,
        torch.from_numpy(np.concatenate([piece.seen for piece in pieces])),
    )
