"""What the text tower can tell apart, measured on rooms it was not trained on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from scenewise.methods.vl_sat.language.corpus import Corpus
from scenewise.teachers.relation_text import TripletText, triplet_sentence
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relation_captions import Fact, RelationRecord, description, foils, sentence, with_few_colors
from scenewise.worlds.relation_words import TOLD_PREDICATES

_SEED = 11
_MOST_PARAPHRASES = 400
_RIDGE = 0.1


@dataclass(frozen=True)
class Figures:
    """Shares in [0, 1].

    Attributes:
        facts: combinations of subject, predicate and object that occur.
        other_predicate: a sentence is nearer to another one of the same fact than to one about the same nouns with a predicate
            that does not hold in that picture; chance is ½.
        turned_round: the same with subject and object exchanged where that is false, however it is told.
        described: a description of two or three facts is nearer to a sentence of one of them than to one about the same nouns
            that is false of that picture; chance is ½.
        paraphrase: the nearest of as many sentences as ``paraphrases`` says, one per fact, is the one of the same fact.
        paraphrases: how many that are; chance is one in so many.
        converse: a sentence is nearer to its converse ("a sofa to the right of a table") than to both sentences in which only the
            order or only the predicate is turned round; chance is ⅓.
        predicates: the nearest mean of a predicate's sentences, this one left out, is that of its own; mean over predicates.
        predicates_linear: the same by a linear map to predicates, fitted to all other sentences.
    """

    facts: int
    other_predicate: float
    turned_round: float
    described: float
    paraphrase: float
    paraphrases: int
    converse: float
    predicates: float
    predicates_linear: float


def measure(
    text: TripletText, records: Sequence[RelationRecord], may_tell: Callable[[Fact], bool], questions: int = 1000
) -> Figures:
    """All figures; the same for the same records.

    Args:
        text: what is measured.
        records: of pictures of rooms it was not trained on.
        may_tell: which combinations are asked about.
        questions: of each kind with two answers.
    """
    corpus = Corpus(records, may_tell)
    facts = sorted({fact.canonical for fact in _plain(records) if may_tell(fact)}, key=lambda fact: fact.triple)
    other, turned = _false_of_fact(text, corpus, questions)
    paraphrase, paraphrases = _paraphrase(text, facts)
    nearest, linear = _predicates(text, facts)
    return Figures(
        facts=len(facts),
        other_predicate=other,
        turned_round=turned,
        described=_described(text, corpus, questions),
        paraphrase=paraphrase,
        paraphrases=paraphrases,
        converse=_converse(text, facts),
        predicates=nearest,
        predicates_linear=linear,
    )


def _plain(records: Iterable[RelationRecord]) -> set[Fact]:
    """All facts, colours left out."""
    triples = np.unique(np.concatenate([record.facts[:, :3] for record in records]), axis=0)
    return {Fact(int(subject), int(predicate), int(thing)) for subject, predicate, thing in triples}


def _generator(stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([_SEED, stream]))


def _is_first_nearer(text: TripletText, triples: Sequence[tuple[str, ...]]) -> np.ndarray:
    """For tuples (sentence, right, wrong …): whether the right one is nearer than every wrong one."""
    asked, right, *wrong = (text.embed(column) for column in zip(*triples))
    nearest_wrong = np.max([(asked * other).sum(1) for other in wrong], axis=0)
    return np.asarray((asked * right).sum(1) > nearest_wrong)


def _false_of_fact(text: TripletText, corpus: Corpus, questions: int) -> tuple[float, float]:
    rng = _generator(1)
    asked: list[tuple[str, ...]] = []
    is_turned: list[bool] = []
    while len(asked) < questions:
        record, fact = corpus.draw_fact(rng)
        told = with_few_colors(rng, fact)
        for wrong in foils(rng, record, told):
            asked.append(tuple(sentence(rng, each).text for each in (told, told, wrong)))
            is_turned.append(is_turned_round(told, wrong))
    right, turned = _is_first_nearer(text, asked), np.array(is_turned)
    return float(right[~turned].mean()), float(right[turned].mean())


def is_turned_round(fact: Fact, wrong: Fact) -> bool:
    """Whether it says that the other one stands so to the one."""
    return wrong.canonical == fact.exchanged.canonical


def _described(text: TripletText, corpus: Corpus, questions: int) -> float:
    rng = _generator(2)
    asked: list[tuple[str, ...]] = []
    while len(asked) < questions:
        record, facts = corpus.draw_facts(rng)
        told = [with_few_colors(rng, fact) for fact in facts]
        for wrong in foils(rng, record, told[0], 1):
            asked.append((description(rng, told).text, sentence(rng, told[0]).text, sentence(rng, wrong).text))
    return float(_is_first_nearer(text, asked).mean())


def _paraphrase(text: TripletText, facts: Sequence[Fact]) -> tuple[float, int]:
    rng = _generator(3)
    chosen = [facts[index] for index in rng.permutation(len(facts))[:_MOST_PARAPHRASES]]
    first = [sentence(rng, fact).text for fact in chosen]
    second = []
    for fact, said in zip(chosen, first):
        other = said
        while other == said:
            other = sentence(rng, fact).text
        second.append(other)
    nearest = (text.embed(first) @ text.embed(second).T).argmax(1)
    return float((nearest == np.arange(len(chosen))).mean()), len(chosen)


def _triplet(fact: Fact) -> str:
    return triplet_sentence(CLASS_NAMES[fact.subject], TOLD_PREDICATES[fact.predicate], CLASS_NAMES[fact.object])


def _converse(text: TripletText, facts: Sequence[Fact]) -> float:
    asked = []
    for fact in facts:
        other = fact.converse
        if other is not None and other.predicate != fact.predicate and fact.subject != fact.object:
            wrong = (fact.exchanged, replace(fact, predicate=other.predicate))
            asked.append(tuple(map(_triplet, (fact, other, *wrong))))
    return float(_is_first_nearer(text, asked).mean()) if asked else float("nan")


def _predicates(text: TripletText, facts: Sequence[Fact]) -> tuple[float, float]:
    """By the nearest mean and by a linear map, both without the sentence that is asked about."""
    rows: Float32[np.ndarray, "n dim"] = text.embed([_triplet(fact) for fact in facts])
    kinds, of = np.unique([fact.predicate for fact in facts], return_inverse=True)
    own = np.eye(len(kinds))[of]
    means = np.broadcast_to(own.T @ rows, (len(rows), len(kinds), rows.shape[1])) - own[:, :, None] * rows[:, None, :]
    lengths = np.linalg.norm(means, axis=-1)
    by_mean = np.where(lengths > 1e-6, (means @ rows[:, :, None])[..., 0] / np.maximum(lengths, 1e-6), -1.0).argmax(1)
    # Leaving one out of a least-squares fit has a closed form: the residual over 1 − its weight on itself.
    weights = rows @ np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(rows.shape[1]), rows.T)
    fitted, itself = weights @ own, np.diag(weights)[:, None]
    by_map = ((fitted - itself * own) / (1.0 - itself)).argmax(1)
    several = [kind for kind in range(len(kinds)) if (of == kind).sum() > 1]
    nearest, linear = (float(np.mean([(found[of == kind] == kind).mean() for kind in several])) for found in (by_mean, by_map))
    return nearest, linear
