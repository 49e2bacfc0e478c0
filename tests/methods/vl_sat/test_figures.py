"""The figures of the text tower: a text space that only counts words fails where order matters, and nowhere else."""

from dataclasses import dataclass

import numpy as np
import pytest

from scenewise.methods.vl_sat.language.config import ToldPictures
from scenewise.methods.vl_sat.language.corpus import is_held_out, records_of_rooms
from scenewise.methods.vl_sat.language.figures import is_turned_round, measure
from scenewise.worlds.captions import words_of
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relation_captions import Fact
from scenewise.worlds.relation_words import TOLD_PREDICATES, known_words, triplet_sentence
from scenewise.worlds.seeds import TRAINING_SEEDS

WORDS = {word: index for index, word in enumerate(known_words())}


@dataclass(frozen=True)
class BagOfWords:
    """Counts of words: blind to their order."""

    name: str = "counts"
    fingerprint: str = ""
    licence: str | None = None
    dim: int = len(WORDS)

    def embed(self, sentences):
        rows = np.zeros((len(sentences), self.dim), np.float32)
        for row, text in zip(rows, sentences):
            for word in words_of(text):
                row[WORDS[word]] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def records():
    return records_of_rooms(TRAINING_SEEDS[:6], ToldPictures(views=2, size=48))


def test_words_without_order_do_not_tell_who_stands_on_whom(records) -> None:
    found = measure(BagOfWords(), records, lambda fact: not is_held_out(fact), questions=150)
    assert found.facts > 100 and found.paraphrases == min(400, found.facts)
    assert 0.3 < found.turned_round < 0.7  # a coin, up to the words of the templates
    assert found.other_predicate > 0.55 and found.predicates > 0.5  # the words of the predicate are told apart
    assert found.converse == 0.0  # the same words in another order are nearer than other words
    assert measure(BagOfWords(), records, lambda fact: not is_held_out(fact), questions=150) == found


def test_turned_round_is_whatever_says_that_the_other_stands_so_to_the_one() -> None:
    left, right, front = (TOLD_PREDICATES.index(name) for name in ("left", "right", "front"))
    fact = Fact(4, left, 6)
    assert is_turned_round(fact, Fact(6, left, 4)) and is_turned_round(fact, Fact(4, right, 6))
    assert not is_turned_round(fact, Fact(6, right, 4)) and not is_turned_round(fact, Fact(4, front, 6))


def test_leaving_one_out_of_the_linear_map_equals_fitting_without_it(records) -> None:
    """Against a loop that fits as often as there are sentences."""
    found = measure(BagOfWords(), records, lambda fact: fact.predicate < 6 and fact.subject != fact.object, questions=20)
    facts = {fact.canonical for record in records for fact in map(record.fact, range(len(record)))}
    facts = {Fact(*fact.triple) for fact in facts if fact.predicate < 6 and fact.subject != fact.object}
    ordered = sorted(facts, key=lambda fact: fact.triple)
    names = [(CLASS_NAMES[s], TOLD_PREDICATES[p], CLASS_NAMES[o]) for s, p, o in (fact.triple for fact in ordered)]
    rows = BagOfWords().embed([triplet_sentence(*each) for each in names]).astype(np.float64)
    kinds, of = np.unique([fact.predicate for fact in ordered], return_inverse=True)
    targets, right = np.eye(len(kinds))[of], []
    for row in range(len(rows)):
        others = np.delete(rows, row, axis=0)
        fit = np.linalg.solve(others.T @ others + 0.1 * np.eye(rows.shape[1]), others.T @ np.delete(targets, row, axis=0))
        right.append((rows[row] @ fit).argmax() == of[row])
    shares = [
        np.mean([ok for ok, kind in zip(right, of) if kind == each]) for each in range(len(kinds)) if (of == each).sum() > 1
    ]
    assert found.facts == len(ordered) and found.predicates_linear == pytest.approx(np.mean(shares), abs=1e-9)
