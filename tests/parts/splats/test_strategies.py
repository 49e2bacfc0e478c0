"""Clone, split, prune, reset; relocation and growth with an exact budget."""

import itertools
import math

import pytest
import torch

from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError
from scenewise.parts.splats.fields import ExplicitGaussians
from scenewise.parts.splats.schedules import LearningRates, Schedule
from scenewise.parts.splats.strategies import DefaultStrategy, McmcStrategy, StepContext, ViewResult, mcmc, operations
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians

CAMERA = Cameras(torch.eye(4, dtype=torch.float64), torch.tensor([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]).double(), 32, 24)


def _gaussians(n: int, *, scale: float = 0.05, opacity: float = 0.5) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(n, 3, generator=generator) * 0.3 + torch.tensor([0.0, 0.0, 3.0])
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1)
    log_scales = torch.full((n, 3), math.log(scale)) + torch.tensor([0.0, -0.5, -1.0])
    logits = torch.full((n,), math.log(opacity / (1 - opacity)))
    return Gaussians(means, log_scales, quats, logits, torch.rand(n, 1, 3, generator=generator), torch.zeros(n, 0, 3))


def _field(gaussians: Gaussians) -> ExplicitGaussians:
    return ExplicitGaussians(gaussians, LearningRates(), 1.0, track_identity=True)


def _context(field: ExplicitGaussians, step: int, total: int = 30_000) -> StepContext:
    return StepContext(step, Schedule(total), field, 1.0, RandomStreams(0))


def _view(field: ExplicitGaussians, gradients: torch.Tensor, radii: torch.Tensor) -> ViewResult:
    output = render(field.gaussians(), CAMERA, backend="reference")
    output = type(output)(output.color, output.depth, output.alpha, output.extra, radii, None)
    return ViewResult("a", CAMERA, 1, output, gradients)


def test_split_and_clone_anchor() -> None:
    # Row 0: small, large gradient → cloned.  Row 1: large, large gradient → split.  Row 2: small gradient.  Row 3: unseen.
    field = _field(_gaussians(4, scale=0.005))
    store = field.store
    store.replace(torch.tensor([1]), {"log_scales": torch.log(torch.tensor([[0.05, 0.02, 0.03]]))})
    strategy = DefaultStrategy(prune_screen_radius=None)
    strategy.start(_context(field, 0))
    original = {name: store[name].detach().clone() for name in store}
    # Pixel gradients: 1e-4 px⁻¹ · W/2 = 16e-4 and 2e-4·12 = 24e-4 are above 2e-4; 1e-6·16 is not.  Row 3 has none.
    gradients = torch.tensor([[1e-4, 0.0], [0.0, -2e-4], [1e-6, 0.0], [0.0, 0.0]])
    strategy.after_view(
        _context(field, 598), _view(field, torch.cat([gradients, gradients.abs()], 1), torch.tensor([3.0, 5, 2, 0]))
    )
    strategy.after_step(_context(field, 599))
    assert len(store) == 6
    assert store.record("identity").tolist() == [0, 1, 2, 3, 4, 5]  # 4: second half of the split; 5: the clone
    for name in store:
        assert torch.equal(store[name].detach()[[0, 2, 3]], original[name][[0, 2, 3]])
        assert torch.equal(store[name].detach()[5], original[name][0])
    for half in (1, 4):
        torch.testing.assert_close(store["log_scales"].detach()[half], original["log_scales"][1] - math.log(1.6))
        moved = store["means"].detach()[half] - original["means"][1]
        assert 0 < moved.norm() < 5 * 0.05
    assert not torch.equal(store["means"].detach()[1], store["means"].detach()[4])
    assert store.record("default.gradient_sum").eq(0).all()


