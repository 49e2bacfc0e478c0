"""What is minimised.  Source: VL-SAT, arXiv 2303.14408, Sec. 3.4, weights as in the released code."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.methods.vl_sat.batches import GraphBatch
from scenewise.methods.vl_sat.options import VlSatConfig
from scenewise.methods.vl_sat.sentences import TripletTable
from scenewise.networks.graphs.oracle import BothBranches
from scenewise.networks.graphs.students import GraphLogits


@dataclass(frozen=True)
class Losses:
    """Parts of the objective.

    Attributes:
        total: what is minimised.
        terms: unweighted parts by name.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


def predicate_weights(labels: Float[Tensor, "edges predicates"]) -> Float[Tensor, "predicates"]:
    """1 / (1 + ln(1 + n)) for a predicate that holds of n pairs of the batch: absent ones weigh 1, the most."""
    return 1.0 / (1.0 + torch.log1p(labels.sum(0)))


def predicate_loss(logits: Float[Tensor, "edges predicates"], labels: Float[Tensor, "edges predicates"]) -> Float[Tensor, ""]:
    """Mean weighted binary cross entropy over pairs and predicates; positives and negatives of a predicate weigh the same."""
    if not len(labels):
        return logits.sum()
    return F.binary_cross_entropy_with_logits(logits, labels, weight=predicate_weights(labels).expand_as(labels))


def object_loss(logits: Float[Tensor, "nodes classes"], classes: Int64[Tensor, "nodes"]) -> Float[Tensor, ""]:
    """Cross entropy over the things whose class is known."""
    if not bool((classes >= 0).any()):
        return 0.0 * logits.sum()
    return F.cross_entropy(logits, classes, ignore_index=-1)


def mimic_loss(
    mimicked: Float[Tensor, "nodes dim"],
    pictures: Float[Tensor, "nodes dim"],
    seen: Bool[Tensor, "nodes"],
    margin: float,
) -> Float[Tensor, ""]:
    """Mean of max(0, margin − cos) between what mimics and the pictures, over the things that were seen."""
    if not bool(seen.any()):
        return 0.0 * mimicked.sum()
    cosine = F.cosine_similarity(mimicked[seen], pictures[seen], dim=-1)
    return F.relu(margin - cosine).mean()


def sentence_loss(sentences: Float[Tensor, "edges dim"], wanted: Float[Tensor, "edges dim"]) -> Float[Tensor, ""]:
    """Mean absolute difference between the oracle's triplets and their sentences; pairs without a sentence do not count."""
    told = wanted.abs().sum(1) > 0
    if not bool(told.any()):
        return 0.0 * sentences.sum()
    return (sentences[told] - wanted[told]).abs().mean()


def distillation_loss(student: GraphLogits, oracle: GraphLogits) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The student against what the oracle says: divergence of the classes, cross entropy of the predicates."""
    classes = F.kl_div(
        torch.log_softmax(student.classes, -1),
        torch.log_softmax(oracle.classes.detach(), -1),
        log_target=True,
        reduction="batchmean",
    )
    return classes, predicate_loss(student.predicates, torch.sigmoid(oracle.predicates.detach()))


def student_losses(logits: GraphLogits, batch: GraphBatch, config: VlSatConfig) -> Losses:
    """The objective of a student alone."""
    objects, predicates = object_loss(logits.classes, batch.classes), predicate_loss(logits.predicates, batch.labels)
    total = config.object_weight * objects + config.predicate_weight * predicates
    return Losses(total, {"objects": objects, "predicates": predicates})


def scheme_losses(
    both: BothBranches,
    batch: GraphBatch,
    pictures: Float[Tensor, "nodes dim"] | None,
    table: TripletTable | None,
    config: VlSatConfig,
) -> Losses:
    """The objective of student and oracle.

    Args:
        both: what they said.
        batch: with labels.
        pictures: adapted features; None where the oracle sees none.
        table: sentences; None where it reads none.
        config: weights.
    """
    settings = config.oracle
    assert settings is not None, "an objective of two branches"
    own = student_losses(both.student, batch, config)
    other = student_losses(both.oracle, batch, config)
    total = own.total + other.total
    terms = {**own.terms, "oracle objects": other.terms["objects"], "oracle predicates": other.terms["predicates"]}
    if pictures is not None and both.mimicked is not None and settings.mimic:
        terms["mimic"] = mimic_loss(both.mimicked, pictures, batch.seen, settings.margin)
        total = total + settings.weight * terms["mimic"]
    if table is not None:
        subjects, objects = batch.classes[batch.inputs.edges]
        terms["sentences"] = sentence_loss(both.sentences, table.of_pairs(subjects, objects, batch.labels))
        total = total + settings.weight * terms["sentences"]
    if config.distillation:
        terms["told objects"], terms["told predicates"] = distillation_loss(both.student, both.oracle)
        total = total + config.object_weight * terms["told objects"] + config.predicate_weight * terms["told predicates"]
    return Losses(total, terms)
