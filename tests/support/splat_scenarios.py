"""Scenes and checks for the splat kernel that every backend must pass; the backend is an argument."""

from dataclasses import replace

import torch

from scenewise.kernels.splats import Backend, SplatInput, SplatOutput, rasterize

LEAVES = ("means", "quats", "scales", "opacities", "sh0", "shN", "extra", "camera_from_world", "screen_gradients")


def random_splats(
    n: int,
    width: int,
    height: int,
    *,
    degree: int = 3,
    channels: int = 0,
    seed: int = 0,
    smallest: float = -3.5,
    dtype=torch.float32,
) -> SplatInput:
    """Gaussians of mixed sizes in front of a turned, off-centre camera."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    rotation = rotation * torch.sign(torch.linalg.det(rotation))
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3, :3] = rotation
    camera_from_world[:3, 3] = torch.tensor([0.1, -0.2, 3.5])
    return SplatInput(
        means=normal(n, 3),
        quats=normal(n, 4),
        scales=(torch.rand(n, 3, generator=generator) * 1.5 + smallest).to(dtype),
        opacities=normal(n) * 2 + 0.5,
        sh0=normal(n, 1, 3) * 0.7,
        shN=normal(n, (degree + 1) ** 2 - 1, 3) * 0.3,
        sh_degree=degree,
        extra=normal(n, channels) if channels else None,
        camera_from_world=camera_from_world.to(dtype),
        K=torch.tensor([[width * 1.1, 0, width * 0.49], [0, width * 1.15, height * 0.47], [0, 0, 1]], dtype=dtype),
        near=0.01,
        width=width,
        height=height,
        background=torch.tensor([0.3, 0.1, 0.9], dtype=dtype),
        stored=True,
        screen_gradients=torch.zeros(n, 4, dtype=dtype),
        contribution=True,
    )


def one_splat(**changes: object) -> SplatInput:
    """A single opaque-ish Gaussian at depth 4 in front of an unturned 40×30 camera with f = 50, centre (20, 15)."""
    splats = SplatInput(
        means=torch.tensor([[0.0, 0.0, 4.0]]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.full((1, 3), 0.2).log(),
        opacities=torch.tensor([2.0]),
        sh0=torch.zeros(1, 1, 3),
        shN=torch.zeros(1, 0, 3),
        sh_degree=0,
        extra=None,
        camera_from_world=torch.eye(4),
        K=torch.tensor([[50.0, 0.0, 20.0], [0.0, 50.0, 15.0], [0.0, 0.0, 1.0]]),
        near=0.01,
        width=40,
        height=30,
        background=torch.zeros(3),
        stored=True,
        screen_gradients=None,
        contribution=False,
    )
    return replace(splats, **changes)  # type: ignore[arg-type]


def to_dtype(splats: SplatInput, dtype: torch.dtype) -> SplatInput:
    """The same numbers in another precision."""
    fields = {name: getattr(splats, name) for name in (*LEAVES, "K", "background")}
    return replace(splats, **{name: value.to(dtype) for name, value in fields.items() if value is not None})


def with_gradients(splats: SplatInput) -> tuple[SplatInput, dict[str, torch.Tensor]]:
    """Fresh leaves that require gradients, and a dictionary of them."""
    leaves = {
        name: getattr(splats, name).detach().clone().requires_grad_() for name in LEAVES if getattr(splats, name) is not None
    }
    return replace(splats, **leaves), leaves


def run(splats: SplatInput, backend: Backend, seed: int = 1) -> tuple[SplatOutput, dict[str, torch.Tensor]]:
    """Render, pull a random gradient back through every output, return the outputs and all gradients."""
    splats, leaves = with_gradients(splats)
    output = rasterize(splats, backend)
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=splats.means.dtype)
    for name in ("color", "depth", "alpha", "extra"):
        value = getattr(output, name)
        if value is not None:
            loss = loss + (value * torch.randn(value.shape, generator=generator).to(value.dtype)).sum()
    loss.backward()
    output = replace(
        output,
        **{
            name: getattr(output, name).detach()
            for name in ("color", "depth", "alpha", "extra")
            if getattr(output, name) is not None
        },
    )
    gradients = {name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return output, gradients


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """‖got − want‖ / ‖want‖ in float64; 0 when both vanish, NaN where either holds one."""
    difference = (got.detach().double() - want.detach().double()).norm()
    return 0.0 if float(difference) == 0 else float(difference / want.detach().double().norm().clamp_min(1e-30))
