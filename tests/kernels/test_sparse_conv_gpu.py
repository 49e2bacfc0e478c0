"""Sparse convolution on CUDA: the plain torch twin there against dense convolution on the CPU, the same bits run after run."""

from dataclasses import replace

import pytest
import torch
from tests.support.sparse_conv_scenarios import (
    KINDS,
    Case,
    case,
    dense_truth,
    random_coords,
    relative_error,
    run,
    surface_coords,
)

from scenewise.kernels.sparse_conv import backend_for, spconv_backend, trilinear, voxelise

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
needs_spconv = pytest.mark.skipif(not spconv_backend.is_installed(), reason="spconv is not installed")
BACKENDS = ["auto", pytest.param("spconv", marks=needs_spconv)]


def on_cuda(one: Case, coords: torch.Tensor) -> Case:
    grid = voxelise(coords.cuda()).grid
    assert torch.equal(grid.coords.cpu(), one.grid.coords)
    return replace(one, grid=grid, features=one.features.cuda(), weight=one.weight.cuda(), gradient=one.gradient.cuda())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("coords", [random_coords(900), surface_coords()], ids=["lists", "table"])
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_matches_dense_convolution(kind, coords, backend):
    one = case(voxelise(coords).grid, kind, 17, 20)
    got = run(on_cuda(one, coords), backend)
    for value, want in zip(got, dense_truth(one), strict=True):
        assert relative_error(value.cpu(), want) < 2e-6
    if backend == "auto":
        assert backend_for(torch.device("cuda"), torch.float32)[0] == "reference"
        assert all(torch.equal(a, b) for a, b in zip(run(on_cuda(one, coords), backend), got, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_cuda_bfloat16_sums_in_float32(kind):
    coords = random_coords(900)
    one = case(voxelise(coords).grid, kind, 32, 48)
    exact = replace(one, **{name: getattr(one, name).bfloat16().float() for name in ("features", "weight", "gradient")})
    for got, want in zip(run(on_cuda(exact, coords), "auto", precision="bfloat16"), dense_truth(exact), strict=True):
        assert got.dtype == torch.float32 and relative_error(got.cpu(), want) < 2e-6


def test_cuda_trilinear_equals_cpu():
    coords = random_coords(300, batch=1)
    grid, there = voxelise(coords).grid, voxelise(coords.cuda()).grid
    features = torch.randn(len(grid), 5)
    positions = coords[:, 1:] + torch.rand(len(coords), 3)
    batch = coords[:, 0].long()
    got = trilinear(features.cuda(), there, positions.cuda(), batch.cuda())
    torch.testing.assert_close(got.cpu(), trilinear(features, grid, positions, batch), rtol=1e-5, atol=1e-5)
