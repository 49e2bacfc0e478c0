"""How well things are named and relations told: accuracies at k of objects, predicates and triplets as VL-SAT measures them.

Every true relation has a rank: 1 + the number of wrong answers that score higher.  Wrong are the predicates that do not hold for
its pair (other true ones do not stand in its way), and of triplets all others of 160 · 160 · 26.  Equal scores do not stand in
its way either: ties count in favour.  A pair without any relation is an answer too, "none": its rank is 1 + the number of scores
of at least ½, or ``NEVER`` where all of them are.  A@k is the share of ranks up to k over relations and pairs without one; mA@k
is the mean over predicates of their own shares, without "none", every predicate that occurs counting once.
Source: Wang et al. 2023, arXiv 2303.14408 (VL-SAT), and its released evaluation, which differs in three places, see
:class:`RelationRanks`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from scenewise.errors import ConventionError, ShapeError
from scenewise.metrics.triplet_counts import triplets_above

Counting = Literal["corrected", "released"]
Ranked = Literal["predicate", "triplet"]
NEVER = int(np.iinfo(np.int64).max)
"""Rank of what is not found at any k."""
_NONE_AT = 0.5
_RELEASED_DEPTH: Mapping[Ranked, int] = {"predicate": 6, "triplet": 101}  # as the released code calls its ranking


@dataclass(frozen=True)
class PredictedGraph:
    """What was said of a scan, and what is true.

    Attributes:
        name: of the scan.
        object_scores: probability of each class.
        pairs: subject and object, all ordered pairs or fewer; of a pair that is not listed "none" was said.
        predicate_scores: in [0, 1], each predicate on its own.
        class_ids: true classes, −1 = unknown: such things are no objects to be named, their relations no triplets.
        triplets: rows (subject, object, predicate) that hold.
    """

    name: str
    object_scores: Float[np.ndarray, "objects classes"]
    pairs: Int64[np.ndarray, "m 2"]
    predicate_scores: Float[np.ndarray, "m predicates"]
    class_ids: Int64[np.ndarray, "objects"]
    triplets: Int64[np.ndarray, "r 3"]

    def __post_init__(self) -> None:
        count, classes = self.object_scores.shape
        if self.class_ids.shape != (count,) or len(self.pairs) != len(self.predicate_scores):
            got = f"{self.class_ids.shape}, {len(self.pairs)} pairs and {len(self.predicate_scores)} rows of scores"
            raise ShapeError("class_ids, pairs", expected=f"{count} classes, as many pairs as rows of scores", got=got)
        for what, scores in (("object_scores", self.object_scores), ("predicate_scores", self.predicate_scores)):
            if not bool(((scores >= 0) & (scores <= 1)).all()):  # false for NaN too
                raise ConventionError(what, expected="numbers in [0, 1]", got="others", fix="pass probabilities, not logits")
        for what, rows in (("pairs", self.pairs), ("triplets", self.triplets[:, :2])):
            if rows.size and not (rows.min() >= 0 and rows.max() < count and (rows[:, 0] != rows[:, 1]).all()):
                raise ConventionError(what, expected=f"two different things of {count}", got="others")
        if len(np.unique(self.pair_codes)) < len(self.pairs):
            raise ConventionError("pairs", expected="each pair once", got="one of them twice")
        predicates = self.triplets[:, 2]
        if len(predicates) and not 0 <= int(predicates.min()) <= int(predicates.max()) < self.predicate_scores.shape[1]:
            got = f"{predicates.min()} … {predicates.max()}"
            raise ConventionError("triplets", expected=f"predicates below {self.predicate_scores.shape[1]}", got=got)
        if count and not -1 <= int(self.class_ids.min()) <= int(self.class_ids.max()) < classes:
            got = f"{self.class_ids.min()} … {self.class_ids.max()}"
            raise ConventionError("class_ids", expected=f"−1 … {classes - 1}", got=got)

    @property
    def pair_codes(self) -> Int64[np.ndarray, "m"]:
        """One number per listed pair."""
        return self.pairs[:, 0] * len(self.class_ids) + self.pairs[:, 1]

    @cached_property
    def relations(self) -> Int64[np.ndarray, "r 4"]:
        """True relations, each once: subject, object, predicate, and the pair's row in ``pairs``, −1 where it is not listed."""
        triplets = np.unique(self.triplets, axis=0)
        order = np.argsort(self.pair_codes)
        codes, wanted = self.pair_codes[order], triplets[:, 0] * len(self.class_ids) + triplets[:, 1]
        at = np.minimum(np.searchsorted(codes, wanted), max(0, len(codes) - 1))
        rows = np.where(codes[at] == wanted, order[at], -1) if len(codes) else np.full(len(wanted), -1)
        return np.column_stack([triplets, rows])

    @cached_property
    def holds(self) -> Bool[np.ndarray, "m predicates"]:
        """Which predicates hold for each listed pair."""
        holds = np.zeros(self.predicate_scores.shape, dtype=bool)
        listed = self.relations[self.relations[:, 3] >= 0]
        holds[listed[:, 3], listed[:, 2]] = True
        return holds


