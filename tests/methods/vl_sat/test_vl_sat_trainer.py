"""Training student and oracle: the same bits, resumed or not; what is deployed; what is promised when something is missing."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.graph_examples import ALONE, CONFIG, tiny_data, without_pictures

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.training import run_steps
from scenewise.errors import ConventionError
from scenewise.methods.vl_sat.adapter import trained_adapter
from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.objective import student_losses
from scenewise.methods.vl_sat.options import PRESETS, OracleSettings, VlSatConfig
from scenewise.methods.vl_sat.predicting import oracle_answer, student_answer
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.networks.graphs.oracle import ImageAdapter, run_both
from scenewise.scenes.graph_scans import GraphScan
from scenewise.studies.graphs.control import RandomText

KINDS = ("vl_sat", "sgfn", "sggpoint", "sgpn")
TEXT = RandomText()


@pytest.fixture(scope="module")
def data() -> GraphData:
    return tiny_data()[0]


def trainer_of(data: GraphData, config: VlSatConfig = CONFIG, seed: int = 1) -> VlSatTrainer:
    return VlSatTrainer(config, data, TEXT, seed)


def state_of(trainer: VlSatTrainer) -> dict[str, torch.Tensor]:
    found = trainer.checkpoint().copied()
    return {**found.parameters, **{f"optimizer {name}": each for name, each in found.optimizer.items()}}


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_and_one_resumed_from_the_disk_give_the_same_bits(data: GraphData, tmp_path: Path, kind: str) -> None:
    config = replace(CONFIG, student=kind, turns=True, jitter=0.01, steps=4)
    first, second = trainer_of(data, config), trainer_of(data, config)
    torch.manual_seed(5)
    run_steps(first)
    torch.manual_seed(6)  # whatever else is random in the process
    second.start()
    second.step()
    second.step()
    halfway = Checkpointer(tmp_path)
    halfway.save(second.checkpoint())
    run_steps(second)
    assert same(state_of(first), state_of(second))

    resumed, kept = trainer_of(data, config), halfway.latest()
    assert kept is not None and kept.step == 2 and kept.data_hash == data.fingerprint
    resumed.restore(kept)
    assert resumed.steps_done == 2
    run_steps(resumed)
    assert same(state_of(first), state_of(resumed))
    assert not same(state_of(first), state_of(trainer_of(data, config)))
    other = trainer_of(data, config, seed=2)
    run_steps(other)
    assert not same(state_of(first), state_of(other))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_deployed_does_not_depend_on_the_oracle(data: GraphData, kind: str) -> None:
    taught, alone = (trainer_of(data, replace(config, student=kind)) for config in (CONFIG, ALONE))
    assert taught.parameters_deployed == alone.parameters_deployed == alone.parameters_trained < taught.parameters_trained
    assert same(taught.student.state_dict(), alone.student.state_dict()), "they begin with the same numbers"
    run_steps(taught)
    example = data.examples[0]
    with_pictures, without = (student_answer(taught.student, each) for each in (example, GraphExample(example.scan)))
    for name in ("classes", "pairs", "predicates"):
        assert np.array_equal(getattr(with_pictures, name), getattr(without, name))
    assert with_pictures.classes.sum(1) == pytest.approx(1.0, abs=1e-5) and len(with_pictures.pairs) == 6
    assert {tuple(pair) for pair in with_pictures.pairs.tolist()} == {(a, b) for a in range(3) for b in range(3) if a != b}


def test_the_oracle_answers_with_pictures(data: GraphData) -> None:
    trainer = trainer_of(data)
    run_steps(trainer)
    example = data.examples[0]
    assert example.pictures is not None
    told = oracle_answer(trainer, example)
    changed = oracle_answer(trainer, GraphExample(example.scan, np.ascontiguousarray(example.pictures[::-1])))
    assert np.abs(told.classes - changed.classes).max() > 1e-3 and np.array_equal(told.pairs, changed.pairs)


def test_the_loss_falls_and_the_rate_ends_near_nothing(data: GraphData) -> None:
    trainer, losses, rates = trainer_of(data, replace(CONFIG, steps=40, dropout=0.0, learning_rate=5e-3)), [], []
    trainer.start()
    while trainer.steps_done < trainer.total_steps:
        trainer.step()
        report = trainer.describe()
        losses.append(report.loss)
        rates.append(trainer._optimizer.param_groups[0]["lr"])
        assert report.step == trainer.steps_done and all(map(math.isfinite, report.terms.values()))
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.01 * rates[0]
    assert rates[20] == pytest.approx(0.5 * rates[0])


def test_graph_layers_and_class_directions_learn_at_their_own_rate(data: GraphData) -> None:
    trainer = trainer_of(data, replace(CONFIG, graph_rate=0.25, head_rate=0.1))
    trainer.step()
    rates = {}
    for group in trainer._optimizer.param_groups:
        rates |= {id(each): group["lr"] / CONFIG.learning_rate for each in group["params"]}
    for branch in (trainer.student, trainer.oracle):
        assert branch is not None
        for name, each in branch.named_parameters():
            part = name.split(".")[0]
            graph = part in ("layers", "bias", "attention", "node_attention", "edge_attention")
            assert rates[id(each)] == pytest.approx(0.1 if part == "classifier" else 0.25 if graph else 1.0), name
    assert trainer.adapter is not None and all(id(each) not in rates for each in trainer.adapter.parameters())
    assert len(rates) == len(trainer._names)


def test_the_adapter_is_frozen_and_the_rest_moves(data: GraphData) -> None:
    trainer = trainer_of(data)
    before = state_of(trainer)
    run_steps(trainer)
    after = state_of(trainer)
    adapter = [name for name in before if name.startswith("adapter")]
    assert len(adapter) == 4 and all(torch.equal(before[name], after[name]) for name in adapter)
    still = [
        name for name in before if name not in adapter and "optimizer" not in name and torch.equal(before[name], after[name])
    ]
    assert not still, f"they learn nothing: {still}"
    assert not any("adapter" in name for name in after if name.startswith("optimizer"))


def test_attention_that_begins_as_nothing_lets_gradients_through_after_a_step(data: GraphData) -> None:
    settings = OracleSettings(mimic=False, text=False, adapter_epochs=1)
    trainer = trainer_of(data, replace(CONFIG, oracle=settings))
    trainer.step()
    batch = trainer._batches.at(1)
    assert trainer.oracle is not None
    trainer.student.zero_grad()
    both = run_both(trainer.student, trainer.oracle, batch.inputs, trainer.pictures(batch))
    student_losses(both.oracle, batch, trainer.config).total.backward()
    assert any(each.grad is not None and bool(each.grad.any()) for each in trainer.student.parameters())


@pytest.mark.parametrize(
    "settings",
    [
        OracleSettings(images=False),
        OracleSettings(text=False, adapter_epochs=1),
        OracleSettings(mimic=False, adapter_epochs=1),
        OracleSettings(reads_nodes=False, adapter_epochs=1),
        OracleSettings(reads_edges=False, adapter_epochs=1),
        OracleSettings(mask_edges=False, projects=False, adapter_epochs=0),
    ],
)
def test_every_ingredient_can_be_left_out(data: GraphData, settings: OracleSettings) -> None:
    # Sixty-four picture channels are more than there are pooled ones: without projection only a wider network can mimic.
    width = 16 if settings.projects else 48
    trainer = trainer_of(data, replace(CONFIG, oracle=settings, steps=2, width=width))
    run_steps(trainer)
    terms = trainer.describe().terms
    assert ("mimic" in terms) == (settings.images and settings.mimic) and ("sentences" in terms) == settings.text
    assert all(map(math.isfinite, terms.values()))


def test_distillation_trains_too(data: GraphData) -> None:
    trainer = trainer_of(data, replace(CONFIG, steps=2, distillation=True, clip_norm=0.5))
    run_steps(trainer)
    assert {"told objects", "told predicates"} <= set(trainer.describe().terms)


def test_class_directions_begin_as_the_words_for_classes(data: GraphData) -> None:
    assert data.class_text is not None
    words = torch.from_numpy(data.class_text)[:, :16]
    for branch in (trainer_of(data).student, trainer_of(data).oracle, trainer_of(data, ALONE).student):
        assert branch is not None and torch.equal(branch.classifier.directions.detach(), words)
    plain = trainer_of(data, replace(ALONE, text_heads=False)).student
    assert not torch.equal(plain.classifier.directions.detach(), words)


@pytest.mark.errors
def test_what_is_missing_is_named(data: GraphData) -> None:
    bare = without_pictures(data)
    with pytest.raises(ConventionError, match="oracle: expected picture features of the scans' things, got none"):
        VlSatTrainer(CONFIG, bare, TEXT, 0)
    with pytest.raises(ConventionError, match="oracle: expected a text encoder, got none"):
        VlSatTrainer(CONFIG, data, None, 0)
    single = GraphScan("single", (np.zeros((4, 3), np.float32),), np.array([0]), np.zeros((0, 3), np.int64))
    lonely = GraphData([GraphExample(single)], ("a",), ("p",))
    with pytest.raises(ConventionError, match="batch_scans: expected two things in every step"):
        VlSatTrainer(replace(ALONE, batch_scans=1), lonely, None, 0)
    run_steps(VlSatTrainer(replace(ALONE, steps=1), lonely, None, 0))
    no_images = replace(CONFIG, oracle=OracleSettings(images=False))
    run_steps(VlSatTrainer(replace(no_images, steps=1), bare, TEXT, 0))
    run_steps(VlSatTrainer(replace(ALONE, steps=1), bare, None, 0))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1"),
        ({"nodes_per_scan": 1}, "nodes_per_scan: expected at least 2"),
        ({"learning_rate": 0.0}, "learning_rate: expected above 0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected above 0"),
        ({"oracle": None, "distillation": True}, "distillation: expected an oracle"),
    ],
)
def test_recipes_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        replace(CONFIG, **changes)


def test_presets_are_recipes() -> None:
    assert PRESETS["3rscan"].width == 512 and PRESETS["3rscan"].steps == 48_000
    assert PRESETS["rooms"].turns and PRESETS["rooms"].oracle is not None


# ----------------------------------------------------------------------------------------------------------------- adapter


def test_the_adapter_draws_pictures_to_the_words_for_their_classes(data: GraphData) -> None:
    assert data.class_text is not None
    before = torch.random.get_rng_state()
    trained, again, raw = trained_adapter(data, 60, 3), trained_adapter(data, 60, 3), trained_adapter(data, 0, 3)
    assert torch.equal(before, torch.random.get_rng_state()) and same(trained.state_dict(), again.state_dict())
    words = torch.from_numpy(data.class_text)

    def loss(adapter: ImageAdapter) -> float:
        """Cross entropy of cosines with a fifth of the label spread over all classes."""
        total = 0.0
        for example in data.examples:
            assert example.pictures is not None
            adapted = adapter(torch.from_numpy(example.pictures))
            cosines = adapted / adapted.norm(dim=1, keepdim=True) @ words.T
            said = torch.log_softmax(cosines / 0.07, dim=1)
            for row, kind in zip(said, example.scan.class_ids, strict=True):
                total -= 0.8 * float(row[int(kind)]) + 0.2 * float(row.mean())
        return total / 18

    assert loss(trained) < loss(raw) - 0.1
    assert not any(each.requires_grad for each in trained.parameters())


def test_the_adapter_stays_as_it_began_without_words_or_known_classes(data: GraphData) -> None:
    raw = trained_adapter(data, 0, 3).state_dict()
    wordless = GraphData(data.examples, data.classes, data.predicates)
    unknown = [GraphExample(replace(each.scan, class_ids=np.full(3, -1)), each.pictures) for each in data.examples]
    nameless = GraphData(unknown, data.classes, data.predicates, data.class_text)
    unseen = [GraphExample(each.scan, np.zeros_like(each.pictures)) for each in data.examples]
    blind = GraphData(unseen, data.classes, data.predicates, data.class_text)
    for other in (wordless, nameless, blind):
        adapter = trained_adapter(other, 5, 3)
        assert same(adapter.state_dict(), raw) and not any(each.requires_grad for each in adapter.parameters())
