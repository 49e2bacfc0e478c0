"""Where relations are told wrongly: predicate by predicate, with names right or wrong, in combinations never trained on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.errors import ConventionError
from scenewise.metrics.scene_graphs import PredictedGraph, RelationRanks, TopAccuracy, relation_accuracy

NamedTriplet = tuple[str, str, str]
"""Names of subject class, predicate and object class."""


@dataclass(frozen=True)
class PredicateFigures:
    """A line of the table of predicates; shares of 1, NaN where the predicate does not occur.

    Attributes:
        name: of the predicate.
        count: relations.
        recall: share of them that rank up to each k, as in mA@k.
        average_precision: Σ (Rₙ − Rₙ₋₁) · Pₙ over its falling scores on all pairs, equal scores taken together; relations of
            pairs that nothing was said of are never found.
    """

    name: str
    count: int
    recall: tuple[float, ...]
    average_precision: float


def predicate_table(
    graphs: Sequence[PredictedGraph], ranks: RelationRanks, names: Sequence[str], ks: Sequence[int] = (1, 3, 5)
) -> tuple[PredicateFigures, ...]:
    """A line per predicate, in the order of ``names``.

    Raises:
        ConventionError: another number of names than predicates.
    """
    if len(names) != ranks.num_predicates:
        raise ConventionError("names", expected=f"{ranks.num_predicates}, one per predicate", got=len(names))
    found = relation_accuracy(ranks, "predicate", ks)
    scores = np.concatenate([graph.predicate_scores for graph in graphs]).astype(np.float64)
    holds = np.concatenate([graph.holds for graph in graphs])
    return tuple(
        PredicateFigures(
            name,
            int(found.counts[index]),
            tuple(found.by_class[:, index].tolist()),
            average_precision(scores[:, index], holds[:, index], int(found.counts[index])),
        )
        for index, name in enumerate(names)
    )


def average_precision(scores: Float64[np.ndarray, "n"], is_true: Bool[np.ndarray, "n"], total: int | None = None) -> float:
    """Σ (Rₙ − Rₙ₋₁) · Pₙ over the different scores from the highest down; NaN where nothing is true.

    Args:
        scores: of each answer.
        is_true: whether it is right.
        total: true answers in all, those without a score included; those among ``is_true`` when None.
    """
    wanted = int(is_true.sum()) if total is None else total
    if not wanted:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_true[order])
    ends = np.flatnonzero(np.r_[scores[order][1:] != scores[order][:-1], True]) if len(order) else order
    precision, recall = hits[ends] / (ends + 1), hits[ends] / wanted
    return float((np.diff(recall, prepend=0.0) * precision).sum())


@dataclass(frozen=True)
class AccuracyByNames:
    """Figures of predicates apart for pairs whose two things are named rightly and for the others.

    Attributes:
        right: pairs with both names right.
        wrong: pairs with at least one name wrong.
        errors_with_wrong_names: of the true relations that do not rank first, the share whose names are wrong; NaN without any.
    """

    right: TopAccuracy
    wrong: TopAccuracy
    errors_with_wrong_names: float


def accuracy_by_names(ranks: RelationRanks, ks: Sequence[int] = (1, 3, 5)) -> AccuracyByNames:
    """Predicates where names are right and where they are not; pairs with a thing of unknown class are in neither."""
    right, wrong = ranks.has_classes & ranks.named_right, ranks.has_classes & ~ranks.named_right
    errors = ranks.is_relation & ranks.has_classes & (ranks.predicate_ranks > 1)
    return AccuracyByNames(
        relation_accuracy(ranks, "predicate", ks, right),
        relation_accuracy(ranks, "predicate", ks, wrong),
        float((errors & wrong).sum() / errors.sum()) if errors.any() else float("nan"),
    )


def named_triplets(
    class_ids: Int64[np.ndarray, "objects"],
    triplets: Int64[np.ndarray, "r 3"],
    class_names: Sequence[str],
    predicate_names: Sequence[str],
) -> frozenset[NamedTriplet]:
    """The combinations of names in a scan, of things whose class is known: what a network that learns from it has seen."""
    known = (class_ids[triplets[:, 0]] >= 0) & (class_ids[triplets[:, 1]] >= 0)
    return frozenset(
        (class_names[subject], predicate_names[predicate], class_names[thing])
        for subject, thing, predicate in zip(
            class_ids[triplets[known, 0]].tolist(), class_ids[triplets[known, 1]].tolist(), triplets[known, 2].tolist()
        )
    )


def unseen_relations(
    ranks: RelationRanks, seen: Collection[NamedTriplet], class_names: Sequence[str], predicate_names: Sequence[str]
) -> Bool[np.ndarray, "rows"]:
    """Rows that are relations in a combination of names not among those seen: ``where`` for :func:`relation_accuracy`.

    Args:
        ranks: of the scans that are evaluated.
        seen: combinations in the training scans, see :func:`named_triplets`.
        class_names: position = class id.
        predicate_names: position = predicate id.
    """
    lookup = seen if isinstance(seen, set | frozenset) else frozenset(seen)
    usable = ranks.is_relation & ranks.has_classes
    columns = (ranks.subject_classes[usable], ranks.predicate_ids[usable], ranks.object_classes[usable])
    unseen = np.zeros(len(usable), dtype=bool)
    unseen[usable] = [
        (class_names[subject], predicate_names[predicate], class_names[thing]) not in lookup
        for subject, predicate, thing in zip(*(column.tolist() for column in columns))
    ]
    return unseen
