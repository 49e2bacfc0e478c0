"""What can be known at all: how well relations of rooms can be told from the boxes of a pair, with the classes, with the room.

With the whole room everything is certain, because relations are rules of the room.  For less, the best any network can do is to
say how often a predicate holds given what it knows.  Both are estimated by counting: what is known of a pair falls into a cell,
and the share of pairs of a cell for which a predicate holds is its probability there.  Half of the rooms are counted, the other
half is told; cells that were counted too seldom fall back on coarser ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.metrics.scene_graphs import PredictedGraph, relation_accuracy, relation_ranks
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES, nodes_of, true_relations
from scenewise.worlds.rooms import Room, furnished_room

_LEAST = 8  # pairs in a cell that are worth counting
_DISTANCES, _HEIGHTS, _RATIOS = (0.1, 0.35, 0.6, 0.9, 1.5, 3.0), (-0.05, 0.05, 0.4), (0.4, 0.8, 1.25, 2.5)


@dataclass(frozen=True)
class Bounds:
    """Per cent.

    Attributes:
        geometry: mA@1, mA@3 and mA@5 of who knows the boxes of a pair, their sides included.
        classes: of who knows the classes as well.
        by_predicate: mA@3 of each predicate: (geometry, classes); the whole room is 100.
    """

    geometry: tuple[float, ...]
    classes: tuple[float, ...]
    by_predicate: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class _Pairs:
    """All ordered pairs of a room: cells from fine to coarse, classes, and the truth."""

    pairs: Int64[np.ndarray, "pairs 2"]
    cells: Int64[np.ndarray, "pairs levels"]
    classes: Int64[np.ndarray, "things"]
    triplets: Int64[np.ndarray, "m 3"]


def relation_bounds(seeds: Sequence[int]) -> Bounds:
    """Estimates of both bounds.

    Args:
        seeds: of the rooms; every other one is counted, the rest is told.
    """
    rooms = [_pairs_of(furnished_room(seed)) for seed in seeds]
    counted, told = rooms[::2], rooms[1::2]
    found = []
    for with_classes in (False, True):
        table = _Table(counted, with_classes)
        graphs = [_graph(number, room, table.scores(room)) for number, room in enumerate(told)]
        found.append(relation_accuracy(relation_ranks(graphs), "predicate", (1, 3, 5)))
    first, second = found
    each = {
        name: (100 * float(first.by_class[1, index]), 100 * float(second.by_class[1, index]))
        for index, name in enumerate(ROOM_PREDICATES)
    }
    return Bounds(tuple((100 * first.mean_accuracy).tolist()), tuple((100 * second.mean_accuracy).tolist()), each)


def _graph(number: int, room: _Pairs, scores: Float32[np.ndarray, "pairs predicates"]) -> PredictedGraph:
    certain = np.zeros((len(room.classes), len(CLASS_NAMES)))
    certain[np.arange(len(room.classes)), room.classes] = 1.0
    return PredictedGraph(str(number), certain, room.pairs, scores, room.classes, room.triplets)


def _pairs_of(room: Room) -> _Pairs:
    """What is known of each pair, as cells."""
    things = [room.objects[index] for index in nodes_of(room)]
    count = len(things)
    center = np.array([thing.center for thing in things])
    size = np.array([thing.size for thing in things])
    low = np.array([min(part.center[2] - part.half_size[2] for part in thing.parts) for thing in things])
    high = np.array([max(part.center[2] + part.half_size[2] for part in thing.parts) for thing in things])
    yaw = np.array([thing.parts[0].yaw if thing.class_name == "wall" else thing.yaw for thing in things])
    a, b = np.nonzero(~np.eye(count, dtype=bool))
    offset = center[b] - center[a]
    flat = np.linalg.norm(offset[:, :2], axis=1)
    around = np.arctan2(offset[:, 1], offset[:, 0])
    towards = (around - yaw[a] - np.pi / 2) / (np.pi / 2)  # quarter turns from the subject's front
    reach = np.minimum(size[a, :2], size[b, :2]).min(axis=1)
    columns = [
        np.digitize(flat - 0.5 * (size[a, :2].max(axis=1) + reach), _DISTANCES),
        np.digitize(low[a] - high[b], _HEIGHTS),
        np.digitize(np.log(np.prod(size[a], axis=1) / np.prod(size[b], axis=1)), np.log(_RATIOS)),
        np.mod(np.round(towards), 4),
        np.mod(np.round(around / (np.pi / 4)), 8),
        np.digitize(high[a] / np.maximum(high[b], 0.01), _RATIOS),
        np.digitize(low[a], (0.05, 0.6, 1.5)),
        np.mod(np.round((yaw[a] - yaw[b]) / (np.pi / 2)), 4),
        np.digitize(size[a].min(axis=1), (0.12, 0.3, 0.6)),
        np.digitize(size[b].min(axis=1), (0.12, 0.3, 0.6)),
    ]
    codes = np.stack(columns, axis=1).astype(np.int64)
    levels = [_code(codes[:, :kept]) for kept in (10, 8, 6, 4, 2)]
    return _Pairs(
        np.stack([a, b], axis=1), np.stack(levels, axis=1), room.class_of_instance[list(nodes_of(room))], true_relations(room)
    )


def _code(columns: Int64[np.ndarray, "pairs n"]) -> Int64[np.ndarray, "pairs"]:
    code = np.full(len(columns), columns.shape[1], dtype=np.int64)
    for column in columns.T:
        code = code * 16 + column
    return code


class _Table:
    """How often predicates hold, by cell."""

    def __init__(self, rooms: Sequence[_Pairs], with_classes: bool) -> None:
        self._with_classes = with_classes
        self._levels: list[dict[int, tuple[int, np.ndarray]]] = []
        labels = np.concatenate([_labels(room) for room in rooms])
        keys = np.concatenate([self._keys(room) for room in rooms])
        for level in range(keys.shape[1]):
            cells, inverse = np.unique(keys[:, level], return_inverse=True)
            count = np.bincount(inverse, minlength=len(cells))
            held = np.stack([np.bincount(inverse, weights=column, minlength=len(cells)) for column in labels.T], axis=1)
            self._levels.append({int(cell): (int(n), held[row] / n) for row, (cell, n) in enumerate(zip(cells, count))})
        self._usual = labels.mean(axis=0)

    def scores(self, room: _Pairs) -> Float32[np.ndarray, "pairs predicates"]:
        """Probability of each predicate, from the finest cell that was counted often enough."""
        keys = self._keys(room)
        found = np.tile(self._usual, (len(keys), 1))
        for row, own in enumerate(keys):
            for level, key in enumerate(own):
                count, shares = self._levels[level].get(int(key), (0, self._usual))
                if count >= _LEAST:
                    found[row] = shares
                    break
        return np.clip(found, 0.0, 1.0).astype(np.float32)

    def _keys(self, room: _Pairs) -> Int64[np.ndarray, "pairs levels"]:
        if not self._with_classes:
            return room.cells
        names = room.classes[room.pairs[:, 0]] * len(CLASS_NAMES) + room.classes[room.pairs[:, 1]]
        return room.cells * (len(CLASS_NAMES) ** 2 + 1) + names[:, None] + 1


def _labels(room: _Pairs) -> Float32[np.ndarray, "pairs predicates"]:
    held = np.zeros((len(room.classes), len(room.classes), len(ROOM_PREDICATES)), dtype=np.float32)
    subject, thing, predicate = room.triplets.T
    held[subject, thing, predicate] = 1.0
    return held[room.pairs[:, 0], room.pairs[:, 1]]
