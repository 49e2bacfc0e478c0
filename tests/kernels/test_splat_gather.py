"""What Gaussians see of a picture: the transpose of blending, against per-pixel loops and against the gradient."""

from dataclasses import replace

import pytest
import torch
from tests.support.splat_scenarios import one_splat, random_splats, to_dtype

from scenewise.errors import ShapeError
from scenewise.kernels.native import library
from scenewise.kernels.splats import Backend, SplatInput, gather, native, rasterize
from scenewise.kernels.splats.constants import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from scenewise.kernels.splats.reference import project

BACKENDS = [
    "reference",
    pytest.param("native", marks=pytest.mark.skipif(library.load() is None, reason="no compiled library")),
]


def by_loops(splats: SplatInput, field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel by pixel, front to back."""
    seen = project(splats)
    order = [int(i) for i in torch.argsort(seen.depths, stable=True) if seen.visible[int(i)]]
    sums, weights = torch.zeros(len(splats.means), field.shape[2], dtype=torch.float64), torch.zeros(len(splats.means))
    weights = weights.double()
    for row in range(splats.height):
        for column in range(splats.width):
            transmittance = 1.0
            pixel = torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)
            for i in order:
                d = pixel - seen.means2d[i]
                alpha = min(ALPHA_MAX, float(seen.opacities[i] * torch.exp(-0.5 * d @ seen.conics[i] @ d)))
                if alpha < ALPHA_MIN:
                    continue
                if transmittance * (1 - alpha) <= TRANSMITTANCE_MIN:
                    break
                sums[i] += alpha * transmittance * field[row, column]
                weights[i] += alpha * transmittance
                transmittance *= 1 - alpha
    return sums, weights


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 5])
def test_agrees_with_loops_over_pixels(backend: Backend, channels: int):
    splats = random_splats(15, 13, 11, degree=0, smallest=-2.0)
    field = torch.randn(11, 13, channels, generator=torch.Generator().manual_seed(1))
    expected, expected_weights = by_loops(to_dtype(splats, torch.float64), field.double())
    sums, weights = gather(splats, field, backend)
    assert expected_weights.max() > 3
    torch.testing.assert_close(sums, expected.float(), atol=2e-4, rtol=2e-4)
    torch.testing.assert_close(weights, expected_weights.float(), atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_gaussian_sees_the_pixel_under_its_centre_most(backend: Backend):
    """The centre projects to (20 + 50·0.4/4, 15 − 50·0.24/4) = (25, 12): weights are highest in the four pixels about it."""
    splats = one_splat(means=torch.tensor([[0.4, -0.24, 4.0]]), scales=torch.full((1, 3), 0.02).log())
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(40.0), indexing="ij")
    sums, weights = gather(splats, torch.stack([rows, columns], dim=-1), backend)
    torch.testing.assert_close(sums / weights, torch.tensor([[11.5, 24.5]]), atol=1e-4, rtol=0)


@pytest.mark.skipif(library.load() is None, reason="no compiled library")
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 79, 80, 128, 200])
def test_is_the_gradient_of_blending(channels: int):
    """Any number of channels, in one pass or several."""
    splats = replace(random_splats(300, 61, 45, smallest=-2.8), screen_gradients=None)
    field = torch.randn(45, 61, channels, generator=torch.Generator().manual_seed(channels))
    extra = torch.zeros(300, channels, requires_grad=True)
    picture = rasterize(replace(splats, extra=extra), "native")
    (picture.extra * field).sum().backward()
    sums, weights = gather(splats, field, "native")
    torch.testing.assert_close(sums, extra.grad, atol=1e-3, rtol=1e-4)
    assert picture.contribution is not None
    torch.testing.assert_close(weights, picture.contribution.weight_sum, atol=1e-3, rtol=1e-4)


@pytest.mark.skipif(library.load() is None, reason="no compiled library")
def test_does_not_depend_on_threads_or_on_what_ran_before():
    splats = random_splats(2000, 100, 70, degree=1)
    field = torch.randn(70, 100, 20, generator=torch.Generator().manual_seed(0))
    before = library.get_threads()
    results = []
    try:
        for threads in (1, 3):
            library.set_threads(threads)
            results.append(gather(splats, field, "native"))
            rasterize(replace(splats, screen_gradients=None), "native")
    finally:
        library.set_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))
    assert native.can_run(splats)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_drawn_gives_zeros(backend: Backend):
    behind = one_splat(means=torch.tensor([[0.0, 0.0, -4.0]]))
    sums, weights = gather(behind, torch.ones(30, 40, 3), backend)
    assert sums.tolist() == [[0.0, 0.0, 0.0]] and weights.tolist() == [0.0]


@pytest.mark.errors
def test_a_field_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="30×40"):
        gather(one_splat(), torch.ones(40, 30, 3))
