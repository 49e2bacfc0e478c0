"""All figures of a network on some scans, as a study or a run keeps them."""

from collections.abc import Callable, Sequence

import numpy as np

from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.predicting import GraphAnswer
from scenewise.metrics.scene_graph_recall import graph_recall
from scenewise.metrics.scene_graph_tables import (
    NamedTriplet,
    accuracy_by_names,
    named_triplets,
    predicate_table,
    unseen_relations,
)
from scenewise.metrics.scene_graphs import (
    PredictedGraph,
    TopAccuracy,
    accuracy_of_groups,
    object_accuracy,
    relation_accuracy,
    relation_ranks,
    with_true_names,
)
from scenewise.scenes.predicates import BODY, HEAD

Answerer = Callable[[GraphExample], GraphAnswer]


def predicted_graphs(answer: Answerer, data: GraphData) -> list[PredictedGraph]:
    """What was said of each scan, beside the truth."""
    found = []
    for example in data.examples:
        said = answer(example)
        scan = example.scan
        found.append(PredictedGraph(scan.name, said.classes, said.pairs, said.predicates, scan.class_ids, scan.triplets))
    return found


def seen_triplets(data: GraphData) -> frozenset[NamedTriplet]:
    """Combinations of names that training scans have."""
    return frozenset().union(
        *(named_triplets(each.scan.class_ids, each.scan.triplets, data.classes, data.predicates) for each in data.examples)
    )


def figures(
    graphs: Sequence[PredictedGraph],
    classes: Sequence[str],
    predicates: Sequence[str],
    seen: frozenset[NamedTriplet],
    *,
    whole: bool = True,
) -> dict[str, float | None]:
    """Per cent by name; None where there is nothing to measure.

    Args:
        graphs: of :func:`predicted_graphs`.
        classes: names of things.
        predicates: names of relations.
        seen: of :func:`seen_triplets` of the scans that were learned from.
        whole: SGCls, PredCls and the table of predicates as well.
    """
    ranks = relation_ranks(graphs)
    names = object_accuracy(graphs, (1, 5, 10))
    relations = relation_accuracy(ranks, "predicate", (1, 3, 5), ranks.is_relation)
    pairs = relation_accuracy(ranks, "predicate", (1, 3, 5))
    triplets = relation_accuracy(ranks, "triplet", (5, 50, 100))
    found: dict[str, float] = {}
    found |= _named("object A", names, names.accuracy)
    found |= _named("predicate A", pairs, pairs.accuracy)
    found |= _named("relation A", relations, relations.accuracy)
    found |= _named("predicate mA", pairs, pairs.mean_accuracy)
    found |= _named("triplet A", triplets, triplets.accuracy)
    found |= _named("triplet mA", triplets, triplets.mean_accuracy)
    for group, values in accuracy_of_groups(pairs, predicates, groups_of(predicates)).items():
        found |= _named(f"{group} mA", pairs, values)
    unseen = unseen_relations(ranks, seen, classes, predicates)
    found |= _named("unseen triplet A", triplets, relation_accuracy(ranks, "triplet", (5, 50, 100), unseen).accuracy)
    found["unseen relations"] = float(unseen.sum()) / 100
    by_names = accuracy_by_names(ranks, (1, 3))
    found |= _named("names right mA", by_names.right, by_names.right.mean_accuracy)
    found |= _named("names wrong mA", by_names.wrong, by_names.wrong.mean_accuracy)
    found["errors with wrong names"] = by_names.errors_with_wrong_names
    known = relation_accuracy(relation_ranks([with_true_names(graph) for graph in graphs]), "triplet", (50,))
    found |= _named("true names triplet mA", known, known.mean_accuracy)
    if whole:
        for task in ("sgcls", "predcls"):
            for constrained in (True, False):
                recall = graph_recall(graphs, task, constrained=constrained, ks=(20, 50, 100))
                title = f"{task}{'' if constrained else ' free'}"
                found |= {f"{title} R@{k}": float(value) for k, value in zip(recall.ks, recall.recall)}
                found |= {f"{title} mR@{k}": float(value) for k, value in zip(recall.ks, recall.mean_recall)}
        for line in predicate_table(graphs, ranks, predicates, (1, 3)):
            found |= {f"AP {line.name}": line.average_precision, f"R@1 {line.name}": line.recall[0]}
    return {name: None if np.isnan(value) else 100 * float(value) for name, value in found.items()}


def groups_of(predicates: Sequence[str]) -> dict[str, frozenset[str]]:
    """Head, body and tail of a data set's predicates."""
    return {"head": HEAD, "body": BODY, "tail": frozenset(predicates) - HEAD - BODY}


def _named(title: str, found: TopAccuracy, values: np.ndarray) -> dict[str, float]:
    return {f"{title}@{k}": float(value) for k, value in zip(found.ks, values)}