def test_the_gradient_is_a_mean_over_the_views_that_saw_the_gaussian_and_is_measured_in_device_coordinates() -> None:
    field = _field(_gaussians(2))
    strategy = DefaultStrategy()
    strategy.start(_context(field, 0))
    once = torch.tensor([[1e-3, 0.0, 2e-3, 0.0], [0.0, 1e-3, 0.0, 5e-3]])
    strategy.after_view(_context(field, 10), _view(field, once, torch.tensor([2.0, 2.0])))
    unseen = torch.tensor([[1e-3, 0.0, 2e-3, 0.0], [0.0, 0.0, 0.0, 0.0]])
    strategy.after_view(_context(field, 11), _view(field, unseen, torch.tensor([4.0, 0.0])))
    assert field.store.record("default.gradient_sum").tolist() == pytest.approx([2 * 16e-3, 12e-3])
    assert field.store.record("default.views").tolist() == [2.0, 1.0]
    assert field.store.record("default.radius").tolist() == [4.0, 2.0]
    absolute = DefaultStrategy(absgrad=True)
    absolute.start(_context(field, 0))
    absolute.after_view(_context(field, 10), _view(field, once, torch.tensor([2.0, 2.0])))
    assert field.store.record("default.gradient_sum").tolist() == pytest.approx([2 * 16e-3, 60e-3])


def test_split_children_are_drawn_from_their_parent() -> None:
    # 4,000 copies of one tilted Gaussian: the children's spread must be the parent's covariance.
    parent = _gaussians(1, scale=0.3)
    field = _field(parent.select(torch.zeros(4000, dtype=torch.int64)))
    operations.split(field.store, torch.arange(4000), torch.Generator().manual_seed(1))
    offsets = field.store["means"].detach() - parent.means
    covariance = offsets.T @ offsets / len(offsets)
    from scenewise.geometry.rotations import rotation_from_quat

    rotation = rotation_from_quat(parent.quats[0])
    expected = rotation @ torch.diag(parent.scales[0] ** 2) @ rotation.T
    torch.testing.assert_close(covariance, expected, atol=0.004, rtol=0.05)


def test_pruning_removes_faint_large_and_wide_ones() -> None:
    field = _field(_gaussians(4, scale=0.005))
    field.store.replace(torch.tensor([1]), {"logit_opacities": torch.tensor([-7.0])})
    field.store.replace(torch.tensor([2]), {"log_scales": torch.log(torch.tensor([[0.2, 0.01, 0.01]]))})
    strategy = DefaultStrategy()
    strategy.start(_context(field, 0))
    field.store.record("default.radius")[3] = 25.0
    strategy.after_step(_context(field, 599))  # before the first reset only opacity counts
    assert field.store.record("identity").tolist() == [0, 2, 3]
    field.store.record("default.radius")[2] = 25.0
    strategy.after_step(_context(field, 3099))
    assert field.store.record("identity").tolist() == [0]


def test_reset_lowers_opacities_and_rests_their_moments() -> None:
    field = _field(_gaussians(3, opacity=0.8))
    strategy = DefaultStrategy()
    strategy.start(_context(field, 0))
    field.store["logit_opacities"].grad = torch.ones(3)
    field.store.step()
    strategy.after_step(_context(field, 2999))
    torch.testing.assert_close(field.gaussians().opacities.detach(), torch.full((3,), 0.01))
    assert field.store.moments("logit_opacities")[1].eq(0).all()


def test_the_cap_takes_the_largest_gradients_first() -> None:
    field = _field(_gaussians(6, scale=0.005))
    strategy = DefaultStrategy(max_gaussians=8)
    strategy.start(_context(field, 0))
    field.store.record("default.gradient_sum").copy_(torch.tensor([1.0, 6.0, 2.0, 5.0, 3.0, 4.0]))
    field.store.record("default.views").fill_(1.0)
    parents = field.store["means"].detach()[[1, 3]].clone()
    strategy.after_step(_context(field, 599))
    assert len(field.store) == 8
    assert torch.equal(field.store["means"].detach()[6:], parents)
    field.store.record("default.gradient_sum").fill_(1.0)
    strategy.after_step(_context(field, 699))
    assert len(field.store) == 8


@pytest.mark.parametrize("strategy", [DefaultStrategy(max_gaussians=3), McmcStrategy(max_gaussians=3)])
def test_more_gaussians_than_the_cap_are_refused_at_the_start(strategy: DefaultStrategy | McmcStrategy) -> None:
    field = _field(_gaussians(4))
    with pytest.raises(ConventionError, match="at most 3"):
        strategy.start(_context(field, 0))


