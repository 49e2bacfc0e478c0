"""What is minimised: sentences must find those that say the same, and not those that say something else of the same things."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from scenewise.methods.vl_sat.language.batches import Batch, Mates
from scenewise.methods.vl_sat.language.config import RelationTextConfig
from scenewise.networks.relation_text import RelationTextNetwork


@dataclass(frozen=True)
class Losses:
    """Parts of the objective.

    Attributes:
        total: what is minimised.
        fact: of sentences of one fact.
        description: of sentences of several facts.
    """

    total: Float[Tensor, ""]
    fact: Float[Tensor, ""]
    description: Float[Tensor, ""]


def mate_loss(
    sentences: Float[Tensor, "n dim"],
    candidates: Float[Tensor, "m dim"],
    logit_scale: float,
    excused: Bool[Tensor, "n m"],
) -> Float[Tensor, ""]:
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, eq. 4) without the pairs that are true although not matched.

    Args:
        sentences: unit embeddings.
        candidates: unit embeddings; row i < n is the mate of sentence i, rows from n on are nobody's.
        logit_scale: inverse temperature.
        excused: pairs left out of the denominators; no sentence's own mate.
    """
    logits = (logit_scale * sentences @ candidates.T).masked_fill(excused, -1e4)
    return F.cross_entropy(logits, torch.arange(len(sentences), device=sentences.device))


def mates_loss(network: RelationTextNetwork, mates: Mates, logit_scale: float) -> Float[Tensor, ""]:
    """The loss of sentences and their mates, both ways round."""
    parts = (mates.first, mates.second, mates.foils)
    embedded = F.normalize(network(torch.cat(parts)), dim=-1)
    first, second, foils = embedded.split([len(part) for part in parts])
    there = mate_loss(first, torch.cat([second, foils]), logit_scale, mates.alike)
    back = mate_loss(second, torch.cat([first, foils]), logit_scale, mates.alike)
    return (there + back) / 2


def losses_of(network: RelationTextNetwork, batch: Batch, config: RelationTextConfig) -> Losses:
    """The objective on a batch."""
    # In two passes, because descriptions are twice as long.
    fact, description = (mates_loss(network, mates, config.logit_scale) for mates in (batch.facts, batch.descriptions))
    return Losses(fact + config.description_weight * description, fact, description)
