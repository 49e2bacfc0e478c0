"""Sparse convolution: every backend against dense convolution, anchors by hand, the hard corners of voxel keys."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sparse_conv_scenarios import (
    KINDS,
    OPERATORS,
    case,
    coords_of,
    dense_truth,
    everything,
    neighbours_by_dictionary,
    random_coords,
    relative_error,
    run,
    surface_coords,
)

from scenewise.errors import ConventionError, MissingDependencyError, ResourceError, ShapeError
from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv import (
    VoxelGrid,
    Voxelisation,
    backend_for,
    down_conv,
    interpolation,
    mean_in_voxels,
    pointwise,
    reference,
    spconv_backend,
    subm_conv,
    trilinear,
    up_conv,
    voxelise,
)
from scenewise.kernels.sparse_conv.grid import native_kernels

CPU = torch.device("cpu")
NATIVE = native_kernels()
needs_native = pytest.mark.skipif(NATIVE is None, reason="the compiled library was not built or lacks sparse convolution")
needs_spconv = pytest.mark.skipif(
    not spconv_backend.is_installed() or spconv_backend.has_races(torch.device("cpu")),
    reason="spconv is not installed, or torch has several threads",
)
BACKENDS = ["reference", pytest.param("native", marks=needs_native), pytest.param("spconv", marks=needs_spconv)]
OWN = BACKENDS[:2]


# --- convolution against the dense one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("c_in", "c_out"), [(3, 5), (5, 17), (17, 3), (32, 16), (48, 64)])
@pytest.mark.parametrize("kind", KINDS)
def test_matches_dense_convolution(kind, c_in, c_out, backend):
    one = case(voxelise(random_coords(700)).grid, kind, c_in, c_out)
    for name, got, want in zip(("out", "d_features", "d_weight"), run(one, backend), dense_truth(one), strict=True):
        assert relative_error(got, want) < 2e-6, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [17, 48])
def test_matches_dense_convolution_where_most_neighbours_exist(channels, backend):
    # The reference gathers tables here instead of lists; the compiled kernels meet full bricks.
    grid = voxelise(surface_coords()).grid
    assert float((grid.neighbours() < len(grid)).float().mean()) > 0.55
    one = case(grid, "submanifold", channels, 7)
    for name, got, want in zip(("out", "d_features", "d_weight"), run(one, backend), dense_truth(one), strict=True):
        assert relative_error(got, want) < 2e-6, name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_finite_differences(kind):
    one = case(voxelise(random_coords(40, edge=5)).grid, kind, 2, 3, dtype=torch.float64)
    leaves = (one.features.requires_grad_(), one.weight.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, w: OPERATORS[kind](x, w, one.grid), leaves, nondet_tol=0.0)


def test_reference_takes_tables_and_lists_to_the_same_result(monkeypatch):
    monkeypatch.setattr(reference, "_CHUNK_CPU", 100)  # several chunks
    one = case(voxelise(surface_coords()).grid, "submanifold", 20, 9, dtype=torch.float64)
    by_table = run(one, "reference")
    monkeypatch.setattr(reference, "_takes_table", lambda *_: False)
    for got, want in zip(run(one, "reference"), by_table, strict=True):
        assert not torch.equal(got, want) or got.numel() < 10  # another order of the sums: it did take the other way
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize("kind", KINDS)
def test_takes_strided_tensors(kind, backend):
    one = case(voxelise(random_coords(300)).grid, kind, 17, 6)
    strided = replace(
        one,
        features=one.features.T.contiguous().T,
        weight=one.weight.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        gradient=one.gradient[:, :1].expand(-1, 6),
    )
    plain = replace(one, gradient=strided.gradient.contiguous())
    for got, want in zip(run(strided, backend), run(plain, backend), strict=True):
        assert torch.equal(got, want)


# --- conventions --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_offset_of_a_submanifold_weight_is_where_the_input_lies(backend):
    # Input at p + (1, 0, −1): slice (1 + 1)·9 + (0 + 1)·3 + (−1 + 1) = 21 and no other brings it to p.
    grid = voxelise(coords_of((0, 3, -5, 7), (0, 4, -5, 6))).grid
    here, there = (int((grid.coords[:, 1] == x).nonzero()) for x in (3, 4))
    features = torch.zeros(2, 1)
    features[there] = 2.0
    for offset in range(27):
        weight = torch.zeros(27, 1, 1)
        weight[offset] = 5.0
        out = subm_conv(features, weight, grid, backend=backend)
        assert float(out[here]) == (10.0 if offset == 21 else 0.0)
        assert float(out[there]) == (10.0 if offset == 13 else 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_place_in_the_parent_counts_x_most(backend):
    # (5, −3, 2) lies in (2, −2, 1) as floor division says, at place (1, 1, 0): 4 + 2 + 0 = 6.
    grid = voxelise(coords_of((0, 5, -3, 2))).grid
    assert grid.down().coords.tolist() == [[0, 2, -2, 1]] and grid.down().stride == 2
    assert grid.child.tolist() == [6] and grid.parent.tolist() == [0]
    for place in range(8):
        weight = torch.zeros(8, 1, 1)
        weight[place] = 3.0
        for operator in (down_conv, up_conv):
            assert float(operator(torch.full((1, 1), 2.0), weight, grid, backend=backend)) == (6.0 if place == 6 else 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_channels_are_multiplied_from_the_left(backend):
    grid = voxelise(coords_of((0, 0, 0, 0))).grid
    weight = torch.zeros(27, 2, 3)
    weight[13] = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    out = subm_conv(torch.tensor([[1.0, 2.0]]), weight, grid, backend=backend)
    assert out.tolist() == [[21.0, 42.0, 63.0]]


def test_rows_are_sorted_by_batch_then_brick_along_the_z_curve_then_place():
    # Bricks are 4³, x most significant: (0, 0, 4) is brick (0, 0, 1), (0, 4, 0) is brick (0, 1, 0), (4, 0, 0) brick (1, 0, 0);
    # within a brick x again counts most.  Negative bricks come first, because coordinates are moved up by 2¹⁷.
    wanted = [
        (0, -1, 0, 0),
        (0, 0, 0, 3),
        (0, 0, 1, 0),
        (0, 1, 0, 0),
        (0, 0, 0, 4),
        (0, 0, 4, 0),
        (0, 0, 4, 4),
        (0, 4, 0, 0),
        (0, 0, 0, 8),
        (1, -5, -5, -5),
    ]
    for order in (wanted, wanted[::-1], wanted[5:] + wanted[:5]):
        assert [tuple(row) for row in voxelise(coords_of(*order)).grid.coords.tolist()] == wanted


# --- voxels -------------------------------------------------------------------------------------------------------------------


def check_voxels(points: torch.Tensor, voxels: Voxelisation) -> None:
    grid = voxels.grid
    assert sorted(map(tuple, grid.coords.tolist())) == sorted(set(map(tuple, points.tolist())))
    assert torch.equal(grid.coords[voxels.voxel_of_point], points)
    assert torch.equal(voxels.counts, torch.bincount(voxels.voxel_of_point, minlength=len(grid)))
    assert (grid.keys.diff() > 0).all()
    assert grid.neighbours().tolist() == neighbours_by_dictionary(grid.coords)
    halves = grid.coords.clone()
    halves[:, 1:] = torch.div(grid.coords[:, 1:], 2, rounding_mode="floor")
    assert torch.equal(grid.down().coords[grid.parent], halves)
    assert torch.equal(2 * halves[:, 1:] + grid.child[:, None] // torch.tensor([4, 2, 1]) % 2, grid.coords[:, 1:])
    assert (grid.down().keys.diff() > 0).all()


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_voxels_of_any_small_cloud(points, edge, batch, seed):
    cloud = random_coords(points, edge=edge, batch=batch, seed=seed)
    check_voxels(cloud, voxelise(cloud))


def test_far_coordinates_do_not_overflow():
    # A LiDAR box of 3174 × 3167 × 613 has 6.2·10⁹ cells: flat 32-bit keys wrap and find neighbours that are not there.
    generator = torch.Generator().manual_seed(0)
    box = torch.tensor([3174, 3167, 613])
    cells = (torch.rand(400, 3, generator=generator) * box).long() - box // 2
    pairs = torch.cat([cells, cells + torch.tensor([1, -1, 1])])  # real neighbours as well
    cloud = torch.cat([torch.zeros(len(pairs), 1, dtype=torch.long), pairs], dim=1).to(torch.int32)
    check_voxels(cloud, voxelise(cloud))


def test_ends_of_the_bit_budget_have_no_neighbours_across():
    ends = [(b, x, y, z) for b in (0, 511) for x in (-131071, 131070) for y in (-131071, 131070) for z in (-131071, 131070)]
    near = [(b, x, y, z + (1 if z < 0 else -1)) for b, x, y, z in ends]
    cloud = coords_of(*ends, *near)
    voxels = voxelise(cloud)
    check_voxels(cloud, voxels)
    assert int((voxels.grid.neighbours() < len(voxels.grid)).sum()) == 2 * len(voxels.grid)  # itself and the one beside it


@pytest.mark.parametrize("row", [(512, 0, 0, 0), (-1, 0, 0, 0), (0, 131071, 0, 0), (0, 0, -131072, 0), (0, 0, 0, 2**31 - 1)])
def test_beyond_the_bit_budget_is_an_error_with_its_place(row):
    with pytest.raises(ConventionError, match=r"coords\[2\]: expected batch 0 to 511 .* got .*Fix: use larger voxels"):
        voxelise(coords_of((0, 1, 2, 3), (0, 1, 2, 4), row))


@needs_native
@pytest.mark.parametrize("points", [0, 1, 3000])
def test_compiled_voxels_are_those_of_plain_torch(points):
    cloud = torch.cat([random_coords(points, edge=40, batch=3), random_coords(points // 3, edge=4000, batch=3, seed=5)])
    for got, want in zip(NATIVE.sorted_voxels(cloud), reference.sorted_voxels(cloud), strict=True):
        assert got.dtype == want.dtype and torch.equal(got, want)
    coords = reference.sorted_voxels(cloud)[0]
    for got, want in zip(NATIVE.down_voxels(coords), reference.down_voxels(coords), strict=True):
        assert got.dtype == want.dtype and torch.equal(got, want)


def test_levels_are_made_once():
    grid = voxelise(random_coords(50)).grid
    assert grid.down() is grid.down() and grid.neighbours() is grid.neighbours() and grid.parent is grid.parent


# --- invariance ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_order_of_the_points_changes_nothing(backend):
    cloud = random_coords(500)
    order = torch.randperm(len(cloud), generator=torch.Generator().manual_seed(3))
    assert torch.equal(everything(cloud[order], backend), everything(cloud, backend)[order])


@pytest.mark.parametrize("backend", BACKENDS)
def test_moving_by_whole_voxels_of_every_level_changes_nothing(backend):
    cloud = random_coords(500)
    moved = cloud + torch.tensor([0, 16, -48, 160], dtype=torch.int32)
    torch.testing.assert_close(everything(moved, backend), everything(cloud, backend), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scenes_of_a_batch_do_not_see_each_other(backend):
    # Same coordinates in items 0 and 2, item 1 empty.
    alone = random_coords(300, batch=1)
    second = alone + torch.tensor([2, 0, 0, 0], dtype=torch.int32)
    together = everything(torch.cat([alone, second]), backend)
    torch.testing.assert_close(together[: len(alone)], everything(alone, backend), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[len(alone) :], together[: len(alone)], rtol=1e-4, atol=1e-4)


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_number_of_threads_changes_no_bit(kind):
    one = case(voxelise(random_coords(4000, edge=20)).grid, kind, 40, 33)
    before = library.get_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            library.set_threads(threads)
            results.append(run(one, "native"))
    finally:
        library.set_threads(before)
    assert all(torch.equal(got, want) for result in results[1:] for got, want in zip(result, results[0], strict=True))


# --- small levels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_all(kind, backend):
    voxels = voxelise(coords_of())
    assert len(voxels.grid) == 0 and voxels.grid.batch_size == 0 and len(voxels.grid.down().down()) == 0
    out, d_features, d_weight = run(case(voxels.grid, kind, 3, 5), backend)
    assert out.shape == (0, 5) and d_features.shape == (0, 3) and not d_weight.any() and len(d_weight) in (8, 27)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_voxel(kind, backend):
    one = case(voxelise(coords_of((0, -3, 8, 1))).grid, kind, 3, 5)
    for got, want in zip(run(one, backend), dense_truth(one), strict=True):
        assert relative_error(got, want) < 1e-6


def test_batch_size_can_count_empty_scenes():
    cloud = coords_of((1, 0, 0, 0))
    assert voxelise(cloud).grid.batch_size == 2 and voxelise(cloud, batch_size=4).grid.down().batch_size == 4
    with pytest.raises(ShapeError, match="batch items below batch_size = 1, got 1"):
        voxelise(cloud, batch_size=1)


# --- precision and dispatch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_rounds_operands_only(kind, backend):
    one = case(voxelise(random_coords(900)).grid, kind, 32, 48)
    for got, want in zip(run(one, backend, precision="bfloat16"), dense_truth(one), strict=True):
        assert got.dtype == torch.float32 and relative_error(got, want) < 4e-3  # 2⁻⁹ per operand
    # Operands that bfloat16 can hold lose nothing: the sums are float32.
    exact = replace(one, **{name: getattr(one, name).bfloat16().float() for name in ("features", "weight", "gradient")})
    for got, want in zip(run(exact, backend, precision="bfloat16"), dense_truth(exact), strict=True):
        assert relative_error(got, want) < 2e-6


@pytest.mark.parametrize("backend", OWN)
def test_bfloat16_does_round(backend):
    if backend == "native" and not NATIVE.supports_bfloat16():
        pytest.skip("this processor has no bfloat16 instructions")
    one = case(voxelise(random_coords(900)).grid, "submanifold", 32, 48)
    for got, want in zip(run(one, backend, precision="bfloat16"), dense_truth(one), strict=True):
        assert relative_error(got, want) > 5e-4


def test_setting_of_torch_is_put_back():
    one = case(voxelise(random_coords(100)).grid, "submanifold", 16, 16)
    assert torch.get_float32_matmul_precision() == "highest"
    run(one, "reference")
    assert torch.get_float32_matmul_precision() == "highest"


def test_float64_takes_the_reference():
    assert backend_for(CPU, torch.float64)[0] == "reference"
    assert backend_for(CPU, torch.float32)[0] == ("reference" if NATIVE is None else "native")


def test_half_precision_features_are_computed_in_float32():
    one = case(voxelise(random_coords(100)).grid, "submanifold", 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = subm_conv(one.features.bfloat16(), one.weight, one.grid)
    assert out.dtype == torch.float32
    assert torch.equal(out, subm_conv(one.features.bfloat16().float(), one.weight, one.grid))


# --- points and voxels --------------------------------------------------------------------------------------------------------


def test_mean_in_voxels_and_its_gradient():
    voxels = voxelise(coords_of((0, 5, 5, 5), (0, 1, 1, 1), (0, 5, 5, 5), (0, 5, 5, 5)))
    values = torch.tensor([[3.0], [7.0], [4.0], [8.0]], requires_grad=True)
    means = mean_in_voxels(values, voxels)
    assert means.tolist() == [[7.0], [5.0]]
    (means * torch.tensor([[10.0], [6.0]])).sum().backward()
    assert values.grad.flatten().tolist() == [2.0, 10.0, 2.0, 2.0]


def test_mean_in_voxels_matches_finite_differences():
    voxels = voxelise(random_coords(30, edge=3))
    values = torch.randn(30, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mean_in_voxels(x, voxels), values, nondet_tol=0.0)


def test_trilinear_weights_by_hand():
    # Centres at (½, ½, ½) and (1½, ½, ½) and (½, 1½, 1½).  The position is ¼ of the way along x, 0.1 along y and 0.2 along z:
    # weights ¾·0.9·0.8 = 0.54, ¼·0.9·0.8 = 0.18, ¾·0.1·0.2 = 0.015, over their sum 0.735.
    grid = voxelise(coords_of((0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 1))).grid
    features = torch.zeros(3, 1)
    values = {(0, 0, 0): 1.0, (1, 0, 0): 10.0, (0, 1, 1): 100.0}
    for row, voxel in enumerate(grid.coords[:, 1:].tolist()):
        features[row] = values[tuple(voxel)]
    out = trilinear(features, grid, torch.tensor([[0.75, 0.6, 0.7]]), torch.zeros(1, dtype=torch.int64))
    assert float(out) == pytest.approx((0.54 + 1.8 + 1.5) / 0.735, rel=1e-6)
    # The same place in a grid of stride 2 is twice as far out.
    coarse = VoxelGrid(grid.coords, stride=2, batch_size=1)
    double = trilinear(features, coarse, torch.tensor([[1.5, 1.2, 1.4]]), torch.zeros(1, dtype=torch.int64))
    assert float(double) == pytest.approx(float(out), rel=1e-6)


def test_trilinear_reads_only_its_own_scene():
    grid = voxelise(coords_of((0, 0, 0, 0), (1, 0, 0, 0))).grid
    out = trilinear(torch.tensor([[1.0], [2.0]]), grid, torch.full((3, 3), 0.3), torch.tensor([1, 0, 1]))
    assert out.flatten().tolist() == [2.0, 1.0, 2.0]


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_a_constant_field_stays_constant_there_and_back(levels):
    generator = torch.Generator().manual_seed(1)
    positions = torch.rand(400, 3, generator=generator) * 12 - 7
    batch = torch.randint(0, 2, (400,), generator=generator)
    voxels = voxelise(torch.cat([batch[:, None], positions.floor().long()], dim=1).to(torch.int32))
    features, grid = mean_in_voxels(torch.full((400, 2), 3.25), voxels), voxels.grid
    for _ in range(levels):
        grid = grid.down()
        features = torch.full((len(grid), 2), 3.25)
    torch.testing.assert_close(trilinear(features, grid, positions, batch), torch.full((400, 2), 3.25), rtol=1e-6, atol=0)


def test_trilinear_matches_a_linear_field_inside():
    # Where all eight corners exist, interpolation reproduces any linear function of the centres.
    grid = voxelise(surface_coords(8)).grid
    slope = torch.tensor([1.0, -2.0, 0.5])
    features = ((grid.coords[:, 1:] + 0.5) @ slope)[:, None]
    positions = torch.rand(50, 3, generator=torch.Generator().manual_seed(2)) * 1.9 + 0.55
    batch = torch.zeros(50, dtype=torch.int64)
    torch.testing.assert_close(trilinear(features, grid, positions, batch)[:, 0], positions @ slope, rtol=1e-5, atol=1e-5)


def test_trilinear_looks_up_the_same_by_box_and_by_search(monkeypatch):
    grid = voxelise(random_coords(600, edge=9)).grid
    positions = torch.rand(3000, 3, generator=torch.Generator().manual_seed(4)) * 28 - 18  # far outside on every side as well
    batch = torch.arange(3000) % 3 - 1  # items −1 and 2 do not exist
    features = torch.randn(len(grid), 4)
    by_box = trilinear(features, grid, positions, batch)
    assert by_box.any(1).sum() > 30
    monkeypatch.setattr(interpolation, "_MOST_CELLS", 0)
    assert torch.equal(trilinear(features, VoxelGrid(grid.coords, stride=1, batch_size=2), positions, batch), by_box)


def test_trilinear_gradient_matches_finite_differences():
    grid = voxelise(random_coords(30, edge=4)).grid
    positions = torch.rand(20, 3, generator=torch.Generator().manual_seed(2)) * 4 + torch.tensor([-7, -4, -4])
    batch = torch.arange(20) % 2
    features = torch.randn(len(grid), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: trilinear(x, grid, positions, batch), features, nondet_tol=0.0)


def test_trilinear_gives_zeros_where_nothing_is():
    grid = voxelise(coords_of((0, 0, 0, 0))).grid
    positions = torch.tensor([[5.0, 0.5, 0.5], [math.nan, 0.5, 0.5], [1e30, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]])
    out = trilinear(torch.ones(1, 1), grid, positions, torch.tensor([0, 0, 0, 1, 0]))
    assert out.flatten().tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    empty = voxelise(coords_of()).grid
    assert trilinear(torch.ones(0, 2), empty, torch.ones(3, 3), torch.zeros(3, dtype=torch.int64)).tolist() == [[0.0, 0.0]] * 3


# --- errors -------------------------------------------------------------------------------------------------------------------


@pytest.mark.errors
def test_wrong_shapes_are_named():
    grid = voxelise(random_coords(50, edge=4)).grid
    rows = len(grid)
    with pytest.raises(ShapeError, match=rf"features: expected \[{rows}, channels\]"):
        subm_conv(torch.zeros(rows + 1, 3), torch.zeros(27, 3, 4), grid)
    with pytest.raises(ShapeError, match=r"weight: expected \[27, 3, channels\], got \(8, 3, 4\)"):
        subm_conv(torch.zeros(rows, 3), torch.zeros(8, 3, 4), grid)
    with pytest.raises(ShapeError, match=r"weight: expected \[8, 3, channels\], got \(8, 2, 4\)"):
        down_conv(torch.zeros(rows, 3), torch.zeros(8, 2, 4), grid)
    with pytest.raises(ShapeError, match=rf"features: expected \[{len(grid.down())}, channels\]"):
        up_conv(torch.zeros(rows, 3), torch.zeros(8, 3, 4), grid)
    with pytest.raises(ShapeError, match="coords: expected int32"):
        voxelise(torch.zeros(5, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match="values: expected 50 rows"):
        mean_in_voxels(torch.zeros(49, 1), voxelise(random_coords(50)))
    with pytest.raises(ShapeError, match=r"features: expected .* one per voxel"):
        trilinear(torch.zeros(rows + 1, 1), grid, torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))


def test_mixed_dtypes_are_named():
    grid = voxelise(random_coords(50)).grid
    with pytest.raises(ShapeError, match="weight: expected float64, as features"):
        subm_conv(torch.zeros(len(grid), 3, dtype=torch.float64), torch.zeros(27, 3, 4), grid)


def test_a_backend_that_cannot_run_says_so(monkeypatch):
    with pytest.raises(ResourceError, match="backend native: expected float32 tensors on the CPU"):
        backend_for(CPU, torch.float64, "native")
    monkeypatch.setattr(spconv_backend, "is_installed", lambda: False)
    with pytest.raises(MissingDependencyError, match="pip install spconv"):
        backend_for(CPU, torch.float32, "spconv")


def test_spconv_is_refused_where_its_threads_race(monkeypatch):
    monkeypatch.setattr(spconv_backend, "is_installed", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert backend_for(CPU, torch.float32, "spconv")[0] == "spconv"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(ResourceError, match=r"spconv: expected one thread .* got 2 threads"):
        backend_for(CPU, torch.float32, "spconv")


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "biased"), [(1500, 96, 128, True), (1024, 101, 97, True), (2500, 384, 128, False)]
)
def test_pointwise_is_a_linear_layer(rows, inputs, outputs, biased):
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, inputs), (outputs, inputs), *([(outputs,)] if biased else [])]
    given = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    upstream = torch.randn(rows, outputs, generator=generator)
    out, expected = pointwise(*given), torch.nn.functional.linear(*exact)
    assert relative_error(out.detach(), expected.detach()) < 2e-6
    found = torch.autograd.grad(out, given, upstream)
    wanted = torch.autograd.grad(expected, exact, upstream.double())
    for name, mine, other in zip(("d_features", "d_weight", "d_bias"), found, wanted):
        assert mine.shape == other.shape
        assert relative_error(mine, other) < 2e-6, name


@needs_native
def test_wide_pointwise_layers_run_in_the_compiled_library_with_the_same_bits_on_any_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    before = library.get_threads()
    features, weight = torch.randn(3000, 96, generator=generator), torch.randn(160, 96, generator=generator)
    results = []
    try:
        for threads in (1, 3):
            library.set_threads(threads)
            leaves = features.clone().requires_grad_(), weight.clone().requires_grad_()
            out = pointwise(*leaves)
            results.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaves)))
    finally:
        library.set_threads(before)
    assert "_Pointwise" in type(out.grad_fn).__name__
    assert all(torch.equal(one, other) for one, other in zip(*results))


@pytest.mark.parametrize("shape", [(2000, 64), (500, 128), (128,), (2, 1500, 128)], ids=["narrow", "few", "one row", "a batch"])
def test_other_pointwise_layers_are_torchs_own(shape):
    features, weight, bias = torch.randn(shape), torch.randn(96, shape[-1]), torch.randn(96)
    assert torch.equal(pointwise(features, weight, bias), torch.nn.functional.linear(features, weight, bias))