def test_a_short_run_densifies_and_does_not_reset_in_its_second_half() -> None:
    schedule = Schedule(1500)
    strategy = DefaultStrategy()
    rounds = [done for done in range(1, 1501) if strategy.refines(done, schedule)]
    resets = [done for done in range(1, 1501) if strategy.resets(done, schedule)]
    assert rounds == list(range(50, 750, 50))
    assert resets == [300, 600]
    paper = Schedule(30_000)
    assert sum(strategy.refines(done, paper) for done in range(0, 30_001, 50)) == 144  # 600, 700 … 14,900
    assert [done for done in range(50, 30_001, 50) if strategy.resets(done, paper)] == [3000, 6000, 9000, 12000]


def _textbook_scale_factor(o: float, n: int) -> float:
    shared = 1 - (1 - o) ** (1 / n)
    total = 0.0
    for i in range(1, n + 1):
        for k in range(i):
            total += math.comb(i - 1, k) * (-1) ** k * shared ** (k + 1) / math.sqrt(k + 1)
    return o / total


@pytest.mark.parametrize("o", [0.006, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 51])
def test_sharing_matches_the_published_double_sum(o: float, n: int) -> None:
    opacities, scales = operations.share_among_copies(torch.tensor([o]), torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([n]))
    assert opacities.item() == pytest.approx(1 - (1 - o) ** (1 / n), rel=1e-4)
    torch.testing.assert_close(scales, torch.tensor([[1.0, 2.0, 3.0]]) * _textbook_scale_factor(o, n), rtol=1e-3, atol=0)


@pytest.mark.parametrize("n", [2, 5])
def test_n_copies_look_like_the_one_they_replace(n: int) -> None:
    one = _gaussians(1, scale=0.15, opacity=0.7)
    opacities, scales = operations.share_among_copies(one.opacities, one.scales, torch.tensor([n]))
    shared = Gaussians(one.means, scales.log(), one.quats, torch.logit(opacities), one.sh0, one.shN)
    before = render(one, CAMERA, backend="reference").alpha
    after = render(shared.select(torch.zeros(n, dtype=torch.int64)), CAMERA, backend="reference").alpha
    naive = render(one.select(torch.zeros(n, dtype=torch.int64)), CAMERA, backend="reference").alpha
    error = (after - before).abs().mean()
    # The formula keeps the centre and the mass along a line, not the exact profile in the image.
    assert after.max().item() == pytest.approx(before.max().item(), rel=0.03)
    assert error < 0.12 * before.mean()
    assert error < 0.2 * (naive - before).abs().mean()


def test_relocation_moves_the_dead_and_rests_all_concerned() -> None:
    field = _field(_gaussians(5))
    store = field.store
    for name in store:
        store[name].grad = torch.ones_like(store[name])
    store.step()
    dead = torch.tensor([False, True, False, False, True])
    store.replace(dead.nonzero()[:, 0], {"logit_opacities": torch.full((2,), -6.0)}, moments="keep")
    total = _covered(store)
    assert operations.relocate(store, dead, 0.005, torch.Generator().manual_seed(2)) == 2
    assert len(store) == 5
    alive_means = store["means"].detach()[~dead]
    for row in (1, 4):
        distance = (alive_means - store["means"].detach()[row]).norm(dim=1)
        target = int((~dead).nonzero()[:, 0][distance.argmin()])
        assert distance.min() == 0
        assert store.moments("means")[0][[row, target]].eq(0).all()
        assert torch.equal(store["logit_opacities"].detach()[row], store["logit_opacities"].detach()[target])
    assert _covered(store) == pytest.approx(total, rel=0.02)  # −Σ log(1 − o) is what sharing keeps


def _covered(store: object) -> float:
    return -float(torch.log1p(-store["logit_opacities"].detach().sigmoid()).sum())  # type: ignore[index]


