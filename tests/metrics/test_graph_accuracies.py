"""Accuracies and recalls of scene graphs against loops that list every answer."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.metrics.scene_graph_recall import graph_recall
from scenewise.metrics.scene_graph_tables import (
    accuracy_by_names,
    average_precision,
    named_triplets,
    predicate_table,
    unseen_relations,
)
from scenewise.metrics.scene_graphs import (
    NEVER,
    PredictedGraph,
    accuracy_of_groups,
    object_accuracy,
    relation_accuracy,
    relation_ranks,
    with_true_names,
)
from scenewise.metrics.triplet_counts import triplets_above

CLASSES, PREDICATES = 5, 4


def random_graph(seed: int, *, things: int = 4, ties: bool = False, share: float = 1.0, unknown: bool = False) -> PredictedGraph:
    generator = np.random.default_rng(seed)
    names = generator.dirichlet(np.full(CLASSES, 0.4), things)
    pairs = np.array(list(itertools.permutations(range(things), 2)))
    generator.shuffle(pairs)
    pairs = pairs[: round(share * len(pairs))]
    scores = generator.random((len(pairs), PREDICATES))
    if ties:
        names, scores = np.round(names * 4) / 4, np.round(scores * 3) / 3
    triplets = np.array(list(itertools.product(range(things), range(things), range(PREDICATES))))
    triplets = triplets[(triplets[:, 0] != triplets[:, 1]) & (generator.random(len(triplets)) < 0.25)]
    classes = generator.integers(-1 if unknown else 0, CLASSES, things)
    return PredictedGraph(f"scan {seed}", names, pairs, scores, classes, np.r_[triplets, triplets[:2]])


def permuted(graph: PredictedGraph, seed: int) -> PredictedGraph:
    generator = np.random.default_rng(seed)
    place = generator.permutation(len(graph.class_ids))  # new number of each thing
    order, rows = np.argsort(place), generator.permutation(len(graph.pairs))
    moved = graph.triplets.copy()
    moved[:, :2] = place[moved[:, :2]]
    return replace(
        graph,
        object_scores=graph.object_scores[order],
        class_ids=graph.class_ids[order],
        pairs=place[graph.pairs[rows]],
        predicate_scores=graph.predicate_scores[rows],
        triplets=generator.permutation(moved),
    )


# ---------------------------------------------------------------------------------------------------------- reference loops


def loop_ranks(graph: PredictedGraph, counting: str) -> list[tuple[int, int, int, float, float]]:
    """(class, class, predicate, predicate rank, triplet rank) of every pair, by listing and sorting everything."""
    found = []
    row_of = {tuple(pair): row for row, pair in enumerate(graph.pairs.tolist())}
    for a, b in itertools.permutations(range(len(graph.class_ids)), 2):
        true = sorted({p for s, o, p in graph.triplets.tolist() if (s, o) == (a, b)})
        classes = int(graph.class_ids[a]), int(graph.class_ids[b])
        row = row_of.get((a, b))
        if row is None:
            found += [(*classes, p, math.inf, math.inf) for p in true] or [(*classes, -1, 1, 1)]
            continue
        scores = graph.predicate_scores[row]
        products = {
            (i, j, p): (graph.object_scores[a, i] * graph.object_scores[b, j]) * scores[p]
            for i, j, p in itertools.product(range(CLASSES), range(CLASSES), range(PREDICATES))
        }
        answers = {p: scores[p] for p in range(PREDICATES)}
        if not true:
            ranks = []
            for listed in (answers, products):
                falling = sorted(listed.values(), reverse=True)
                ranks.append(next((place + 1 for place, score in enumerate(falling) if score < 0.5), math.inf))
            found.append((*classes, -1, *ranks))
            continue
        both = []
        for listed, keys, depth in ((answers, true, 6), (products, [(*classes, p) for p in true], 101)):
            if -1 in classes and listed is products:
                both.append([math.nan] * len(true))
            elif counting == "corrected":
                rivals = [other for other in listed if other not in keys]
                both.append([1 + sum(listed[other] > listed[key] for other in rivals) for key in keys])
            else:
                falling = sorted(listed.values(), reverse=True)
                firsts = sorted(min(falling.index(listed[key]) + 1, depth + 1) for key in keys)
                both.append([first - place for place, first in enumerate(firsts)])
        found += [(*classes, p, first, second) for p, first, second in zip(true, *both)]
    return found


def loop_recall(graphs, task: str, constrained: bool, ks, counted: str) -> tuple[list[float], dict[int, list[float]]]:
    per_scan: list[list[float]] = []
    per_predicate: dict[int, list[list[float]]] = {}
    for graph in graphs:
        true = {(a, b, p) for a, b, p in graph.triplets.tolist()}
        if task == "sgcls":
            true = {(a, b, p) for a, b, p in true if min(graph.class_ids[a], graph.class_ids[b]) >= 0}
        if not true:
            continue
        answers = []  # (score, whether it is true, what it says)
        for row, (a, b) in enumerate(graph.pairs.tolist()):
            own = []
            names = list(itertools.product(range(CLASSES), range(CLASSES))) if task == "sgcls" else [None]
            for pair_names, p in itertools.product(names, range(PREDICATES)):
                score = graph.predicate_scores[row, p]
                if pair_names is not None:
                    score = (graph.object_scores[a, pair_names[0]] * graph.object_scores[b, pair_names[1]]) * score
                is_true = (a, b, p) in true and (pair_names in (None, (graph.class_ids[a], graph.class_ids[b])))
                own.append((score, is_true, (a, b, p)))
            answers += [max(own, key=lambda answer: answer[0])] if constrained else own
        before = {  # wrong answers of equal score stand before it, true ones beside it
            what: sum(other > score or (other >= score and not other_true) for other, other_true, _ in answers)
            for score, is_true, what in answers
            if is_true
        }
        shares = []
        for k in ks:
            best = {what for what, count in before.items() if count < k}
            if counted == "pairs":
                pairs_found = {what[:2] for what in best}
                best = {what for what in true if what[:2] in pairs_found}
                shares.append(len(pairs_found) / len({what[:2] for what in true}))
            else:
                shares.append(len(best) / len(true))
            for p in {what[2] for what in true}:
                of_p = {what for what in true if what[2] == p}
                per_predicate.setdefault(p, [[] for _ in ks])[list(ks).index(k)].append(len(best & of_p) / len(of_p))
        per_scan.append(shares)
    means = {p: [float(np.mean(shares)) for shares in of_k] for p, of_k in per_predicate.items()}
    return np.mean(per_scan, axis=0).tolist(), means


# -------------------------------------------------------------------------------------------------------------------- counts


@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.integers(1, 7), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_counting_along_factors_is_counting_them_all(seed: int, ties: bool, or_equal: bool, classes: int, predicates: int):
    generator = np.random.default_rng(seed)
    a, b = generator.random((2, 6, classes))
    c = generator.random((6, predicates))
    if ties:
        a, b, c = np.round(a * 3) / 3, np.round(b * 3) / 3, np.round(c * 2) / 2
    products = (a[:, :, None, None] * b[:, None, :, None]) * c[:, None, None, :]
    flat = products.reshape(6, -1)
    floors = flat[np.arange(6), generator.integers(0, flat.shape[1], 6)]
    expected = ((flat >= floors[:, None]) if or_equal else (flat > floors[:, None])).sum(axis=1)
    np.testing.assert_array_equal(triplets_above(a, b, c, floors, or_equal=or_equal), expected)


def test_counting_in_blocks_and_without_anything(monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    a, b, c = generator.random((7, 30)), generator.random((7, 30)), generator.random((7, 6))
    whole = triplets_above(a, b, c, np.full(7, 0.1))
    monkeypatch.setattr("scenewise.metrics.triplet_counts._ENTRIES", 400)
    np.testing.assert_array_equal(triplets_above(a, b, c, np.full(7, 0.1)), whole)
    assert triplets_above(a[:0], b[:0], c[:0], np.zeros(0)).shape == (0,)
    assert triplets_above(a, b, c[:, :0], np.zeros(7)).tolist() == [0] * 7


# --------------------------------------------------------------------------------------------------------------------- ranks


@pytest.mark.parametrize("counting", ["corrected", "released"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_ranks_are_those_of_the_loops(counting: str, ties: bool, share: float):
    for seed in range(12):
        graph = random_graph(seed, ties=ties, share=share, unknown=counting == "corrected")
        ranks = relation_ranks([graph], counting)
        expected = loop_ranks(graph, counting)
        rows = np.column_stack([ranks.subject_classes, ranks.object_classes, ranks.predicate_ids, ranks.predicate_ranks])
        triplet = np.where(ranks.has_classes | ~ranks.is_relation, ranks.triplet_ranks, -5)
        got = sorted((*row, rank) for row, rank in zip(rows.tolist(), triplet.tolist()))
        clean = [[NEVER if value == math.inf else -5 if math.isnan(value) else int(value) for value in row] for row in expected]
        hidden = [[*row[:4], -5 if min(row[:2]) < 0 and row[2] >= 0 else row[4]] for row in clean]
        assert got == sorted(map(tuple, hidden))


def one_pair(scores: list[float], true: list[int], names: list[list[float]] | None = None) -> PredictedGraph:
    names_of = np.eye(2) if names is None else np.array(names)
    other = np.zeros(len(scores))
    triplets = np.array([[0, 1, p] for p in true], dtype=np.int64).reshape(-1, 3)
    return PredictedGraph("one", names_of, np.array([[0, 1], [1, 0]]), np.array([scores, other]), np.array([0, 1]), triplets)


def test_ranks_by_hand():
    # predicates 0, 2 and 4 hold; 1 and 3 do not: only they stand before 0 (rank 3) and before 4 (rank 2)
    ranks = relation_ranks([one_pair([0.1, 0.8, 0.9, 0.3, 0.2], [0, 2, 4])])
    assert ranks.predicate_ids.tolist() == [0, 2, 4, -1]
    assert ranks.predicate_ranks.tolist() == [3, 1, 3, 1] and ranks.triplet_ranks.tolist() == [3, 1, 3, 1]
    assert relation_ranks([one_pair([0.7, 0.4, 0.5], [])]).predicate_ranks.tolist() == [3, 1]  # two scores of at least a half
    assert relation_ranks([one_pair([0.7, 0.6, 0.5], [])]).predicate_ranks.tolist() == [NEVER, 1]
    assert relation_ranks([one_pair([0.5, 0.5, 0.2], [1])]).predicate_ranks.tolist() == [1, 1]  # ties count in favour


def test_subject_and_object_are_not_exchanged():
    # thing 0 is class 0 for certain, thing 1 is class 1 with 0.6: (0, 1, predicate 0) has 0.6 · 0.5, (0, 0, 0) has 0.4 · 0.5
    graph = one_pair([0.5, 0.1], [0], [[1.0, 0.0], [0.4, 0.6]])
    assert relation_ranks([graph]).triplet_ranks[0] == 1
    assert relation_ranks([replace(graph, class_ids=np.array([1, 0]))]).triplet_ranks[0] > 4


def test_the_last_predicate_counts():
    graphs = [one_pair([0.9 if p == true else 0.0 for p in range(4)], [true]) for true in range(3)]
    wrong = one_pair([0.9, 0.0, 0.0, 0.8], [3])
    for counting in ("corrected", "released"):
        ranks = relation_ranks([*graphs, wrong], counting)
        found = relation_accuracy(ranks, "predicate", (1, 2))
        assert found.mean_accuracy.tolist() == [0.75, 1.0] and found.by_class[0].tolist() == [1, 1, 1, 0]
        assert found.accuracy[0] == 7 / 8 and found.count == 8 and found.absent == 0  # four pairs without a relation are right
        of_triplets = relation_accuracy(ranks, "triplet", (1,))
        assert of_triplets.mean_accuracy[0] == (0.75 if counting == "corrected" else 1.0)  # released code forgets the last


def test_absent_predicates_are_left_out_of_the_mean_and_counted():
    found = relation_accuracy(relation_ranks([one_pair([0.9, 0.0, 0.1, 0.2], [0, 2])]), "predicate", (1,))
    assert found.absent == 2 and np.isnan(found.by_class[0]).tolist() == [False, True, False, True]
    assert found.mean_accuracy[0] == 0.5 and found.counts.tolist() == [1, 0, 1, 0]


def test_what_the_released_code_makes_of_three_relations_of_a_pair():
    scores = np.linspace(0.9, 0.1, 26).tolist()
    graph = one_pair(scores, [0, 1, 25])
    assert relation_ranks([graph]).predicate_ranks[:3].tolist() == [1, 1, 24]
    assert relation_ranks([graph], "released").predicate_ranks[:3].tolist() == [1, 1, 5]  # 26 cut to 7, less 2
    swapped = one_pair(scores[::-1], [0, 1, 25])  # the rank of the last goes to the first
    assert relation_ranks([swapped], "released").predicate_ranks[:3].tolist() == [1, 6, 5]
    assert relation_ranks([swapped]).predicate_ranks[:3].tolist() == [24, 24, 1]


def test_pairs_that_are_not_listed_say_none():
    graph = random_graph(3, share=0.5)
    ranks = relation_ranks([graph])
    assert ranks.unlisted == (graph.relations[:, 3] < 0).sum() > 0
    assert len(ranks.scan_ids) == len(relation_ranks([random_graph(3)]).scan_ids)
    nothing = replace(graph, pairs=graph.pairs[:0], predicate_scores=graph.predicate_scores[:0])
    silent = relation_ranks([nothing])
    assert (silent.predicate_ranks[silent.is_relation] == NEVER).all() and (silent.triplet_ranks[~silent.is_relation] == 1).all()


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_order_of_things_and_pairs_changes_nothing(seed: int, ties: bool):
    graphs = [random_graph(seed + index, ties=ties, share=0.8, unknown=True) for index in range(2)]
    others = [permuted(graph, seed) for graph in graphs]
    for of, ks in (("predicate", (1, 2)), ("triplet", (5, 20))):
        first, second = (relation_accuracy(relation_ranks(some), of, ks) for some in (graphs, others))
        np.testing.assert_array_equal(first.by_class, second.by_class)
        np.testing.assert_array_equal(first.accuracy, second.accuracy)
    np.testing.assert_array_equal(object_accuracy(graphs).accuracy, object_accuracy(others).accuracy)
    for task, constrained in itertools.product(("sgcls", "predcls"), (True, False)):
        recalls = [graph_recall(some, task, constrained=constrained, ks=(2, 5, 10)) for some in (graphs, others)]
        np.testing.assert_allclose(recalls[0].recall, recalls[1].recall)
        np.testing.assert_allclose(recalls[0].by_predicate, recalls[1].by_predicate)


# ------------------------------------------------------------------------------------------------------------------- figures


def test_objects():
    names = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]])
    graph = PredictedGraph("a", names, np.zeros((0, 2), int), np.zeros((0, 2)), np.array([0, 2, 1, -1]), np.zeros((0, 3), int))
    found = object_accuracy([graph], (1, 2))
    assert found.accuracy.tolist() == [2 / 3, 1] and found.mean_accuracy.tolist() == [2 / 3, 1] and found.count == 3
    assert object_accuracy([with_true_names(graph)], (1,)).accuracy[0] == 1
    np.testing.assert_array_equal(with_true_names(graph).object_scores[3], names[3])


def test_head_body_and_tail():
    ranks = relation_ranks([one_pair([0.9, 0.3, 0.5, 0.1], [0, 1, 3])])
    found = relation_accuracy(ranks, "predicate", (1, 2))
    groups = accuracy_of_groups(found, "abcd", {"head": {"a", "b"}, "tail": ("d", "x"), "none": {"c"}})
    assert groups["head"].tolist() == [0.5, 1] and groups["tail"].tolist() == [0, 1] and np.isnan(groups["none"]).all()


def test_names_right_and_wrong():
    right = one_pair([0.1, 0.9], [1])
    wrong = one_pair([0.9, 0.1], [1], [[0.4, 0.6], [0.4, 0.6]])
    split = accuracy_by_names(relation_ranks([right, wrong]), (1,))
    assert (split.right.accuracy[0], split.wrong.accuracy[0]) == (1.0, 0.5) and split.errors_with_wrong_names == 1.0
    assert (split.right.count, split.wrong.count) == (2, 2)
    truly = accuracy_by_names(relation_ranks([with_true_names(right), with_true_names(wrong)]), (1,))
    assert truly.wrong.count == 0 and np.isnan(truly.wrong.accuracy[0]) and truly.errors_with_wrong_names == 0.0


def test_unseen_triplets():
    graph = random_graph(1, unknown=True)
    classes, predicates = [f"c{i}" for i in range(CLASSES)], [f"p{i}" for i in range(PREDICATES)]
    seen = named_triplets(graph.class_ids, graph.triplets[::2], classes, predicates)
    ranks = relation_ranks([graph])
    unseen = unseen_relations(ranks, seen, classes, predicates)
    meant = [
        p >= 0 and min(s, o) >= 0 and (f"c{s}", f"p{p}", f"c{o}") not in seen
        for s, o, p in zip(ranks.subject_classes.tolist(), ranks.object_classes.tolist(), ranks.predicate_ids.tolist())
    ]
    assert unseen.tolist() == meant and 0 < sum(meant) < ranks.is_relation.sum()
    assert relation_accuracy(ranks, "triplet", (50,), unseen).count == sum(meant)
    assert named_triplets(np.array([0, 1]), np.array([[1, 0, 2]]), ("a", "b"), ("x", "y", "z")) == {("b", "z", "a")}


def test_table_of_predicates():
    graphs = [random_graph(seed, ties=seed % 2 == 0, share=0.8) for seed in range(4)]
    ranks = relation_ranks(graphs)
    table = predicate_table(graphs, ranks, "abcd", (1, 2))
    assert [line.name for line in table] == list("abcd") and sum(line.count for line in table) == ranks.is_relation.sum()
    np.testing.assert_array_equal([line.recall for line in table], relation_accuracy(ranks, "predicate", (1, 2)).by_class.T)
    for index, line in enumerate(table):  # AP by its definition: at each different score, precision times the gain in recall
        scores = np.concatenate([graph.predicate_scores[:, index] for graph in graphs])
        true = np.concatenate([graph.holds[:, index] for graph in graphs])
        area, before = 0.0, 0.0
        for score in sorted(set(scores.tolist()), reverse=True):
            recall = true[scores >= score].sum() / line.count
            area += (recall - before) * true[scores >= score].mean()
            before = recall
        assert line.average_precision == pytest.approx(area)
    assert average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)
    assert math.isnan(average_precision(np.zeros(2), np.zeros(2, dtype=bool)))


# -------------------------------------------------------------------------------------------------------------------- recall


@pytest.mark.parametrize("task", ["sgcls", "predcls"])
@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("counted", ["relations", "pairs"])
def test_recall_is_that_of_the_loops(task: str, constrained: bool, counted: str):
    ks = (1, 4, 11)
    for seed in range(6):
        graphs = [random_graph(10 * seed + index, ties=index == 1, share=0.8, unknown=True) for index in range(3)]
        found = graph_recall(graphs, task, constrained=constrained, ks=ks, counted=counted)
        recall, by_predicate = loop_recall(graphs, task, constrained, ks, counted)
        np.testing.assert_allclose(found.recall, recall)
        expected = np.full((len(ks), PREDICATES), np.nan)
        for predicate, shares in by_predicate.items():
            expected[:, predicate] = shares
        np.testing.assert_allclose(found.by_predicate, expected)
        np.testing.assert_allclose(found.mean_recall, np.nanmean(expected, axis=1))


def test_recall_by_hand():
    # pair (0, 1): predicates 0 and 1 hold and are the two best; with the constraint only the better one is an answer
    graph = one_pair([0.9, 0.8, 0.1], [0, 1])
    free, held = (graph_recall([graph], "predcls", constrained=constrained, ks=(1, 2)) for constrained in (False, True))
    assert free.recall.tolist() == [0.5, 1.0] and held.recall.tolist() == [0.5, 0.5] and held.mean_recall.tolist() == [0.5, 0.5]
    assert graph_recall([graph], "predcls", constrained=True, ks=(1,), counted="pairs").recall.tolist() == [1.0]
    misnamed = replace(graph, object_scores=np.array([[0.4, 0.6], [0.0, 1.0]]))
    assert graph_recall([misnamed], "predcls", constrained=True, ks=(1,)).recall.tolist() == [0.5]
    assert graph_recall([misnamed], "sgcls", constrained=True, ks=(5,)).recall.tolist() == [0.0]
    # 0.6·0.9, 0.6·0.8, then 0.4·0.9 and 0.4·0.8
    assert graph_recall([misnamed], "sgcls", constrained=False, ks=(2, 3, 4)).recall.tolist() == [0.0, 0.5, 1.0]
    found = graph_recall([graph], "sgcls", constrained=True)
    assert found.absent == 1 and found.scans == 1 and found.ks == (20, 50, 100)


def test_constant_scores_earn_nothing():
    graph = replace(random_graph(0), predicate_scores=np.full((12, PREDICATES), 0.5))
    assert graph_recall([graph], "predcls", constrained=False, ks=(5,)).recall[0] == 0.0


def test_many_pairs_in_blocks(monkeypatch: pytest.MonkeyPatch):
    graph = random_graph(5, things=9, ties=True)
    whole = graph_recall([graph], "sgcls", constrained=False, ks=(20, 50))
    monkeypatch.setattr("scenewise.metrics.scene_graph_recall._ENTRIES", 500)
    np.testing.assert_array_equal(graph_recall([graph], "sgcls", constrained=False, ks=(20, 50)).recall, whole.recall)


def test_scans_without_relations_do_not_count():
    graph = random_graph(2)
    empty = replace(graph, triplets=graph.triplets[:0])
    with_it, without = (graph_recall(some, "predcls", constrained=False, ks=(5,)) for some in ([graph, empty], [graph]))
    assert with_it.scans == 1 and with_it.recall == without.recall
    assert np.isnan(graph_recall([empty], "predcls", constrained=False).mean_recall).all()


# -------------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ({"class_ids": np.array([0])}, ShapeError, "as many pairs as rows of scores"),
        ({"predicate_scores": np.array([[2.0, 0.0], [0.0, 0.0]])}, ConventionError, "pass probabilities, not logits"),
        ({"object_scores": np.full((2, 2), np.nan)}, ConventionError, "object_scores"),
        ({"pairs": np.array([[0, 1], [0, 1]])}, ConventionError, "each pair once"),
        ({"pairs": np.array([[0, 1], [1, 1]])}, ConventionError, "two different things of 2"),
        ({"triplets": np.array([[0, 2, 0]])}, ConventionError, "two different things of 2"),
        ({"triplets": np.array([[0, 1, 2]])}, ConventionError, "predicates below 2"),
        ({"class_ids": np.array([0, 2])}, ConventionError, "−1 … 1"),
    ],
)
def test_what_a_graph_refuses(change, kind, match: str):
    with pytest.raises(kind, match=match):
        replace(one_pair([0.1, 0.2], [0]), **change)


@pytest.mark.errors
def test_what_figures_refuse():
    with pytest.raises(ConventionError, match="the same classes and predicates"):
        relation_ranks([one_pair([0.1, 0.2], [0]), one_pair([0.1], [0])])
    with pytest.raises(ConventionError, match="at least one scan"):
        object_accuracy([])
    with pytest.raises(ConventionError, match="ks from 1"):
        graph_recall([random_graph(0)], "sgcls", constrained=True, ks=(0,))
    graph = random_graph(0)
    with pytest.raises(ConventionError, match="one per predicate"):
        predicate_table([graph], relation_ranks([graph]), "abc")
