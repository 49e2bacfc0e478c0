"""What one training step sees, as a function of the step alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from scenewise.methods.vl_sat.language.config import RelationTextConfig
from scenewise.methods.vl_sat.language.corpus import Corpus, is_held_out
from scenewise.networks.small_clip import FIRST_WORD, token_ids
from scenewise.worlds.captions import words_of
from scenewise.worlds.relation_captions import (
    Fact,
    RelationCaption,
    RelationRecord,
    description,
    foils,
    implied,
    sentence,
    with_few_colors,
)


@dataclass(frozen=True)
class Mates:
    """Sentences as word ids, each told twice, and which pairs are no contradiction.

    Attributes:
        first: one sentence each.
        second: another one that says the same.
        foils: false ones about the same nouns.
        alike: which ``second``, then which ``foils``, say no more or no less than which ``first``, beside its own mate; the same
            whichever of the two sets is asked.
    """

    first: Int64[Tensor, "n context"]
    second: Int64[Tensor, "n context"]
    foils: Int64[Tensor, "m context"]
    alike: Bool[Tensor, "n n+m"]


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        facts: sentences of one fact each.
        descriptions: sentences that list two or three facts of a picture.
    """

    facts: Mates
    descriptions: Mates


class WordIds:
    """The word list, as ids."""

    def __init__(self, words: tuple[str, ...], context: int) -> None:
        self.ids = {word: FIRST_WORD + index for index, word in enumerate(words)}
        self.context = context

    def encode(self, captions: list[RelationCaption]) -> Int64[Tensor, "n context"]:
        """Word ids of sentences made of known words."""
        rows = [token_ids([self.ids[word] for word in words_of(caption.text)], self.context) for caption in captions]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.context)


def batch_at(corpus: Corpus, words: WordIds, config: RelationTextConfig, step: int) -> Batch:
    """The batch of a step: the same whenever it is asked for, so that a run resumes anywhere."""
    rng = np.random.Generator(np.random.PCG64([config.seed, 5, step]))
    converse = config.converse_at(step)
    first, second, false = [], [], []
    for _ in range(config.batch_size):
        record, fact = corpus.draw_fact(rng)
        told = with_few_colors(rng, fact)
        first.append(sentence(rng, told, converse))
        second.append(sentence(rng, told, converse))
        false += [sentence(rng, wrong, converse) for wrong in _foils(rng, record, told, config.foils)]
    one, other, wrongly = [], [], []
    for _ in range(config.descriptions):
        record, facts = corpus.draw_facts(rng)
        several = [with_few_colors(rng, fact) for fact in facts]
        one.append(description(rng, several, converse))
        other.append(description(rng, [several[index] for index in rng.permutation(len(several))], converse))
        for wrong in _foils(rng, record, several[0], 1):
            mixed = [wrong, *several[1:]]
            wrongly.append(description(rng, [mixed[index] for index in rng.permutation(len(mixed))], converse))
    return Batch(_mates(words, first, second, false), _mates(words, one, other, wrongly))


def _foils(rng: np.random.Generator, record: RelationRecord, fact: Fact, count: int) -> list[Fact]:
    """False facts about the same two nouns; combinations that are held out are not told as false ones either."""
    return [wrong for wrong in foils(rng, record, fact, count) if not is_held_out(wrong)]


def _mates(words: WordIds, first: list[RelationCaption], second: list[RelationCaption], false: list[RelationCaption]) -> Mates:
    return Mates(
        words.encode(first),
        words.encode(second),
        words.encode(false),
        _alike(first, [*second, *false]),
    )


def _alike(sentences: list[RelationCaption], others: list[RelationCaption]) -> Bool[Tensor, "n m"]:
    """Pairs of which one says all that the other says; not a sentence's own mate."""
    alike = implied(sentences, others) | implied(others, sentences).T
    np.fill_diagonal(alike, False)
    return torch.from_numpy(alike)
