"""Recall of the best relations of a whole scan: SGCls and PredCls, with and without a graph constraint.

All answers of a scan, over all its pairs, compete; R@k is the share of its true relations among the k best, then the mean over
scans.  mR@k: for each predicate the mean over the scans it occurs in, then the mean over the predicates that occur.  In PredCls
the things' classes are given and an answer scores p(predicate); in SGCls they are not: an answer is right with both names only
and scores p(class of subject) · p(class of object) · p(predicate).  With the graph constraint each pair gives its best answer
alone.  Of equal scores, wrong answers stand before true ones, so constant scores earn nothing; true ones share a rank.
Sources: Xu et al. 2017, arXiv 1701.02426 (tasks); Zellers et al. 2018, arXiv 1711.06640 (without the constraint); Tang et al.
2019, arXiv 1812.01880 (mR@k).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.errors import ConventionError
from scenewise.metrics.scene_graphs import NEVER, PredictedGraph

Task = Literal["sgcls", "predcls"]
Counted = Literal["relations", "pairs"]
_ENTRIES = 1 << 20  # scores computed together: 8 MB an array


@dataclass(frozen=True)
class GraphRecall:
    """Shares of 1; NaN where there is nothing.

    Attributes:
        ks: at which.
        recall: R@k.
        mean_recall: mR@k.
        by_predicate: of each predicate; NaN where it does not occur.
        scans: with at least one true relation; others do not count.
        absent: predicates that never occur and are left out of mR.
    """

    ks: tuple[int, ...]
    recall: Float64[np.ndarray, "ks"]
    mean_recall: Float64[np.ndarray, "ks"]
    by_predicate: Float64[np.ndarray, "ks predicates"]
    scans: int
    absent: int


def graph_recall(
    graphs: Sequence[PredictedGraph],
    task: Task,
    *,
    constrained: bool,
    ks: Sequence[int] = (20, 50, 100),
    counted: Counted = "relations",
) -> GraphRecall:
    """R@k and mR@k of a task.

    Args:
        graphs: one per scan; relations of pairs that are not listed are never found.
        task: "sgcls" leaves out relations of things whose class is not known.
        constrained: one predicate per pair at most.
        ks: at which.
        counted: "relations" counts each true relation; "pairs" is VL-SAT's released code: a pair counts once, is found when one
            of its relations is, and all its relations are then found in mR@k.

    Raises:
        ConventionError: no scans, no ks, or scans with different numbers of predicates.
    """
    sizes = {graph.predicate_scores.shape[1] for graph in graphs}
    if len(sizes) != 1 or not ks or min(ks) < 1:
        raise ConventionError(
            "graphs, ks", expected="scans with the same predicates, ks from 1", got=f"{sorted(sizes)}, {list(ks)}"
        )
    num_predicates = sizes.pop()
    limits = np.array(ks)
    recalls: list[np.ndarray] = []
    sums, scans_with = np.zeros((len(ks), num_predicates)), np.zeros(num_predicates)
    for graph in graphs:
        relations = graph.relations
        if task == "sgcls":
            relations = relations[(graph.class_ids[relations[:, :2]] >= 0).all(axis=1)]
        if not len(relations):
            continue
        found = _ranks(graph, relations, task, constrained, int(limits.max()))[None, :] <= limits[:, None]
        if counted == "pairs":
            _, pair = np.unique(relations[:, :2], axis=0, return_inverse=True)
            by_pair = np.stack([np.bincount(pair.ravel(), weights=row) > 0 for row in found])
            recalls.append(by_pair.mean(axis=1))
            found = by_pair[:, pair.ravel()]
        else:
            recalls.append(found.mean(axis=1))
        counts = np.bincount(relations[:, 2], minlength=num_predicates)
        hits = np.stack([np.bincount(relations[row, 2], minlength=num_predicates) for row in found])
        sums += hits / np.maximum(counts, 1)
        scans_with += counts > 0
    by_predicate = np.where(scans_with > 0, sums / np.maximum(scans_with, 1), np.nan)
    nothing = np.full(len(ks), np.nan)
    return GraphRecall(
        tuple(ks),
        np.mean(recalls, axis=0) if recalls else nothing,
        by_predicate[:, scans_with > 0].mean(axis=1) if recalls else nothing,
        by_predicate,
        len(recalls),
        int((scans_with == 0).sum()),
    )


def _ranks(
    graph: PredictedGraph, relations: Int64[np.ndarray, "r 4"], task: Task, constrained: bool, most: int
) -> Int64[np.ndarray, "r"]:
    """Rank of each true relation among all answers: exact up to ``most``, else beyond; ``NEVER`` where it is no answer."""
    scores = graph.predicate_scores.astype(np.float64)
    names = graph.object_scores.astype(np.float64)
    subject, thing, predicate, row = relations.T
    is_answer = row >= 0
    own = np.zeros(len(relations))
    own[is_answer] = scores[row[is_answer], predicate[is_answer]]
    if task == "sgcls":
        true = np.maximum(graph.class_ids, 0)
        own = (names[subject, true[subject]] * names[thing, true[thing]]) * own
    if constrained and scores.shape[1]:
        is_answer &= predicate == scores.argmax(axis=1)[row] if len(scores) else False
        answers = scores.max(axis=1)
        if task == "sgcls":
            best = names.argmax(axis=1) == graph.class_ids
            is_answer &= best[subject] & best[thing]
            top = names.max(axis=1)
            answers = (top[graph.pairs[:, 0]] * top[graph.pairs[:, 1]]) * answers
    elif task == "sgcls":
        # Enough that, with all true ones taken off, ``most`` wrong ones are left: in each pair, and in all together.
        per_pair = most + 2 * int(graph.holds.sum(axis=1).max(initial=0))
        answers = _best_triplets(names, graph.pairs, scores, per_pair, most + len(relations))
    else:
        answers = scores.ravel()
    answers, true_answers = np.sort(answers), np.sort(own[is_answer])
    at_least = len(answers) - np.searchsorted(answers, own, side="left")
    true_at_least = len(true_answers) - np.searchsorted(true_answers, own, side="left")
    true_above = len(true_answers) - np.searchsorted(true_answers, own, side="right")
    return np.where(is_answer, 1 + at_least - true_at_least + true_above, NEVER)


def _best_triplets(
    names: Float64[np.ndarray, "objects classes"],
    pairs: Int64[np.ndarray, "m 2"],
    scores: Float64[np.ndarray, "m predicates"],
    per_pair: int,
    limit: int,
) -> Float64[np.ndarray, "n"]:
    """The ``limit`` highest scores of triplets of class, class and predicate over all pairs, or all there are.

    With classes and predicates in falling order, i · j · k triplets score at least as high as that at places (i, j, k) from 1.
    So of each pair only places with i · j · k ≤ per_pair are looked at: some 1,500 for 100 instead of 160 · 160 · 26.  Pairs come
    by their best triplet; those that cannot reach the list any more are passed over.

    Args:
        names: probabilities of classes.
        pairs: subject and object.
        scores: of predicates.
        per_pair: of each pair, so many of the highest are certainly looked at.
        limit: how many to return.
    """
    names, scores = -np.sort(-names, axis=1), -np.sort(-scores, axis=1)
    classes, predicates = min(names.shape[1], per_pair), min(scores.shape[1], per_pair)
    i, j, k = (axis.ravel() for axis in np.meshgrid(*(np.arange(size) for size in (classes, classes, predicates)), indexing="ij"))
    near = (i + 1) * (j + 1) * (k + 1) <= per_pair
    i, j, k = i[near], j[near], k[near]
    best = np.zeros(0)
    step = max(1, _ENTRIES // max(1, len(i)))
    top = (names[pairs[:, 0], 0] * names[pairs[:, 1], 0]) * scores.max(axis=1, initial=0.0)
    order = np.argsort(-top, kind="stable")
    for begin in range(0, len(pairs), step):
        rows = order[begin : begin + step]
        if len(best) == limit and top[rows[0]] <= best.min():
            break
        products = (names[pairs[rows, 0]][:, i] * names[pairs[rows, 1]][:, j]) * scores[rows][:, k]
        best = np.concatenate([best, products.ravel()])
        if len(best) > limit:
            best = -np.partition(-best, limit - 1)[:limit]
    return best
