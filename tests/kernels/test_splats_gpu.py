"""The CUDA backend against the CPU: pictures above 60 dB, gradients within 1e-3, and the times of both."""

import time
from dataclasses import replace

import pytest
import torch
from tests.support.splat_scenarios import LEAVES, random_splats, relative_error, run

from scenewise.kernels.splats import SplatInput, gsplat_backend, rasterize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not gsplat_backend.is_installed(), reason="gsplat is not installed (extra cuda)"),
]


def to_cuda(splats: SplatInput) -> SplatInput:
    names = (*LEAVES, "K", "background")
    return replace(splats, **{name: getattr(splats, name).cuda() for name in names if getattr(splats, name) is not None})


@pytest.mark.parametrize("degree", [0, 3])
def test_gsplat_and_cpu_agree(degree):
    splats = replace(random_splats(20_000, 640, 360, degree=degree, channels=4, smallest=-5.0, seed=degree), contribution=False)
    want_output, want = run(splats, "auto")
    got_output, got = run_on_cuda(splats)
    error = (got_output.color.cpu() - want_output.color).square().mean()
    assert -10 * torch.log10(error) > 60
    for name, gradient in want.items():
        if name == "camera_from_world":  # gsplat differentiates the whole matrix; the last row is a constant
            gradient, got[name] = gradient[:3], got[name][:3]
        assert relative_error(got[name].cpu(), gradient) < 1e-3, name


def run_on_cuda(splats: SplatInput):
    """The same random upstream gradients as on the CPU."""
    leaves = {name: getattr(splats, name).cuda().requires_grad_() for name in LEAVES if getattr(splats, name) is not None}
    output = rasterize(replace(to_cuda(splats), **leaves), "gsplat")
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), device="cuda")
    for name in ("color", "depth", "alpha", "extra"):
        value = getattr(output, name)
        if value is not None:
            loss = loss + (value * torch.randn(value.shape, generator=generator).cuda()).sum()
    loss.backward()
    return output, {name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in leaves.items()}


def test_times_of_both(capsys):
    splats = replace(random_splats(200_000, 1280, 720, degree=3, smallest=-6.0), contribution=False, screen_gradients=None)
    seconds = {}
    for where, scene in (("cpu", splats), ("cuda", to_cuda(splats))):
        samples = []
        for _ in range(6):
            means = scene.means.clone().requires_grad_()
            start = time.perf_counter()
            rasterize(replace(scene, means=means)).color.square().mean().backward()
            if where == "cuda":
                torch.cuda.synchronize()
            samples.append(time.perf_counter() - start)
        seconds[where] = sorted(samples)[2]
    with capsys.disabled():
        print(f"\n200k Gaussians, 1280×720, forward and backward: CPU {seconds['cpu']:.4f} s, CUDA {seconds['cuda']:.4f} s")
    assert seconds["cuda"] < seconds["cpu"]
