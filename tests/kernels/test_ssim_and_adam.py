"""SSIM loss and Adam: native against loops and plain torch."""

import numpy as np
import pytest
import torch

from scenewise.kernels.adam import adam_step
from scenewise.kernels.adam import reference as adam_reference
from scenewise.kernels.native import library
from scenewise.kernels.ssim import l1_dssim, ssim_map
from scenewise.kernels.ssim import native as ssim_native
from scenewise.kernels.ssim import reference as ssim_reference

needs_native = pytest.mark.skipif(library.load() is None, reason="the compiled library was not built")


def test_ssim_map_matches_a_loop_over_windows():
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.rand(9, 14, 3, generator=generator, dtype=torch.float64),
        torch.rand(9, 14, 3, generator=generator, dtype=torch.float64),
    )
    offsets = np.arange(-5, 6)
    taps = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    padded_x, padded_y = (np.pad(v.numpy(), ((5, 5), (5, 5), (0, 0))) for v in (x, y))
    got = ssim_map(x, y).numpy()
    for row, column, channel in ((0, 0, 0), (4, 7, 1), (8, 13, 2), (2, 12, 0)):
        a = padded_x[row : row + 11, column : column + 11, channel]
        b = padded_y[row : row + 11, column : column + 11, channel]
        mu_a, mu_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * a * a).sum() - mu_a**2, (window * b * b).sum() - mu_b**2
        cov = (window * a * b).sum() - mu_a * mu_b
        value = (2 * mu_a * mu_b + 1e-4) * (2 * cov + 9e-4) / ((mu_a**2 + mu_b**2 + 1e-4) * (var_a + var_b + 9e-4))
        assert got[row, column, channel] == pytest.approx(value, abs=1e-12)


@needs_native
@pytest.mark.parametrize(("height", "width"), [(479, 69), (30, 7), (5, 60), (49, 33), (1, 1), (97, 16)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_native_loss_and_gradient_match_float64(height, width, weight):
    generator = torch.Generator().manual_seed(height)
    truth = torch.rand(height, width, 3, generator=generator)
    image = (truth + 0.1 * torch.randn(height, width, 3, generator=generator)).clamp(0, 1)
    got, want = image.clone().requires_grad_(), image.double().requires_grad_()
    assert ssim_native.can_run(got, truth)
    loss = l1_dssim(got, truth, weight)
    expected = (1 - weight) * (want - truth.double()).abs().mean() + weight * (
        1 - ssim_reference.ssim_map(want, truth.double()).mean()
    )
    (3 * loss).backward()
    (3 * expected).backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    assert float((got.grad - want.grad).norm() / want.grad.norm()) < 1e-5


@needs_native
def test_native_loss_does_not_depend_on_threads():
    generator = torch.Generator().manual_seed(1)
    image, truth = torch.rand(200, 80, 3, generator=generator), torch.rand(200, 80, 3, generator=generator)
    results = []
    before = library.get_threads()
    try:
        for threads in (1, 2, 3):
            library.set_threads(threads)
            leaf = image.clone().requires_grad_()
            loss = l1_dssim(leaf, truth)
            loss.backward()
            results.append((loss.detach(), leaf.grad))
    finally:
        library.set_threads(before)
    assert all(torch.equal(results[0][0], loss) and torch.equal(results[0][1], gradient) for loss, gradient in results[1:])


@needs_native
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_adam_matches_torch(step):
    generator = torch.Generator().manual_seed(step)
    tensors = [torch.randn(40, 3, generator=generator) for _ in range(2)]
    tensors += [torch.rand(40, 3, generator=generator) * 0.1 for _ in range(2)]
    native, plain = [t.clone() for t in tensors], [t.double() for t in tensors]
    adam_step(*native, learning_rate=0.01, step=step)
    adam_reference.adam_step(*plain, 0.01, 0.9, 0.999, 1e-15, step)
    for got, want in zip(native, plain, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)


def test_reference_adam_is_torch_adam():
    parameter = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=0.1, eps=1e-15)
    own, first, second = parameter.detach().clone(), torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for step in range(1, 5):
        gradient = torch.tensor([0.5 * step, -0.1], dtype=torch.float64)
        parameter.grad = gradient.clone()
        optimizer.step()
        adam_reference.adam_step(own, gradient, first, second, 0.1, 0.9, 0.999, 1e-15, step)
    torch.testing.assert_close(own, parameter.detach())
