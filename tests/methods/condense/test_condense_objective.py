"""The losses of ConDense against loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.posed_rooms import TINY, TinyScans, wall_scan

from scenewise.engine.distribution import ALONE
from scenewise.errors import ConventionError
from scenewise.methods.condense.objective import Memory, RayFeatures, effective_rank, prior_loss, ray_losses
from scenewise.methods.condense.options import PRESETS, CondenseConfig, LossWeights, RaySettings
from scenewise.methods.condense.prior import prior_statistics

CONFIG = replace(TINY, temperature=0.2, far=0.5)
NONE = Memory.empty(4, torch.device("cpu"))


def unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def some_rays(count: int = 9) -> RayFeatures:
    """Of two scans; every third shows a place close to the one before, and some do not count."""
    draw = torch.Generator().manual_seed(7)
    point = 3.0 * torch.rand(count, 3, generator=draw)
    scan = (torch.arange(count) >= 5).long()
    point[2] = point[1] + 0.1
    point[5] = point[4] + 0.1  # near, but of another scan
    point[8] = point[7] - 0.2
    stopped, has_twin = torch.ones(count, dtype=torch.bool), torch.rand(count, generator=draw) < 0.6
    stopped[3] = False
    has_twin[3] = True
    logits, scores = torch.randn(count, generator=draw), torch.rand(count, generator=draw)
    return RayFeatures(
        unit(count, 4, seed=1), unit(count, 4, seed=2), logits, scores, unit(count, 4, seed=3), has_twin, stopped, point, scan
    )


def is_near(rays: RayFeatures, one: int, other: int) -> bool:
    return bool(rays.scan[one] == rays.scan[other] and (rays.point[one] - rays.point[other]).norm() < CONFIG.far)


def best_wrong(rays: RayFeatures, row: int, memory: Memory) -> float:
    others = [each for each in torch.nonzero(rays.stopped)[:, 0].tolist() if each != row and not is_near(rays, row, each)]
    wrong = [float(rays.image[row] @ rays.volume[each]) for each in others]
    wrong += [float(rays.volume[row] @ rays.image[each]) for each in others]
    wrong += [float(rays.image[row] @ each) for each in memory.volume] + [float(rays.volume[row] @ each) for each in memory.image]
    return max(wrong, default=-1.0)


def cross_entropy(said: float, wanted: float) -> float:
    return -wanted * math.log(said) - (1 - wanted) * math.log(1 - said)


def test_consistency_and_agreement_are_means_of_one_minus_the_cosine() -> None:
    rays = some_rays()
    found = ray_losses(rays, CONFIG, NONE)
    counted = [row for row in range(9) if rays.stopped[row]]
    twins = [row for row in counted if rays.has_twin[row]]
    assert len(counted) == 8 and 0 < len(twins) < 8
    cosines = {row: float(rays.image[row] @ rays.volume[row]) for row in counted}
    assert float(found["consistency"]) == pytest.approx(np.mean([1 - each for each in cosines.values()]), abs=1e-5)
    assert float(found["figures.cosine"]) == pytest.approx(np.mean(list(cosines.values())), abs=1e-5)
    agreement = np.mean([1 - float(rays.image[row] @ rays.twin[row]) for row in twins])
    assert float(found["agreement"]) == pytest.approx(agreement, abs=1e-5)


def test_contrast_tells_a_ray_from_all_that_show_another_place_both_ways() -> None:
    rays, total = some_rays(), 0.0
    counted = torch.nonzero(rays.stopped)[:, 0].tolist()
    assert is_near(rays, 1, 2) and not is_near(rays, 4, 5) and is_near(rays, 7, 8)
    for row in counted:
        others = [each for each in counted if each == row or not is_near(rays, row, each)]
        for asked, answers in ((rays.image, rays.volume), (rays.volume, rays.image)):
            exponents = [math.exp(float(asked[row] @ answers[each]) / CONFIG.temperature) for each in others]
            total -= 0.5 * math.log(math.exp(float(asked[row] @ answers[row]) / CONFIG.temperature) / sum(exponents))
    found = ray_losses(rays, CONFIG, Memory(unit(3, 4, seed=8), unit(3, 4, seed=9)))
    assert float(found["contrast"]) == pytest.approx(total / len(counted), rel=1e-4), "what is remembered is not contrasted with"


@pytest.mark.parametrize("remembered", [0, 6])
def test_a_match_is_sure_where_the_right_answer_is_better_than_the_best_wrong_one(remembered: int) -> None:
    rays = some_rays()
    memory = Memory(unit(remembered, 4, seed=8), unit(remembered, 4, seed=9)) if remembered else NONE
    total, matched, sureness = 0.0, 0, 0.0
    counted = torch.nonzero(rays.stopped)[:, 0].tolist()
    for row in counted:
        right, wrong = float(rays.image[row] @ rays.volume[row]), best_wrong(rays, row, memory)
        sure = 1 / (1 + math.exp(-(right - wrong) / 0.05))
        said, score = 1 / (1 + math.exp(-float(rays.image_logits[row]))), min(max(float(rays.volume_scores[row]), 1e-4), 1 - 1e-4)
        total += cross_entropy(said, sure) + cross_entropy(score, sure) + cross_entropy(said, score) + cross_entropy(score, said)
        matched, sureness = matched + (right > wrong), sureness + sure
    found = ray_losses(rays, CONFIG, memory)
    assert float(found["keypoints"]) == pytest.approx(total / len(counted), rel=1e-3)
    assert float(found["figures.matched"]) == pytest.approx(matched / len(counted))
    assert float(found["figures.sure"]) == pytest.approx(sureness / len(counted), abs=1e-4)


def test_what_is_remembered_changes_the_best_wrong_answer() -> None:
    rays = some_rays()
    alone = ray_losses(rays, CONFIG, NONE)["figures.sure"]
    twice = Memory(rays.image.clone(), rays.volume.clone())  # the very same features, of other scans: no match is unique
    assert float(ray_losses(rays, CONFIG, twice)["figures.matched"]) == 0.0
    assert float(ray_losses(rays, CONFIG, twice)["figures.sure"]) < float(alone)


def test_scores_learn_and_features_do_not_learn_from_them() -> None:
    rays = some_rays()
    leaves = [each.clone().requires_grad_() for each in (rays.image, rays.volume, rays.image_logits, rays.volume_scores)]
    asked = replace(rays, image=leaves[0], volume=leaves[1], image_logits=leaves[2], volume_scores=leaves[3])
    gradients = torch.autograd.grad(ray_losses(asked, CONFIG, NONE)["keypoints"], leaves, allow_unused=True)
    assert gradients[0] is None and gradients[1] is None
    assert gradients[2] is not None and bool(gradients[2].any()) and gradients[3] is not None and bool(gradients[3].any())
    assert not gradients[2][3] and not gradients[3][3], "a ray that the volume does not stop teaches nothing"


def test_rays_that_nothing_stops_cost_nothing() -> None:
    rays = some_rays()
    image = rays.image.clone().requires_grad_()
    found = ray_losses(replace(rays, image=image, stopped=torch.zeros(9, dtype=torch.bool)), CONFIG, NONE)
    assert all(float(each.detach()) == 0.0 for each in found.values())
    (gradient,) = torch.autograd.grad(found["consistency"] + found["contrast"], image)
    assert not gradient.any()


def test_the_newest_rays_are_remembered() -> None:
    rays = some_rays()
    once = NONE.with_rays(rays, 10, ALONE)
    assert torch.equal(once.image, rays.image[rays.stopped]) and torch.equal(once.volume, rays.volume[rays.stopped])
    other = replace(rays, image=unit(9, 4, seed=5), volume=unit(9, 4, seed=6))
    twice = once.with_rays(other, 10, ALONE)
    assert torch.equal(twice.image, torch.cat([once.image[-2:], other.image[rays.stopped]]))
    assert torch.equal(twice.volume, torch.cat([once.volume[-2:], other.volume[rays.stopped]]))
    assert len(twice.with_rays(rays, 0, ALONE).image) == 0, "nothing is remembered where nothing shall be"
    grown = replace(rays, image=rays.image.clone().requires_grad_())
    assert not NONE.with_rays(grown, 10, ALONE).image.requires_grad


# ------------------------------------------------------------------------------------------------------------------ prior


def test_the_prior_costs_squared_error_as_a_share_of_its_variance() -> None:
    told, prior = unit(5, 3, seed=1), unit(5, 3, seed=2)
    total = sum((float(told[row, column]) - float(prior[row, column])) ** 2 for row in range(5) for column in range(3))
    assert float(prior_loss(told, prior, 0.4, 10.0)) == pytest.approx(total / 0.4 / 10, rel=1e-5)


def test_the_mean_of_the_prior_costs_one() -> None:
    scans = TinyScans([wall_scan(), replace(wall_scan(), prior=2.0 + wall_scan().prior)])
    found = prior_statistics(scans)
    cells = np.concatenate([scan.prior.reshape(-1, 6) for scan in scans.scans]).astype(np.float64)
    np.testing.assert_allclose(found.mean.numpy(), cells.mean(axis=0), atol=1e-3)
    assert found.variance == pytest.approx(((cells - cells.mean(axis=0)) ** 2).sum(axis=1).mean(), rel=1e-4) and found.dim == 6
    rows = torch.from_numpy(cells.astype(np.float32))
    assert float(prior_loss(found.mean.expand_as(rows), rows, found.variance, float(len(rows)))) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.errors
def test_priors_that_cannot_be_learned_from_are_refused() -> None:
    with pytest.raises(ConventionError, match="scans: expected at least one"):
        prior_statistics(TinyScans([]))
    with pytest.raises(ConventionError, match="prior: expected 6 numbers in every scan, got 5"):
        prior_statistics(TinyScans([wall_scan(), replace(wall_scan(), prior=wall_scan().prior[..., :5])]))
    with pytest.raises(ConventionError, match="prior: expected features that differ from place to place"):
        prior_statistics(TinyScans([replace(wall_scan(), prior=np.ones((3, 3, 4, 6), dtype=np.float16))]))


# ------------------------------------------------------------------------------------------------------- effective rank


def test_effective_rank_by_hand() -> None:
    line = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([1.0, 2.0, -1.0])
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(torch.ones(4, 3)) == pytest.approx(1.0, abs=1e-6) and effective_rank(torch.zeros(4, 3)) == 1.0
    collapsed = torch.ones(100, 8) + 0.001 * torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    assert effective_rank(collapsed) < 1.1 < 7 < effective_rank(collapsed - collapsed.mean(0))
    cross = torch.cat([torch.eye(3), -torch.eye(3)])
    assert effective_rank(cross) == pytest.approx(3.0, abs=1e-6)
    # Singular values 2√2 · (3, 1): shares 3/4 and 1/4, not 9/10 and 1/10 as their squares have.
    stretched = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(stretched) == pytest.approx(expected, abs=1e-6) == effective_rank(10.0 * stretched)


# ---------------------------------------------------------------------------------------------------------------- options


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: LossWeights(prior=-1.0), r"losses.prior: expected 0 or more"),
        (lambda: LossWeights(contrast=float("nan")), r"losses.contrast: expected 0 or more"),
        (lambda: RaySettings(per_view=0), r"rays.per_view: expected at least 1"),
        (lambda: RaySettings(samples=1), r"rays.samples: expected at least 2"),
        (lambda: RaySettings(detailed=1.5), r"rays.detailed: expected a share"),
        (lambda: RaySettings(depth_deviation=0.0), r"rays.depth_deviation: expected metres above 0"),
        (lambda: CondenseConfig(steps=0), "steps: expected at least 1"),
        (lambda: CondenseConfig(voxel=float("nan")), "voxel: expected above 0"),
        (lambda: CondenseConfig(remembered=-1), "remembered: expected 0 or more"),
        (lambda: CondenseConfig(settled=1.1), "settled: expected a share"),
        (lambda: CondenseConfig(average=1.0), "average: expected from 0 to below 1"),
    ],
)
def test_recipes_that_cannot_be(change, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        change()


def test_presets_are_recipes() -> None:
    assert set(PRESETS) == {"captures", "rooms"} and PRESETS["rooms"].width < PRESETS["captures"].width
