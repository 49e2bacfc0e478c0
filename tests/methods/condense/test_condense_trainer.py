"""Training both branches: the same bits, resumed or not; rates, average and memory; what learns and what stands still."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.support.posed_rooms import TINY, TinyScans, tiny_frozen, tiny_scan

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.training import run_steps
from scenewise.errors import ConventionError
from scenewise.methods.condense.batches import consistency_batch
from scenewise.methods.condense.objectives import image_features, losses_of, ray_features
from scenewise.methods.condense.options import CondenseConfig, LossWeights, RaySettings
from scenewise.methods.condense.trainer import CondenseTrainer, shape_of

OBJECTIVES = ("condense", "point_contrast", "colour_rendering")


@pytest.fixture(scope="module")
def scans() -> TinyScans:
    return TinyScans([tiny_scan(seed) for seed in (100, 101, 102)])


def trainer_of(scans: TinyScans, config: CondenseConfig = TINY, seed: int = 1) -> CondenseTrainer:
    return CondenseTrainer(config, scans, tiny_frozen(), seed)


def state_of(trainer: CondenseTrainer) -> dict[str, torch.Tensor]:
    found = trainer.checkpoint().copied()
    return {**found.parameters, **found.state, **{f"optimizer {name}": each for name, each in found.optimizer.items()}}


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(scans: TinyScans, tmp_path: Path, objective: str) -> None:
    config = replace(TINY, objective=objective)
    unbroken, broken = trainer_of(scans, config), trainer_of(scans, config)
    torch.manual_seed(5)
    run_steps(unbroken)
    torch.manual_seed(6)  # whatever else is random in the process
    broken.start()
    broken.step()
    broken.step()
    files = Checkpointer(tmp_path)
    files.save(broken.checkpoint())
    kept, resumed = files.latest(), trainer_of(scans, config)
    assert kept is not None and kept.step == 2 and kept.data_hash == scans.fingerprint
    resumed.restore(kept)
    assert resumed.steps_done == 2 and same(state_of(resumed), state_of(broken))
    run_steps(resumed)
    assert same(state_of(unbroken), state_of(resumed))
    assert not same(state_of(unbroken), state_of(broken))
    report = resumed.describe()
    assert report.step == 4 and all(map(math.isfinite, (*report.terms.values(), *report.figures.values())))
    if objective == "condense":
        assert not torch.equal(state_of(unbroken)["pair.translator.bias"], trainer_of(scans, seed=2).pair.translator.bias)


def test_gradients_reach_both_branches_and_no_part_of_the_tower(scans: TinyScans) -> None:
    trainer = trainer_of(scans, replace(TINY, settled=0.0))
    tower = trainer.frozen.tower
    assert isinstance(tower, torch.nn.Module)
    still = {name: each.clone() for name, each in tower.state_dict().items()}
    before = {name: each.clone() for name, each in trainer.pair.named_parameters()}
    run_steps(trainer)  # what begins as the identity lets gradients through after a step
    assert same(still, tower.state_dict()) and all(each.grad is None for each in tower.parameters())
    for name, each in trainer.pair.named_parameters():
        assert each.grad is not None and bool(each.grad.any()) and not torch.equal(each, before[name]), name
    assert trainer.parameters_trained == sum(each.numel() for each in (*trainer.pair.parameters(), *trainer.color.parameters()))


@pytest.mark.parametrize("term", ["consistency", "contrast", "keypoints", "agreement", "prior", "rendered_prior"])
def test_every_term_teaches_the_branches_it_is_about(scans: TinyScans, term: str) -> None:
    weights = {each.name: float(each.name == term) for each in fields(LossWeights)}
    trainer = trainer_of(scans, replace(TINY, settled=0.0, losses=replace(TINY.losses, **weights)))
    batch = consistency_batch([(0, scans[0]), (1, scans[1])], trainer.config, 1, 0)
    losses_of(batch, trainer, 1).total.backward()
    taught = {
        name.split(".")[0] for name, each in trainer.pair.named_parameters() if each.grad is not None and bool(each.grad.any())
    }
    priors = {"prior": {"image", "translator"}, "rendered_prior": {"points", "translator"}}
    assert taught == {"agreement": {"image"}, **priors}.get(term, {"image", "points"})


def test_consistency_and_agreement_come_in_slowly(scans: TinyScans) -> None:
    trainer = trainer_of(scans, replace(TINY, steps=100, settled=0.5))
    batch = consistency_batch([(0, scans[0]), (1, scans[1])], trainer.config, 1, 0)
    trainer.pair.eval()
    empty, config = trainer.memory, trainer.config
    for step, share in ((0, 0.0), (20, 0.4), (50, 1.0), (90, 1.0)):
        trainer.memory = empty
        got = losses_of(batch, trainer, step)
        weights = {
            name: getattr(config.losses, name) * (share if name in ("consistency", "agreement") else 1.0) for name in got.terms
        }
        assert len(weights) == 6
        assert float(got.total.detach()) == pytest.approx(
            sum(weights[name] * float(each) for name, each in got.terms.items()), rel=1e-4
        )


def test_the_average_follows_what_is_learned(scans: TinyScans) -> None:
    trainer = trainer_of(scans, replace(TINY, steps=3, average=0.15))
    followed = {name: each.clone() for name, each in trainer.average.named_parameters()}
    trainer.start()
    for step in range(3):
        trainer.step()
        kept = min(0.15, (1 + step) / (10 + step))
        for name, each in trainer.pair.named_parameters():
            followed[name] = kept * followed[name] + (1 - kept) * each.detach()
            torch.testing.assert_close(dict(trainer.average.named_parameters())[name], followed[name], atol=1e-6, rtol=1e-5)
    for (name, each), (_, other) in zip(trainer.average.named_buffers(), trainer.pair.named_buffers()):
        assert torch.equal(each, other), name
    assert not any(each.requires_grad for each in trainer.average.parameters())


def test_rates_rise_and_fall(scans: TinyScans) -> None:
    config = replace(TINY, objective="point_contrast", steps=30, point_rate=4e-3, image_rate=1e-3)
    trainer, rates = trainer_of(scans, config), []
    trainer.start()
    for step in (0, 1, 2, 3, 15, 29):
        trainer.steps_done = step
        trainer.step()
        rates.append(trainer.describe().rates)
    expected = [min(1.0, (step + 1) / 3) * 0.5 * (1 + math.cos(math.pi * step / 30)) for step in (0, 1, 2, 3, 15, 29)]
    assert [each["points"] for each in rates] == pytest.approx([4e-3 * share for share in expected])
    assert [each["image"] for each in rates] == pytest.approx([1e-3 * share for share in expected])
    assert expected[0] < expected[1] < expected[2] > expected[4] > expected[5] < 0.01


def test_each_parameter_learns_at_its_branchs_rate(scans: TinyScans) -> None:
    trainer = trainer_of(scans)
    of_points = {id(each) for each in (*trainer.pair.points.parameters(), *trainer.color.parameters())}
    groups = {group["name"]: {id(each) for each in group["params"]} for group in trainer._optimizer.param_groups}
    assert groups["points"] == of_points
    assert groups["image"] == {id(each) for each in (*trainer.pair.image.parameters(), *trainer.pair.translator.parameters())}


def test_scans_are_drawn_by_their_weights_and_none_twice(scans: TinyScans) -> None:
    trainer = trainer_of(TinyScans(scans.scans, weights=(6.0, 3.0, 1.0)), replace(TINY, scans_per_step=1))
    drawn = [trainer.scans_of(step) for step in range(600)]
    shares = [drawn.count((scan,)) / 600 for scan in range(3)]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.06)
    assert drawn == [trainer.scans_of(step) for step in range(600)]
    pairs = trainer_of(scans)
    assert all(len(set(pairs.scans_of(step))) == 2 for step in range(50))
    assert [pairs.scans_of(step) for step in range(50)] != [trainer_of(scans, seed=2).scans_of(step) for step in range(50)]
    assert sorted(trainer_of(scans, replace(TINY, scans_per_step=9)).scans_of(0)) == [0, 1, 2]


@pytest.mark.parametrize("most", [0, 30])
def test_memory_is_bounded(scans: TinyScans, most: int) -> None:
    trainer, sizes = trainer_of(scans, replace(TINY, remembered=most, steps=3)), []
    trainer.start()
    for _ in range(3):
        trainer.step()
        sizes.append(len(trainer.memory.image))
        assert trainer.memory.image.shape == trainer.memory.volume.shape and not trainer.memory.image.requires_grad
    assert sizes == [most] * 3  # a step has 48 rays, of which most end in the volume


def test_rays_read_the_picture_between_its_cells(scans: TinyScans) -> None:
    """What is sampled for a ray is the value between the four cells around its pixel, of the right picture."""
    trainer = trainer_of(scans)
    batch = consistency_batch([(0, scans[0]), (1, scans[1])], TINY, 1, 0)
    trainer.pair.eval()
    with torch.no_grad():
        rays, seen = ray_features(batch, trainer.pair, trainer.frozen, TINY)
        maps = torch.cat([image_features(trainer.pair, trainer.frozen, pictures).features for pictures in batch.pictures])
    assert len(seen) == 2 and torch.equal(rays.has_twin, batch.rays.twin_view >= 0)

    def between(view: int, u: float, v: float) -> torch.Tensor:
        found, total = torch.zeros(8), 0.0
        x, y = u / 4 - 0.5, v / 4 - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                found += weight * maps[view, :, min(max(row, 0), 11), min(max(column, 0), 15)]
                total += weight
        assert total == pytest.approx(1.0)
        return F.normalize(found, dim=0)

    for row in range(len(batch.rays)):
        torch.testing.assert_close(
            rays.image[row], between(int(batch.rays.view[row]), *batch.rays.pixel[row].tolist()), atol=1e-4, rtol=0
        )
        if rays.has_twin[row]:
            expected = between(int(batch.rays.twin_view[row]), *batch.rays.twin_pixel[row].tolist())
            torch.testing.assert_close(rays.twin[row], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(rays.volume.norm(dim=1)[rays.stopped], torch.ones(int(rays.stopped.sum())))
    assert float(rays.stopped.float().mean()) > 0.8


def test_the_loss_falls_and_both_branches_come_to_agree(scans: TinyScans) -> None:
    rays, losses = RaySettings(per_view=40), LossWeights(consistency=1.0, contrast=0.1)
    config = replace(TINY, steps=16, rays=rays, losses=losses, settled=0.0, point_rate=1e-2, image_rate=1e-2)
    trainer, cosines = trainer_of(scans, config), []
    trainer.start()
    while trainer.steps_done < trainer.total_steps:
        trainer.step()
        cosines.append(trainer.describe().figures["cosine"])
    assert sum(cosines[-5:]) / 5 > sum(cosines[:3]) / 3 + 0.2


def test_the_length_of_a_run_is_fixed_before_it_begins(scans: TinyScans) -> None:
    trainer = trainer_of(scans)
    trainer.set_total_steps(2)
    assert trainer.total_steps == 2 == trainer.checkpoint().config["steps"] and TINY.steps == 4
    trainer.start()
    trainer.step()
    with pytest.raises(ConventionError, match="steps: expected a run that has not begun, got 1 steps done"):
        trainer.set_total_steps(3)


def test_branches_fit_the_tower_and_begin_at_the_mean_of_the_prior(scans: TinyScans) -> None:
    trainer = trainer_of(scans)
    shape = shape_of(TINY, replace(tiny_frozen(), text_dim=16))
    assert (shape.tower_width, shape.tower_depth, shape.text_dim, shape.dim) == (16, 3, 16, 8)
    assert torch.equal(trainer.pair.translator.bias, trainer.prior.mean) and trainer.prior.dim == 6
    frozen, before = tiny_frozen(), torch.random.get_rng_state()
    again = CondenseTrainer(TINY, scans, frozen, 1)
    assert torch.equal(before, torch.random.get_rng_state()) and same(state_of(trainer), state_of(again))


@pytest.mark.errors
def test_a_text_space_of_another_size_than_the_prior_is_refused(scans: TinyScans) -> None:
    with pytest.raises(ConventionError, match="prior_dim: expected 16, as the text space, got 6"):
        CondenseTrainer(TINY, scans, replace(tiny_frozen(), text_dim=16), 1)
