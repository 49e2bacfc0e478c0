"""The structural term: reference loops, the facts that the released form misses, gradients, sparseness."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.methods.distilled_3dgs.structure import (
    Box,
    HistogramKind,
    MarginalHistogram,
    SparseHistogram,
    hard_histogram,
    histogram_cosine,
    occupancy_histogram,
    robust_box,
    separable_histogram,
    structure_loss,
    trilinear_histogram,
)

UNIT = Box(torch.zeros(3), torch.ones(3))


def _plane(n: int, *, mirrored: bool = False, seed: int = 0) -> Tensor:
    """A tilted plane in the unit cube; its mirror image has the same marginals."""
    across = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    height = 1.0 - across[:, 0] if mirrored else across[:, 0]
    return torch.stack([across[:, 0], across[:, 1], height], dim=1)


def _dense(histogram: SparseHistogram, grid: int) -> Tensor:
    values = torch.zeros(grid**3, dtype=histogram.values.dtype)
    values[histogram.keys] = histogram.values
    return values.reshape(grid, grid, grid)


def _trilinear_by_loop(means: Tensor, box: Box, grid: int) -> Tensor:
    values = torch.zeros(grid, grid, grid, dtype=means.dtype)
    for mean in means:
        position = [float((mean[k] - box.low[k]) / box.size[k] * grid - 0.5) for k in range(3)]
        for cell in itertools.product(range(grid), repeat=3):
            weight = math.prod(max(0.0, 1.0 - abs(position[k] - cell[k])) for k in range(3))
            values[cell] += weight
    return values


def test_one_centre_is_shared_as_computed_by_hand() -> None:
    # Grid 4: x = 0.4 lies at 1.1 between the centres of voxels 1 and 2, y = 0.625 on that of voxel 2, z = 0.9 beyond the last.
    found = trilinear_histogram(torch.tensor([[0.4, 0.625, 0.9]], dtype=torch.float64), UNIT, 4)
    dense = _dense(found, 4)
    assert dense[1, 2, 3] == pytest.approx(0.9 * 0.9) and dense[2, 2, 3] == pytest.approx(0.1 * 0.9)
    assert float(dense.sum()) == pytest.approx(0.9)  # a tenth lies outside the box and is dropped
    hard = hard_histogram(torch.tensor([[0.4, 0.625, 0.9]]), UNIT, 4)
    assert hard.keys.tolist() == [(1 * 4 + 2) * 4 + 3] and hard.values.tolist() == [1.0]


def test_the_trilinear_histogram_is_that_of_loops() -> None:
    means = torch.rand(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.2 - 0.1
    box = Box(torch.tensor([0.0, 0.1, -0.05]).double(), torch.tensor([1.0, 0.8, 1.1]).double())
    torch.testing.assert_close(_dense(trilinear_histogram(means, box, 5), 5), _trilinear_by_loop(means, box, 5))
    inside = _dense(hard_histogram(means, box, 5), 5)
    by_loop = torch.zeros(5, 5, 5, dtype=torch.float64)
    for mean in means:
        cell = [math.floor(float((mean[k] - box.low[k]) / box.size[k] * 5)) for k in range(3)]
        if all(0 <= c < 5 for c in cell):
            by_loop[tuple(cell)] += 1
    torch.testing.assert_close(inside, by_loop)


def test_the_cosine_of_sparse_histograms_is_that_of_dense_ones() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.rand(60, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    histograms = [trilinear_histogram(means, UNIT, 6) for means in (first, second)]
    dense = [_dense(histogram, 6).reshape(-1) for histogram in histograms]
    expected = torch.nn.functional.cosine_similarity(dense[0], dense[1], dim=0)
    torch.testing.assert_close(histogram_cosine(*histograms), expected)


def test_the_cosine_of_marginals_is_that_of_their_outer_products() -> None:
    generator = torch.Generator().manual_seed(3)
    histograms = [separable_histogram(torch.rand(50, 3, generator=generator, dtype=torch.float64), UNIT, 7) for _ in range(2)]
    outer = [torch.einsum("i,j,k->ijk", *histogram.values).reshape(-1) for histogram in histograms]
    expected = torch.nn.functional.cosine_similarity(outer[0], outer[1], dim=0)
    torch.testing.assert_close(histogram_cosine(*histograms), expected)
    # The kernel, by hand: a centre on that of voxel 3 gives 1 there and e^−2 beside it.
    column = separable_histogram(torch.full((1, 3), 0.5, dtype=torch.float64), UNIT, 7).values[0]
    assert column[3] == pytest.approx(1.0) and column[2] == column[4] == pytest.approx(math.exp(-2.0))


@pytest.mark.parametrize("kind", ["trilinear", "hard", "separable"])
def test_identical_sets_have_no_loss(kind: HistogramKind) -> None:
    plane = _plane(5_000)
    assert float(structure_loss(plane, plane, grid=32, kind=kind)) == pytest.approx(0.0, abs=1e-6)


def test_a_mirrored_plane_is_far_and_a_subsample_is_near() -> None:
    """What the released histogram cannot see: it finds the mirrored plane as near as the plane's own subsample."""
    plane, mirrored = _plane(20_000), _plane(20_000, mirrored=True)
    subsample = plane[torch.randperm(len(plane), generator=torch.Generator().manual_seed(4))[:2_000]]
    for kind in ("trilinear", "hard"):
        assert float(structure_loss(mirrored, plane, grid=32, kind=kind)) > 0.9, kind  # type: ignore[arg-type]
        assert float(structure_loss(subsample, plane, grid=32, kind=kind)) < 0.3, kind  # type: ignore[arg-type]
    assert float(structure_loss(mirrored, plane, grid=32, kind="separable")) < 0.02
    assert float(structure_loss(subsample, plane, grid=32, kind="separable")) < 0.02


