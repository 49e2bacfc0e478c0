"""What a trained network says of a scan: from points alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64

from scenewise.methods.vl_sat.batches import GraphBatch, joined, whole
from scenewise.methods.vl_sat.examples import GraphExample
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.networks.graphs.oracle import run_both
from scenewise.networks.graphs.students import GraphLogits, GraphStudent


@dataclass(frozen=True)
class GraphAnswer:
    """Probabilities of names and relations.

    Attributes:
        classes: of every thing, summing to one.
        pairs: subject and object of every pair.
        predicates: of every pair, each its own probability.
    """

    classes: Float32[np.ndarray, "objects classes"]
    pairs: Int64[np.ndarray, "pairs 2"]
    predicates: Float32[np.ndarray, "pairs predicates"]


@torch.no_grad()
def student_answer(student: GraphStudent, example: GraphExample) -> GraphAnswer:
    """The deployed network on all things of a scan and all ordered pairs of them; pictures are not looked at."""
    batch = _batch(student, example)
    student.eval()
    return _answer(student(batch.inputs), batch)


@torch.no_grad()
def oracle_answer(trainer: VlSatTrainer, example: GraphExample) -> GraphAnswer:
    """The oracle on the same, with the scan's pictures."""
    assert trainer.oracle is not None, "a trainer with an oracle"
    batch = _batch(trainer.student, example)
    trainer.student.eval()
    trainer.oracle.eval()
    return _answer(run_both(trainer.student, trainer.oracle, batch.inputs, trainer.pictures(batch)).oracle, batch)


def _batch(student: GraphStudent, example: GraphExample) -> GraphBatch:
    device = next(student.parameters()).device
    return joined([whole(example, student.shape.predicates, student.shape.points)]).to(device)


def _answer(logits: GraphLogits, batch: GraphBatch) -> GraphAnswer:
    return GraphAnswer(
        torch.softmax(logits.classes.float(), -1).cpu().numpy(),
        batch.inputs.edges.T.cpu().numpy(),
        torch.sigmoid(logits.predicates.float()).cpu().numpy(),
    )
