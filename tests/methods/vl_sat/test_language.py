"""The training of the text tower: what it sees, what it minimises, that it learns, resumes and repeats itself."""

import dataclasses
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scenewise.engine.training import run_steps
from scenewise.errors import ConventionError
from scenewise.methods.vl_sat.language import train as training
from scenewise.methods.vl_sat.language.batches import Batch, Mates, WordIds, batch_at
from scenewise.methods.vl_sat.language.config import RelationTextConfig, ToldPictures
from scenewise.methods.vl_sat.language.corpus import Corpus, is_held_out, records_of_rooms
from scenewise.methods.vl_sat.language.figures import Figures
from scenewise.methods.vl_sat.language.objective import losses_of, mate_loss
from scenewise.methods.vl_sat.language.trainer import RelationTextTrainer, build_network
from scenewise.networks.relation_text import RelationTextShape
from scenewise.teachers.relation_text import read_relation_text
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relation_captions import Fact, RelationRecord
from scenewise.worlds.relation_words import TOLD_PREDICATES, known_words
from scenewise.worlds.seeds import TRAINING_SEEDS

PICTURES = ToldPictures(rooms=4, views=2, size=48)
CONFIG = RelationTextConfig(
    pictures=PICTURES,
    shape=RelationTextShape(width=32, heads=2, dim=16),
    steps=8,
    decay_steps=2,
    warm_up=2,
    batch_size=12,
    descriptions=4,
    save_every=3,
)


@pytest.fixture(scope="module")
def records() -> tuple[RelationRecord, ...]:
    return records_of_rooms(TRAINING_SEEDS[: PICTURES.rooms], PICTURES)


def test_training_receives_image_level_records_only(records) -> None:
    """No argument of the training, and no field of what it is given, can carry class or instance maps."""
    arguments = inspect.signature(training.train).parameters
    assert set(arguments) == {"config", "records", "folder", "validation", "progress"}
    assert arguments["records"].annotation == tuple[RelationRecord, ...] == arguments["validation"].annotation
    assert set(inspect.signature(RelationTextTrainer).parameters) == {"config", "records"}
    fields = dataclasses.fields(RelationRecord)
    assert [field.name for field in fields] == ["facts"], "classes, predicate, colours; neither maps nor places"
    assert all(record.facts.shape == (len(record), 5) for record in records)
    for record in records:  # as long as there are facts, whatever the size of the picture
        assert record.facts.max() <= 255 and len(np.unique(record.facts, axis=0)) == len(record)


def test_batches_depend_on_the_step_alone_and_tell_nothing_held_out(records) -> None:
    words, corpus = WordIds(known_words(), 64), Corpus(records)
    first, again, other = (batch_at(corpus, words, CONFIG, step) for step in (0, 0, 1))
    for part in (field.name for field in dataclasses.fields(Batch)):
        for field in dataclasses.fields(Mates):
            assert torch.equal(getattr(getattr(first, part), field.name), getattr(getattr(again, part), field.name))
    facts = first.facts
    assert not torch.equal(facts.first, other.facts.first) and first.descriptions.first.shape == (4, 64)
    assert facts.alike.shape == (12, 12 + len(facts.foils)) and not facts.alike.diagonal().any()
    rng = np.random.default_rng(0)
    for _ in range(60):
        record, fact = corpus.draw_fact(rng)
        assert not is_held_out(fact) and record.holds(fact)
        record, several = corpus.draw_facts(rng)
        assert not any(map(is_held_out, several)) and len(set(several)) == len(several) in (2, 3)
        assert all(map(record.holds, several))


def test_about_one_combination_in_ten_is_held_out_whichever_way_it_is_told() -> None:
    kinds = range(0, len(CLASS_NAMES), 2)
    every = [Fact(s, p, o) for s in kinds for p in range(len(TOLD_PREDICATES)) for o in kinds]
    assert 0.08 < np.mean([is_held_out(fact) for fact in every]) < 0.12
    assert all(is_held_out(fact) == is_held_out(fact.converse) for fact in every if fact.converse is not None)


def test_rare_predicates_are_drawn_as_often_as_frequent_ones(records) -> None:
    corpus, rng = Corpus(records), np.random.default_rng(1)
    drawn = np.bincount([corpus.draw_fact(rng)[1].predicate for _ in range(2000)], minlength=len(TOLD_PREDICATES))
    occurring = drawn[drawn > 0]
    assert len(occurring) >= 10 and occurring.min() > 0.5 * occurring.mean()
    with pytest.raises(ConventionError, match="may be told"):
        Corpus(records, lambda fact: False)


def test_mate_loss_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    sentences, candidates = (F.normalize(torch.randn(n, 4, generator=generator, dtype=torch.float64), dim=-1) for n in (3, 5))
    excused = torch.zeros(3, 5, dtype=torch.bool)
    excused[0, 2] = excused[1, 4] = True
    total = 0.0
    for i in range(3):
        among = sum(torch.exp(5 * sentences[i] @ candidates[j]) for j in range(5) if not excused[i, j])
        total -= float(torch.log(torch.exp(5 * sentences[i] @ candidates[i]) / among)) / 3
    found = mate_loss(sentences, candidates, 5.0, excused)
    assert float(found) == pytest.approx(total, abs=1e-9)


def test_the_objective_is_the_sum_of_both_ways_round(records) -> None:
    network = build_network(CONFIG)
    batch = batch_at(Corpus(records), WordIds(known_words(), 64), CONFIG, 0)
    mates, scale = batch.facts, CONFIG.logit_scale
    first, second, foils = (F.normalize(network(part), dim=-1) for part in (mates.first, mates.second, mates.foils))
    there = mate_loss(first, torch.cat([second, foils]), scale, mates.alike)
    back = mate_loss(second, torch.cat([first, foils]), scale, mates.alike)
    found = losses_of(network, batch, CONFIG)
    assert torch.allclose(found.fact, (there + back) / 2, atol=1e-5)
    assert torch.allclose(found.total, found.fact + CONFIG.description_weight * found.description, atol=1e-6)


def test_the_loss_falls(records) -> None:
    trainer = RelationTextTrainer(replace(CONFIG, steps=30, batch_size=24, learning_rate=4e-3), records)
    losses: list[float] = []
    run_steps(trainer, listener=lambda report: losses.append(report.terms["fact"]))
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_two_runs_and_a_resumed_one_give_the_same_bits(tmp_path: Path, records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "measure", lambda text, validation, may_tell: Figures(1, 0.5, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5))
    files = []
    for name in ("one", "other"):
        text, report = training.train(CONFIG, records, tmp_path / name, validation=records)
        assert report.steps == CONFIG.steps and report.pictures == len(records)
        files.append(training.export(text, tmp_path / f"{name}.safetensors").read_bytes())
    assert files[0] == files[1]

    step = RelationTextTrainer.step

    def stopping(self: RelationTextTrainer) -> None:
        if self.steps_done == 5:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RelationTextTrainer, "step", stopping)
        training.train(CONFIG, records, tmp_path / "broken", validation=records)
    text, _ = training.train(CONFIG, records, tmp_path / "broken", validation=records)
    assert training.export(text, tmp_path / "broken.safetensors").read_bytes() == files[0]
    with pytest.raises(ConventionError, match="batch_size"):
        training.train(replace(CONFIG, batch_size=4), records, tmp_path / "one", validation=records)
    assert read_relation_text(tmp_path / "one.safetensors").language == training.training_language()


def test_the_schedule_rises_stays_and_falls() -> None:
    rates = [CONFIG.rate_at(step) / CONFIG.learning_rate for step in range(CONFIG.steps)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.5])