def with_true_names(graph: PredictedGraph) -> PredictedGraph:
    """The same with the true classes for certain, wherever they are known: what is left are errors of predicates."""
    scores = graph.object_scores.astype(np.float64)
    known = np.flatnonzero(graph.class_ids >= 0)
    scores[known] = 0.0
    scores[known, graph.class_ids[known]] = 1.0
    return replace(graph, object_scores=scores)


# ------------------------------------------------------------------------------------------------------------------- ranks


@dataclass(frozen=True)
class RelationRanks:
    """The rank of every true relation and of every pair without one; a row each.

    With "released" counting ranks are those of VL-SAT's published code, for comparison with published figures.  It differs where
    several predicates hold for a pair: ranks stop at 7 (predicates) and 102 (triplets) *before* the other true ones are taken
    off, so the third of three counts as right at 5 and at 100 wherever it is; ranks are sorted before they are handed to the
    predicates in ascending order, so predicates of a pair get each other's; and the mean of triplets leaves out the last
    predicate that occurs.

    Attributes:
        scan_ids: which scan.
        subject_classes: true class of the subject, −1 = unknown.
        object_classes: of the object.
        predicate_ids: −1 = no relation holds.
        predicate_ranks: from 1 (released: from below), ``NEVER`` = not at any k.
        triplet_ranks: likewise; without meaning where a class is unknown.
        named_right: whether no class scores above the true one of subject or object.
        num_predicates: in all.
        unlisted: relations of pairs that nothing was said of.
        counting: "corrected" or "released".
    """

    scan_ids: Int64[np.ndarray, "rows"]
    subject_classes: Int64[np.ndarray, "rows"]
    object_classes: Int64[np.ndarray, "rows"]
    predicate_ids: Int64[np.ndarray, "rows"]
    predicate_ranks: Int64[np.ndarray, "rows"]
    triplet_ranks: Int64[np.ndarray, "rows"]
    named_right: Bool[np.ndarray, "rows"]
    num_predicates: int
    unlisted: int
    counting: Counting

    @property
    def is_relation(self) -> Bool[np.ndarray, "rows"]:
        """False for pairs without a relation."""
        return self.predicate_ids >= 0

    @property
    def has_classes(self) -> Bool[np.ndarray, "rows"]:
        """Whether both classes are known."""
        return (self.subject_classes >= 0) & (self.object_classes >= 0)


def relation_ranks(graphs: Sequence[PredictedGraph], counting: Counting = "corrected") -> RelationRanks:
    """Ranks of the relations of all scans, over all ordered pairs of things of each.

    Raises:
        ConventionError: no scans, or scans with different numbers of classes or predicates.
    """
    sizes = {(graph.object_scores.shape[1], graph.predicate_scores.shape[1]) for graph in graphs}
    if len(sizes) != 1:
        raise ConventionError("graphs", expected="scans with the same classes and predicates", got=str(sorted(sizes)))
    parts = [np.column_stack(_ranks_of(graph, counting)) for graph in graphs]
    scan_ids = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    subject, thing, predicate, of_predicate, of_triplet, right = np.concatenate(parts).T
    unlisted = sum(int((graph.relations[:, 3] < 0).sum()) for graph in graphs)
    return RelationRanks(
        scan_ids, subject, thing, predicate, of_predicate, of_triplet, right > 0, sizes.pop()[1], unlisted, counting
    )


def object_ranks(graph: PredictedGraph) -> Int64[np.ndarray, "objects"]:
    """1 + the number of classes that score above the true one; ``NEVER`` where that is unknown."""
    known = graph.class_ids >= 0
    own = graph.object_scores[np.arange(len(known)), np.maximum(graph.class_ids, 0)]
    return np.where(known, 1 + (graph.object_scores > own[:, None]).sum(axis=1), NEVER)


