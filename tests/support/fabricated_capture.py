"""A tiny capture without files: Gaussians on a tilted plane and a few above it, photographed from an arc by our own renderer."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud


def constant(values: np.ndarray) -> Callable[[], np.ndarray]:
    """A decoder that always gives these values."""
    return lambda: values


def true_gaussians(n: int = 150, seed: int = 0) -> Gaussians:
    """Colourful, mostly opaque blobs near the origin."""
    generator = torch.Generator().manual_seed(seed)
    means = (torch.rand(n, 3, generator=generator) - 0.5) * torch.tensor([2.0, 1.4, 0.6])
    log_scales = math.log(0.11) + 0.3 * torch.randn(n, 3, generator=generator)
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1)
    logits = torch.full((n,), 2.0)
    sh0 = (torch.rand(n, 1, 3, generator=generator) - 0.5) / 0.28209479
    return Gaussians(means, log_scales, quats, logits, sh0, torch.zeros(n, 0, 3))


def arc_camera(angle: float, width: int, height: int) -> Cameras:
    """Looks at the origin from a distance of 2.5, ``angle`` to the side."""
    center = np.array([2.5 * math.sin(angle), 0.4, -2.5 * math.cos(angle)])
    forward = -center / np.linalg.norm(center)
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right)
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    camera_from_world[:3, 3] = -camera_from_world[:3, :3] @ center
    K = torch.tensor([[1.1 * width, 0, width / 2], [0, 1.1 * width, height / 2], [0, 0, 1]]).double()
    return Cameras(torch.from_numpy(camera_from_world), K, width, height)


def fabricated_capture(
    *,
    views: int = 8,
    width: int = 40,
    height: int = 30,
    with_depth: bool = False,
    background: tuple[float, float, float] | None = None,
) -> Capture:
    """Frames 0, 4 … are held out; points are the true centres with a little noise."""
    truth = true_gaussians()
    frames = []
    behind = torch.tensor(background or (0.0, 0.0, 0.0))
    for number in range(views):
        camera = arc_camera(-0.6 + 1.2 * number / max(1, views - 1), width, height)
        with torch.no_grad():
            output = render(truth, camera, background=behind)
        image_u8 = (output.color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        depth = torch.where(output.alpha > 0.9, output.depth / output.alpha.clamp_min(0.1), 0.0).numpy()
        coverage_u8 = (output.alpha * 255).round().to(torch.uint8).numpy()
        frames.append(
            Frame(
                name=f"{number:03d}.png",
                camera=camera,
                load_image=constant(image_u8),
                load_depth=constant(depth) if with_depth else None,
                load_coverage=constant(coverage_u8),
            )
        )
    noise = torch.randn(len(truth), 3, generator=torch.Generator().manual_seed(9)) * 0.02
    colors_u8 = ((0.5 + 0.28209479 * truth.sh0[:, 0]).clamp(0, 1) * 255).to(torch.uint8).numpy()
    points = PointCloud((truth.means + noise).double().numpy(), colors_u8)
    return Capture(
        root=Path("fabricated"),
        source_format="world",
        frames=tuple(frames),
        points=points,
        test_names=frozenset(frame.name for frame in frames[::4]),
        background=background,
    )