@pytest.mark.parametrize(("total", "start", "cap"), [(30_000, 100, 9_999), (1500, 700, 5003), (600, 50, 1000)])
def test_mcmc_ends_with_exactly_its_cap(total: int, start: int, cap: int) -> None:
    strategy, schedule, count = McmcStrategy(max_gaussians=cap), Schedule(total), start
    counts = [count]
    for done in range(1, total + 1):
        if strategy.refines(done, schedule):
            count = strategy.next_count(count, done, schedule)
            counts.append(count)
    assert count == cap and max(counts) == cap
    assert all(b >= a for a, b in itertools.pairwise(counts))


def test_mcmc_grows_to_the_cap_on_real_rows() -> None:
    field = _field(_gaussians(30))
    strategy, schedule = McmcStrategy(max_gaussians=101), Schedule(400)
    random = RandomStreams(1)
    for step in range(400):
        strategy.after_step(StepContext(step, schedule, field, 1.0, random))
    assert len(field.store) == 101
    assert all(torch.isfinite(field.store[name]).all() for name in field.store)


def test_mcmc_penalties_are_the_gradients_of_mean_opacity_and_mean_scale() -> None:
    field = _field(_gaussians(4))
    strategy = McmcStrategy(opacity_penalty=0.3, scale_penalty=0.7)
    gaussians = field.gaussians()
    (0.3 * gaussians.opacities.mean() + 0.7 * gaussians.scales.mean() / 2.0).backward()
    expected = {name: field.store[name].grad.clone() for name in ("logit_opacities", "log_scales")}  # type: ignore[union-attr]
    for name in expected:
        field.store[name].grad = torch.zeros_like(field.store[name])
    strategy.after_backward(StepContext(0, Schedule(100), field, 2.0, RandomStreams(0)))
    for name, value in expected.items():
        torch.testing.assert_close(field.store[name].grad, value)


def test_mcmc_noise_moves_faint_gaussians_along_their_covariance_and_leaves_solid_ones() -> None:
    flat = _gaussians(2000, scale=0.1, opacity=0.004)
    quats = torch.zeros(2000, 4)
    quats[:, 0] = quats[:, 3] = 0.5**0.5  # a quarter turn about z: the long x axis points along y
    log_scales = torch.log(torch.tensor([0.2, 0.02, 0.02])).expand(2000, 3)
    logits = flat.logit_opacities.clone()
    logits[1000:] = 4.0
    field = _field(Gaussians(flat.means, log_scales, quats, logits, flat.sh0, flat.shN))
    before = field.store["means"].detach().clone()
    McmcStrategy(refine_from=10_000).after_step(_context(field, 0))
    moved = field.store["means"].detach() - before
    assert moved[1000:].eq(0).all()
    spread = moved[:1000].std(dim=0)
    gate = 1 / (1 + math.exp(100 * (0.004 - 0.005)))
    assert spread[1].item() == pytest.approx(0.2**2 * 1.6e-4 * 5e5 * gate, rel=0.1)
    assert spread[0].item() == pytest.approx(0.02**2 * 1.6e-4 * 5e5 * gate, rel=0.1)


def test_revised_opacity_keeps_what_a_clone_covers() -> None:
    field = _field(_gaussians(3, opacity=0.6))
    operations.clone(field.store, torch.tensor([1]), revised_opacity=True)
    o = field.gaussians().opacities.detach()
    assert 1 - (1 - o[1]) * (1 - o[3]) == pytest.approx(0.6, abs=1e-5)
    assert o[0] == pytest.approx(0.6, abs=1e-5)


def test_covariance_times_a_vector_anchor() -> None:
    # A quarter turn about z takes the Gaussian's x axis to the world's y: Σ = diag(4, 9, 1)² from scales (9, 4, 1) along its
    # own axes.
    quat = torch.tensor([[0.5**0.5, 0.0, 0.0, 0.5**0.5]])
    product = mcmc.covariance_times(quat, torch.tensor([[9.0, 4.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(product, torch.tensor([[16.0, 162.0, 3.0]]))
    eighth = torch.tensor([[math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8)]])
    product = mcmc.covariance_times(eighth, torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(product, torch.tensor([[2.5, 1.5, 0.0]]))  # by hand: ½·[[5, 3], [3, 5]]