def _ranks_of(graph: PredictedGraph, counting: Counting) -> tuple[Int64[np.ndarray, "rows"], ...]:
    """Columns: classes of subject and object, predicate, both ranks, whether both things are named rightly."""
    listed = graph.relations[graph.relations[:, 3] >= 0]
    missed = graph.relations[graph.relations[:, 3] < 0]
    silent = np.flatnonzero(~graph.holds.any(axis=1))
    count = len(graph.class_ids)
    others = count * (count - 1) - len(graph.pairs) - len(np.unique(missed[:, :2], axis=0))  # neither listed nor related
    of_listed = _listed_ranks(graph, listed, counting)
    of_silent = _silent_ranks(graph, silent)
    pairs = np.concatenate([listed[:, :2], missed[:, :2], graph.pairs[silent], _unlisted_pairs(graph, missed, others)])
    never, first = np.full(len(missed), NEVER), np.ones(others, dtype=np.int64)
    predicates = np.concatenate([listed[:, 2], missed[:, 2], np.full(len(silent) + others, -1)])
    right = object_ranks(graph)[pairs] == 1
    return (
        graph.class_ids[pairs[:, 0]],
        graph.class_ids[pairs[:, 1]],
        predicates,
        np.concatenate([of_listed[0], never, of_silent[0], first]),
        np.concatenate([of_listed[1], never, of_silent[1], first]),
        right.all(axis=1).astype(np.int64),
    )


def _unlisted_pairs(graph: PredictedGraph, missed: Int64[np.ndarray, "r 4"], others: int) -> Int64[np.ndarray, "others 2"]:
    if not others:
        return np.zeros((0, 2), dtype=np.int64)
    count = len(graph.class_ids)
    taken = np.eye(count, dtype=bool)
    for pairs in (graph.pairs, missed[:, :2]):
        taken[pairs[:, 0], pairs[:, 1]] = True
    return np.argwhere(~taken).astype(np.int64)


def _listed_ranks(
    graph: PredictedGraph, relations: Int64[np.ndarray, "r 4"], counting: Counting
) -> tuple[Int64[np.ndarray, "r"], Int64[np.ndarray, "r"]]:
    subject, thing, predicate, row = relations.T
    scores, holds = graph.predicate_scores[row].astype(np.float64), graph.holds[row]
    at = np.arange(len(relations))
    above = scores > scores[at, predicate][:, None]
    a, b = (graph.object_scores[end].astype(np.float64) for end in (subject, thing))
    of_names = a[at, np.maximum(graph.class_ids[subject], 0)] * b[at, np.maximum(graph.class_ids[thing], 0)]
    products = of_names[:, None] * scores
    own = products[at, predicate]
    triplets = 1 + triplets_above(a, b, scores, own)
    if counting == "released":
        return _released(1 + above.sum(axis=1), row, "predicate"), _released(triplets, row, "triplet")
    return 1 + (above & ~holds).sum(axis=1), triplets - ((products > own[:, None]) & holds).sum(axis=1)