def test_its_gradient_is_right_and_pulls_towards_the_teacher() -> None:
    teacher = torch.rand(30, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    means = torch.rand(12, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64).requires_grad_()
    for kind in ("trilinear", "separable"):
        assert torch.autograd.gradcheck(lambda m, k=kind: structure_loss(m, teacher, grid=5, kind=k), (means,))
    assert not structure_loss(means, teacher, grid=5, kind="hard").requires_grad
    optimizer = torch.optim.Adam([means], lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = structure_loss(means, teacher, grid=5)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_only_voxels_near_a_centre_are_stored() -> None:
    means = torch.rand(100, 3, generator=torch.Generator().manual_seed(7))
    found = occupancy_histogram(means, UNIT, 100_000, "trilinear")  # 10¹⁵ voxels
    assert isinstance(found, SparseHistogram) and 700 <= len(found.keys) <= 800
    assert bool((found.keys[1:] > found.keys[:-1]).all())


def test_outliers_do_not_stretch_the_box() -> None:
    means = torch.rand(2_000, 3, generator=torch.Generator().manual_seed(8))
    box = robust_box(torch.cat([means, torch.full((5, 3), 1e4)]))
    assert bool((box.size < 1.5).all()) and bool((box.low > -0.5).all())
    assert bool((robust_box(torch.zeros(10, 3)).size > 0).all())
    flat = robust_box(means * torch.tensor([1.0, 1.0, 0.0]))
    assert float(flat.size[2]) > 0


def test_sets_without_a_common_voxel_are_as_far_as_can_be() -> None:
    box = Box(torch.zeros(3), torch.full((3,), 10.0))
    near = occupancy_histogram(torch.full((3, 3), 1.0), box, 10, "trilinear")
    far = occupancy_histogram(torch.full((3, 3), 9.0), box, 10, "trilinear")
    outside = occupancy_histogram(torch.full((3, 3), 99.0), box, 10, "trilinear")
    assert float(histogram_cosine(near, far)) == 0.0 and float(histogram_cosine(near, outside)) == 0.0


@pytest.mark.errors
def test_what_makes_no_sense_is_refused() -> None:
    means = torch.rand(4, 3)
    with pytest.raises(ConventionError, match=r"grid.*1 to 2,000,000"):
        occupancy_histogram(means, UNIT, 0, "trilinear")
    with pytest.raises(ConventionError, match="two of the same kind"):
        histogram_cosine(MarginalHistogram(torch.zeros(3, 4)), trilinear_histogram(means, UNIT, 4))
    with pytest.raises(ConventionError, match="at least one Gaussian"):
        robust_box(torch.zeros(0, 3))
