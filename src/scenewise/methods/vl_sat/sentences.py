"""Triplets as sentences: which row of a table of text embeddings belongs to which pair."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.methods.vl_sat.examples import GraphData
from scenewise.teachers.relation_text import TripletText, triplet_sentence
from scenewise.worlds.relation_words import NO_RELATION


@dataclass(frozen=True)
class TripletTable:
    """Embeddings of every triplet that a data set has.

    Attributes:
        vectors: unit rows; the last is zero and stands for triplets that are not there.
        row_of: row by subject class, predicate (the last: none) and object class, flattened.
        classes: how many.
        predicates: how many.
    """

    vectors: Float[Tensor, "rows dim"]
    row_of: Int64[Tensor, "flat"]
    classes: int
    predicates: int

    def to(self, device: torch.device) -> "TripletTable":
        """The same on another device."""
        return TripletTable(self.vectors.to(device), self.row_of.to(device), self.classes, self.predicates)

    def of_pairs(
        self,
        subjects: Int64[Tensor, "edges"],
        objects: Int64[Tensor, "edges"],
        labels: Float[Tensor, "edges predicates"],
    ) -> Float[Tensor, "edges dim"]:
        """The mean over a pair's relations, or "no relation"; zero where a class is unknown."""
        none = (labels.sum(1, keepdim=True) == 0).to(labels.dtype)
        weights = torch.cat([labels, none], dim=1)
        pair, predicate = torch.nonzero(weights, as_tuple=True)
        known = (subjects[pair] >= 0) & (objects[pair] >= 0)
        flat = (subjects[pair].clamp_min(0) * (self.predicates + 1) + predicate) * self.classes + objects[pair].clamp_min(0)
        rows = torch.where(known, self.row_of[flat], len(self.vectors) - 1)
        total = self.vectors.new_zeros(len(labels), self.vectors.shape[1]).index_add(0, pair, self.vectors[rows])
        return total / weights.sum(1, keepdim=True)


def triplet_table(data: GraphData, text: TripletText) -> TripletTable:
    """Embeds the triplets of a data set."""
    triplets = data.triplets
    predicates, classes = len(data.predicates), len(data.classes)
    told = [
        triplet_sentence(data.classes[a], NO_RELATION if predicate < 0 else data.predicates[predicate], data.classes[b])
        for a, predicate, b in triplets.tolist()
    ]
    vectors = np.asarray(text.embed(told), dtype=np.float32)
    row_of = np.full(classes * (predicates + 1) * classes, len(told), dtype=np.int64)
    predicate = np.where(triplets[:, 1] < 0, predicates, triplets[:, 1])
    row_of[(triplets[:, 0] * (predicates + 1) + predicate) * classes + triplets[:, 2]] = np.arange(len(told))
    padded = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), dtype=np.float32)])
    return TripletTable(torch.from_numpy(padded), torch.from_numpy(row_of), classes, predicates)
