"""Every part of the objective against a loop."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.graph_batches import inputs_of
from tests.support.graph_examples import CONFIG, tiny_data

from scenewise.methods.vl_sat.batches import GraphBatch
from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.objective import (
    distillation_loss,
    mimic_loss,
    object_loss,
    predicate_loss,
    predicate_weights,
    scheme_losses,
    sentence_loss,
    student_losses,
)
from scenewise.methods.vl_sat.options import OracleSettings
from scenewise.methods.vl_sat.sentences import triplet_table
from scenewise.networks.graphs.oracle import BothBranches
from scenewise.networks.graphs.students import GraphLogits
from scenewise.scenes.graph_scans import GraphScan
from scenewise.studies.graphs.control import RandomText
from scenewise.teachers.relation_text import triplet_sentence


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cross_entropy(logit: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -label * math.log(probability) - (1 - label) * math.log(1 - probability)


def labels_of(edges: int = 6) -> torch.Tensor:
    labels = torch.zeros(edges, 4)
    labels[[0, 1, 2, 0], [0, 0, 0, 2]] = 1.0  # three of the first, none of the second, one of the third, none of the last
    return labels


def test_frequent_predicates_weigh_little_and_absent_ones_1() -> None:
    weights = predicate_weights(labels_of()).tolist()
    assert weights == pytest.approx([1 / (1 + math.log(4)), 1.0, 1 / (1 + math.log(2)), 1.0])


def test_predicates_against_a_loop() -> None:
    logits, labels = normal(6, 4), labels_of()
    weights = predicate_weights(labels).tolist()
    total = sum(weights[p] * cross_entropy(float(logits[e, p]), float(labels[e, p])) for e in range(6) for p in range(4))
    assert float(predicate_loss(logits, labels)) == pytest.approx(total / 24, rel=1e-5)
    nothing = predicate_loss(torch.zeros(0, 4, requires_grad=True), torch.zeros(0, 4))
    assert float(nothing.detach()) == 0.0 and nothing.requires_grad


def test_unknown_things_do_not_count() -> None:
    logits, classes = normal(4, 3), torch.tensor([2, -1, 0, -1])
    wanted = sum(-float(torch.log_softmax(logits[n], 0)[int(classes[n])]) for n in (0, 2)) / 2
    assert float(object_loss(logits, classes)) == pytest.approx(wanted, rel=1e-5)
    nobody = object_loss(logits.requires_grad_(), torch.full((4,), -1))
    assert float(nobody.detach()) == 0.0 and nobody.requires_grad


def test_mimicking_is_good_enough_at_the_margin() -> None:
    pictures = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [5.0, 0.0]])
    mimicked = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    seen = torch.tensor([True, True, True, False])
    cosines = [1 / math.sqrt(1.01), 0.0, math.sqrt(0.5)]
    wanted = sum(max(0.0, 0.8 - cosine) for cosine in cosines) / 3
    loss = mimic_loss(mimicked, pictures, seen, 0.8)
    assert float(loss.detach()) == pytest.approx(wanted, abs=1e-6)
    loss.backward()
    assert mimicked.grad is not None
    assert not mimicked.grad[0].any() and not mimicked.grad[3].any(), "alike enough, and not seen"
    assert mimicked.grad[1:3].any(dim=1).all()
    assert float(mimic_loss(mimicked, pictures, torch.zeros(4, dtype=torch.bool), 0.8).detach()) == 0.0


def test_sentences_that_are_not_there_do_not_count() -> None:
    said, wanted = normal(3, 5), normal(3, 5, seed=1)
    wanted[1] = 0.0
    mean = sum(abs(float(said[row, c]) - float(wanted[row, c])) for row in (0, 2) for c in range(5)) / 10
    assert float(sentence_loss(said, wanted)) == pytest.approx(mean, rel=1e-5)
    assert float(sentence_loss(said, torch.zeros(3, 5))) == 0.0


def test_distillation_against_a_loop_and_for_the_student_alone() -> None:
    student, oracle = (
        GraphLogits(normal(3, 4, seed=s).requires_grad_(), normal(5, 2, seed=s + 1).requires_grad_()) for s in (0, 5)
    )
    classes, predicates = distillation_loss(student, oracle)
    total = 0.0
    for own, other in zip(student.classes.detach().softmax(-1), oracle.classes.detach().softmax(-1), strict=True):
        total += sum(float(p) * math.log(float(p) / float(q)) for p, q in zip(other, own, strict=True)) / 3
    assert float(classes.detach()) == pytest.approx(total, rel=1e-4)
    told = torch.sigmoid(oracle.predicates.detach())
    weights = [1 / (1 + math.log1p(sum(float(told[e, p]) for e in range(5)))) for p in range(2)]
    entropy = sum(
        weights[p] * cross_entropy(float(student.predicates[e, p].detach()), float(told[e, p]))
        for e in range(5)
        for p in range(2)
    )
    assert float(predicates.detach()) == pytest.approx(entropy / 10, rel=1e-4)
    (classes + predicates).backward()
    assert student.classes.grad is not None and student.predicates.grad is not None
    assert oracle.classes.grad is None and oracle.predicates.grad is None


def fabricated() -> tuple[BothBranches, GraphBatch, torch.Tensor, GraphData]:
    data, _ = tiny_data()
    inputs = inputs_of((3,))
    labels = torch.zeros(6, 4)
    labels[[0, 1, 3], [1, 0, 2]] = 1.0
    batch = GraphBatch(inputs, torch.tensor([0, -1, 2]), labels, normal(3, 8), torch.tensor([True, False, True]))
    both = BothBranches(
        GraphLogits(normal(3, 3, seed=1), normal(6, 4, seed=2)),
        GraphLogits(normal(3, 3, seed=3), normal(6, 4, seed=4)),
        normal(3, 8, seed=5),
        normal(6, 64, seed=6),
    )
    return both, batch, normal(3, 8, seed=7), data


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    both, batch, pictures, data = fabricated()
    table = triplet_table(data, RandomText())
    config = replace(CONFIG, oracle=OracleSettings(weight=0.3, margin=0.7), object_weight=0.2, predicate_weight=5.0)
    found = scheme_losses(both, batch, pictures, table, config)
    terms = {name: float(value) for name, value in found.terms.items()}
    subjects, objects = batch.classes[batch.inputs.edges]
    assert terms == pytest.approx(
        {
            "objects": float(object_loss(both.student.classes, batch.classes)),
            "predicates": float(predicate_loss(both.student.predicates, batch.labels)),
            "oracle objects": float(object_loss(both.oracle.classes, batch.classes)),
            "oracle predicates": float(predicate_loss(both.oracle.predicates, batch.labels)),
            "mimic": float(mimic_loss(both.mimicked, pictures, batch.seen, 0.7)),
            "sentences": float(sentence_loss(both.sentences, table.of_pairs(subjects, objects, batch.labels))),
        }
    )
    wanted = 0.2 * (terms["objects"] + terms["oracle objects"]) + 5.0 * (terms["predicates"] + terms["oracle predicates"])
    assert float(found.total) == pytest.approx(wanted + 0.3 * (terms["mimic"] + terms["sentences"]), rel=1e-5)
    alone = student_losses(both.student, batch, config)
    assert float(alone.total) == pytest.approx(0.2 * terms["objects"] + 5.0 * terms["predicates"], rel=1e-5)

    told = scheme_losses(both, batch, pictures, table, replace(config, distillation=True))
    classes, predicates = distillation_loss(both.student, both.oracle)
    assert float(told.total - found.total) == pytest.approx(0.2 * float(classes) + 5.0 * float(predicates), rel=1e-4)
    for changes, dropped, given, words in (
        ({"mimic": False}, "mimic", pictures, table),
        ({}, "mimic", None, table),
        ({}, "sentences", pictures, None),
    ):
        less = scheme_losses(both, batch, given, words, replace(config, oracle=OracleSettings(weight=0.3, margin=0.7, **changes)))
        assert set(less.terms) == set(found.terms) - {dropped}
        assert float(found.total - less.total) == pytest.approx(0.3 * terms[dropped], rel=1e-3)


def test_the_sentence_of_a_pair_is_the_mean_over_its_relations() -> None:
    scan = GraphScan(
        "scan",
        tuple(np.zeros((1, 3), dtype=np.float32) for _ in range(4)),
        np.array([1, 0, -1, 0]),
        np.array([[0, 1, 0], [0, 1, 2], [1, 0, 1], [2, 0, 1], [3, 2, 0]]),
    )
    data = GraphData([GraphExample(scan)], ("chair", "lamp", "bed"), ("left", "near", "on"))
    text = RandomText()
    table = triplet_table(data, text)
    assert data.triplets.tolist() == sorted([[0, -1, 0], [0, -1, 1], [1, -1, 0], [1, -1, 1], [1, 0, 0], [1, 2, 0], [0, 1, 1]]), (
        "of two known things only; with none for all classes that occur together"
    )

    def told(subject: str, predicate: str, thing: str) -> torch.Tensor:
        return torch.from_numpy(text.embed([triplet_sentence(subject, predicate, thing)])[0])

    subjects, objects = torch.tensor([1, 0, 1, -1, 1, 2]), torch.tensor([0, 1, 0, 0, -1, 0])
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]])
    found = table.of_pairs(subjects, objects, labels)
    assert torch.allclose(found[0], (told("lamp", "left", "chair") + told("lamp", "on", "chair")) / 2, atol=1e-6)
    assert torch.allclose(found[1], told("chair", "near", "lamp"), atol=1e-6)
    assert torch.allclose(found[2], told("lamp", "none", "chair"), atol=1e-6)
    assert not found[3:].any(), "an unknown class at either end, and a class that does not occur with the other"
    assert (found[1] - told("lamp", "near", "chair")).abs().max() > 0.05
