"""Ray marching: every backend against cases by hand, a loop over samples and float64, and what it promises of nothing."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from tests.support.sparse_conv_scenarios import coords_of, random_coords, relative_error
from torch import Tensor

from scenewise.errors import ConventionError, ResourceError, ShapeError
from scenewise.kernels.march import MarchInput, MarchOutput, backend_for, interval_lengths, march, native
from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv import VoxelGrid, voxelise

HAS_NATIVE = library.load() is not None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason="the compiled library was not built")
BACKENDS = ["reference", pytest.param("native", marks=needs_native)]
OUTPUTS = ("features", "alpha", "depth", "weights")


@pytest.fixture
def dirty_memory(monkeypatch):
    """What torch gives as empty is full of NaN, or of a large number: whatever is not written shows."""
    empty, empty_like = torch.empty, torch.empty_like
    dirty = lambda tensor: tensor.fill_(float("nan") if tensor.is_floating_point() else 2**30)  # noqa: E731
    monkeypatch.setattr(torch, "empty", lambda *size, **options: dirty(empty(*size, **options)))
    monkeypatch.setattr(torch, "empty_like", lambda tensor: dirty(empty_like(tensor)))


def one_ray(
    grid: VoxelGrid,
    features: list[list[float]],
    densities: list[float],
    origin: tuple[float, float, float],
    direction: tuple[float, float, float],
    distances: list[float],
    lengths: list[float],
) -> MarchInput:
    return MarchInput(
        grid,
        torch.tensor(features),
        torch.tensor(densities),
        torch.tensor([origin]),
        torch.tensor([direction]),
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([distances]),
        torch.tensor([lengths]),
    )


def random_march(rays: int, samples: int, channels: int, *, points: int = 900, edge: int = 9, stride: int = 1, seed: int = 0):
    """Rays through two random clouds; some miss them, some go along an axis, some belong to scenes that do not exist."""
    generator = torch.Generator().manual_seed(seed)
    grid = voxelise(random_coords(points, edge=edge, seed=seed), batch_size=2).grid
    while grid.stride < stride:
        grid = grid.down()
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    directions = normal(rays, 3)
    directions[: rays // 8, 1:] = 0.0
    batch = torch.randint(0, 2, (rays,), generator=generator)
    batch[3:20:16], batch[4:20:16] = -1, 2
    distances = (0.7 * edge * uniform(rays, samples)).sort(1).values
    lengths = interval_lengths(distances) if samples > 1 else uniform(rays, 1)
    origins = normal(rays, 3) * edge / 4 + torch.tensor([-7.0, -4.0, -edge]) + edge / 2
    return MarchInput(
        grid,
        normal(len(grid), channels),
        uniform(len(grid)),
        origins,
        directions,
        batch,
        distances,
        lengths,
        density_gradient=True,
    )


def to_double(rays: MarchInput) -> MarchInput:
    names = ("features", "densities", "origins", "directions", "distances", "lengths")
    return replace(rays, **{name: getattr(rays, name).double() for name in names})


def run(rays: MarchInput, backend: str, wanted: tuple[str, ...] = OUTPUTS) -> tuple[MarchOutput, Tensor, Tensor | None]:
    """Outputs and the gradients of features and densities."""
    features, densities = rays.features.clone().requires_grad_(), rays.densities.clone().requires_grad_()
    out = march(replace(rays, features=features, densities=densities), backend)
    values = [getattr(out, name) for name in wanted]
    generator = torch.Generator().manual_seed(3)
    upstream = [torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype) for value in values]
    d_features, d_densities = torch.autograd.grad(values, (features, densities), upstream, allow_unused=True)
    return MarchOutput(*(getattr(out, name).detach() for name in OUTPUTS)), d_features, d_densities


def by_loop(rays: MarchInput) -> tuple[list[list[float]], list[float], list[float]]:
    """Features, alpha and depth in float64, one ray, sample and corner at a time, voxels in a dictionary."""
    rows = {tuple(voxel): row for row, voxel in enumerate(rays.grid.coords.tolist())}
    gathered, alphas, depths = [], [], []
    for ray in range(len(rays.origins)):
        feature, alpha, depth, left = [0.0] * rays.features.shape[1], 0.0, 0.0, 1.0
        speed = math.dist((0, 0, 0), rays.directions[ray].tolist())
        for t, length in zip(rays.distances[ray].tolist(), rays.lengths[ray].tolist(), strict=True):
            place = [
                (o + t * d) / rays.grid.stride - 0.5 for o, d in zip(rays.origins[ray].tolist(), rays.directions[ray].tolist())
            ]
            found = []
            for corner in product((0, 1), repeat=3):
                cell = tuple(math.floor(p) + step for p, step in zip(place, corner))
                share = math.prod(p - math.floor(p) if step else 1 - p + math.floor(p) for p, step in zip(place, corner))
                if (row := rows.get((int(rays.batch[ray]), *cell))) is not None:
                    found.append((row, share))
            density = sum(share * float(rays.densities[row]) for row, share in found)
            weight = left * (1 - math.exp(-density * length * speed))
            left *= math.exp(-density * length * speed)
            whole = sum(share for _, share in found)
            for row, share in found:
                feature = [sum_ + weight * share / whole * f for sum_, f in zip(feature, rays.features[row].tolist())]
            alpha, depth = alpha + weight, depth + weight * t
        gathered.append(feature), alphas.append(alpha), depths.append(depth)
    return gathered, alphas, depths


# --- by hand ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_ray_through_two_voxels_by_hand(backend):
    # Through the centres of (0, 0, 0) and (1, 0, 0), two units a step; samples at x = 0.5, 0.75 and 1.75, of different lengths.
    grid = voxelise(coords_of((0, 0, 0, 0), (0, 1, 0, 0))).grid
    rays = one_ray(
        grid, [[1.0, 10.0], [3.0, -20.0]], [0.4, 2.0], (-0.5, 0.5, 0.5), (2.0, 0.0, 0.0), [0.5, 0.625, 1.125], [0.25, 0.5, 1.0]
    )
    passed = [math.exp(-0.4 * 0.5), math.exp(-(0.75 * 0.4 + 0.25 * 2.0) * 1.0), math.exp(-0.75 * 2.0 * 2.0)]
    weights = [1 - passed[0], passed[0] * (1 - passed[1]), passed[0] * passed[1] * (1 - passed[2])]
    first = weights[0] + 0.75 * weights[1]
    second = 0.25 * weights[1] + weights[2]  # the last sample has the second voxel alone around it
    out = march(rays, backend)
    close = lambda got, want: torch.testing.assert_close(got, torch.tensor(want), rtol=2e-6, atol=1e-6)  # noqa: E731
    close(out.weights, [weights])
    close(out.features, [[first + 3 * second, 10 * first - 20 * second]])
    close(out.alpha, [1 - math.prod(passed)])
    close(out.depth, [0.5 * weights[0] + 0.625 * weights[1] + 1.125 * weights[2]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_axes_are_not_mixed_up(backend):
    # 0.25, 0.1 and 0.2 beyond the centre of an empty voxel, with one neighbour along each axis: weights 0.18, 0.06 and 0.135.
    grid = voxelise(coords_of((0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))).grid
    assert grid.coords[:, 1:].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    features = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    rays = one_ray(grid, features, [3.0, 2.0, 1.0], (0.0, 0.0, 0.0), (0.75, 0.6, 0.7), [1.0], [0.5])
    density, speed = 0.18 * 1 + 0.06 * 2 + 0.135 * 3, math.sqrt(0.75**2 + 0.6**2 + 0.7**2)
    alpha = 1 - math.exp(-density * 0.5 * speed)
    out = march(rays, backend)
    torch.testing.assert_close(out.alpha, torch.tensor([alpha]), rtol=2e-6, atol=0)
    expected = torch.tensor([[0.18, 0.06, 0.135]]) / 0.375 * alpha
    torch.testing.assert_close(out.features, expected, rtol=3e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_little_is_left_of_a_ray_still_counts(backend):
    grid = voxelise(coords_of((0, 0, 0, 0))).grid
    rays = one_ray(grid, [[1.0]], [9.0], (0.5, 0.5, 0.5), (1.0, 0.0, 0.0), [0.0] * 5, [1.0] * 5)
    weights = march(rays, backend).weights[0].double()
    passed = torch.tensor([math.exp(-9.0 * i) for i in range(5)], dtype=torch.float64)
    expected = passed * (1 - math.exp(-9.0))
    torch.testing.assert_close(weights[:3], expected[:3], rtol=1e-5, atol=0)
    torch.testing.assert_close(weights[3:], expected[3:], rtol=0, atol=1e-9)


def test_lengths_reach_to_the_next_sample():
    lengths = interval_lengths(torch.tensor([[1.0, 1.5, 3.5]]))
    assert lengths.tolist() == [[0.5, 2.0, 2.0]]
    assert interval_lengths(torch.ones(2, 0)).shape == (2, 0)


# --- against a loop, against float64 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stride", [1, 2])
def test_matches_a_loop_over_samples(stride, backend):
    rays = random_march(24, 11, 3, edge=6, points=150, stride=stride, seed=stride)
    out, expected = march(rays, backend), by_loop(rays)
    assert 0.1 < float(out.alpha.mean()) < 0.9
    for name, want in zip(("features", "alpha", "depth"), expected, strict=True):
        torch.testing.assert_close(getattr(out, name), torch.tensor(want), rtol=2e-5, atol=2e-5)


SHAPES = [(1, 1, 1), (9, 2, 3), (70, 16, 16), (130, 17, 33), (40, 40, 64), (20, 64, 100), (30, 9, 128)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rays", "samples", "channels"), SHAPES)
def test_matches_float64_forward_and_backward(rays, samples, channels, backend, dirty_memory):
    single = random_march(rays, samples, channels, seed=samples)
    out, *gradients = run(single, backend)
    exact, *exact_gradients = run(to_double(single), "reference")
    for name in OUTPUTS:
        assert relative_error(getattr(out, name), getattr(exact, name)) < 3e-6, name
    for name, got, want in zip(("features", "densities"), gradients, exact_gradients, strict=True):
        assert relative_error(got, want) < 1e-5, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wanted", [("alpha",), ("weights", "depth"), ("features",)])
def test_gradients_of_some_outputs(wanted, backend, dirty_memory):
    single = random_march(40, 12, 5, seed=5)
    _, d_features, d_densities = run(single, backend, wanted)
    _, exact_features, exact_densities = run(to_double(single), "reference", wanted)
    assert relative_error(d_densities, exact_densities) < 1e-5
    if "features" in wanted:
        assert relative_error(d_features, exact_features) < 1e-5
    else:
        assert d_features is None or not d_features.any()


def test_gradients_match_finite_differences():
    rays = to_double(random_march(9, 5, 2, points=25, edge=4, seed=1))
    leaves = (rays.features.requires_grad_(), (rays.densities + 0.1).requires_grad_())

    def outputs(features: Tensor, densities: Tensor) -> tuple[Tensor, ...]:
        out = march(replace(rays, features=features, densities=densities))
        return tuple(getattr(out, name) for name in OUTPUTS)

    assert bool((outputs(*leaves)[1] > 0.05).any())
    assert torch.autograd.gradcheck(outputs, leaves)


@needs_native
@pytest.mark.parametrize("variant", library._VARIANTS)
def test_every_instruction_set_agrees(variant, monkeypatch):
    if not library._path(variant).exists() or library._VARIANTS.index(variant) > library._open("base").sw_best_variant():
        pytest.skip("not on this processor")
    single = random_march(100, 30, 41, seed=2)
    exact, *exact_gradients = run(to_double(single), "reference")
    native._library.cache_clear()
    monkeypatch.setattr(library, "load", lambda: library._open(variant))
    try:
        out, *gradients = run(replace(single, grid=voxelise(single.grid.coords, batch_size=2).grid), "native")
    finally:
        native._library.cache_clear()
    assert relative_error(out.features, exact.features) < 3e-6
    for got, want in zip(gradients, exact_gradients, strict=True):
        assert relative_error(got, want) < 1e-5


# --- properties ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_shares_of_the_ray(backend):
    rays = random_march(300, 25, 4, seed=8)
    rays = replace(rays, densities=10 ** (12 * rays.densities - 6))  # from almost nothing to a wall
    out = march(rays, backend)
    assert bool((out.weights >= 0).all()) and float(out.alpha.max()) <= 1 + 2e-6
    torch.testing.assert_close(out.weights.sum(1), out.alpha, rtol=2e-6, atol=1e-7)
    torch.testing.assert_close((out.weights * rays.distances).sum(1), out.depth, rtol=2e-6, atol=1e-6)
    assert float(out.alpha.max()) > 0.999


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wall_stops_the_ray_and_its_gradients_are_finite(backend):
    rays = random_march(60, 20, 4, seed=9)
    out, *gradients = run(replace(rays, densities=rays.densities * 1e30), backend)
    hit = out.alpha > 0.5
    torch.testing.assert_close(out.alpha[hit], torch.ones(int(hit.sum())))
    assert all(bool(value.isfinite().all()) for value in (out.features, out.depth, *gradients))


@pytest.mark.parametrize("backend", BACKENDS)
def test_constant_features_stay_constant_at_borders(backend):
    rays = random_march(200, 20, 2, points=100, seed=4)  # hardly a cell has all its corners
    out = march(replace(rays, features=torch.full_like(rays.features, 2.5)), backend)
    seen = out.alpha > 1e-3
    assert int(seen.sum()) > 50
    torch.testing.assert_close(out.features[seen], 2.5 * out.alpha[seen, None].expand(-1, 2), rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_meets_nothing_is_zero(backend, dirty_memory):
    rays = random_march(40, 6, 3)
    far = torch.full((40, 3), 50.0)
    away = {"away": far, "beyond the keys": far * 1e5, "nan": far * float("nan"), "infinite": far * float("inf")}
    cases = {name: replace(rays, origins=origins, directions=torch.ones(40, 3)) for name, origins in away.items()}
    cases["no such scene"] = replace(rays, batch=torch.full((40,), 2))
    cases["no density"] = replace(rays, densities=torch.zeros_like(rays.densities))
    cases["no length"] = replace(rays, lengths=torch.zeros_like(rays.lengths))
    for name, case in cases.items():
        out, d_features, _ = run(case, backend)
        for value in (out.features, out.alpha, out.weights, d_features):
            assert bool((value == 0).all()), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rays", "samples", "voxels"), [(0, 4, 5), (3, 0, 5), (3, 4, 0)])
def test_nothing_in_gives_zeros_out(rays, samples, voxels, backend, dirty_memory):
    grid = voxelise(random_coords(voxels), batch_size=2).grid
    v = len(grid)
    distances = torch.ones(rays, samples)
    nowhere = MarchInput(
        grid,
        torch.ones(v, 2),
        torch.ones(v),
        *(torch.ones(rays, 3),) * 2,
        torch.zeros(rays, dtype=torch.int64),
        distances,
        distances,
        density_gradient=True,
    )
    out, d_features, d_densities = run(nowhere, backend)
    assert out.features.shape == (rays, 2) and out.weights.shape == (rays, samples)
    assert all(not value.any() for value in (out.features, out.alpha, out.depth, d_features, d_densities))


@pytest.mark.parametrize("backend", BACKENDS)
def test_scenes_of_a_batch_do_not_see_each_other(backend):
    grid = voxelise(coords_of((0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0))).grid
    rays = MarchInput(
        grid,
        torch.tensor([[1.0], [2.0], [2.0]]),
        torch.tensor([0.5, 1.0, 1.0]),
        torch.tensor([[-1.0, 0.5, 0.5]] * 3),
        torch.tensor([[1.0, 0.0, 0.0]] * 3),
        torch.tensor([1, 0, 1]),
        torch.arange(0.0, 4.0, 0.25).repeat(3, 1),
        torch.full((3, 16), 0.25),
    )
    out = march(rays, backend)
    expected = [-math.expm1(-2.0), -math.expm1(-0.5), -math.expm1(-2.0)]  # a layer of one voxel is a voxel's edge thick
    torch.testing.assert_close(out.alpha, torch.tensor(expected), rtol=1e-5, atol=0)
    torch.testing.assert_close(out.features[:, 0], torch.tensor(expected) * torch.tensor([2.0, 1.0, 2.0]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_order_of_points_and_rays_does_not_matter(backend):
    rays = random_march(90, 14, 3, seed=6)
    generator = torch.Generator().manual_seed(0)
    shuffled = rays.grid.coords[torch.randperm(len(rays.grid), generator=generator)]
    order = torch.randperm(90, generator=generator)
    names = ("origins", "directions", "batch", "distances", "lengths")
    other = replace(rays, grid=voxelise(shuffled, batch_size=2).grid, **{name: getattr(rays, name)[order] for name in names})
    here, there = march(rays, backend), march(other, backend)
    for name in OUTPUTS:
        assert torch.equal(getattr(here, name)[order], getattr(there, name)), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scene_twice_as_large_looks_the_same(backend):
    rays = random_march(50, 12, 3, seed=7)
    coarse = VoxelGrid(rays.grid.coords, stride=2, batch_size=2)
    scaled = replace(rays, grid=coarse, origins=2 * rays.origins, directions=2 * rays.directions, densities=rays.densities / 2)
    for name in OUTPUTS:
        torch.testing.assert_close(
            getattr(march(scaled, backend), name), getattr(march(rays, backend), name), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_far_from_the_origin_nothing_changes(backend):
    rays = to_double(random_march(50, 12, 3, seed=7))
    shift = torch.tensor([131_040, -131_040, 100_003])
    coords = rays.grid.coords + torch.tensor([0, *shift.tolist()], dtype=torch.int32)
    moved_grid = voxelise(coords, batch_size=2)
    features, densities = rays.features.float(), rays.densities.float()
    moved_features, moved_densities = torch.empty_like(features), torch.empty_like(densities)
    moved_features[moved_grid.voxel_of_point], moved_densities[moved_grid.voxel_of_point] = features, densities
    here = march(replace(rays, features=features, densities=densities), backend)
    there = march(
        replace(rays, grid=moved_grid.grid, features=moved_features, densities=moved_densities, origins=rays.origins + shift),
        backend,
    )
    torch.testing.assert_close(there.features, here.features, rtol=1e-5, atol=1e-5)
    assert float(here.alpha.mean()) > 0.2


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_stop_at_the_weights_unless_asked_for(backend):
    rays = replace(random_march(30, 10, 4), density_gradient=False)
    features, densities = rays.features.requires_grad_(), rays.densities.requires_grad_()
    out = march(rays, backend)
    assert out.features.requires_grad and not any(getattr(out, name).requires_grad for name in OUTPUTS[1:])
    d_features, d_densities = torch.autograd.grad(out.features.sum(), (features, densities), allow_unused=True)
    assert d_densities is None
    whole = march(replace(rays, density_gradient=True), backend)
    both = torch.autograd.grad(whole.features.sum(), (features, densities))
    assert torch.equal(both[0], d_features) or relative_error(d_features, both[0]) < 1e-6
    assert bool(both[1].any())


@pytest.mark.parametrize("backend", BACKENDS)
def test_bits_do_not_depend_on_threads(backend):
    rays, before, results = random_march(700, 24, 48, points=4000, edge=14), (library.get_threads(), torch.get_num_threads()), []
    try:
        for threads in (1, 2, 3):
            library.set_threads(threads)
            torch.set_num_threads(threads)
            for density_gradient in (False, True):
                out, *gradients = run(replace(rays, density_gradient=density_gradient), backend, ("features",))
                results.append([*(getattr(out, name) for name in OUTPUTS), *(g for g in gradients if g is not None)])
    finally:
        library.set_threads(before[0])
        torch.set_num_threads(before[1])
    for number, result in enumerate(results[2:]):
        assert all(torch.equal(a, b) for a, b in zip(result, results[number % 2], strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_matches_float64():
    single = random_march(130, 17, 33, seed=3)
    exact, *exact_gradients = run(to_double(single), "reference")
    names = ("features", "densities", "origins", "directions", "batch", "distances", "lengths")
    there = replace(single, grid=voxelise(single.grid.coords.cuda(), batch_size=2).grid)
    there = replace(there, **{name: getattr(single, name).cuda() for name in names})
    assert backend_for(there)[0] == "reference"
    features, densities = there.features.requires_grad_(), there.densities.requires_grad_()
    out = march(there)
    assert relative_error(out.features.detach().cpu(), exact.features) < 3e-6
    values = [getattr(out, name) for name in OUTPUTS]
    generator = torch.Generator().manual_seed(3)
    upstream = [torch.randn(value.shape, generator=generator, dtype=torch.float64).float().cuda() for value in values]
    for got, want in zip(torch.autograd.grad(values, (features, densities), upstream), exact_gradients, strict=True):
        assert relative_error(got.cpu(), want) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_is_summed_in_float32(backend):
    rays = random_march(20, 8, 5)
    out, d_features, _ = run(replace(rays, features=rays.features.bfloat16()), backend)
    assert out.features.dtype == torch.float32 and d_features.dtype == torch.bfloat16
    exact = march(replace(rays, features=rays.features.bfloat16().float()), backend)
    assert torch.equal(out.features, exact.features)


# --- errors -------------------------------------------------------------------------------------------------------------------


def test_backends_say_why():
    rays = random_march(3, 4, 2)
    assert backend_for(rays)[0] == ("native" if HAS_NATIVE else "reference")
    assert backend_for(to_double(rays))[0] == "reference"
    with pytest.raises(ResourceError, match="float32 tensors on the CPU"):
        march(to_double(rays), "native")


@pytest.mark.parametrize("name", ["densities", "lengths"])
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
def test_negative_and_infinite_values_are_refused(name, value):
    rays = random_march(3, 4, 2)
    wrong = getattr(rays, name).clone()
    wrong[2] = value
    with pytest.raises(ConventionError, match=f"{name}: expected finite values of at least 0"):
        march(replace(rays, **{name: wrong}))


@pytest.mark.errors
@pytest.mark.parametrize("name", ["features", "densities", "origins", "directions", "batch", "lengths"])
def test_rows_that_do_not_fit_are_refused(name):
    rays = random_march(5, 4, 2)
    with pytest.raises(ShapeError, match=rf"{name}: expected \d+ rows"):
        march(replace(rays, **{name: getattr(rays, name)[1:]}))


def test_a_single_sample_has_no_length():
    with pytest.raises(ShapeError, match="at least 2 samples"):
        interval_lengths(torch.ones(3, 1))
