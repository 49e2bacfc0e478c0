"""All figures of a network on some scans, which a run of ``scenewise train-graph`` has as well; and what rules say of them."""

import numpy as np

from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.figures import Answerer, figures, groups_of, predicted_graphs, seen_triplets
from scenewise.methods.vl_sat.predicting import GraphAnswer
from scenewise.parts.graphs.rules import RULE_PREDICATES, rule_scores
from scenewise.parts.graphs.things import things_of_points

__all__ = ["Answerer", "figures", "groups_of", "predicted_graphs", "rules_answer", "seen_triplets"]


def rules_answer(example: GraphExample, data: GraphData) -> GraphAnswer:
    """What rules say of the boxes of things whose names are known: no training, and nothing of meaning."""
    scan, count = example.scan, len(example.scan)
    names = [data.classes[number] for number in scan.class_ids]
    things = things_of_points(scan.points_in_world, names)
    pairs = np.argwhere(~np.eye(count, dtype=bool)).astype(np.int64)
    said = rule_scores(things, pairs, np.zeros(count))
    scores = np.zeros((len(pairs), len(data.predicates)), dtype=np.float32)
    for column, name in enumerate(data.predicates):
        if name in RULE_PREDICATES:
            scores[:, column] = said[:, RULE_PREDICATES.index(name)]
    classes = np.zeros((count, len(data.classes)), dtype=np.float32)
    classes[np.arange(count), scan.class_ids] = 1.0
    return GraphAnswer(classes, pairs, scores)
