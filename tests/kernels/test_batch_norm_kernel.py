"""Fused batch norm: both implementations against the formula in float64."""

import pytest
import torch

from scenewise.errors import ShapeError
from scenewise.kernels.batch_norm import batch_norm_relu, native, reference
from scenewise.kernels.native import library

needs_native = pytest.mark.skipif(not native.can_run(), reason="the compiled library was not built")
IMPLEMENTATIONS = [pytest.param(native.batch_norm_relu, marks=needs_native), reference.batch_norm_relu]


def formula(x, weight, bias, mean, variance, eps, residual, relu):
    """Written out, for autograd to differentiate."""
    y = (x - mean) / (variance + eps).sqrt() * weight + bias
    y = y if residual is None else y + residual
    return y.clamp_min(0) if relu else y


def case(n, c, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    # A mean far from zero: variances taken as E x² − (E x)² would be useless.
    return draw(n, c) * 3 + 50, draw(c), draw(c), draw(c), draw(c).abs() + 0.5, draw(n, c), draw(n, c)


@pytest.mark.parametrize("run", IMPLEMENTATIONS)
@pytest.mark.parametrize(("n", "c"), [(2, 1), (5, 3), (700, 16), (1300, 37), (513, 96)])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("batch_statistics", [False, True])
def test_values_gradients_and_running_statistics(run, n, c, with_residual, relu, batch_statistics):
    x, weight, bias, running_mean, running_var, residual, upstream = case(n, c)
    inputs = [x, weight, bias, *([residual] if with_residual else [])]
    ours = [tensor.clone().requires_grad_() for tensor in inputs]
    theirs = [tensor.double().requires_grad_() for tensor in inputs]
    mean, variance = running_mean.clone(), running_var.clone()
    out = run(*ours[:3], mean, variance, batch_statistics, 0.2, 1e-3, ours[3] if with_residual else None, relu)
    out.backward(upstream)
    batch_mean, batch_variance = theirs[0].mean(0), theirs[0].var(0, unbiased=False)
    used = (batch_mean, batch_variance) if batch_statistics else (running_mean.double(), running_var.double())
    expected = formula(*theirs[:3], *used, 1e-3, theirs[3] if with_residual else None, relu)
    # Where the sum is within rounding of zero, the two may stand on different sides of the ReLU.
    safe = (formula(*theirs[:3], *used, 1e-3, theirs[3] if with_residual else None, False).abs() > 1e-3).all(1) | (not relu)
    assert safe.float().mean() > 0.7
    expected.backward(upstream.double())
    assert torch.allclose(out.double(), expected, atol=2e-4)
    assert (ours[0].grad - theirs[0].grad)[safe].norm() <= 1e-4 * theirs[0].grad.norm() + 1e-5
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert (mine.grad - other.grad).norm() <= 1e-3 * other.grad.norm() + 1e-4
    moved = 0.2 if batch_statistics else 0.0
    assert torch.allclose(mean.double(), running_mean * (1 - moved) + batch_mean * moved, atol=1e-5)
    assert torch.allclose(variance.double(), running_var * (1 - moved) + theirs[0].var(0) * moved, rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_one_row_or_none_uses_the_running_statistics(n):
    x = torch.tensor([[7.0, -2.0]])[:n].requires_grad_()
    mean, variance = torch.tensor([5.0, 0.0]), torch.tensor([4.0, 1.0])
    weight, bias = torch.tensor([3.0, 1.0], requires_grad=True), torch.tensor([1.0, 0.5], requires_grad=True)
    out = batch_norm_relu(x, weight, bias, mean, variance, training=True, eps=0.0)
    assert torch.allclose(out, torch.tensor([[4.0, 0.0]])[:n])  # (7 − 5) / 2 · 3 + 1, and −1.5 clamped
    out.sum().backward()
    assert torch.allclose(x.grad, torch.tensor([[1.5, 0.0]])[:n])
    assert weight.grad.tolist() == [float(n), 0.0] and bias.grad.tolist() == [float(n), 0.0]
    assert mean.tolist() == [5.0, 0.0] and variance.tolist() == [4.0, 1.0]


@needs_native
def test_bits_do_not_depend_on_threads():
    before = library.get_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            library.set_threads(threads)
            x, weight, bias, mean, variance, residual, upstream = case(4000, 20, seed=2)
            leaves = [tensor.requires_grad_() for tensor in (x, weight, bias, residual)]
            out = batch_norm_relu(*leaves[:3], mean, variance, training=True, residual=residual)
            results.append([out.detach(), mean, variance, *torch.autograd.grad(out, leaves, upstream)])
    finally:
        library.set_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("run", IMPLEMENTATIONS)
def test_nan_is_not_hidden_by_the_relu(run):
    x = torch.tensor([[1.0, float("nan")], [2.0, 1.0], [3.0, 2.0]])
    out = run(x, torch.ones(2), torch.zeros(2), torch.zeros(2), torch.ones(2), True, 0.1, 1e-5, None, True)
    assert out[:, 0].isfinite().all() and out[:, 1].isnan().all()


@pytest.mark.errors
def test_wrong_shapes_are_named():
    one = torch.ones(3)
    with pytest.raises(ShapeError, match=r"running_mean: expected \(3,\)"):
        batch_norm_relu(torch.ones(4, 3), one, one, torch.ones(2), one, training=True)
    with pytest.raises(ShapeError, match=r"residual: expected \(4, 3\), as x, got \(5, 3\)"):
        batch_norm_relu(torch.ones(4, 3), one, one, one, one, training=True, residual=torch.ones(5, 3))
