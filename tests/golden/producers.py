"""What the golden numbers are numbers of.  Inputs come from NumPy's generators, whose streams do not change between versions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from scenewise.geometry.orbits import look_at
from scenewise.kernels.ssim import l1_dssim
from scenewise.rendering import Backend, render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED


@dataclass(frozen=True)
class Golden:
    """One set of numbers.

    Attributes:
        produce: computes them.
        tolerance: largest accepted relative difference (absolute below 1).
        reason: why not smaller.
    """

    produce: Callable[[], Mapping[str, float]]
    tolerance: float
    reason: str


def _splats(dtype: torch.dtype) -> Gaussians:
    generator = np.random.default_rng(20)
    n = 80

    def stored(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(dtype).requires_grad_()

    return Gaussians(
        means=stored(generator.uniform(-1.0, 1.0, (n, 3))),
        log_scales=stored(generator.uniform(-3.0, -1.5, (n, 3))),
        quats=stored(generator.normal(size=(n, 4))),
        logit_opacities=stored(generator.uniform(-2.0, 3.0, n)),
        sh0=stored(generator.normal(0.0, 0.8, (n, 1, 3))),
        shN=stored(generator.normal(0.0, 0.2, (n, 15, 3))),
    )


def _render_and_gradients(dtype: torch.dtype, backend: Backend) -> dict[str, float]:
    gaussians = _splats(dtype)
    pose = look_at(np.array([0.4, -3.0, 0.8]), np.array([0.1, 0.0, -0.1]), np.array([0.0, 0.0, 1.0]))
    K = torch.tensor([[50.0, 0.0, 25.0], [0.0, 52.0, 17.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    camera = Cameras(torch.linalg.inv(torch.from_numpy(pose)), K, width=48, height=32)
    output = render(gaussians, camera, background=torch.tensor([0.2, 0.4, 0.6], dtype=dtype), backend=backend)
    weights = torch.from_numpy(np.random.default_rng(21).normal(size=(32, 48, 3))).to(dtype)
    ((output.color * weights).sum() + output.depth.sum() + output.alpha.square().sum()).backward()
    figures = {f"color_{channel}": output.color[..., index].mean() for index, channel in enumerate("rgb")}
    figures |= {"depth": output.depth.mean(), "alpha": output.alpha.mean(), "pixel_17_31_g": output.color[17, 31, 1]}
    for name in ("means", "log_scales", "quats", "logit_opacities", "sh0", "shN"):
        gradient = getattr(gaussians, name).grad
        assert gradient is not None
        figures[f"gradient_norm_{name}"] = gradient.norm()
    return {name: float(value.detach()) for name, value in figures.items()}


def _photometric_loss() -> dict[str, float]:
    generator = np.random.default_rng(22)
    truth_image = torch.from_numpy(generator.uniform(size=(24, 37, 3)))
    image = (0.9 * truth_image + 0.1 * torch.from_numpy(generator.uniform(size=(24, 37, 3)))).requires_grad_()
    loss = l1_dssim(image, truth_image, 0.2)
    loss.backward()
    assert image.grad is not None
    return {"loss": float(loss.detach()), "gradient_norm": float(image.grad.norm())}


def _room() -> dict[str, float]:
    room = furnished_room(DEFAULT_DEMO_SEED)
    camera = room_cameras(room, 5, 64, 48)[2]
    pixels, known = photograph(room, camera).astype(np.float64), truth(room, camera)
    figures = {f"mean_{channel}": float(pixels[..., index].mean()) for index, channel in enumerate("rgb")}
    return figures | {
        "contrast": float(pixels.std()),
        "mean_depth": float(known.depth.mean()),
        "classes_seen": float(len(np.unique(known.class_ids))),
    }


GOLDEN: dict[str, Golden] = {
    "splats_reference": Golden(
        lambda: _render_and_gradients(torch.float64, "reference"), 1e-9, "float64; torch versions may sum in another order"
    ),
    "splats_float32": Golden(
        lambda: _render_and_gradients(torch.float32, "auto"),
        3e-3,
        "float32; one Gaussian may fall on the other side of α = 1/255",
    ),
    "photometric_loss": Golden(_photometric_loss, 1e-9, "float64; torch versions may sum in another order"),
    "room": Golden(_room, 5e-3, "bytes after rounding; instruction sets differ in the last bit of float32"),
}