def _silent_ranks(graph: PredictedGraph, rows: Int64[np.ndarray, "n"]) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Ranks of "none" for pairs of which nothing holds."""
    scores = graph.predicate_scores[rows].astype(np.float64)
    a, b = (graph.object_scores[graph.pairs[rows, end]].astype(np.float64) for end in (0, 1))
    found = []
    for ahead, answers in (
        ((scores >= _NONE_AT).sum(axis=1), scores.shape[1]),
        (triplets_above(a, b, scores, np.full(len(rows), _NONE_AT), or_equal=True), a.shape[1] ** 2 * scores.shape[1]),
    ):
        found.append(np.where(ahead < answers, ahead + 1, NEVER))
    return found[0], found[1]


def _released(ranks: Int64[np.ndarray, "r"], rows: Int64[np.ndarray, "r"], of: Ranked) -> Int64[np.ndarray, "r"]:
    """Ranks cut off, sorted within each pair and less their position there; rows of a pair stand together."""
    cut = np.minimum(ranks, _RELEASED_DEPTH[of] + 1)
    group = np.cumsum(np.r_[0, rows[1:] != rows[:-1]]) if len(rows) else rows
    first = np.searchsorted(group, group)
    return cut[np.lexsort((cut, group))] - (np.arange(len(rows)) - first)


# ----------------------------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class TopAccuracy:
    """Shares of ranks up to k; of 1, not per cent, NaN where there is nothing.

    Attributes:
        ks: at which.
        accuracy: A@k, over all rows that were counted.
        mean_accuracy: mA@k, the mean of ``by_class`` over classes that occur.
        by_class: of each predicate (or class of things); NaN where it does not occur.
        counts: rows of each.
        count: rows in all, "none" included.
        absent: classes that never occur and are left out of the mean.
    """

    ks: tuple[int, ...]
    accuracy: Float64[np.ndarray, "ks"]
    mean_accuracy: Float64[np.ndarray, "ks"]
    by_class: Float64[np.ndarray, "ks classes"]
    counts: Int64[np.ndarray, "classes"]
    count: int
    absent: int


def object_accuracy(graphs: Sequence[PredictedGraph], ks: Sequence[int] = (1, 5, 10)) -> TopAccuracy:
    """A@k of names: the share of things whose true class is among the k best; and the mean of that over classes.

    Raises:
        ConventionError: no scans.
    """
    if not graphs:
        raise ConventionError("graphs", expected="at least one scan", got="none")
    classes = np.concatenate([graph.class_ids for graph in graphs])
    ranks = np.concatenate([object_ranks(graph) for graph in graphs])
    known = classes >= 0
    return _top_accuracy(ranks[known], classes[known], graphs[0].object_scores.shape[1], ks)


def relation_accuracy(
    ranks: RelationRanks, of: Ranked, ks: Sequence[int], where: Bool[np.ndarray, "rows"] | None = None
) -> TopAccuracy:
    """A@k and mA@k of predicates or of triplets.

    Args:
        ranks: of :func:`relation_ranks`.
        of: "predicate" (usual ks: 1, 3, 5) or "triplet" (50, 100); triplets need both classes known.
        ks: at which.
        where: rows to count; all of them when None.
    """
    chosen = np.ones(len(ranks.scan_ids), dtype=bool) if where is None else where
    if of == "triplet":
        chosen = chosen & ranks.has_classes
    values = ranks.predicate_ranks if of == "predicate" else ranks.triplet_ranks
    found = _top_accuracy(values[chosen], ranks.predicate_ids[chosen], ranks.num_predicates, ks)
    if of == "triplet" and ranks.counting == "released" and found.counts.any():
        last = int(np.flatnonzero(found.counts)[-1])
        return replace(found, mean_accuracy=_mean(np.delete(found.by_class, last, axis=1)))
    return found


def _top_accuracy(
    ranks: Int64[np.ndarray, "rows"], classes: Int64[np.ndarray, "rows"], num_classes: int, ks: Sequence[int]
) -> TopAccuracy:
    real = classes >= 0
    counts = np.bincount(classes[real], minlength=num_classes)
    by_class = np.full((len(ks), num_classes), np.nan)
    overall = np.full(len(ks), np.nan)
    for index, k in enumerate(ks):
        hits = np.bincount(classes[real & (ranks <= k)], minlength=num_classes)
        by_class[index, counts > 0] = hits[counts > 0] / counts[counts > 0]
        if len(ranks):
            overall[index] = (ranks <= k).mean()
    return TopAccuracy(
        tuple(ks), overall, _mean(by_class), by_class, counts.astype(np.int64), len(ranks), int((counts == 0).sum())
    )


def _mean(by_class: Float64[np.ndarray, "ks classes"]) -> Float64[np.ndarray, "ks"]:
    """Mean over the classes that occur; NaN where none does."""
    occurs = ~np.isnan(by_class)
    count = occurs.sum(axis=1)
    return np.where(count > 0, np.where(occurs, by_class, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def accuracy_of_groups(
    found: TopAccuracy, names: Sequence[str], groups: Mapping[str, Collection[str]]
) -> dict[str, Float64[np.ndarray, "ks"]]:
    """mA@k over the predicates of each group, such as head, body and tail, as far as they occur.

    Args:
        found: of :func:`relation_accuracy`.
        names: of the predicates.
        groups: names of each group; names that are not among ``names`` are passed over.
    """
    members = {group: [index for index, name in enumerate(names) if name in wanted] for group, wanted in groups.items()}
    return {group: _mean(found.by_class[:, indices]) for group, indices in members.items()}
